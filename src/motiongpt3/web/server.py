"""The app put together: guard, routes, the page's files, and Gradio beside them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from motiongpt3 import __version__
from motiongpt3.errors import MotionGPT3Error
from motiongpt3.web.api import make_router
from motiongpt3.web.conversations import Conversations
from motiongpt3.web.engine import Engine
from motiongpt3.web.guard import GRADIO, Guard, Rules
from motiongpt3.web.metrics import Metrics
from motiongpt3.web.models import ServedModel
from motiongpt3.web.service import Service
from motiongpt3.web.store import Store
from motiongpt3.web.uploads import MAX_BYTES
from motiongpt3.web.waiting import problem

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
_ABOUT = "Human motion from words, and words from motion."
_TAGS = [
    {
        "name": "make",
        "description": "Motions and words. An answer comes when it is done, or, with Accept: "
        "text/event-stream, as a stream of events: state (how many requests are before yours, and the "
        "seconds that are expected), in a chat text as it is written, and done with the answer, or problem. "
        "Closing the connection stops the work.",
    },
    {
        "name": "files",
        "description": "Motions that were made or given, by the id that whoever did so was told; each is "
        "deleted when its time is over (expires_in).",
    },
    {"name": "state", "description": "What the server can do, and how it is."},
]
_SWEEP = 60.0  # seconds between looks for what is too old


@dataclass(frozen=True)
class Settings:
    """How to serve.

    Attributes:
        out: folder for files that clients ask for.
        rules: what the guard lets through.
        timeout: seconds that a request may take.
        keep: seconds that a motion is kept.
        rows: motions that may share a forward pass.
        waiting_per_client: requests of one client that may wait.
        gradio: whether Gradio's page and interface are served too.
    """

    out: Path
    rules: Rules = field(default_factory=Rules)
    timeout: float = 180.0
    keep: float = 3600.0
    rows: int = 16
    waiting_per_client: int = 8
    gradio: bool = True


def make_app(models: Sequence[ServedModel], settings: Settings) -> FastAPI:
    """The app; it loads the models when it starts, and answers requests for one with 503 until it is there.

    ``app.state.service`` is the `Service` behind it.
    """
    metrics = Metrics()
    engine = Engine(
        models, settings.rows, waiting_per_client=settings.waiting_per_client, on_batch=metrics.batch
    )
    store = Store(settings.out, settings.keep)
    service = Service(
        engine,
        store,
        Conversations(engine),
        metrics,
        settings.timeout,
        settings.gradio,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start()
        sweeping = asyncio.ensure_future(_sweep(service))
        yield
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
        await asyncio.to_thread(engine.stop)

    app = FastAPI(
        title="MotionGPT3",
        version=__version__,
        description=_ABOUT,
        openapi_tags=_TAGS,
        lifespan=lifespan,
        # FastAPI's pages would load scripts from elsewhere; there is one of our own.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(make_router(service))
    app.add_exception_handler(MotionGPT3Error, _known_problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _known_problem)
    app.add_middleware(Guard, rules=settings.rules, metrics=metrics)
    if settings.gradio:
        _mount_gradio(app, service)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @app.get("/docs", include_in_schema=False)
    async def interface() -> FileResponse:
        return FileResponse(STATIC / "docs.html", headers={"Cache-Control": "no-cache"})

    app.mount("/", StaticFiles(directory=STATIC, check_dir=False), name="static")
    return app


def _mount_gradio(app: FastAPI, service: Service) -> None:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ["GRADIO_TEMP_DIR"] = str(service.store.folder / "gradio")
    import gradio

    from motiongpt3.web.gradio_page import make_blocks

    gradio.mount_gradio_app(
        app,
        make_blocks(service),
        GRADIO,
        footer_links=["api"],
        allowed_paths=[str(service.store.folder)],
        max_file_size=MAX_BYTES,
        ssr_mode=False,
        enable_monitoring=False,
        show_error=True,
    )


async def _sweep(service: Service) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        await asyncio.to_thread(service.store.sweep)
        service.conversations.expire()


async def _known_problem(request: Request, error: Exception) -> JSONResponse:
    found = problem(error)
    return JSONResponse({"detail": found.detail}, found.status_code, headers=found.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    return JSONResponse({"detail": f"{where}: {first['msg']}" if where else str(first["msg"])}, 422)
