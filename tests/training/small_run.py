"""A training that is over in a moment and has every part; also run in processes of its own, as a script."""

from __future__ import annotations

import contextlib
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from motiongpt3.data.loaders import LengthBuckets, item_generator
from motiongpt3.training import checkpoints
from motiongpt3.training.generation_check import GenerationCheck
from motiongpt3.training.optimization import OptimizerConfig, configure_optimizer
from motiongpt3.training.runs import RunConfig, fit

STEPS, DECAY = 12, 0.9
ITEMS, BATCH = 26, 4


class Points(Dataset[Tensor]):
    """Points on a line with noise that is drawn for each item."""

    def __init__(self, count: int, broken: int | None = None) -> None:
        self.values = torch.linspace(-1, 1, 4 * count).reshape(count, 4)
        if broken is not None:
            self.values[broken] = float("nan")

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Tensor:
        return self.values[index] + 0.3 * torch.randn(4, generator=item_generator(index))


class Small(LightningModule):
    """Two trained parts behind a frozen one. Keeps its losses, and its weights after each step.

    Args:
        chance: draw in the training step, too, from all three global generators.
    """

    def __init__(self, chance: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.branch = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.2 if chance else 0.0))
        self.head = nn.Linear(6, 1)
        self.register_buffer("count", torch.zeros(()))
        self.chance = chance
        self.losses: list[float] = []
        self.weights: list[Tensor] = []

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
        self.count += 1
        loss = self._loss(batch)
        if self.chance:
            loss = loss * (1 + 0.1 * random.random() + 0.1 * np.random.rand())  # noqa: NPY002
        self.losses.append(float(loss.detach()))
        self.log("train/loss", loss, sync_dist=True)
        return loss

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.weights.append(self.head.weight.detach().clone())

    def validation_step(self, batch: Tensor, batch_index: int) -> None:
        # Draws that must not change the training.
        torch.rand(3)
        self.log("val/loss", self._loss(batch), batch_size=len(batch), sync_dist=True)

    def configure_optimizers(self) -> Any:
        return configure_optimizer(
            {"branch": self.branch.parameters(), "head": self.head.parameters()}, optimizer()
        )

    def _loss(self, batch: Tensor) -> Tensor:
        wanted = batch.sum(dim=1, keepdim=True)
        return (self.head(self.branch(self.frozen(batch))) - wanted).square().mean()


def optimizer(**changes: Any) -> OptimizerConfig:
    values: dict[str, Any] = {
        "learning_rate": 0.05,
        "steps": STEPS,
        "warmup_steps": 3,
        "average_decay": DECAY,
        "part_rates": {"head": 0.02},
    }
    return OptimizerConfig(**(values | changes))


def size_of_head(module: LightningModule) -> dict[str, float]:
    """What stands for judging what is generated: how large a weight is, which the average decides."""
    assert isinstance(module, Small)
    assert not module.training
    return {"generation/size": float(module.head.weight.square().sum())}


def train(
    out: Path,
    module: Small | None = None,
    *,
    callbacks: Sequence[Callback] = (),
    batch_size: int = BATCH,
    validate_every: int = 4,
    monitor: str = "val/loss",
    monitor_mode: Any = "min",
    broken: int | None = None,
    workers: int = 0,
    steps: int = STEPS,
    validate: bool = True,
    average: Sequence[str] | None = None,
    **run: Any,
) -> Small:
    module = module or Small()
    buckets = LengthBuckets([1 + item % 5 for item in range(ITEMS)], batch_size, seed=3)
    first = fit(
        module,
        DataLoader(Points(ITEMS, broken), batch_sampler=buckets, num_workers=workers),
        DataLoader(Points(7), batch_size=3) if validate else None,
        out,
        optimizer(steps=steps),
        validate_every,
        monitor,
        monitor_mode,
        device="cpu",
        callbacks=callbacks,
        run=RunConfig(**{"log_every": 1, "save_every": 1} | run),
        average=average,
    )
    assert first == (module.global_rank == 0)
    return module


class StopAt(Callback):
    """Raises an error after a number of steps."""

    def __init__(self, step: int, error: BaseException) -> None:
        self.step, self.error = step, error

    def on_train_batch_end(self, trainer: Any, *arguments: Any) -> None:
        if trainer.global_step == self.step:
            raise self.error


def to_be_killed(out: Path) -> None:
    """Stop for ever while the checkpoint of step 7 is being written, and say so."""
    save = torch.save

    def half(content: Any, file: Any) -> None:
        if content["global_step"] < 7:
            return save(content, file)
        file.write(b"PK\x03\x04 half of it")
        file.flush()
        print("writing", flush=True)
        sys.stdin.read()
        return None

    checkpoints.torch.save = half  # type: ignore[attr-defined]
    train(out, callbacks=[GenerationCheck(8, size_of_head)], accumulate=2)


def in_parallel(out: Path) -> None:
    """What each of two processes does: a whole run, and runs that are stopped and go on, in several ways."""
    settings: dict[str, Any] = {"batch_size": BATCH // 2, "callbacks": [GenerationCheck(4, size_of_head)]}
    whole = train(out / "ddp", Small(chance=False), keep_every=6, **settings)
    made = {"ddp": whole}
    for strategy in ("ddp", "fsdp"):
        name = f"{strategy}-parts"
        with contextlib.suppress(InterruptedError):
            stop = StopAt(7, InterruptedError())
            settings["callbacks"] = [GenerationCheck(4, size_of_head), stop]
            train(out / name, Small(chance=False), strategy=strategy, **settings)
        settings["callbacks"] = [GenerationCheck(4, size_of_head)]
        made[name] = train(out / name, Small(chance=False), strategy=strategy, **settings)
    if whole.global_rank == 0:
        for name, module in made.items():
            torch.save(module.state_dict(), out / f"{name}.pt")
        (out / "ddp.json").write_text(json.dumps([whole.losses, made["ddp-parts"].losses]))


if __name__ == "__main__":
    {"killed": to_be_killed, "parallel": in_parallel}[sys.argv[1]](Path(sys.argv[2]))
