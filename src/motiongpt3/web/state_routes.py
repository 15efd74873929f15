"""What the server can do, and how it is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from motiongpt3 import __version__
from motiongpt3.sampling import schedulers_for
from motiongpt3.web import schemas, uploads
from motiongpt3.web.metrics import CONTENT_TYPE
from motiongpt3.web.models import ServedModel
from motiongpt3.web.outputs import OUTPUTS
from motiongpt3.web.service import Service


def add_state_routes(router: APIRouter, service: Service) -> None:
    """Health, metrics, and what there is."""
    engine, metrics = service.engine, service.metrics

    @router.get("/health", tags=["state"])
    async def health() -> dict[str, str]:
        """Whether the server runs."""
        return {"status": "ok"}

    @router.get("/ready", tags=["state"])
    async def ready() -> JSONResponse:
        """Whether the first model is loaded: status 200, or 503 with the reason."""
        body = {"ready": engine.ready, "stage": engine.first.stage, "failure": engine.first.failure}
        return JSONResponse(body, 200 if engine.ready else 503)

    @router.get("/metrics", tags=["state"], response_class=Response)
    async def numbers() -> Response:
        """Numbers for Prometheus."""
        for lane in engine.lanes:
            metrics.waiting.labels(lane.name).set(lane.length)
        metrics.motions.set(len(service.store))
        metrics.conversations.set(len(service.conversations))
        for served in engine.models.values():
            metrics.ready.labels(served.name).set(served.ready)
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @router.get("/api/info", tags=["state"])
    async def info() -> schemas.Info:
        """What the server can do, and its limits."""
        return _info(service)


def _info(service: Service) -> schemas.Info:
    engine = service.engine
    return schemas.Info(
        ready=engine.ready,
        stage=engine.first.stage,
        failure=engine.first.failure,
        version=__version__,
        models=[_model_info(served) for served in engine.models.values()],
        formats=[schemas.FileFormat(**vars(output)) for output in OUTPUTS.values()],
        uploads=list(uploads.READABLE),
        upload_bytes=uploads.MAX_BYTES,
        upload_seconds=uploads.MAX_SECONDS,
        kept_seconds=service.store.seconds,
        max_count=schemas.MAX_COUNT,
        max_prompt=schemas.MAX_PROMPT,
        max_segments=schemas.MAX_SEGMENTS,
        gradio=service.gradio,
    )


def _model_info(served: ServedModel) -> schemas.ModelInfo:
    state: dict[str, Any] = {
        "name": served.name,
        "ready": served.ready,
        "stage": served.stage,
        "failure": served.failure,
    }
    if not served.ready:
        return schemas.ModelInfo(**state)
    model = served.model
    shortest, longest = model.frame_range
    return schemas.ModelInfo(
        **state,
        about=model.describe(),
        tasks=served.tasks,
        chooses_task=served.chooses_task,
        fps=model.fps,
        shortest_seconds=shortest / model.fps,
        longest_seconds=longest / model.fps,
        schedulers=list(schedulers_for(model.objective)),
        scheduler=model.config.scheduler,
        steps=model.config.steps,
        guidance=model.config.guidance,
    )
