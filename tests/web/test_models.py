from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from motiongpt3.errors import ConfigError, InputError, MissingDependencyError
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.motion.motion import Motion
from motiongpt3.web.engine import Engine
from motiongpt3.web.models import ServedModel, served_models, share_weights
from tests import tiny


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def model(backbone: Path) -> MotionGPT3:
    return tiny.model(backbone)


def loaded(model: MotionGPT3) -> ServedModel:
    served = ServedModel("tiny", lambda say: model)
    served.load([], lambda: None)
    return served


def test_settings_are_the_models_own_unless_given(model: MotionGPT3) -> None:
    served = loaded(model)
    own = served.sampling()
    assert (own.guidance, own.scheduler, own.steps) == (2.0, "euler", 4)
    assert served.sampling(completing=True).guidance == 1.0
    assert served.sampling(scheduler="heun").steps is None
    with pytest.raises(InputError, match="no scheduler 'magic'"):
        served.sampling(scheduler="magic")


@pytest.mark.parametrize(
    ("stage", "tasks", "chooses"),
    [("text-to-motion", 2, False), ("pretrain", 6, False), ("instruct", 6, True), ("", 6, True)],
)
def test_what_a_model_can_do_is_what_it_was_trained_for(
    backbone: Path, stage: str, tasks: int, chooses: bool
) -> None:
    served = loaded(tiny.model(backbone, stage=stage))
    assert (len(served.tasks), served.chooses_task) == (tasks, chooses)


def test_a_model_that_asks_for_the_task_says_so(backbone: Path) -> None:
    assert not loaded(tiny.latent_model(backbone)).chooses_task


def test_a_motion_of_another_rate_is_resampled(model: MotionGPT3) -> None:
    served = loaded(model)
    motion = Motion.from_joints(torch.rand(5, 22, 3), 10.0)
    given = served.given(motion)
    assert (len(given), given.fps) == (9, 20.0)
    assert torch.equal(given.joints[::2], motion.joints)
    assert served.given(given) is given


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["models/mini"], ["mini"]),
        (["models/mini", "runs/last", "owner/large"], ["mini", "last", "large"]),
        (["runs/a/last", "runs/b/last", "mini"], ["runs/a/last", "runs/b/last", "mini"]),
    ],
)
def test_models_have_names_of_their_own(sources: list[str], names: list[str], model: MotionGPT3) -> None:
    models = served_models(sources, lambda source: lambda say: model)
    assert [(one.name, one.source) for one in models] == list(zip(names, sources))


def test_a_model_is_not_named_twice(model: MotionGPT3) -> None:
    with pytest.raises(InputError, match="models/mini is named twice"):
        served_models(["models/mini", "mini", "models/mini"], lambda source: lambda say: model)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ConfigError("no such layer"), "no such layer"), (RuntimeError("at 0xdead"), "server's log says why")],
)
def test_a_model_that_cannot_be_loaded_is_told_and_harms_no_other(
    error: Exception, reason: str, model: MotionGPT3
) -> None:
    def fail(say: Any) -> MotionGPT3:
        say("converting")
        raise error

    broken, fine = ServedModel("broken", fail), ServedModel("fine", lambda say: model)
    with pytest.raises(MissingDependencyError, match="still loading"):
        _ = broken.model
    engine = Engine([broken, fine])
    engine.start()
    engine.loading.join(10)
    with pytest.raises(MissingDependencyError, match=reason):
        _ = broken.model
    assert fine.ready
    assert not engine.ready
    engine.stop()


def test_weights_that_are_the_same_are_held_once(backbone: Path) -> None:
    first, second = tiny.model(backbone, seed=0), tiny.model(backbone, seed=1)
    with torch.no_grad():
        for parameter, other in zip(first.mot.text.parameters(), second.mot.text.parameters()):
            other.copy_(parameter)
    before = {name: value.clone() for name, value in second.named_parameters()}
    share_weights(second, first)
    held = {parameter.data_ptr() for parameter in first.parameters()}
    shared = {name for name, value in second.named_parameters() if value.data_ptr() in held}
    texts = {name for name, _ in second.named_parameters() if name.startswith("mot.text.")}
    assert texts <= shared
    assert "mot.motion.token_embedding.weight" not in shared
    for name, value in second.named_parameters():
        assert torch.equal(value, before[name])
