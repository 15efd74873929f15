"""The learning rate's way up and down, and what is decayed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from motiongpt3.errors import ConfigError
from motiongpt3.training.optimization import OptimizerConfig, configure_optimizer

CONFIG = OptimizerConfig(learning_rate=0.1, steps=100, warmup_steps=10, final_fraction=0.2)


def test_rate_warms_up_and_follows_a_cosine() -> None:
    assert [CONFIG.factor(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert CONFIG.factor(10) == pytest.approx(1.0)
    assert CONFIG.factor(55) == pytest.approx(0.2 + 0.8 / 2)
    assert CONFIG.factor(100) == pytest.approx(0.2)
    assert CONFIG.factor(1000) == pytest.approx(0.2)
    factors = [CONFIG.factor(step) for step in range(10, 101)]
    assert factors == sorted(factors, reverse=True)


@pytest.mark.parametrize(("steps", "warmup_steps"), [(5, 0), (5, 5), (5, 50)])
def test_rate_is_sound_with_any_warm_up(steps: int, warmup_steps: int) -> None:
    config = OptimizerConfig(learning_rate=0.1, steps=steps, warmup_steps=warmup_steps)
    assert all(0 < config.factor(step) <= 1 for step in range(steps + 1))


def test_matrices_alone_are_decayed_and_frozen_parameters_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 2))
    model[2].weight.requires_grad_(False)
    optimizer = configure_optimizer(model.parameters(), CONFIG)["optimizer"]
    decayed, plain = optimizer.param_groups
    assert [tuple(parameter.shape) for parameter in decayed["params"]] == [(2, 3)]
    assert decayed["weight_decay"] == 0.01
    assert len(plain["params"]) == 4
    assert plain["weight_decay"] == 0.0
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.99)}


def test_parts_have_rates_of_their_own() -> None:
    config = OptimizerConfig(
        learning_rate=0.1, steps=100, warmup_steps=10, part_rates={"head": 0.02, "text": 0.001}
    )
    parts = {name: nn.Linear(2, 2) for name in ("branch", "head", "text")}
    parts["frozen"] = nn.Linear(2, 2).requires_grad_(False)
    made = configure_optimizer({name: part.parameters() for name, part in parts.items()}, config)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    for _ in range(9):
        optimizer.step()
        schedule.step()
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == pytest.approx(
        {
            "branch": 0.1,
            "branch, vectors": 0.1,
            "head": 0.02,
            "head, vectors": 0.02,
            "text": 0.001,
            "text, vectors": 0.001,
        }
    )
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0] * 3


def test_parts_that_are_not_there_are_refused() -> None:
    parts = {"branch": nn.Linear(2, 2).parameters()}
    with pytest.raises(ConfigError, match="part_rates: head, tail: no such part; there is branch"):
        configure_optimizer(parts, OptimizerConfig(0.1, 10, part_rates={"head": 0.1, "tail": 0.1}))
    with pytest.raises(ConfigError, match="nothing is left to train"):
        configure_optimizer(nn.Linear(2, 2).requires_grad_(False).parameters(), CONFIG)
    with pytest.raises(ConfigError, match=r"part_rates: head: 0\.0 is not above 0"):
        OptimizerConfig(0.1, 10, part_rates={"head": 0.0})


def test_schedule_is_stepped_with_the_optimiser() -> None:
    made = configure_optimizer([nn.Parameter(torch.zeros(1))], CONFIG)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    assert made["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(0.1)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02)


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"average_decay": 1.0}]
)
def test_numbers_that_teach_nothing_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="optimizer"):
        OptimizerConfig(**{"learning_rate": 0.1, "steps": 10, **change})  # type: ignore[arg-type]
