"""The HTTP interface: what the page does, programs can do.

Every request that needs the model becomes a job of the engine; what comes of it is kept in the store under a
name, and read from there.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as PathName
from fastapi.responses import FileResponse, JSONResponse

from motiongpt3 import __version__
from motiongpt3.errors import InputError
from motiongpt3.generation.captions import check_length
from motiongpt3.generation.conversation import cut
from motiongpt3.generation.motions import MotionRequest, Sampling
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import SequencePlaceholders
from motiongpt3.motion.motion import Motion
from motiongpt3.sampling import sample_seeds, schedulers_for
from motiongpt3.web import schemas, uploads
from motiongpt3.web.binary_motion import pack_motion
from motiongpt3.web.bodies import MotionName, add_body_routes
from motiongpt3.web.conversations import Spoken, speak
from motiongpt3.web.lanes import Job, Lane
from motiongpt3.web.metrics import CONTENT_TYPE
from motiongpt3.web.outputs import OUTPUTS, file_stem, output_named, write_as, write_output
from motiongpt3.web.schemas import ChatAnswer, MotionInfo, MotionsAnswer, TextAnswer
from motiongpt3.web.sequence import Segment, continuation, extended, make_sequence, usual_addition
from motiongpt3.web.service import Service, client_of, submitted
from motiongpt3.web.store import Entry
from motiongpt3.web.waiting import answer, event, problem_event, progress, result_of, stream

FileName = Annotated[
    str, Query(max_length=200, description="What the file is called; its ending says the format.")
]
ClientName = Annotated[
    str | None,
    Header(alias="X-Client", max_length=40, description="Tells apart clients that share an address."),
]
Streamed = Any  # what is declared as response_model, or the same as the last event of a stream

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": schemas.Problem, "description": description}
    for code, description in (
        (404, "no such motion, or it has been deleted"),
        (413, "too large"),
        (422, "cannot be done as asked"),
        (429, "too many of your requests are waiting"),
        (503, "the model is not loaded (yet)"),
        (504, "not done in time"),
    )
}
_FILE_BODY = {
    "requestBody": {
        "required": True,
        "description": "The file's bytes as they are.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def make_router(service: Service) -> APIRouter:
    """All routes."""
    router = APIRouter(responses=_PROBLEMS)
    engine, timeout = service.engine, service.timeout
    _add_state(router, service)
    _add_files(router, service)
    add_body_routes(router, service)

    @router.post("/api/generate", response_model=MotionsAnswer, tags=["make"])
    async def generate(
        request: Request, asked: schemas.GenerateRequest, client: ClientName = None
    ) -> Streamed:
        """Make motions from words."""
        prompt, frames = service.prompt(asked.prompt), service.frames(asked.seconds)
        _check_frames(engine.model, frames)
        wording, seeds = engine.model.request_for("t2m", prompt), sample_seeds(asked.seed, asked.count)
        requests = [MotionRequest(wording, frames, seed) for seed in seeds]
        sampling = service.sampling(asked)
        job = submitted(lambda: engine.motions(client_of(request, client), requests, sampling))

        def finish(motions: list[Motion]) -> MotionsAnswer:
            infos = service.keep(
                motions,
                prompt,
                "t2m",
                asked.seed,
                prompt=prompt,
                command=_generation(service, asked, prompt, frames),
            )
            return MotionsAnswer(motions=infos)

        return await answer(request, job, engine.making, timeout, finish)

    @router.post("/api/continue", response_model=MotionsAnswer, tags=["make"])
    async def continue_(
        request: Request, asked: schemas.ContinueRequest, client: ClientName = None
    ) -> Streamed:
        """Continue a motion: what is there stays as it is, and new frames come behind it."""
        entry = service.entry(asked.motion)
        prompt = None if asked.prompt is None else service.prompt(asked.prompt)
        added = service.frames(asked.seconds) or usual_addition(engine.model, entry.motion)
        seeds = sample_seeds(asked.seed, asked.count)
        requests = [continuation(engine.model, entry.motion, added, seed, prompt) for seed in seeds]
        sampling = service.sampling(asked, completing=prompt is None)
        job = submitted(lambda: engine.motions(client_of(request, client), requests, sampling))

        def finish(motions: list[Motion]) -> MotionsAnswer:
            whole = [extended(entry.motion, one, made, added) for one, made in zip(requests, motions)]
            title, given = prompt or f"continue {entry.title}", [(0, len(entry.motion))]
            infos = service.keep(whole, title, "pred", asked.seed, prompt=prompt, given=given)
            return MotionsAnswer(motions=infos)

        return await answer(request, job, engine.making, timeout, finish)

    @router.post("/api/inbetween", response_model=MotionsAnswer, tags=["make"])
    async def inbetween(
        request: Request, asked: schemas.InbetweenRequest, client: ClientName = None
    ) -> Streamed:
        """Fill the middle of a motion, or the way from one to another; both ends stay as they are."""
        entry = service.entry(asked.motion)
        head, tail, frames = _ends(service, entry, asked)
        wording = (
            engine.model.request_for("inbetween") if asked.prompt is None else service.prompt(asked.prompt)
        )
        seeds = sample_seeds(asked.seed, asked.count)
        requests = [MotionRequest(wording, frames, seed, head, tail) for seed in seeds]
        sampling = service.sampling(asked, completing=True)
        job = submitted(lambda: engine.motions(client_of(request, client), requests, sampling))

        def finish(motions: list[Motion]) -> MotionsAnswer:
            given = [(0, len(head)), (frames - len(tail), frames)]
            title = asked.prompt or f"fill {entry.title}"
            infos = service.keep(motions, title, "inbetween", asked.seed, prompt=asked.prompt, given=given)
            return MotionsAnswer(motions=infos)

        return await answer(request, job, engine.making, timeout, finish)

    @router.post("/api/timeline", response_model=MotionsAnswer, tags=["make"])
    async def timeline(
        request: Request, asked: schemas.TimelineRequest, client: ClientName = None
    ) -> Streamed:
        """Make one motion of several prompts, each continuing the one before."""
        segments = [
            Segment(service.prompt(one.prompt), service.frames(one.seconds)) for one in asked.segments
        ]
        _check_frames(engine.model, segments[0].frames)
        # The words matter in every segment, so all have the guidance of text.
        sampling = service.sampling(asked)

        def run(job: Job) -> tuple[Motion, list[int]]:
            def make(one: MotionRequest) -> Motion:
                return engine.motions_for(job, [one], sampling)[0]

            return make_sequence(engine.model, segments, asked.seed, make)

        def finish(made: tuple[Motion, list[int]]) -> MotionsAnswer:
            motion, ends = made
            prompts = [segment.prompt for segment in segments]
            title = ", then ".join(prompts)
            parts = list(zip(prompts, ends))
            infos = service.keep([motion], title, "timeline", asked.seed, prompt=title, segments=parts)
            return MotionsAnswer(motions=infos)

        job = submitted(lambda: engine.talk(client_of(request, client), run))
        return await answer(request, job, engine.talking, timeout, finish)

    @router.post("/api/caption", response_model=TextAnswer, tags=["make"])
    async def caption(request: Request, asked: schemas.CaptionRequest, client: ClientName = None) -> Streamed:
        """Say what a motion shows."""
        entry = service.entry(asked.motion)
        check_length(engine.model, entry.motion)
        words = engine.model.request_for("m2t") if asked.prompt is None else service.prompt(asked.prompt)
        job = submitted(lambda: engine.captions(client_of(request, client), [entry.motion], [words]))
        return await answer(request, job, engine.making, timeout, lambda texts: TextAnswer(text=texts[0]))

    @router.post("/api/chat", response_model=ChatAnswer, tags=["make"])
    async def chat(request: Request, asked: schemas.ChatRequest, client: ClientName = None) -> Streamed:
        """Say something: the reply is words, motions, or both; in a stream, words come one by one."""
        talk, remembered = service.conversations.open(asked.conversation)
        text, frames = service.prompt(asked.text), service.frames(asked.seconds)
        given = service.entry(asked.motion).motion if asked.motion else None
        pieces: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def hear(piece: str) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def run(job: Job) -> Spoken:
            def sampling(completing: bool) -> Sampling:
                return service.sampling(asked, completing)

            return speak(
                engine, job, talk, text, given, asked.task, frames, asked.seed, asked.count, sampling, hear
            )

        def finish(spoken: Spoken) -> ChatAnswer:
            task = spoken.reply.task
            command = _generation(service, asked, text, frames) if task == "t2m" else None
            infos = service.keep(
                spoken.motions, text, task, asked.seed, prompt=text, given=spoken.ranges, command=command
            )
            return ChatAnswer(
                conversation=talk.id, task=task, text=spoken.reply.text, motions=infos, remembered=remembered
            )

        job = submitted(lambda: engine.talk(client_of(request, client), run))
        if "text/event-stream" in request.headers.get("accept", ""):
            return stream(_spoken_events(job, engine.talking, timeout, pieces, finish))
        return finish(await result_of(request, job, engine.talking, timeout))

    return router


def _add_state(router: APIRouter, service: Service) -> None:
    engine, metrics = service.engine, service.metrics

    @router.get("/health", tags=["state"])
    async def health() -> dict[str, str]:
        """Whether the server runs."""
        return {"status": "ok"}

    @router.get("/ready", tags=["state"])
    async def ready() -> JSONResponse:
        """Whether the model is loaded: status 200, or 503 with the reason."""
        body = {"ready": engine.ready, "stage": engine.stage, "failure": engine.failure}
        return JSONResponse(body, 200 if engine.ready else 503)

    @router.get("/metrics", tags=["state"], response_class=Response)
    async def numbers() -> Response:
        """Numbers for Prometheus."""
        for lane in engine.lanes:
            metrics.waiting.labels(lane.name).set(lane.length)
        metrics.motions.set(len(service.store))
        metrics.conversations.set(len(service.conversations))
        metrics.ready.set(engine.ready)
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @router.get("/api/info", tags=["state"])
    async def info() -> schemas.Info:
        """What the server can do, and its limits."""
        return _info(service)


def _add_files(router: APIRouter, service: Service) -> None:
    engine, store = service.engine, service.store

    @router.post("/api/motions", tags=["files"], status_code=201, openapi_extra=_FILE_BODY)
    async def upload(request: Request, name: FileName, client: ClientName = None) -> MotionInfo:
        """Give a motion: the body is the file. It is brought to the model's frame rate and body."""
        data = await request.body()
        uploads.check_upload(data, uploads.safe_name(name))
        job = submitted(lambda: engine.file(client_of(request, client), lambda _: service.read(data, name)))
        motion = await result_of(request, job, engine.files, service.timeout)
        return service.info(store.add(motion, motion.name, "upload"))

    @router.get("/api/motions/{motion}", tags=["files"])
    async def motion_info(motion: MotionName) -> MotionInfo:
        """What a motion is."""
        return service.info(service.entry(motion))

    @router.delete("/api/motions/{motion}", tags=["files"], status_code=204)
    async def forget(motion: MotionName) -> None:
        """Delete a motion and its files."""
        service.entry(motion)
        store.remove(motion)

    @router.get("/api/motions/{motion}/frames", tags=["files"], response_class=Response)
    async def frames(motion: MotionName) -> Response:
        """The joints as bytes: ``MG3M``, frames, joints (uint32), fps (float32), then float32 positions."""
        data = pack_motion(service.entry(motion).motion)
        return Response(
            data, media_type="application/octet-stream", headers={"Cache-Control": "private, max-age=3600"}
        )

    @router.get("/api/motions/{motion}/files/{format}", tags=["files"], response_class=FileResponse)
    async def file(
        request: Request, motion: MotionName, format: Annotated[str, PathName(max_length=20)]
    ) -> FileResponse:
        """A motion as a file, in a format of /api/info."""
        entry, output = service.entry(motion), output_named(format)

        def write(job: Job) -> Path:
            return write_output(store, entry, output, lambda done, frames: engine.files.check())

        job = submitted(lambda: engine.file(client_of(request), write))
        path = await result_of(request, job, engine.files, service.timeout)
        return FileResponse(path, filename=f"{file_stem(entry)}{output.suffix}")

    @router.post("/api/convert", tags=["files"], response_class=Response, openapi_extra=_FILE_BODY)
    async def convert(
        request: Request,
        name: FileName,
        to: Annotated[str, Query(max_length=20, description="A format of /api/info.")],
        standard: Annotated[bool, Query(description="Bring it to the model's frame rate and body.")] = False,
        client: ClientName = None,
    ) -> Response:
        """A motion file as a file of another format; nothing is kept."""
        data, output = await request.body(), output_named(to)
        uploads.check_upload(data, uploads.safe_name(name))

        def run(job: Job) -> bytes:
            motion = service.read(data, name) if standard else uploads.read_upload(data, name, store.folder)
            return _written(motion, output.name, store.folder)

        job = submitted(lambda: engine.file(client_of(request, client), run))
        written = await result_of(request, job, engine.files, service.timeout)
        stem = uploads.safe_name(name).rpartition(".")[0] or "motion"
        disposition = f'attachment; filename="{stem}{output.suffix}"'
        return Response(
            written, media_type="application/octet-stream", headers={"Content-Disposition": disposition}
        )


def _written(motion: Motion, to: str, folder: Path) -> bytes:
    output = output_named(to)
    with tempfile.TemporaryDirectory(dir=folder, prefix="convert-") as place:
        path = Path(place) / f"motion{output.suffix}"
        write_as(motion, path, output, motion.name)
        return path.read_bytes()


async def _spoken_events(
    job: Job, lane: Lane, timeout: float, pieces: asyncio.Queue[str], finish: Callable[[Spoken], ChatAnswer]
) -> AsyncIterator[str]:
    """The events of a reply: ``state``, ``text`` as it is written, and ``done`` or ``problem``."""
    events: asyncio.Queue[tuple[Literal["state", "text"], Any] | None] = asyncio.Queue()

    async def watch() -> None:
        try:
            async for state in progress(job, lane, timeout):
                events.put_nowait(("state", state))
        finally:
            events.put_nowait(None)

    async def listen() -> None:
        while True:
            events.put_nowait(("text", await pieces.get()))

    watching, listening = asyncio.ensure_future(watch()), asyncio.ensure_future(listen())
    try:
        while (found := await events.get()) is not None:
            yield event(*found)
        await watching
        while not pieces.empty():
            yield event("text", pieces.get_nowait())
        yield event("done", finish(job.done.result(timeout=0)).model_dump())
    except Exception as error:
        yield problem_event(error)
    finally:
        watching.cancel()
        listening.cancel()
        job.cancel()


def _generation(
    service: Service, asked: schemas.GenerateRequest | schemas.ChatRequest, prompt: str, frames: int | None
) -> Callable[[int], str]:
    """The command that makes a sample, by its seed."""

    def command(seed: int) -> str:
        return service.command(
            "generate",
            prompt,
            seed=seed,
            length=frames,
            guidance=asked.guidance,
            steps=asked.steps,
            scheduler=asked.scheduler,
        )

    return command


def _check_frames(model: MotionGPT3, frames: int | None) -> None:
    shortest, longest = model.frame_range
    if frames is not None and not shortest <= frames <= longest:
        raise InputError(
            f"{frames / model.fps:g} s is outside of what the model makes: "
            f"{shortest / model.fps:g} to {longest / model.fps:g} s"
        )


def _ends(service: Service, entry: Entry, asked: schemas.InbetweenRequest) -> tuple[Motion, Motion, int]:
    """What is given at both ends, and the frames of the whole."""
    if (asked.end is None) != (asked.seconds is None):
        raise InputError("end and seconds go together: with both ends given, say how long the whole is")
    if asked.end is not None:
        frames = service.frames(asked.seconds) or 1
        head, tail = entry.motion, service.entry(asked.end).motion
    else:
        frames = len(entry.motion)
        kept = max(round(asked.keep * frames), 2)
        head, tail = cut(entry.motion, 0, kept), cut(entry.motion, frames - kept, frames)
    _check_frames(service.engine.model, frames)
    if len(head) + len(tail) >= frames:
        raise InputError("nothing is left to fill between the ends that are given: make the whole longer")
    return head, tail, frames


def _info(service: Service) -> schemas.Info:
    engine = service.engine
    model = engine.model if engine.ready else None
    config = model.config if model else None
    shortest, longest = model.frame_range if model else (None, None)
    return schemas.Info(
        ready=engine.ready,
        stage=engine.stage,
        failure=engine.failure,
        version=__version__,
        model=Path(service.model_name).name,
        about=model.describe() if model else {},
        fps=model.fps if model else None,
        shortest_seconds=shortest / model.fps if model and shortest else None,
        longest_seconds=longest / model.fps if model and longest else None,
        schedulers=list(schedulers_for(model.objective)) if model else [],
        scheduler=config.scheduler if config else None,
        steps=config.steps if config else None,
        guidance=config.guidance if config else None,
        formats=[schemas.FileFormat(**vars(output)) for output in OUTPUTS.values()],
        uploads=list(uploads.READABLE),
        upload_bytes=uploads.MAX_BYTES,
        upload_seconds=uploads.MAX_SECONDS,
        kept_seconds=service.store.seconds,
        max_count=schemas.MAX_COUNT,
        max_prompt=schemas.MAX_PROMPT,
        max_segments=schemas.MAX_SEGMENTS,
        gradio=service.gradio,
        answers_text=model is not None and isinstance(model.placeholders, SequencePlaceholders),
    )
