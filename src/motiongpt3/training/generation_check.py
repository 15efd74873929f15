"""Judging a model in training by what it generates."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.distributed.fsdp import FSDPModule


class GenerationCheck(Callback):
    """Asks a function now and then what the model can do, and logs the numbers that it gives.

    It is asked in a validation, when the averaged weights are in place, without gradients. Only the first
    process is busy with it; the others wait. The numbers reach the logs, the progress display and `fit`'s
    ``monitor`` like those of the validation.

    Args:
        every_steps: optimiser steps from one time to the next; a multiple of `fit`'s ``validate_every``.
        evaluate: given the module in training, returns numbers by the names under which they are logged, such
            as ``generation/success``. It should draw from generators of its own.
    """

    def __init__(self, every_steps: int, evaluate: Callable[[LightningModule], Mapping[str, float]]) -> None:
        self.every_steps = every_steps
        self.evaluate = evaluate
        self.results: dict[str, float] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step % self.every_steps:
            return
        if isinstance(pl_module, FSDPModule):
            pl_module.unshard()
        found = dict(self.evaluate(pl_module)) if trainer.is_global_zero else {}
        if isinstance(pl_module, FSDPModule):
            pl_module.reshard()
        self.results = trainer.strategy.broadcast(found)
        pl_module.log_dict(self.results, batch_size=1)
