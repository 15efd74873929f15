"""Waiting and working: a fair queue of jobs, and the threads that empty it.

Clients take turns: a client's second job stands behind everybody's first. Jobs that say so share one call of
the lane's work. A cancelled job leaves the queue at once; one that is being worked on is told through
`abandoned`, which whoever does the work asks from time to time.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger(__name__)

# How much the newest of its durations weighs in what a lane expects of the next.
_NEWEST = 0.2


@dataclass(eq=False)
class Job:
    """Something to be done for a client.

    Attributes:
        client: who asked: an address, or ``address|name`` of one of those that share it.
        task: what the lane's work is given.
        together: jobs with an equal value, if it is not None, may share one call of the work.
        rows: how much of a shared call it fills.
        done: the result, or why there is none; `CancelledError` after `cancel`.
        started: whether it has left the queue.
    """

    client: str
    task: Any
    together: Hashable = None
    rows: int = 1
    done: Future[Any] = field(default_factory=Future)
    started: bool = False
    _cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Give it up: nothing more is done for it, and whoever waits gets `CancelledError`."""
        self._cancelled.set()
        self._settle(lambda: self.done.set_exception(CancelledError()))

    def succeed(self, result: Any) -> None:
        """Hand over the result."""
        self._settle(lambda: self.done.set_result(result))

    def fail(self, error: BaseException) -> None:
        """Say why there is no result."""
        self._settle(lambda: self.done.set_exception(error))

    def _settle(self, settle: Callable[[], None]) -> None:
        try:
            settle()
        except InvalidStateError:
            # It has been cancelled, or was ready first.
            return


class Lane:
    """A queue and the threads that work on it.

    Args:
        name: for logs.
        work: does some jobs that share a call (often one), and gives their results in order.
        workers: threads.
        rows: how much a shared call may hold.
        longest: jobs that may wait in all.
        longest_per_client: jobs that may wait of one client.
        longest_per_address: jobs that may wait of all clients with one address.
        on_batch: told how many rows shared a call, and the seconds it took.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Job]], Sequence[Any]],
        workers: int = 1,
        rows: int = 1,
        longest: int = 256,
        longest_per_client: int = 8,
        longest_per_address: int = 64,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self.name = name
        self._work, self._workers, self._rows, self._on_batch = work, workers, rows, on_batch
        self._longest, self._longest_per_client = longest, longest_per_client
        self._longest_per_address = longest_per_address
        self._ready = threading.Condition()
        self._waiting: list[tuple[int, int, Job]] = []
        self._turns: dict[str, int] = defaultdict(int)
        self._turn, self._numbers = 0, itertools.count()
        self._busy, self._seconds = 0, 1.0
        self._current = threading.local()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def start(self) -> None:
        """Start working."""
        for number in range(self._workers):
            thread = threading.Thread(target=self._run, name=f"{self.name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Cancel what waits, let what is being done end, and end the threads."""
        with self._ready:
            self._closed = True
            for _, _, job in self._waiting:
                job.cancel()
            self._ready.notify_all()
        for thread in self._threads:
            thread.join(timeout=10)

    @property
    def alive(self) -> bool:
        """Whether all its threads run."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    @property
    def length(self) -> int:
        """Jobs that wait."""
        with self._ready:
            self._drop_abandoned()
            return len(self._waiting)

    def submit(self, job: Job, limited: bool = True) -> Job:
        """Put a job into the queue.

        Args:
            job: what is to be done.
            limited: whether it counts against the limits; what another job asks for does not.

        Raises:
            queue.Full: if too many wait; the message says of whom.
        """
        with self._ready:
            self._drop_abandoned()
            if self._closed:
                raise queue.Full("the server is shutting down")
            own = sum(waiting.client == job.client for _, _, waiting in self._waiting)
            if limited and own >= self._longest_per_client:
                raise queue.Full(f"{own} of your requests are waiting already: wait for one of them")
            address = job.client.partition("|")[0]
            near = sum(waiting.client.partition("|")[0] == address for _, _, waiting in self._waiting)
            if limited and (near >= self._longest_per_address or len(self._waiting) >= self._longest):
                raise queue.Full("too many people are waiting: try again in a minute")
            turn = max(self._turn, self._turns[job.client]) + 1
            self._turns[job.client] = turn
            self._waiting.append((turn, next(self._numbers), job))
            self._waiting.sort(key=lambda entry: entry[:2])
            self._ready.notify()
        return job

    def ahead(self, job: Job) -> tuple[int, float]:
        """How many jobs are done before this one, and the seconds until it is done, at a guess."""
        with self._ready:
            self._drop_abandoned()
            if job.started or job.done.done():
                return 0, self._seconds
            place = next((index for index, entry in enumerate(self._waiting) if entry[2] is job), 0)
            calls = place // self._rows + (self._busy >= self._workers)
            return place + self._busy, (calls / self._workers + 1) * self._seconds

    def check(self) -> None:
        """Raise `CancelledError` if nobody waits for what this thread is doing any more."""
        jobs: Sequence[Job] = getattr(self._current, "jobs", ())
        if jobs and all(job.abandoned for job in jobs):
            raise CancelledError

    def _drop_abandoned(self) -> None:
        self._waiting = [entry for entry in self._waiting if not entry[2].abandoned]
        waiting = {job.client for _, _, job in self._waiting}
        for client in [client for client, turn in self._turns.items() if turn <= self._turn]:
            if client not in waiting:
                del self._turns[client]

    def _take(self) -> list[Job]:
        """The next jobs that may share a call; none once the lane is closed."""
        with self._ready:
            while True:
                self._drop_abandoned()
                if self._closed:
                    return []
                if self._waiting:
                    break
                self._ready.wait()
            self._turn, _, first = self._waiting[0]
            jobs, rows = [first], first.rows
            if first.together is not None:
                for _, _, job in self._waiting[1:]:
                    if job.together == first.together and rows + job.rows <= self._rows:
                        jobs.append(job)
                        rows += job.rows
            self._waiting = [entry for entry in self._waiting if entry[2] not in jobs]
            for job in jobs:
                job.started = True
            self._busy += 1
            return jobs

    def _run(self) -> None:
        while jobs := self._take():
            began = time.monotonic()
            try:
                self._do(jobs)
            finally:
                seconds = time.monotonic() - began
                with self._ready:
                    self._busy -= 1
                    self._seconds += _NEWEST * (seconds - self._seconds)
                if self._on_batch:
                    self._on_batch(sum(job.rows for job in jobs), seconds)

    def _do(self, jobs: Sequence[Job]) -> None:
        self._current.jobs = jobs
        try:
            for job, result in zip(jobs, self._work(jobs), strict=True):
                job.succeed(result)
        except CancelledError as error:
            for job in jobs:
                job.fail(error)
        except Exception as error:
            if len(jobs) > 1:
                # One of them may be to blame; the others get what they asked for.
                for job in jobs:
                    self._do([job])
            else:
                jobs[0].fail(error)
        finally:
            self._current.jobs = ()
