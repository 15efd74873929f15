"""What surrounds a step: its seeds, its gradient, and the end of a training that has come to nothing."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from motiongpt3.errors import ConfigError
from motiongpt3.training.steps import BatchSeeds
from tests.training import small_run
from tests.training.small_run import Small, train


def draws(hook: str, seed: int, batch: int, rank: int) -> tuple[float, float, float]:
    trainer: Any = SimpleNamespace(global_rank=rank)
    getattr(BatchSeeds(seed), hook)(trainer, None, None, batch)
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_validation_batch_start"])
def test_draws_follow_from_seed_batch_and_process(hook: str) -> None:
    first = draws(hook, 1, 2, 0)
    assert draws(hook, 1, 2, 0) == first
    for other in (draws(hook, 2, 2, 0), draws(hook, 1, 3, 0), draws(hook, 1, 2, 1)):
        assert all(one != two for one, two in zip(first, other))
    assert len(set(draws("on_train_batch_start", 1, 2, 0) + draws("on_validation_batch_start", 1, 2, 0))) == 6


def test_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    module = Small()
    with pytest.raises(ConfigError, match=r"^step 4: the loss is nan \(train/loss nan\)") as raised:
        train(tmp_path, module, broken=first_item_of_batch(3))
    assert "\n" not in str(raised.value)
    assert all(tensor.isfinite().all() for tensor in module.state_dict().values())
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()


def first_item_of_batch(number: int) -> int:
    buckets = small_run.LengthBuckets(
        [1 + item % 5 for item in range(small_run.ITEMS)], small_run.BATCH, seed=3
    )
    return int(buckets.epoch(0)[number][0])


def test_gradient_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    class Cliff(Small):
        def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
            loss = super().training_step(batch, batch_index)
            # Its value is 0, its slope infinite.
            return loss + (self.head.bias - self.head.bias.detach()).abs().sqrt().sum()

    module = Cliff()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items() if name != "count"}
    with pytest.raises(
        ConfigError, match=r"^step 1: the gradient is not finite \(of 1 parameters, such as head.b"
    ):
        train(tmp_path, module)
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in before.items())
    assert not (tmp_path / "checkpoints").exists()


def test_gradients_are_clipped_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []

    class Watched(Small):
        def optimizer_step(self, *arguments: Any, **options: Any) -> None:
            super().optimizer_step(*arguments, **options)
            norms.append(
                float(torch.stack([p.grad.norm() for p in self.parameters() if p.grad is not None]).norm())
            )

    make = small_run.optimizer
    monkeypatch.setattr(small_run, "optimizer", lambda **changes: make(**changes, gradient_clip=0.5))
    train(tmp_path, Watched(), steps=3, validate=False)
    assert norms == pytest.approx([0.5] * 3, rel=1e-4)
    rows = (tmp_path / "logs" / "metrics.csv").read_text().splitlines()
    logged = [dict(zip(rows[0].split(","), row.split(","))) for row in rows[1:]]
    assert all(float(row["train/gradient_norm"]) > 0.5 for row in logged)
    assert [float(row["train/rate/head"]) for row in logged] == pytest.approx([0.02 / 3, 0.04 / 3, 0.02])
    assert [float(row["train/rate/branch"]) for row in logged] == pytest.approx([0.05 / 3, 0.1 / 3, 0.05])
