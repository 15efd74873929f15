"""What requests are answered with, whichever way they come: models, motions, and what they share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Full
from typing import Annotated, Any

from fastapi import Header, HTTPException, Request
from fastapi import Path as PathName

from motiongpt3.motion.motion import Motion
from motiongpt3.sampling import sample_seeds
from motiongpt3.web import schemas, uploads
from motiongpt3.web.conversations import Conversations
from motiongpt3.web.engine import Engine
from motiongpt3.web.lanes import Job
from motiongpt3.web.metrics import Metrics
from motiongpt3.web.models import ServedModel
from motiongpt3.web.schemas import MotionInfo
from motiongpt3.web.store import Entry, Store

MotionName = Annotated[
    str, PathName(pattern=r"^[\w-]{8,40}$", description="Its id.", examples=[schemas.SOME_MOTION])
]
ClientName = Annotated[
    str | None,
    Header(alias="X-Client", max_length=40, description="Tells apart clients that share an address."),
]


@dataclass(frozen=True)
class Service:
    """What requests are answered with.

    Attributes:
        engine: has the models.
        store: has the motions.
        conversations: those that are held.
        metrics: what is counted.
        timeout: seconds that a request may take.
        gradio: whether Gradio is served too.
    """

    engine: Engine
    store: Store
    conversations: Conversations
    metrics: Metrics
    timeout: float
    gradio: bool = False

    def entry(self, name: str) -> Entry:
        """A motion by its name.

        Raises:
            HTTPException: 404 if there is none.
        """
        try:
            return self.store.get(name)
        except KeyError:
            raise HTTPException(404, "no such motion: it was never here, or has been deleted") from None

    def chosen(self, name: str | None, *entries: Entry) -> ServedModel | None:
        """The model of that name, or else the one that made the first of some motions, or else none.

        Raises:
            InputError: if there is none of that name.
        """
        names = [name, *(entry.model for entry in entries)]
        return next((self.engine.named(one) for one in names if one is not None), None)

    def model(self, name: str | None, *entries: Entry) -> ServedModel:
        """The model that is `chosen`, by default the first of all."""
        return self.chosen(name, *entries) or self.engine.first

    def read(self, data: bytes, name: str) -> Motion:
        """An uploaded motion, ready for the first model."""
        fps = self.engine.first.model.fps
        return uploads.read_for_model(data, uploads.safe_name(name), self.store.folder, fps)

    def info(self, entry: Entry) -> MotionInfo:
        """What is told of a motion."""
        motion = entry.motion
        return MotionInfo(
            id=entry.id,
            title=entry.title,
            task=entry.task,
            frames=len(motion),
            fps=motion.fps,
            seconds=round(motion.duration, 3),
            model=entry.model,
            prompt=entry.prompt,
            seed=entry.seed,
            command=entry.command,
            given=list(entry.given),
            segments=[schemas.Segment(prompt=prompt, stop=stop) for prompt, stop in entry.segments],
            expires_in=round(max(entry.expires - time.time(), 0.0)),
        )

    def keep(
        self, served: ServedModel, motions: Sequence[Motion], title: str, task: str, seed: int, **about: Any
    ) -> list[MotionInfo]:
        """Keep samples of a model, and tell of them; ``command`` may be a function of a sample's seed."""
        command: Callable[[int], str] | None = about.pop("command", None)
        infos = []
        for motion, one in zip(motions, sample_seeds(seed, len(motions))):
            written = command(one) if command else None
            entry = self.store.add(motion, title, task, model=served.name, seed=one, command=written, **about)
            infos.append(self.info(entry))
        return infos


def submitted(submit: Callable[[], Job]) -> Job:
    """A job that has been put into its queue.

    Raises:
        HTTPException: 429 if too many wait.
    """
    try:
        return submit()
    except Full as error:
        raise HTTPException(429, str(error), {"Retry-After": "5"}) from None


def client_of(request: Request, name: str | None = None) -> str:
    """Who asks: the address, and what a client calls itself."""
    address = request.client.host if request.client else "nowhere"
    plain = "".join(letter for letter in name or "" if letter.isalnum())
    return f"{address}|{plain}" if plain else address
