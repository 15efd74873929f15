"""Conversations that the server holds for clients, and their replies, whose motions share forward passes."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from motiongpt3.errors import InputError
from motiongpt3.generation.conversation import Conversation, Reply, ends_of
from motiongpt3.generation.motions import MotionRequest, Sampling
from motiongpt3.motion.motion import Motion
from motiongpt3.sampling import sample_seeds
from motiongpt3.web.engine import Engine
from motiongpt3.web.lanes import Job
from motiongpt3.web.models import ServedModel
from motiongpt3.web.sequence import continuation, extended, usual_addition

LONGEST = 768
"""Tokens of a conversation that a reply in words is written behind; a token takes 46 kB with SmolLM2."""


@dataclass
class Talk:
    """A conversation that is held.

    Attributes:
        id: its name, which cannot be guessed.
        served: the model that has answered in it so far.
        conversation: what was said.
        busy: held while a reply is made.
    """

    id: str
    served: ServedModel
    conversation: Conversation
    busy: threading.Lock = field(default_factory=threading.Lock)
    used: float = field(default_factory=time.monotonic)


class Conversations:
    """Conversations by name.

    Args:
        engine: has the models.
        most: that are kept; those used least recently go first.
        seconds: that one is kept unused.
    """

    def __init__(self, engine: Engine, most: int = 24, seconds: float = 1800.0) -> None:
        self._engine, self._most, self._seconds = engine, most, seconds
        self._talks: OrderedDict[str, Talk] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._talks)

    def open(self, name: str | None, wanted: ServedModel | None = None) -> tuple[Talk, bool]:
        """The conversation of that name, or a new one with a model; and whether it was remembered."""
        self.expire()
        with self._lock:
            talk = self._talks.get(name or "")
            remembered = talk is not None
            if talk is None:
                served = wanted or self._engine.first
                conversation = Conversation(served.model, longest=LONGEST)
                talk = Talk(secrets.token_urlsafe(12), served, conversation)
                self._talks[talk.id] = talk
            talk.used = time.monotonic()
            self._talks.move_to_end(talk.id)
            return talk, remembered or name is None

    def expire(self) -> None:
        """Forget what was not used for long, and the oldest of too many."""
        now = time.monotonic()
        with self._lock:
            idle = [talk.id for talk in self._talks.values() if now - talk.used > self._seconds]
            for name in idle:
                del self._talks[name]
            while len(self._talks) > self._most:
                self._talks.popitem(last=False)


@dataclass(frozen=True)
class Spoken:
    """A reply with all that came of it.

    Attributes:
        reply: of the conversation; its motion is the first of ``motions``.
        motions: all samples.
        given: the motion that they were made from, or that was put into words.
        ranges: frames [start, stop) of each motion that were given.
    """

    reply: Reply
    motions: list[Motion]
    given: Motion | None
    ranges: list[tuple[int, int]]


def speak(
    engine: Engine,
    job: Job,
    talk: Talk,
    served: ServedModel,
    text: str,
    motion: Motion | None,
    task: str | None,
    frames: int | None,
    seed: int,
    count: int,
    sampling: Callable[[bool], Sampling],
    on_text: Callable[[str], None],
) -> Spoken:
    """Answer in a conversation.

    Args:
        engine: makes the motions.
        job: that this is done for.
        talk: the conversation.
        served: the model that answers; another than before is told what was said.
        text: what is said.
        motion: what goes with it.
        task: what is meant, or None.
        frames: of what is made; of what is added, if a motion is continued.
        seed: of the first sample.
        count: samples.
        sampling: how to sample, told whether a motion is completed.
        on_text: told of each new piece of the reply.

    Raises:
        InputError: if the request cannot be used, or a reply is being made already.
    """
    if not talk.busy.acquire(blocking=False):
        raise InputError("this conversation is being answered already: wait for the reply, or stop it")
    motions: list[Motion] = []
    ranges: list[tuple[int, int]] = []
    model = served.model

    def make(task: str, request: str, given: Motion | None, frames: int | None, seed: int) -> Motion:
        seeds = sample_seeds(seed, count)
        if task == "pred" and given is not None:
            added = frames or usual_addition(model, given)
            asked = [continuation(model, given, added, one, request) for one in seeds]
            made = engine.motions_for(job, served, asked, sampling(True))
            motions.extend(extended(given, one, clip, added) for one, clip in zip(asked, made))
            ranges.append((0, len(given)))
        elif task == "inbetween" and given is not None:
            head, tail = ends_of(given)
            wording = model.request_for(task)
            asked = [MotionRequest(wording, len(given), one, head, tail) for one in seeds]
            motions.extend(engine.motions_for(job, served, asked, sampling(True)))
            ranges.extend([(0, len(head)), (len(given) - len(tail), len(given))])
        else:
            wording = model.request_for("t2m", request)
            asked = [MotionRequest(wording, frames, one) for one in seeds]
            motions.extend(engine.motions_for(job, served, asked, sampling(False)))
        return motions[0]

    try:
        if talk.served is not served:
            talk.served, talk.conversation = served, talk.conversation.handed_to(model)
        reply = talk.conversation.reply(text, motion, task, frames, seed, lambda piece: on_text(piece), make)
        return Spoken(reply, motions, talk.conversation.turns[-1].given, ranges)
    finally:
        talk.busy.release()
