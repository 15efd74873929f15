"""Waiting for a job of the engine on behalf of a client, who may look on, lose patience, or leave."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from motiongpt3.errors import MissingDependencyError, MotionGPT3Error
from motiongpt3.web.lanes import Job, Lane

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
_LOOK = 0.4  # seconds between looks at the queue and at whether the client is still there


def problem(error: BaseException) -> HTTPException:
    """An error as an answer; what is a bug is logged, and its details stay here."""
    if isinstance(error, HTTPException):
        return error
    if isinstance(error, MissingDependencyError):
        return HTTPException(503, str(error), {"Retry-After": "5"})
    if isinstance(error, MotionGPT3Error):
        return HTTPException(422, str(error))
    if isinstance(error, CancelledError):
        return HTTPException(503, "the request was cancelled")
    log.error("a request failed", exc_info=error)
    return HTTPException(
        500, "this request failed on the server, which is a bug; other requests are not touched"
    )


async def progress(job: Job, lane: Lane, timeout: float) -> AsyncIterator[dict[str, Any]]:
    """How a job stands, whenever that changes; ends when it is done. A job that is left is cancelled.

    Raises:
        HTTPException: 504 after ``timeout`` seconds.
    """
    loop, finished = asyncio.get_running_loop(), asyncio.Event()
    job.done.add_done_callback(lambda _: loop.call_soon_threadsafe(finished.set))
    deadline, shown = time.monotonic() + timeout, None
    try:
        while not finished.is_set():
            ahead, seconds = lane.ahead(job)
            state = {"ahead": ahead, "seconds": round(seconds, 1), "started": job.started}
            if state != shown:
                shown = state
                yield state
            try:
                async with asyncio.timeout(_LOOK):
                    await finished.wait()
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise HTTPException(504, f"not done within {timeout:g} s: ask for less at once") from None
    finally:
        job.cancel()


async def result_of(request: Request, job: Job, lane: Lane, timeout: float) -> Any:
    """The result of a job for a client who waits in silence; leaving cancels it.

    Raises:
        HTTPException: if there is none.
    """
    async for _ in watched(request, job, lane, timeout):
        pass
    try:
        return job.done.result(timeout=0)
    except BaseException as error:
        raise problem(error) from error


async def watched(request: Request, job: Job, lane: Lane, timeout: float) -> AsyncIterator[dict[str, Any]]:
    """`progress` of a job that is cancelled once the client has left."""
    leaving = asyncio.ensure_future(_leaving(request, job))
    try:
        async for state in progress(job, lane, timeout):
            yield state
    finally:
        leaving.cancel()


async def _leaving(request: Request, job: Job) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(_LOOK)
    job.cancel()


async def answer(
    request: Request, job: Job, lane: Lane, timeout: float, finish: Callable[[Any], BaseModel]
) -> BaseModel | StreamingResponse:
    """The answer to a request whose job is waiting: at once when it is done, or as a stream of events.

    A stream has events ``state`` (ahead, seconds, started) and, at last, ``done`` with what the answer would
    have been, or ``problem`` with status and detail. Clients ask for it with ``Accept: text/event-stream``.
    """
    if EVENT_STREAM not in request.headers.get("accept", ""):
        return finish(await result_of(request, job, lane, timeout))
    return stream(_events(job, lane, timeout, finish))


async def _events(
    job: Job, lane: Lane, timeout: float, finish: Callable[[Any], BaseModel]
) -> AsyncIterator[str]:
    try:
        async for state in progress(job, lane, timeout):
            yield event("state", state)
        yield event("done", finish(job.done.result(timeout=0)).model_dump())
    except Exception as error:
        yield problem_event(error)


def stream(events: AsyncIterator[str]) -> StreamingResponse:
    """Events as an answer that no proxy keeps back."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type=EVENT_STREAM, headers=headers)


def event(name: str, data: object) -> str:
    """One event of a stream."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def problem_event(error: BaseException) -> str:
    """The event that says what went wrong."""
    found = problem(error)
    return event("problem", {"status": found.status_code, "detail": found.detail})
