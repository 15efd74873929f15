"""A small model behind the real app, without a network in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.web.guard import Rules
from motiongpt3.web.server import Settings, make_app


@contextmanager
def served(model: MotionGPT3, out: Path, rules: Rules | None = None, **settings: Any) -> Iterator[TestClient]:
    """A client of the app, once the model is there."""
    app = make_app(lambda say: model, Settings(out, rules=rules or Rules(), **{"gradio": False, **settings}))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        assert app.state.service.engine.wait(10)
        yield client
