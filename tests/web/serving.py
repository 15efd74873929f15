"""Small models behind the real app, without a network in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.web.guard import Rules
from motiongpt3.web.models import ServedModel
from motiongpt3.web.server import Settings, make_app

Models = MotionGPT3 | Mapping[str, MotionGPT3]
"""One model, or several by name."""


def served_models(models: Models) -> list[ServedModel]:
    """Models as the app takes them; loading them takes no time."""
    if isinstance(models, MotionGPT3):
        return [ServedModel("tiny", lambda say: models)]
    return [ServedModel(name, lambda say, model=model: model, name) for name, model in models.items()]  # type: ignore[misc]


@contextmanager
def served(models: Models, out: Path, rules: Rules | None = None, **settings: Any) -> Iterator[TestClient]:
    """A client of the app, once the models are there."""
    how = Settings(out, rules=rules or Rules(), **{"gradio": False, **settings})
    app = make_app(served_models(models), how)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        engine = app.state.service.engine
        engine.loading.join(10)
        assert all(one.ready for one in engine.models.values())
        yield client
