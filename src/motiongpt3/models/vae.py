"""What every motion VAE offers to the rest: features in, a sequence of Gaussian latents out, and back.

A VAE knows normalised features and its own latents; the statistics on both sides belong to `MotionCodec`.

Shapes: B clips, T frames, F features, K latents, C channels per latent.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class MotionVAE(Protocol):
    """A variational autoencoder of motion: K latents of C channels for a clip, K from its length alone."""

    @property
    def latent_channels(self) -> int:
        """C, the channels of one latent."""
        ...

    def latent_count(self, length: int) -> int:
        """K, the latents of a clip of ``length`` frames."""
        ...

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, K, C) of normalised features (B, T, F), clips of ``lengths`` (B,)."""
        ...

    def decode(self, latents: Tensor, lengths: Tensor) -> Tensor:
        """Normalised features (B, max(lengths), F) of latents (B, K, C); zero past each clip's length."""
        ...


def visible_frames(lengths: Tensor, frames: int) -> Tensor:
    """(B, frames) true at the first ``lengths`` (B,) places of each row."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def draw_latents(mean: Tensor, log_variance: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One sample of the Gaussian posterior, differentiable in both parameters (arXiv:1312.6114, §2.4)."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + noise * (0.5 * log_variance).exp()
