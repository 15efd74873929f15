"""The motion VAE of MLD (Chen et al. 2023, arXiv:2212.04048), which official MotionGPT3 checkpoints contain.

A whole clip becomes a fixed number of latents, one in the official model: transformers with long skip
connections read the clip through learned tokens, and write it from learned positions. Modules are named as in
the official checkpoints, so that their ``vae.*`` tensors load as they are, without the prefix.

Shapes: B clips, T frames, F features, K latents, C channels per latent (also the width of the transformers).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.vae import draw_latents, visible_frames


@dataclass(frozen=True)
class MLDVAEConfig:
    """Sizes of an `MLDVAE`.

    Args:
        feature_width: features per frame (263 for HumanML3D).
        latent_tokens: K, the latents that stand for a clip of any length.
        width: C, the channels of a latent and the width of the transformers.
        layers: of the encoder, and of the decoder; odd, since the first half is joined to the second half.
        heads: attention heads; they divide ``width``.
        feedforward_width: inner width of the feed-forward layers.
        dropout: while training.
        positions: learned positions; the longest clip has ``positions - 2 · latent_tokens`` frames.
    """

    feature_width: int
    latent_tokens: int
    width: int
    layers: int
    heads: int
    feedforward_width: int
    dropout: float
    positions: int

    @classmethod
    def official(cls) -> MLDVAEConfig:
        """The sizes in the official MotionGPT3 and MLD checkpoints for HumanML3D."""
        return cls(
            feature_width=263,
            latent_tokens=1,
            width=256,
            layers=9,
            heads=4,
            feedforward_width=1024,
            dropout=0.1,
            positions=500,
        )

    @property
    def longest_clip(self) -> int:
        """Frames of the longest clip that can be encoded: the latent tokens take positions too."""
        return self.positions - 2 * self.latent_tokens


class MLDVAE(nn.Module):
    """Transformers with skip connections between the frames of a clip and a few Gaussian latents.

    Raises:
        ConfigError: if the sizes contradict one another.
    """

    def __init__(self, config: MLDVAEConfig) -> None:
        super().__init__()
        if config.layers % 2 == 0:
            raise ConfigError(f"vae.layers: {config.layers} is even; skip connections need an odd number")
        if config.width % config.heads:
            raise ConfigError(f"vae.heads: {config.heads} does not divide vae.width = {config.width}")
        if config.latent_tokens < 1 or config.longest_clip < 1:
            raise ConfigError(
                f"vae.positions: {config.positions} leave no room beside {config.latent_tokens} latent tokens"
            )
        self.config = config

        # One token for the mean and one for the log-variance of each latent.
        self.global_motion_token = nn.Parameter(torch.randn(2 * config.latent_tokens, config.width))
        self.skel_embedding = nn.Linear(config.feature_width, config.width)
        self.query_pos_encoder = LearnedPositions(config.positions, config.width)
        self.encoder = SkipTransformer(config, lambda: nn.TransformerEncoderLayer(**_layer_options(config)))
        self.query_pos_decoder = LearnedPositions(config.positions, config.width)
        self.decoder = SkipTransformer(config, lambda: nn.TransformerDecoderLayer(**_layer_options(config)))
        self.final_layer = nn.Linear(config.width, config.feature_width)

    @property
    def latent_channels(self) -> int:
        """C, the channels of one latent."""
        return self.config.width

    def latent_count(self, length: int) -> int:
        """K, the same for clips of any length."""
        return self.config.latent_tokens

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents.

        Args:
            features: (B, T, F), normalised; frames past a clip's length are ignored.
            lengths: (B,) frames in each clip, 1 ≤ length ≤ T.

        Returns:
            Two tensors (B, K, C).

        Raises:
            InputError: if T is more than the learned positions allow.
        """
        self._check_length(features.shape[1])
        visible_BT = visible_frames(lengths, features.shape[1])
        # Zeros rather than the given padding: attention's zero weights do not stop a NaN.
        frames_BTC = self.skel_embedding(features.masked_fill(~visible_BT[..., None], 0.0))
        tokens_BNC = self.global_motion_token.expand(len(features), -1, -1)
        sequence_BNC = self.query_pos_encoder(torch.cat([tokens_BNC, frames_BTC], dim=1))
        padding_BN = ~torch.cat([visible_BT.new_ones(tokens_BNC.shape[:2]), visible_BT], dim=1)
        encoded_BNC = self.encoder(sequence_BNC, src_key_padding_mask=padding_BN)
        mean, log_variance = encoded_BNC[:, : tokens_BNC.shape[1]].chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor, lengths: Tensor) -> Tensor:
        """Features of each clip.

        Args:
            latents: (B, K, C).
            lengths: (B,) frames wanted, at least 1 each.

        Returns:
            (B, T, F) normalised features, T = max(lengths); zero past each clip's length.

        Raises:
            InputError: if a clip is longer than the learned positions allow.
        """
        longest = int(lengths.max())
        self._check_length(longest)
        visible_BT = visible_frames(lengths, longest)
        queries_BTC = self.query_pos_decoder(latents.new_zeros(len(latents), longest, self.config.width))
        decoded_BTC = self.decoder(queries_BTC, memory=latents, tgt_key_padding_mask=~visible_BT)
        return self.final_layer(decoded_BTC).masked_fill(~visible_BT[..., None], 0.0)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, draw one latent from the posterior, decode: (reconstruction, mean, log-variance)."""
        mean, log_variance = self.encode(features, lengths)
        return self.decode(draw_latents(mean, log_variance), lengths), mean, log_variance

    def _check_length(self, frames: int) -> None:
        if not 1 <= frames <= self.config.longest_clip:
            raise InputError(
                f"a clip of {frames} frames: this VAE takes 1 to {self.config.longest_clip}; cut the clip"
            )


class SkipTransformer(nn.Module):
    """Layers whose first half feeds its outputs to the second half, innermost first, as in a U-Net.

    Args:
        config: sizes.
        new_layer: makes one transformer layer; keyword arguments of `forward` go to every layer.
    """

    def __init__(self, config: MLDVAEConfig, new_layer: Callable[[], nn.Module]) -> None:
        super().__init__()
        half = config.layers // 2
        self.input_blocks = nn.ModuleList(new_layer() for _ in range(half))
        self.middle_block = new_layer()
        self.output_blocks = nn.ModuleList(new_layer() for _ in range(half))
        self.linear_blocks = nn.ModuleList(nn.Linear(2 * config.width, config.width) for _ in range(half))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, hidden_BNC: Tensor, **layer_inputs: Tensor) -> Tensor:
        skipped = []
        for block in self.input_blocks:
            hidden_BNC = block(hidden_BNC, **layer_inputs)
            skipped.append(hidden_BNC)
        hidden_BNC = self.middle_block(hidden_BNC, **layer_inputs)
        for block, join in zip(self.output_blocks, self.linear_blocks):
            hidden_BNC = block(join(torch.cat([hidden_BNC, skipped.pop()], dim=-1)), **layer_inputs)
        return self.norm(hidden_BNC)


class LearnedPositions(nn.Module):
    """Adds a learned vector for each place in a sequence (B, N, C)."""

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        self.pe = nn.Parameter(torch.rand(positions, 1, width))

    def forward(self, hidden_BNC: Tensor) -> Tensor:
        return hidden_BNC + self.pe[: hidden_BNC.shape[1], 0]


def _layer_options(config: MLDVAEConfig) -> dict[str, Any]:
    return {
        "d_model": config.width,
        "nhead": config.heads,
        "dim_feedforward": config.feedforward_width,
        "dropout": config.dropout,
        "activation": "gelu",
        "batch_first": True,
    }
