"""The one owner of the models: requests of many clients become calls of them, shared where they can be.

Three lanes: *making* (motions and captions, many of one model in one forward pass), *talking* (conversations,
whose motions are made in the first lane), and *files* (reading and drawing, which need no model). All models
share the lanes, and so take turns. A call whose every client has left ends at its next pass through a model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from motiongpt3.errors import InputError
from motiongpt3.web.lanes import Job, Lane
from motiongpt3.web.models import ServedModel

if TYPE_CHECKING:
    from motiongpt3.generation.motions import MotionRequest, Sampling
    from motiongpt3.motion.motion import Motion


@dataclass(frozen=True)
class Motions:
    """Motions to make."""

    served: ServedModel
    requests: Sequence[MotionRequest]
    sampling: Sampling


@dataclass(frozen=True)
class Captions:
    """Motions to put into words."""

    served: ServedModel
    motions: Sequence[Motion]
    requests: Sequence[str]


class Engine:
    """Some models, and the work that waits for them.

    Args:
        models: by different names; the first is for requests that name none.
        rows: motions that may share a forward pass.
        talkers: conversations that are answered at once.
        waiting_per_client: requests of one client that may wait in a lane.
        on_batch: told a lane's name, how many rows shared a call, and its seconds.

    Attributes:
        models: by name.
        making, talking, files: the lanes.
        loading: the thread that loads the models, one after the other.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
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

        self.models = {served.name: served for served in models}
        self.making = lane("making", self._make, 1, rows)
        self.talking = lane("talking", self._run_calls, talkers)
        self.files = lane("files", self._run_calls, 1)
        self.loading = threading.Thread(target=self._load, name="loading", daemon=True)

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """All lanes."""
        return self.making, self.talking, self.files

    @property
    def first(self) -> ServedModel:
        """The model for requests that name none."""
        return next(iter(self.models.values()))

    def named(self, name: str) -> ServedModel:
        """The model called ``name``.

        Raises:
            InputError: if there is none.
        """
        if name not in self.models:
            raise InputError(f"no model {name!r}: choose from {', '.join(self.models)}")
        return self.models[name]

    def start(self) -> None:
        """Begin to work, and to load the models, one after the other."""
        for lane in self.lanes:
            lane.start()
        self.loading.start()

    def stop(self) -> None:
        """End: what waits is cancelled."""
        for lane in self.lanes:
            lane.stop()

    @property
    def ready(self) -> bool:
        """Whether requests are answered: the lanes run, and the first model is loaded."""
        return self.first.ready and all(lane.alive for lane in self.lanes)

    def _load(self) -> None:
        def check() -> None:
            self.making.check()
            self.talking.check()

        for served in self.models.values():
            served.load([other for other in self.models.values() if other.ready], check)

    # What clients ask for

    def motions(
        self, client: str, served: ServedModel, requests: Sequence[MotionRequest], sampling: Sampling
    ) -> Job:
        """A job whose result is a list of motions; see `Lane.submit` for errors."""
        return self.making.submit(_motions_job(client, Motions(served, requests, sampling)))

    def captions(
        self, client: str, served: ServedModel, motions: Sequence[Motion], requests: Sequence[str]
    ) -> Job:
        """A job whose result is a list of captions; see `Lane.submit` for errors."""
        task = Captions(served, motions, requests)
        return self.making.submit(Job(client, task, ("captions", served.name), len(motions)))

    def talk(self, client: str, call: Callable[[Job], Any]) -> Job:
        """A job that holds a conversation: ``call`` is given the job; see `Lane.submit` for errors."""
        return self.talking.submit(Job(client, call))

    def file(self, client: str, call: Callable[[Job], Any]) -> Job:
        """A job that reads or writes files; see `Lane.submit` for errors."""
        return self.files.submit(Job(client, call))

    def motions_for(
        self, parent: Job, served: ServedModel, requests: Sequence[MotionRequest], sampling: Sampling
    ) -> list[Motion]:
        """Motions that another job needs, which waits for them here.

        Raises:
            CancelledError: if nobody waits for the other job any more.
        """
        job = _motions_job(parent.client, Motions(served, requests, sampling))
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
        """Results of jobs of one model that are all captions, or all motions sampled in the same way."""
        from motiongpt3.generation.captions import caption_motions
        from motiongpt3.generation.motions import make_motions

        first = jobs[0].task
        model = first.served.model
        requests = [request for job in jobs for request in job.task.requests]
        if isinstance(first, Captions):
            clips = [motion for job in jobs for motion in job.task.motions]
            seeds = [0] * len(clips)
            results: list[Any] = caption_motions(model, clips, requests, model.config.decoding, seeds)
        else:
            results = make_motions(model, requests, first.sampling)
        rest = iter(results)
        return [[next(rest) for _ in range(job.rows)] for job in jobs]

    def _run_calls(self, jobs: Sequence[Job]) -> list[Any]:
        return [job.task(job) for job in jobs]


def _motions_job(client: str, task: Motions) -> Job:
    return Job(client, task, ("motions", task.served.name, task.sampling), len(task.requests))
