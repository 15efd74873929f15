"""What motion VAEs have in common: which frames of a batch are real, and how latents are drawn.

Shapes: B clips.
"""

from __future__ import annotations

import torch
from torch import Tensor


def visible_frames(lengths: Tensor, frames: int) -> Tensor:
    """(B, frames) true at the first ``lengths`` (B,) places of each row."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def draw_latents(mean: Tensor, log_variance: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One sample of the Gaussian posterior, differentiable in both parameters (arXiv:1312.6114, §2.4)."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + noise * (0.5 * log_variance).exp()
