"""How far a run is and how long it will take: a bar in a terminal, lines elsewhere."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar
from rich.console import Console


class ProgressDisplay(RichProgressBar):
    """Lightning's bar, with the time that is left, for a run without epochs."""

    @property
    def total_train_batches(self) -> int | float:
        """Of the whole run (Lightning would count what is left, and steps rather than batches)."""
        return self.trainer.num_training_batches

    def _get_train_description(self, current_epoch: int) -> str:
        # As wide as that of the validation, so that nothing jumps.
        return f"{'training':{len(self.validation_description)}}"


class ProgressLines(ProgressBar):
    """A line of text now and then.

    Args:
        every: optimiser steps from one line to the next.
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every
        self._enabled = True
        self._began = 0.0
        self._first = self._step = 0

    def disable(self) -> None:
        """Lightning calls this in all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Undo `disable`."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._began = time.monotonic()
        self._first = self._step = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        if self._enabled and (step % self.every == 0 or step == trainer.max_steps):
            print(self.line(trainer, time.monotonic() - self._began), flush=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._enabled:
            found = sorted(trainer.callback_metrics.items())
            numbers = [f"{name} {float(value):.4g}" for name, value in found if not name.startswith("train/")]
            print(f"step {trainer.global_step}: {', '.join(numbers)}", flush=True)

    def line(self, trainer: Trainer, seconds: float) -> str:
        """What is said ``seconds`` after this process began with its first step."""
        rate = (trainer.global_step - self._first) / max(seconds, 1e-6)
        left = timedelta(seconds=round((trainer.max_steps - trainer.global_step) / rate))
        done = f"{trainer.global_step}/{trainer.max_steps}"
        share = 100 * trainer.global_step // trainer.max_steps
        loss = trainer.callback_metrics.get("train/loss")
        said = "" if loss is None else f"loss {float(loss):.4g}, "
        return f"step {done} ({share} %): {said}{rate:.2f} steps/s, {left} left"


def progress_display(every: int) -> ProgressBar:
    """What fits where the output goes."""
    return ProgressDisplay() if Console().is_terminal else ProgressLines(every)
