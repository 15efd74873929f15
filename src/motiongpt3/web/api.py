"""The HTTP interface: what the page does, programs can do. Here are the requests that need a model.

Each becomes a job of the engine; what comes of it is kept in the store under a name, and read from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

from fastapi import APIRouter, Request

from motiongpt3.errors import InputError
from motiongpt3.generation.captions import check_length
from motiongpt3.generation.conversation import cut
from motiongpt3.generation.motions import MotionRequest, Sampling
from motiongpt3.motion.motion import Motion
from motiongpt3.sampling import sample_seeds
from motiongpt3.web import schemas
from motiongpt3.web.bodies import add_body_routes
from motiongpt3.web.conversations import Spoken, speak
from motiongpt3.web.file_routes import add_file_routes
from motiongpt3.web.lanes import Job, Lane
from motiongpt3.web.models import ServedModel
from motiongpt3.web.schemas import ChatAnswer, MotionsAnswer, TextAnswer
from motiongpt3.web.sequence import Segment, continuation, extended, make_sequence, usual_addition
from motiongpt3.web.service import ClientName, Service, client_of, submitted
from motiongpt3.web.state_routes import add_state_routes
from motiongpt3.web.waiting import answer, event, problem_event, progress, result_of, stream

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


def make_router(service: Service) -> APIRouter:
    """All routes."""
    router = APIRouter(responses=_PROBLEMS)
    engine, timeout = service.engine, service.timeout
    add_state_routes(router, service)
    add_file_routes(router, service)
    add_body_routes(router, service)

    @router.post("/api/generate", response_model=MotionsAnswer, tags=["make"])
    async def generate(
        request: Request, asked: schemas.GenerateRequest, client: ClientName = None
    ) -> Streamed:
        """Make motions from words."""
        served = service.model(asked.model)
        prompt, frames = served.prompt(asked.prompt), served.frames(asked.seconds)
        served.check_frames(frames)
        wording, seeds = served.model.request_for("t2m", prompt), sample_seeds(asked.seed, asked.count)
        requests = [MotionRequest(wording, frames, seed) for seed in seeds]
        sampling = _sampling(served, asked, "t2m")
        job = submitted(lambda: engine.motions(client_of(request, client), served, requests, sampling))

        def finish(motions: list[Motion]) -> MotionsAnswer:
            infos = service.keep(
                served,
                motions,
                prompt,
                "t2m",
                asked.seed,
                prompt=prompt,
                command=_generation(served, asked, prompt, frames),
            )
            return MotionsAnswer(motions=infos)

        return await answer(request, job, engine.making, timeout, finish)

    @router.post("/api/continue", response_model=MotionsAnswer, tags=["make"])
    async def continue_(
        request: Request, asked: schemas.ContinueRequest, client: ClientName = None
    ) -> Streamed:
        """Continue a motion: what is there stays as it is, and new frames come behind it."""
        entry = service.entry(asked.motion)
        served = service.model(asked.model, entry)
        begun = served.given(entry.motion)
        prompt = None if asked.prompt is None else served.prompt(asked.prompt)
        added = served.frames(asked.seconds) or usual_addition(served.model, begun)
        seeds = sample_seeds(asked.seed, asked.count)
        requests = [continuation(served.model, begun, added, seed, prompt) for seed in seeds]
        sampling = _sampling(served, asked, "pred" if prompt is None else "t2m")
        job = submitted(lambda: engine.motions(client_of(request, client), served, requests, sampling))

        def finish(motions: list[Motion]) -> MotionsAnswer:
            whole = [extended(begun, one, made, added) for one, made in zip(requests, motions)]
            title, given = prompt or f"continue {entry.title}", [(0, len(begun))]
            infos = service.keep(served, whole, title, "pred", asked.seed, prompt=prompt, given=given)
            return MotionsAnswer(motions=infos)

        return await answer(request, job, engine.making, timeout, finish)

    @router.post("/api/inbetween", response_model=MotionsAnswer, tags=["make"])
    async def inbetween(
        request: Request, asked: schemas.InbetweenRequest, client: ClientName = None
    ) -> Streamed:
        """Fill the middle of a motion, or the way from one to another; both ends stay as they are."""
        entries = [service.entry(name) for name in (asked.motion, asked.end) if name is not None]
        served = service.model(asked.model, *entries)
        head, tail, frames = _ends(served, [served.given(entry.motion) for entry in entries], asked)
        prompt = None if asked.prompt is None else served.prompt(asked.prompt)
        wording = prompt or served.model.request_for("inbetween")
        seeds = sample_seeds(asked.seed, asked.count)
        requests = [MotionRequest(wording, frames, seed, head, tail) for seed in seeds]
        sampling = _sampling(served, asked, "inbetween")
        job = submitted(lambda: engine.motions(client_of(request, client), served, requests, sampling))

        def finish(motions: list[Motion]) -> MotionsAnswer:
            given = [(0, len(head)), (frames - len(tail), frames)]
            title = prompt or f"fill {entries[0].title}"
            infos = service.keep(served, motions, title, "inbetween", asked.seed, prompt=prompt, given=given)
            return MotionsAnswer(motions=infos)

        return await answer(request, job, engine.making, timeout, finish)

    @router.post("/api/timeline", response_model=MotionsAnswer, tags=["make"])
    async def timeline(
        request: Request, asked: schemas.TimelineRequest, client: ClientName = None
    ) -> Streamed:
        """Make one motion of several prompts, each continuing the one before."""
        served = service.model(asked.model)
        segments = [Segment(served.prompt(one.prompt), served.frames(one.seconds)) for one in asked.segments]
        served.check_frames(segments[0].frames)
        # The words matter in every segment, so all have the guidance of text.
        sampling = _sampling(served, asked, "t2m")

        def run(job: Job) -> tuple[Motion, list[int]]:
            def make(one: MotionRequest) -> Motion:
                return engine.motions_for(job, served, [one], sampling)[0]

            return make_sequence(served.model, segments, asked.seed, make)

        def finish(made: tuple[Motion, list[int]]) -> MotionsAnswer:
            motion, ends = made
            prompts = [segment.prompt for segment in segments]
            title = ", then ".join(prompts)
            parts = list(zip(prompts, ends))
            infos = service.keep(
                served, [motion], title, "timeline", asked.seed, prompt=title, segments=parts
            )
            return MotionsAnswer(motions=infos)

        job = submitted(lambda: engine.talk(client_of(request, client), run))
        return await answer(request, job, engine.talking, timeout, finish)

    @router.post("/api/caption", response_model=TextAnswer, tags=["make"])
    async def caption(request: Request, asked: schemas.CaptionRequest, client: ClientName = None) -> Streamed:
        """Say what a motion shows."""
        entry = service.entry(asked.motion)
        served = service.model(asked.model, entry)
        motion = served.given(entry.motion)
        check_length(served.model, motion)
        words = served.model.request_for("m2t") if asked.prompt is None else served.prompt(asked.prompt)
        job = submitted(lambda: engine.captions(client_of(request, client), served, [motion], [words]))
        return await answer(request, job, engine.making, timeout, lambda texts: TextAnswer(text=texts[0]))

    @router.post("/api/chat", response_model=ChatAnswer, tags=["make"])
    async def chat(request: Request, asked: schemas.ChatRequest, client: ClientName = None) -> Streamed:
        """Say something: the reply is words, motions, or both; in a stream, words come one by one."""
        entries = [service.entry(asked.motion)] if asked.motion else []
        wanted = service.chosen(asked.model, *entries)
        talk, remembered = service.conversations.open(asked.conversation, wanted)
        served = wanted or talk.served
        text, frames = served.prompt(asked.text), served.frames(asked.seconds)
        given = served.given(entries[0].motion) if entries else None
        pieces: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def hear(piece: str) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def run(job: Job) -> Spoken:
            def sampling(task: str) -> Sampling:
                return _sampling(served, asked, task)

            return speak(
                engine,
                job,
                talk,
                served,
                text,
                given,
                asked.task,
                frames,
                asked.seed,
                asked.count,
                sampling,
                hear,
            )

        def finish(spoken: Spoken) -> ChatAnswer:
            task = spoken.reply.task
            command = _generation(served, asked, text, frames) if task == "t2m" else None
            infos = service.keep(
                served,
                spoken.motions,
                text,
                task,
                asked.seed,
                prompt=text,
                given=spoken.ranges,
                command=command,
            )
            return ChatAnswer(
                conversation=talk.id, task=task, text=spoken.reply.text, motions=infos, remembered=remembered
            )

        job = submitted(lambda: engine.talk(client_of(request, client), run))
        if "text/event-stream" in request.headers.get("accept", ""):
            return stream(_spoken_events(job, engine.talking, timeout, pieces, finish))
        return finish(await result_of(request, job, engine.talking, timeout))

    return router


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


def _sampling(served: ServedModel, asked: schemas.SamplingOptions, task: str) -> Sampling:
    return served.sampling(task, asked.guidance, asked.steps, asked.scheduler)


def _generation(
    served: ServedModel,
    asked: schemas.GenerateRequest | schemas.ChatRequest,
    prompt: str,
    frames: int | None,
) -> Callable[[int], str]:
    """The command that makes a sample, by its seed."""

    def command(seed: int) -> str:
        return served.command(
            "generate",
            prompt,
            seed=seed,
            length=frames,
            guidance=asked.guidance,
            steps=asked.steps,
            scheduler=asked.scheduler,
        )

    return command


def _ends(
    served: ServedModel, given: list[Motion], asked: schemas.InbetweenRequest
) -> tuple[Motion, Motion, int]:
    """What is given at both ends, and the frames of the whole; ``given`` is one motion, or head and tail."""
    if (asked.end is None) != (asked.seconds is None):
        raise InputError("end and seconds go together: with both ends given, say how long the whole is")
    if asked.seconds is not None:
        frames = served.frames(asked.seconds) or 1
        head, tail = given
    else:
        (whole,) = given
        frames = len(whole)
        kept = max(round(asked.keep * frames), 2)
        head, tail = cut(whole, 0, kept), cut(whole, frames - kept, frames)
    served.check_frames(frames)
    if len(head) + len(tail) >= frames:
        raise InputError("nothing is left to fill between the ends that are given: make the whole longer")
    return head, tail, frames
