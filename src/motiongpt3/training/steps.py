"""What surrounds every optimiser step: its randomness, the size of its gradient, and that it is sound."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from motiongpt3.data.loaders import seed_of
from motiongpt3.errors import ConfigError
from motiongpt3.training.averaging import whole
from motiongpt3.training.optimization import VECTORS


class BatchSeeds(Callback):
    """Seeds the global generators (Python, NumPy, PyTorch) anew for every batch.

    What is drawn in a batch follows from the seed of the run, the number of the batch, and the rank of the
    process: it is the same after a restart, and whatever was drawn in between. A batch of the validation
    draws the same at every validation, so that differences are the model's.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # The Trainer sees one epoch (`BatchStream`): this is the number of the batch in the run.
        seed_everywhere(seed_of(self.seed, 0, batch_idx, trainer.global_rank))

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        seed_everywhere(seed_of(self.seed, 1, batch_idx, trainer.global_rank))


class StepGuard(Callback):
    """Clips gradients, logs their norm and the learning rates, and stops a training that has come to nothing.

    Args:
        largest_norm: of the gradient of all parameters together; larger ones are scaled down to it.

    Raises:
        ConfigError: if a loss or a gradient is not finite. It is raised before the weights are changed.
    """

    def __init__(self, largest_norm: float) -> None:
        self.largest_norm = largest_norm

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if not bool(torch.isfinite(loss)):
            terms = {
                name: float(value)
                for name, value in trainer.callback_metrics.items()
                if name.startswith("train/") and not name.startswith(("train/rate/", "train/gradient_norm"))
            }
            _stop(trainer, f"the loss is {float(loss.detach())}", terms)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        parameters = list(pl_module.parameters())
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients))
        if not bool(torch.isfinite(norm)):
            bad = [
                name
                for name, parameter in pl_module.named_parameters()
                if parameter.grad is not None and not bool(torch.isfinite(whole(parameter.grad)).all())
            ]
            _stop(trainer, f"the gradient is not finite (of {len(bad)} parameters, such as {bad[0]})", {})
        torch.nn.utils.clip_grads_with_norm_(parameters, self.largest_norm, norm)
        rates = {
            f"train/rate/{group['name']}": group["lr"]
            for group in optimizer.param_groups
            if not group["name"].endswith(VECTORS)
        }
        pl_module.log_dict({"train/gradient_norm": norm, **rates})


class ValidationMeans(Callback):
    """Sees to it that means over processes weigh every item alike.

    Lightning averages the numbers of items of the processes as whole numbers, rounding down: where the
    processes have 4 and 3 it divides by 3 rather than by 3.5.
    """

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        results = trainer._results
        for metric in () if results is None else results.values():
            if metric.is_tensor and metric.meta.is_mean_reduction:
                metric.cumulated_batch_size = metric.cumulated_batch_size.to(metric.value.dtype)


def seed_everywhere(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch with 64 bits."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def _stop(trainer: Trainer, what: str, terms: dict[str, float]) -> None:
    values = ", ".join(f"{name} {value:g}" for name, value in terms.items())
    raise ConfigError(
        f"step {trainer.global_step + 1}: {what}{f' ({values})' if values else ''}; the weights and the last "
        "checkpoint are as they were before. Lower optimizer.learning_rate, warm up for longer, or look for "
        "values in the data that are not finite"
    )
