from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
import torch

from motiongpt3.generation.motions import MotionRequest
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.web.engine import Engine
from motiongpt3.web.models import ServedModel
from tests import tiny

WAIT = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture
def served(model: MotionGPT3) -> ServedModel:
    return ServedModel("tiny", lambda say: model)


@pytest.fixture
def engine(served: ServedModel) -> Iterator[Engine]:
    engine = Engine([served])
    engine.start()
    engine.loading.join(WAIT)
    assert engine.ready
    yield engine
    engine.stop()


def test_requests_of_many_clients_share_a_pass_and_stay_apart(model: MotionGPT3, tmp_path: Path) -> None:
    batches: list[tuple[str, int]] = []
    second = tiny.model(tiny.save_backbone(tmp_path), seed=1)
    one, two = ServedModel("one", lambda say: model), ServedModel("two", lambda say: second)
    engine = Engine([one, two], on_batch=lambda lane, rows, seconds: batches.append((lane, rows)))
    # Before the engine works, so that all wait together.
    for served in (one, two):
        served.load([], lambda: None)
    sampling = one.sampling()
    asked = [(f"{word} up", frames) for word in ("jump", "turn", "bow") for frames in (16, 40)]
    jobs = [
        engine.motions(f"client {seed}", one, [MotionRequest(prompt, frames, seed)], sampling)
        for seed, (prompt, frames) in enumerate(asked)
    ]
    request = [MotionRequest("jump up", 16, 0)]
    otherwise = engine.motions("another", one, request, one.sampling(guidance=1.0))
    elsewhere = engine.motions("yet another", two, request, sampling)
    engine.start()
    for seed, ((prompt, frames), job) in enumerate(zip(asked, jobs)):
        (expected,) = model.generate([prompt], frames, seeds=[seed])
        (made,) = job.done.result(WAIT)
        torch.testing.assert_close(made.joints, expected.joints, atol=1e-4, rtol=0)
    (plain,) = model.generate(["jump up"], 16, seeds=[0], guidance=1.0)
    torch.testing.assert_close(otherwise.done.result(WAIT)[0].joints, plain.joints, atol=1e-4, rtol=0)
    (of_second,) = second.generate(["jump up"], 16, seeds=[0])
    torch.testing.assert_close(elsewhere.done.result(WAIT)[0].joints, of_second.joints, atol=1e-4, rtol=0)
    assert batches == [("making", 6), ("making", 1), ("making", 1)]
    engine.stop()


def test_a_pass_that_nobody_waits_for_ends(engine: Engine, served: ServedModel, model: MotionGPT3) -> None:
    sampling = served.sampling(steps=50)
    passes = 0
    jobs: list[Any] = []

    def count(module: Any, inputs: Any, outputs: Any) -> None:
        nonlocal passes
        passes += 1
        if passes == 3:
            jobs[0].cancel()

    handle = model.head.register_forward_hook(count)
    try:
        request = MotionRequest("jump", 40, 0)
        jobs.append(engine.motions("a", served, [request], sampling))
        with pytest.raises(CancelledError):
            jobs[0].done.result(WAIT)
        # The next is not kept waiting.
        (made,) = engine.motions("a", served, [request], served.sampling(steps=2)).done.result(WAIT)
    finally:
        handle.remove()
    assert len(made) == 40
    assert passes == 3 + 2


def test_words_that_nobody_waits_for_end(engine: Engine, model: MotionGPT3) -> None:
    from motiongpt3.generation.conversation import Conversation

    conversation = Conversation(model)
    pieces: list[str] = []

    def talk(job: Any) -> Any:
        def hear(piece: str) -> None:
            pieces.append(piece)
            job.cancel()

        return conversation.reply("hello", task="t2t", on_text=hear)

    job = engine.talk("a", talk)
    with pytest.raises(CancelledError):
        job.done.result(WAIT)
    assert engine.talk("a", lambda job: len(pieces)).done.result(WAIT) == 1
    assert conversation.turns == []
