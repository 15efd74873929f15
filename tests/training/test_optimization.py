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
