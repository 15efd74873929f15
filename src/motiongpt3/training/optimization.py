"""Optimiser and learning-rate schedule shared by all trainings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from motiongpt3.errors import ConfigError


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up and a cosine that ends at ``final_fraction`` of the peak.

    Args:
        learning_rate: the peak.
        steps: optimiser steps of the whole training.
        warmup_steps: steps from zero to the peak.
        final_fraction: of the peak, at the last step.
        weight_decay: on matrices only; vectors (norms, biases) are not decayed.
        beta2: second-moment decay of Adam.
        gradient_clip: largest gradient norm.
        average_decay: of the exponential moving average of the weights, which is what is saved.

    Raises:
        ConfigError: if nothing could be learned with these numbers.
    """

    learning_rate: float
    steps: int
    warmup_steps: int = 200
    final_fraction: float = 0.01
    weight_decay: float = 0.01
    beta2: float = 0.99
    gradient_clip: float = 1.0
    average_decay: float = 0.998

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.learning_rate > 0 or not 0 <= self.average_decay < 1:
            raise ConfigError("optimizer: needs steps ≥ 1, learning_rate > 0 and 0 ≤ average_decay < 1")

    def factor(self, step: int) -> float:
        """Learning rate at ``step`` as a fraction of the peak."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.final_fraction + (1 - self.final_fraction) * cosine


def configure_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> dict[str, Any]:
    """What a LightningModule's ``configure_optimizers`` returns for `OptimizerConfig`."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, config.factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
