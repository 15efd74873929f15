"""Optimiser and learning-rate schedule shared by all trainings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from motiongpt3.errors import ConfigError

# What is added to the name of a part for its parameters that are not decayed.
VECTORS = ", vectors"


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
        part_rates: peaks of parts of the model that have their own, by the names the training gives them.

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
    part_rates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.learning_rate > 0 or not 0 <= self.average_decay < 1:
            raise ConfigError("optimizer: needs steps ≥ 1, learning_rate > 0 and 0 ≤ average_decay < 1")
        for name, rate in self.part_rates.items():
            if not rate > 0:
                raise ConfigError(f"optimizer.part_rates: {name}: {rate} is not above 0")

    def check_parts(self, parts: Iterable[str]) -> None:
        """Refuse rates of parts that the training does not have, given the names of those it has.

        Raises:
            ConfigError: naming both.
        """
        known = list(parts)
        unknown = sorted(self.part_rates.keys() - set(known))
        if unknown:
            raise ConfigError(
                f"optimizer.part_rates: {', '.join(unknown)}: no such part; there is {', '.join(known)}"
            )

    def factor(self, step: int) -> float:
        """Learning rate at ``step`` as a fraction of the peak."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return self.final_fraction + (1 - self.final_fraction) * cosine


def configure_optimizer(
    parameters: Iterable[nn.Parameter] | Mapping[str, Iterable[nn.Parameter]], config: OptimizerConfig
) -> dict[str, Any]:
    """What a LightningModule's ``configure_optimizers`` returns for `OptimizerConfig`.

    Args:
        parameters: all parameters; or those of each part of the model by its name, for `OptimizerConfig`'s
            ``part_rates``. Those without ``requires_grad`` are left out.
        config: rates, steps and decay.

    Raises:
        ConfigError: if a part has a rate but is not there, or nothing is trained.
    """
    parts = parameters if isinstance(parameters, Mapping) else {"all": parameters}
    config.check_parts(parts)
    groups: list[dict[str, Any]] = []
    for name, part in parts.items():
        trained = [parameter for parameter in part if parameter.requires_grad]
        matrices = [parameter for parameter in trained if parameter.ndim > 1]
        vectors = [parameter for parameter in trained if parameter.ndim <= 1]
        rate = config.part_rates.get(name, config.learning_rate)
        groups += [
            {"name": name, "params": matrices, "lr": rate, "weight_decay": config.weight_decay},
            {"name": name + VECTORS, "params": vectors, "lr": rate, "weight_decay": 0.0},
        ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ConfigError("nothing is left to train: all parameters are frozen")
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, config.factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
