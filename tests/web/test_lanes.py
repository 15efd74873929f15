from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

import pytest

from motiongpt3.web.lanes import Job, Lane

WAIT = 10


class Work:
    """Work that holds its first call until it is told to go on, and remembers what shared a call."""

    def __init__(self) -> None:
        self.calls: list[list[Any]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, jobs: Sequence[Job]) -> list[Any]:
        self.calls.append([job.task for job in jobs])
        self.begun.set()
        assert self.go.wait(WAIT)
        if any(job.task == "broken" for job in jobs):
            raise ValueError("broken")
        return [f"{job.task} done" for job in jobs]


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def lane(work: Work) -> Iterator[Lane]:
    """A lane whose only thread is held by a first job."""
    lane = Lane("test", work, rows=4, longest=12, longest_per_client=3, longest_per_address=5)
    lane.start()
    lane.submit(Job("nobody", "first"))
    assert work.begun.wait(WAIT)
    yield lane
    work.go.set()
    lane.stop()


def finish(work: Work, jobs: Sequence[Job]) -> list[Any]:
    work.go.set()
    return [job.done.result(WAIT) for job in jobs]


def test_jobs_that_may_share_a_call_do_up_to_its_size(lane: Lane, work: Work) -> None:
    jobs = [lane.submit(Job(f"c{n}", n, "alike")) for n in range(3)]
    jobs.append(lane.submit(Job("c8", "wide", "alike", rows=2)))
    jobs.append(lane.submit(Job("c9", "other", "unlike")))
    assert finish(work, jobs) == ["0 done", "1 done", "2 done", "wide done", "other done"]
    assert work.calls == [["first"], [0, 1, 2], ["wide"], ["other"]]


def test_clients_take_turns(lane: Lane, work: Work) -> None:
    jobs = [lane.submit(Job("greedy", f"g{n}")) for n in range(3)]
    jobs += [lane.submit(Job("modest", f"m{n}")) for n in range(2)]
    finish(work, jobs)
    assert [call[0] for call in work.calls] == ["first", "g0", "m0", "g1", "m1", "g2"]


def test_the_place_in_the_queue_is_told(lane: Lane, work: Work) -> None:
    jobs = [lane.submit(Job(f"client {n}", n)) for n in range(5)]
    places, seconds = zip(*(lane.ahead(job) for job in jobs))
    assert places == (1, 2, 3, 4, 5)
    # Four fit into the next call.
    assert 0 < seconds[0] == seconds[3] < seconds[4]
    finish(work, jobs)
    assert lane.ahead(jobs[4])[0] == 0


def test_queues_have_limits(lane: Lane) -> None:
    for n in range(3):
        lane.submit(Job("10.0.0.1|a", n))
    with pytest.raises(queue.Full, match="3 of your requests"):
        lane.submit(Job("10.0.0.1|a", "one too many"))
    for n in range(2):
        lane.submit(Job("10.0.0.1|b", n))
    with pytest.raises(queue.Full, match="too many people"):
        lane.submit(Job("10.0.0.1|c", "of this address"))
    lane.submit(Job("10.0.0.1|c", "what another job needs"), limited=False)
    for n in range(6):
        lane.submit(Job(f"10.0.0.{n + 2}", n))
    with pytest.raises(queue.Full, match="too many people"):
        lane.submit(Job("10.0.0.9", "of all"))


def test_a_cancelled_job_leaves_the_queue(lane: Lane, work: Work) -> None:
    gone, stays = lane.submit(Job("a", "gone")), lane.submit(Job("b", "stays"))
    gone.cancel()
    assert lane.length == 1
    assert lane.ahead(stays)[0] == 1
    assert finish(work, [stays]) == ["stays done"]
    assert work.calls == [["first"], ["stays"]]
    with pytest.raises(CancelledError):
        gone.done.result(0)


def test_work_that_nobody_waits_for_ends() -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless(jobs: Sequence[Job]) -> list[Any]:
        begun.set()
        try:
            while True:
                lane.check()
                ended.wait(0.001)
        finally:
            ended.set()

    lane = Lane("test", endless, rows=2)
    lane.start()
    job = lane.submit(Job("a", None, "together"))
    assert begun.wait(WAIT)
    assert not ended.is_set()
    job.cancel()
    assert ended.wait(WAIT)
    assert lane.alive
    lane.stop()


def test_one_that_fails_does_not_harm_those_it_shared_a_call_with(lane: Lane, work: Work) -> None:
    good, bad, fine = (lane.submit(Job(n, n, "alike")) for n in ("good", "broken", "fine"))
    assert finish(work, [good, fine]) == ["good done", "fine done"]
    with pytest.raises(ValueError, match="broken"):
        bad.done.result(WAIT)
    assert lane.alive


def test_what_waits_is_cancelled_when_it_stops(lane: Lane, work: Work) -> None:
    waiting = lane.submit(Job("a", "waiting"))
    stopping = threading.Thread(target=lane.stop)
    stopping.start()
    with pytest.raises(CancelledError):
        waiting.done.result(WAIT)
    work.go.set()
    stopping.join(WAIT)
    assert work.calls == [["first"]]
    with pytest.raises(queue.Full, match="shutting down"):
        lane.submit(Job("a", "late"))
