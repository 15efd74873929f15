"""The official generative head: an MLP with adaptive layer norm that turns noise into the latents of a clip.

The hidden states of the clip's placeholders become one condition vector (`ConditionEncoder`) once per sample;
each denoising step is then a small MLP whose layer norms are shifted, scaled and gated by condition and time
(adaLN, Peebles & Xie 2023, arXiv:2212.09748; as a head over hidden states, Li et al. 2024, arXiv:2406.11838).
Modules are named as in the official checkpoints, so that their ``lm.diffloss.net.*`` tensors load as they
are, without the prefix.

Shapes: N samples, P placeholders, K latents, C channels per latent,
D width of the hidden states, W of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motiongpt3.errors import ConfigError
from motiongpt3.models.mld_vae import LearnedPositions
from motiongpt3.models.sequence_head import timestep_embedding

TIME_FEATURES = 256


@dataclass(frozen=True)
class MLPHeadConfig:
    """Sizes of an `MLPHead`.

    Args:
        latent_channels: C.
        hidden_width: D, of the motion branch.
        width: W.
        depth: residual blocks.
        condition_heads: attention heads of the condition encoder; they divide ``hidden_width``.
        condition_feedforward_width: inner width of its feed-forward layer.
        condition_dropout: of the condition encoder, while training.
        condition_positions: its learned positions; at most one less placeholders.
    """

    latent_channels: int
    hidden_width: int
    width: int
    depth: int
    condition_heads: int
    condition_feedforward_width: int
    condition_dropout: float
    condition_positions: int

    @classmethod
    def official(cls) -> MLPHeadConfig:
        """The sizes in the official MotionGPT3 checkpoints."""
        return cls(
            latent_channels=256,
            hidden_width=768,
            width=1024,
            depth=3,
            condition_heads=4,
            condition_feedforward_width=3072,
            condition_dropout=0.1,
            condition_positions=500,
        )


@dataclass(frozen=True)
class MLPCondition:
    """What the head needs to know of a sample, computed once for all its steps.

    Args:
        embedding: (N, 1, W).
    """

    embedding: Tensor

    def joined_with(self, other: MLPCondition) -> MLPCondition:
        """Both along the batch: how guidance asks for two predictions in one call."""
        return MLPCondition(torch.cat([self.embedding, other.embedding]))

    def repeated(self, times: int) -> MLPCondition:
        """Each sample ``times`` times over, one whole batch after another."""
        return MLPCondition(self.embedding.repeat(times, 1, 1))


class MLPHead(nn.Module):
    """Residual MLP blocks over noisy latents, modulated by condition and time; each latent alone."""

    def __init__(self, config: MLPHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.time_embed = TimeEmbedding(config.width)
        self.cond_embed = ConditionEncoder(config)
        self.input_proj = nn.Linear(config.latent_channels, config.width)
        self.res_blocks = nn.ModuleList(ResidualBlock(config.width) for _ in range(config.depth))
        self.final_layer = FinalLayer(config.width, config.latent_channels)

    def encode_condition(self, hidden: Tensor) -> MLPCondition:
        """Prepare the hidden states (N, P, D) of the placeholders; no denoising step changes it."""
        return MLPCondition(self.cond_embed(hidden))

    def forward(self, noisy: Tensor, time: Tensor, condition: MLPCondition) -> Tensor:
        """Predict the objective's target (N, K, C).

        Args:
            noisy: (N, K, C).
            time: (N,) on the scale 0 … 1000, the training schedule's, however few steps are taken.
            condition: from `encode_condition`.
        """
        modulation_N1W = self.time_embed(time)[:, None] + condition.embedding
        latents_NKW = self.input_proj(noisy)
        for block in self.res_blocks:
            latents_NKW = block(latents_NKW, modulation_N1W)
        return self.final_layer(latents_NKW, modulation_N1W)


class ConditionEncoder(nn.Module):
    """Hidden states (N, P, D) to one vector (N, 1, W), read by a learned token in one transformer layer."""

    def __init__(self, config: MLPHeadConfig) -> None:
        super().__init__()
        if config.hidden_width % config.condition_heads:
            raise ConfigError(
                f"head.condition_heads: {config.condition_heads} does not divide "
                f"hidden_width = {config.hidden_width}"
            )
        self.hidden_embedding = nn.Parameter(torch.randn(1, config.hidden_width))
        self.hid_pos = LearnedPositions(config.condition_positions, config.hidden_width)
        self.hid_encoder_layer = nn.TransformerEncoderLayer(
            d_model=config.hidden_width,
            nhead=config.condition_heads,
            dim_feedforward=config.condition_feedforward_width,
            dropout=config.condition_dropout,
            activation="gelu",
            batch_first=True,
        )
        self.cond_proj = nn.Linear(config.hidden_width, config.width)

    def forward(self, hidden_NPD: Tensor) -> Tensor:
        token_N1D = self.hidden_embedding.expand(len(hidden_NPD), 1, -1)
        read_NPD = self.hid_encoder_layer(self.hid_pos(torch.cat([token_N1D, hidden_NPD], dim=1)))
        return self.cond_proj(read_NPD[:, :1])


class TimeEmbedding(nn.Module):
    """Times (N,) to vectors (N, W)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Tensor) -> Tensor:
        return self.mlp(timestep_embedding(time, TIME_FEATURES))


class ResidualBlock(nn.Module):
    """MLP behind a modulated layer norm, gated into the residual stream."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_ln = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(self, latents_NKW: Tensor, modulation_N1W: Tensor) -> Tensor:
        shift, scale, gate = self.adaLN_modulation(modulation_N1W).chunk(3, dim=-1)
        return latents_NKW + gate * self.mlp(self.in_ln(latents_NKW) * (1 + scale) + shift)


class FinalLayer(nn.Module):
    """Modulated layer norm and the projection to latent channels."""

    def __init__(self, width: int, latent_channels: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, latent_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, latents_NKW: Tensor, modulation_N1W: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(modulation_N1W).chunk(2, dim=-1)
        return self.linear(self.norm_final(latents_NKW) * (1 + scale) + shift)
