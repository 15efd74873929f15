"""The native generative head: predicts a whole sequence of latents from the motion branch's hidden states.

Each latent has its own condition, the hidden state of its placeholder, which modulates every layer (adaptive
layer norm, Peebles & Xie 2023, arXiv:2212.09748). Attention over the noisy latents lets them agree with one
another: a head without it draws each latent alone, which makes feet slide and legs cross where one latent
meets the next.

Shapes: B samples, K latents, C channels per latent, D width of the hidden states, W width of the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motiongpt3.errors import ConfigError
from motiongpt3.models.attention import Rotation

# Clips have tens of latents, not thousands of tokens: a short base spreads the frequencies over that range.
ROTARY_BASE = 200.0


@dataclass(frozen=True)
class SequenceHeadConfig:
    """Sizes of a `SequenceHead`.

    Args:
        latent_channels: C.
        hidden_width: D, of the motion branch.
        width: W.
        depth: number of blocks.
        heads: attention heads; ``width / heads`` must be even.
        mlp_ratio: inner width of the feed-forward layers over ``width``.
    """

    latent_channels: int
    hidden_width: int
    width: int
    depth: int
    heads: int
    mlp_ratio: float

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % (2 * self.heads):
            raise ConfigError(
                f"head.heads: {self.heads} heads of even width do not make head.width {self.width}"
            )


@dataclass(frozen=True)
class SequenceCondition:
    """What the head needs to know of a sample, computed once for all its steps.

    Args:
        hidden: (B, K, W).
        visible: (B, K) false where a latent is padding.
    """

    hidden: Tensor
    visible: Tensor

    def joined_with(self, other: SequenceCondition) -> SequenceCondition:
        """Both along the batch: how guidance asks for two predictions in one call."""
        return SequenceCondition(
            torch.cat([self.hidden, other.hidden]), torch.cat([self.visible, other.visible])
        )

    def repeated(self, times: int) -> SequenceCondition:
        """Each sample ``times`` times over, one whole batch after another."""
        return SequenceCondition(self.hidden.repeat(times, 1, 1), self.visible.repeat(times, 1))


class SequenceHead(nn.Module):
    """Attention and feed-forward over the noisy latents, modulated per latent by condition and time."""

    def __init__(self, config: SequenceHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_in = nn.Linear(config.latent_channels, config.width)
        self.condition_in = nn.Sequential(
            nn.LayerNorm(config.hidden_width), nn.Linear(config.hidden_width, config.width)
        )
        self.time_in = nn.Sequential(
            nn.Linear(256, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )
        self.blocks = nn.ModuleList(HeadBlock(config) for _ in range(config.depth))
        self.final_norm = nn.LayerNorm(config.width, elementwise_affine=False, eps=1e-6)
        self.final_modulation = nn.Linear(config.width, 2 * config.width)
        self.latent_out = nn.Linear(config.width, config.latent_channels)
        for layer in (self.final_modulation, self.latent_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def encode_condition(self, hidden: Tensor, visible: Tensor) -> SequenceCondition:
        """Prepare the hidden states (B, K, D) of the placeholders; ``visible`` (B, K) marks the real ones."""
        return SequenceCondition(self.condition_in(hidden), visible)

    def forward(self, noisy: Tensor, time: Tensor, condition: SequenceCondition) -> Tensor:
        """Predict the objective's target (B, K, C).

        Args:
            noisy: (B, K, C).
            time: (B,) on the scale 0 … 1000.
            condition: from `encode_condition`.
        """
        modulation_BKW = F.silu(condition.hidden + self.time_in(timestep_embedding(time, 256))[:, None])
        attended_BQK = condition.visible[:, None, None, :]
        places_1K = torch.arange(noisy.shape[1], device=noisy.device)[None]
        rotation = Rotation.of(places_1K, self.config.width // self.config.heads, ROTARY_BASE)
        latents_BKW = self.latent_in(noisy)
        for block in self.blocks:
            latents_BKW = block(latents_BKW, modulation_BKW, attended_BQK, rotation)
        shift, scale = self.final_modulation(modulation_BKW).chunk(2, dim=-1)
        return self.latent_out(self.final_norm(latents_BKW) * (1 + scale) + shift)


class HeadBlock(nn.Module):
    """Attention and feed-forward, each with adaptive layer norm and a gate that starts closed."""

    def __init__(self, config: SequenceHeadConfig) -> None:
        super().__init__()
        width, inner = config.width, int(config.width * config.mlp_ratio)
        self.heads = config.heads
        self.modulation = nn.Linear(width, 6 * width)
        self.attention_norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, width))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self, latents_BKW: Tensor, modulation_BKW: Tensor, attended_BQK: Tensor, rotation: Rotation
    ) -> Tensor:
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(modulation_BKW).chunk(6, dim=-1)
        mixed_BKW = self._attend(
            self.attention_norm(latents_BKW) * (1 + scale_1) + shift_1, attended_BQK, rotation
        )
        latents_BKW = latents_BKW + gate_1 * mixed_BKW
        return latents_BKW + gate_2 * self.mlp(self.mlp_norm(latents_BKW) * (1 + scale_2) + shift_2)

    def _attend(self, latents_BKW: Tensor, attended_BQK: Tensor, rotation: Rotation) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.query_key_value(latents_BKW).chunk(3, dim=-1)
        )
        mixed_BHKd = F.scaled_dot_product_attention(
            rotation.apply(query), rotation.apply(key), value, attn_mask=attended_BQK
        )
        return self.attention_out(mixed_BHKd.transpose(1, 2).flatten(2))


def timestep_embedding(time: Tensor, width: int, longest_period: float = 10_000.0) -> Tensor:
    """Sinusoids of (B,) times as (B, width): cosines, then sines, with geometric frequencies."""
    half = width // 2
    frequencies = torch.exp(-math.log(longest_period) * torch.arange(half, device=time.device) / half)
    angles = time.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
