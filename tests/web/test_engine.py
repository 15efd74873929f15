from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest
import torch

from motiongpt3.errors import ConfigError, InputError, MissingDependencyError
from motiongpt3.generation.motions import MotionRequest
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.web.engine import Engine
from tests import tiny

WAIT = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture
def engine(model: MotionGPT3) -> Iterator[Engine]:
    engine = Engine(lambda say: model)
    engine.start()
    assert engine.wait(WAIT)
    yield engine
    engine.stop()


def test_requests_of_many_clients_share_a_pass_and_stay_apart(model: MotionGPT3) -> None:
    batches: list[tuple[str, int]] = []
    engine = Engine(lambda say: model, on_batch=lambda lane, rows, seconds: batches.append((lane, rows)))
    # Before the engine works, so that all wait together.
    engine._model = model
    sampling = engine.sampling(None, None, None, completing=False)
    other = engine.sampling(1.0, None, None, completing=False)
    asked = [(f"{word} up", frames) for word in ("jump", "turn", "bow") for frames in (16, 40)]
    jobs = [
        engine.motions(f"client {seed}", [MotionRequest(prompt, frames, seed)], sampling)
        for seed, (prompt, frames) in enumerate(asked)
    ]
    apart = engine.motions("another", [MotionRequest("jump up", 16, 0)], other)
    engine.start()
    for seed, ((prompt, frames), job) in enumerate(zip(asked, jobs)):
        (expected,) = model.generate([prompt], frames, seeds=[seed])
        (made,) = job.done.result(WAIT)
        torch.testing.assert_close(made.joints, expected.joints, atol=1e-4, rtol=0)
    (plain,) = model.generate(["jump up"], 16, seeds=[0], guidance=1.0)
    torch.testing.assert_close(apart.done.result(WAIT)[0].joints, plain.joints, atol=1e-4, rtol=0)
    assert batches == [("making", 6), ("making", 1)]
    engine.stop()


def test_a_pass_that_nobody_waits_for_ends(engine: Engine, model: MotionGPT3) -> None:
    sampling = engine.sampling(None, 50, None, completing=False)
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
        jobs.append(engine.motions("a", [request], sampling))
        with pytest.raises(CancelledError):
            jobs[0].done.result(WAIT)
        # The next is not kept waiting.
        (made,) = engine.motions("a", [request], engine.sampling(None, 2, None, False)).done.result(WAIT)
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


def test_settings_are_the_models_own_unless_given(engine: Engine, model: MotionGPT3) -> None:
    own = engine.sampling(None, None, None, completing=False)
    assert (own.guidance, own.scheduler, own.steps) == (2.0, "euler", 4)
    assert engine.sampling(None, None, None, completing=True).guidance == 1.0
    assert engine.sampling(None, None, "heun", completing=False).steps is None
    with pytest.raises(InputError, match="no scheduler 'magic'"):
        engine.sampling(None, None, "magic", completing=False)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ConfigError("no such layer"), "no such layer"), (RuntimeError("at 0xdead"), "server's log says why")],
)
def test_a_model_that_cannot_be_loaded_is_told(error: Exception, reason: str) -> None:
    def fail(say: Any) -> MotionGPT3:
        say("converting")
        raise error

    engine = Engine(fail)
    with pytest.raises(MissingDependencyError, match="still loading"):
        _ = engine.model
    engine.start()
    assert not engine.wait(WAIT)
    with pytest.raises(MissingDependencyError, match=reason):
        _ = engine.model
    engine.stop()
