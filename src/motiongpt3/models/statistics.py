"""Statistics of features inside models: buffers, so that they are stored with the weights."""

from __future__ import annotations

import torch
from torch import nn

from motiongpt3.motion.features import FEATURE_WIDTH, Statistics


def register_statistics(module: nn.Module, statistics: Statistics | None, width: int = FEATURE_WIDTH) -> None:
    """Give a module the buffers ``feature_mean`` and ``feature_std``, (F,) float32 each.

    Args:
        module: what reads or writes features.
        statistics: of the data; None for 0 and 1, until a checkpoint is loaded.
        width: F, without ``statistics``.
    """
    mean = torch.zeros(width) if statistics is None else statistics.mean
    std = torch.ones(width) if statistics is None else statistics.std
    module.register_buffer("feature_mean", torch.as_tensor(mean, dtype=torch.float32).clone())
    module.register_buffer("feature_std", torch.as_tensor(std, dtype=torch.float32).clone())
