"""The one owner of the model: requests of many clients become calls of it, shared where they can be.

Three lanes: *making* (motions and captions, many in one forward pass), *talking* (conversations, whose
motions are made in the first lane), and *files* (reading and drawing, which need no model). A call whose
every client has left ends at the next pass through the model.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motiongpt3.errors import InputError, MissingDependencyError, MotionGPT3Error
from motiongpt3.web.lanes import Job, Lane

if TYPE_CHECKING:
    from motiongpt3.generation.motions import MotionRequest, Sampling
    from motiongpt3.models.motiongpt import MotionGPT3
    from motiongpt3.motion.motion import Motion

log = logging.getLogger(__name__)

Loader = Callable[[Callable[[str], None]], "MotionGPT3"]
"""Loads the model; is given a function to say what it is doing."""


@dataclass(frozen=True)
class Motions:
    """Motions to make."""

    requests: Sequence[MotionRequest]
    sampling: Sampling


@dataclass(frozen=True)
class Captions:
    """Motions to put into words."""

    motions: Sequence[Motion]
    requests: Sequence[str]


class Engine:
    """A model, and the work that waits for it.

    Args:
        load: makes the model, in a thread of the engine.
        rows: motions that may share a forward pass.
        talkers: conversations that are answered at once.
        waiting_per_client: requests of one client that may wait in a lane.
        on_batch: told a lane's name, how many rows shared a call, and its seconds.
    """

    def __init__(
        self,
        load: Loader,
        rows: int = 16,
        talkers: int = 4,
        waiting_per_client: int = 8,
        on_batch: Callable[[str, int, float], None] = lambda name, rows, seconds: None,
    ) -> None:
        def lane(name: str, work: Any, workers: int, rows: int = 1) -> Lane:
            return Lane(
                name,
                work,
                workers,
                rows,
                longest_per_client=waiting_per_client,
                on_batch=lambda rows, seconds: on_batch(name, rows, seconds),
            )

        self.making = lane("making", self._make, 1, rows)
        self.talking = lane("talking", self._run_calls, talkers)
        self.files = lane("files", self._run_calls, 1)
        self._load = load
        self._model: MotionGPT3 | None = None
        self._loaded = threading.Event()
        self.stage = "starting"
        self.failure: str | None = None

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """All lanes."""
        return self.making, self.talking, self.files

    def start(self) -> None:
        """Begin to load the model, and to work once it is there."""
        self.files.start()
        threading.Thread(target=self._begin, name="loading", daemon=True).start()

    def stop(self) -> None:
        """End: what waits is cancelled."""
        for lane in self.lanes:
            lane.stop()

    def wait(self, timeout: float) -> bool:
        """Wait until the model is loaded, or cannot be; whether it is loaded."""
        return self._loaded.wait(timeout) and self.ready

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self._model is not None and all(lane.alive for lane in self.lanes)

    @property
    def model(self) -> MotionGPT3:
        """The model.

        Raises:
            MissingDependencyError: if it is not loaded (yet); says why.
        """
        if self._model is None:
            raise MissingDependencyError(self.failure or f"the model is still loading ({self.stage})")
        return self._model

    def _begin(self) -> None:
        try:
            self._model = self._watched(self._load(self._say))
            self.making.start()
            self.talking.start()
        except MotionGPT3Error as error:
            self.failure = str(error)
            log.error("the model cannot be loaded: %s", error)
        except Exception:
            self.failure = "the model cannot be loaded; the server's log says why"
            log.exception("the model cannot be loaded")
        finally:
            self._loaded.set()

    def _say(self, stage: str) -> None:
        self.stage = stage
        log.info("%s", stage)

    def _watched(self, model: MotionGPT3) -> MotionGPT3:
        """The model, whose every pass through backbone or head looks whether somebody still waits for it."""

        def check(module: Any, inputs: Any) -> None:
            self.making.check()
            self.talking.check()

        for part in (model.mot, model.head):
            part.register_forward_pre_hook(check)
        return model

    # What clients ask for

    def sampling(
        self, guidance: float | None, steps: int | None, scheduler: str | None, completing: bool
    ) -> Sampling:
        """Settings with the model's own where none are given; a motion that is completed has no guidance.

        Raises:
            InputError: for a scheduler that the model does not have.
        """
        from motiongpt3.generation.motions import Sampling
        from motiongpt3.sampling import schedulers_for

        config = self.model.config
        scheduler = config.scheduler if scheduler is None else scheduler
        known = schedulers_for(self.model.objective)
        if scheduler not in known:
            raise InputError(f"no scheduler {scheduler!r}: choose from {', '.join(known)}")
        if steps is None and scheduler == config.scheduler:
            steps = config.steps
        if guidance is None:
            guidance = 1.0 if completing else config.guidance
        return Sampling(guidance, scheduler, steps)

    def motions(self, client: str, requests: Sequence[MotionRequest], sampling: Sampling) -> Job:
        """A job whose result is a list of motions; see `Lane.submit` for errors."""
        task = Motions(requests, sampling)
        return self.making.submit(Job(client, task, ("motions", sampling), len(requests)))

    def captions(self, client: str, motions: Sequence[Motion], requests: Sequence[str]) -> Job:
        """A job whose result is a list of captions; see `Lane.submit` for errors."""
        return self.making.submit(Job(client, Captions(motions, requests), ("captions",), len(motions)))

    def talk(self, client: str, call: Callable[[Job], Any]) -> Job:
        """A job that holds a conversation: ``call`` is given the job; see `Lane.submit` for errors."""
        return self.talking.submit(Job(client, call))

    def file(self, client: str, call: Callable[[Job], Any]) -> Job:
        """A job that reads or writes files; see `Lane.submit` for errors."""
        return self.files.submit(Job(client, call))

    def motions_for(self, parent: Job, requests: Sequence[MotionRequest], sampling: Sampling) -> list[Motion]:
        """Motions that another job needs, which waits for them here.

        Raises:
            CancelledError: if nobody waits for the other job any more.
        """
        task = Motions(requests, sampling)
        job = Job(parent.client, task, ("motions", sampling), len(requests))
        self.making.submit(job, limited=False)
        while True:
            try:
                made: list[Motion] = job.done.result(timeout=0.1)
            except NotYet:
                if parent.abandoned:
                    job.cancel()
                    raise CancelledError from None
            else:
                return made

    def _make(self, jobs: Sequence[Job]) -> list[Any]:
        """Results of jobs that are all captions, or all motions sampled in the same way."""
        from motiongpt3.generation.captions import caption_motions
        from motiongpt3.generation.motions import make_motions

        model, first = self.model, jobs[0].task
        if isinstance(first, Captions):
            clips = [motion for job in jobs for motion in job.task.motions]
            asked = [request for job in jobs for request in job.task.requests]
            results: list[Any] = caption_motions(model, clips, asked, model.config.decoding, [0] * len(clips))
        else:
            results = make_motions(
                model, [request for job in jobs for request in job.task.requests], first.sampling
            )
        rest = iter(results)
        return [[next(rest) for _ in range(job.rows)] for job in jobs]

    def _run_calls(self, jobs: Sequence[Job]) -> list[Any]:
        return [job.task(job) for job in jobs]


def model_loader(where: Path | str, device: str) -> Loader:
    """Loads a folder or hub id onto a device."""

    def load(say: Callable[[str], None]) -> MotionGPT3:
        from motiongpt3.models.motiongpt import MotionGPT3

        say(f"loading {where}")
        return MotionGPT3.from_pretrained(where, device, say)

    return load
