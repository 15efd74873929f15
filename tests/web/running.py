"""A server of small models on a port of this machine, for browsers and other clients."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from motiongpt3.web.server import Settings, make_app
from tests.web.serving import Models, served_models


@contextmanager
def running(models: Models, out: Path, **settings: Any) -> Iterator[str]:
    """The address of a server that is ready."""
    app = make_app(served_models(models), Settings(out, **settings))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not (server.started and all(one.ready for one in app.state.service.engine.models.values())):
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
