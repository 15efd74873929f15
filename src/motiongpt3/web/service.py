"""What requests are answered with, whichever way they come: model, motions, and what they share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Full
from typing import Any

from fastapi import HTTPException, Request

from motiongpt3.generation.motions import Sampling
from motiongpt3.models.locate import DEFAULT_MODEL
from motiongpt3.motion.motion import Motion
from motiongpt3.sampling import sample_seeds
from motiongpt3.web import schemas, uploads
from motiongpt3.web.conversations import Conversations
from motiongpt3.web.engine import Engine
from motiongpt3.web.lanes import Job
from motiongpt3.web.metrics import Metrics
from motiongpt3.web.outputs import command_line
from motiongpt3.web.schemas import MotionInfo
from motiongpt3.web.store import Entry, Store
from motiongpt3.web.wording import clean


@dataclass(frozen=True)
class Service:
    """What requests are answered with.

    Attributes:
        engine: has the model.
        store: has the motions.
        conversations: those that are held.
        metrics: what is counted.
        model_name: as it was asked for.
        timeout: seconds that a request may take.
        gradio: whether Gradio is served too.
    """

    engine: Engine
    store: Store
    conversations: Conversations
    metrics: Metrics
    model_name: str
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

    def frames(self, seconds: float | None) -> int | None:
        """A length in frames."""
        return None if seconds is None else max(round(seconds * self.engine.model.fps), 1)

    def sampling(self, asked: schemas.SamplingOptions, completing: bool = False) -> Sampling:
        """How to sample; see `Engine.sampling`."""
        return self.engine.sampling(asked.guidance, asked.steps, asked.scheduler, completing)

    def prompt(self, text: str) -> str:
        """A prompt as the model is given it.

        Raises:
            InputError: if nothing is left of it, or it is too long.
        """
        model = self.engine.model
        text = clean(text, model.tokenizer)
        model.validate_prompt(text)
        return text

    def read(self, data: bytes, name: str) -> Motion:
        """An uploaded motion, ready for the model."""
        fps = self.engine.model.fps
        return uploads.read_for_model(data, uploads.safe_name(name), self.store.folder, fps)

    def command(self, verb: str, *words: str, **options: object) -> str:
        """The command line that makes a sample with the model that is served."""
        model = None if self.model_name == DEFAULT_MODEL else self.model_name
        return command_line(verb, *words, **options, model=model)

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
            prompt=entry.prompt,
            seed=entry.seed,
            command=entry.command,
            given=list(entry.given),
            segments=[schemas.Segment(prompt=prompt, stop=stop) for prompt, stop in entry.segments],
            expires_in=round(max(entry.expires - time.time(), 0.0)),
        )

    def keep(
        self, motions: Sequence[Motion], title: str, task: str, seed: int, **about: Any
    ) -> list[MotionInfo]:
        """Keep samples, and tell of them; ``command`` may be a function of a sample's seed."""
        command: Callable[[int], str] | None = about.pop("command", None)
        infos = []
        for motion, one in zip(motions, sample_seeds(seed, len(motions))):
            written = command(one) if command else None
            infos.append(self.info(self.store.add(motion, title, task, seed=one, command=written, **about)))
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
