"""The native motion VAE: one latent for every few frames, any length in and out.

Frames are gathered into patches; dilated residual convolutions run at the patch rate; a few channels per
patch are the latent. Neighbouring patches may be stacked into one latent, so that a language-model position
covers more frames than a convolution step. The decoder mirrors this and ends with a convolution at the frame
rate, which smooths the joints between patches.

Every layer masks what lies past the end of a clip, so a clip gives the same result alone or padded in a
batch.

Shapes: B clips, T frames, F features, P patches (T / patch_frames), W width, K latents, C channels per
latent.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motiongpt3.errors import ConfigError
from motiongpt3.models.vae import draw_latents, visible_frames


@dataclass(frozen=True)
class TemporalVAEConfig:
    """Sizes of a `TemporalVAE`.

    Args:
        feature_width: features per frame (263 for HumanML3D).
        patch_frames: frames gathered into one convolution step.
        patches_per_latent: neighbouring patches stacked into one latent.
        patch_channels: latent channels per patch; a latent has ``patch_channels · patches_per_latent``.
        width: channels of the convolutions.
        encoder_dilations: one residual block each, in this order.
        decoder_dilations: the same for the decoder.
        frame_width: channels of the decoder's last convolution, at the frame rate.
    """

    feature_width: int
    patch_frames: int
    patches_per_latent: int
    patch_channels: int
    width: int
    encoder_dilations: tuple[int, ...]
    decoder_dilations: tuple[int, ...]
    frame_width: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if any(size < 1 for size in (value if isinstance(value, tuple) else (value,))):
                raise ConfigError(f"vae.{field.name}: {value} is not positive")

    @property
    def latent_channels(self) -> int:
        """C, the channels of one latent."""
        return self.patch_channels * self.patches_per_latent

    @property
    def frames_per_latent(self) -> int:
        """Frames that one latent stands for."""
        return self.patch_frames * self.patches_per_latent


class TemporalVAE(nn.Module):
    """A convolutional VAE with a latent for every ``config.frames_per_latent`` frames."""

    def __init__(self, config: TemporalVAEConfig) -> None:
        super().__init__()
        self.config = config
        patch_width = config.patch_frames * config.feature_width
        self.patch_in = nn.Linear(patch_width, config.width)
        self.encoder = nn.ModuleList(DilatedBlock(config.width, d) for d in config.encoder_dilations)
        self.to_distribution = nn.Linear(config.width, 2 * config.patch_channels)

        self.from_latent = nn.Linear(config.patch_channels, config.width)
        self.decoder = nn.ModuleList(DilatedBlock(config.width, d) for d in config.decoder_dilations)
        self.patch_out = nn.Linear(config.width, config.patch_frames * config.frame_width)
        self.smooth = DilatedBlock(config.frame_width, dilation=1, kernel=5)
        self.to_features = nn.Linear(config.frame_width, config.feature_width)

    @property
    def latent_channels(self) -> int:
        """C, the channels of one latent."""
        return self.config.latent_channels

    def latent_count(self, length: int) -> int:
        """K, the latents of a clip of ``length`` frames."""
        return -(-length // self.config.frames_per_latent)

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents.

        Args:
            features: (B, T, F), normalised; frames past a clip's length are ignored.
            lengths: (B,) frames in each clip, 1 ≤ length ≤ T.

        Returns:
            Two tensors (B, K, C) with K = ``latent_count(T)``; rows past a clip's own count are zero.
        """
        config = self.config
        frames_BTF = _hold_last_frame(
            features, lengths, self.latent_count(features.shape[1]) * config.frames_per_latent
        )
        visible_BP = self._visible_patches(lengths, frames_BTF.shape[1])
        hidden_BPW = self.patch_in(frames_BTF.unflatten(1, (-1, config.patch_frames)).flatten(2))
        for block in self.encoder:
            hidden_BPW = block(hidden_BPW, visible_BP)
        mean_BPc, log_variance_BPc = (self.to_distribution(hidden_BPW) * visible_BP[..., None]).chunk(
            2, dim=-1
        )
        return self._stack(mean_BPc), self._stack(log_variance_BPc).clamp(-20, 10)

    def decode(self, latents: Tensor, lengths: Tensor) -> Tensor:
        """Features of each clip.

        Args:
            latents: (B, K, C).
            lengths: (B,) frames wanted, each at most K · ``frames_per_latent``.

        Returns:
            (B, T, F) normalised features, T = max(lengths); zero past each clip's length.
        """
        config = self.config
        patches_BPc = latents.unflatten(-1, (config.patches_per_latent, config.patch_channels)).flatten(1, 2)
        visible_BP = self._visible_patches(lengths, patches_BPc.shape[1] * config.patch_frames)
        hidden_BPW = self.from_latent(patches_BPc)
        for block in self.decoder:
            hidden_BPW = block(hidden_BPW, visible_BP)
        frames_BTw = self.patch_out(hidden_BPW).unflatten(-1, (config.patch_frames, -1)).flatten(1, 2)
        visible_BT = visible_BP.repeat_interleave(config.patch_frames, dim=1)
        features_BTF = self.to_features(self.smooth(frames_BTw, visible_BT))
        longest = int(lengths.max())
        return features_BTF[:, :longest] * visible_frames(lengths, longest)[..., None]

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, draw one latent from the posterior, decode: (reconstruction, mean, log-variance)."""
        mean, log_variance = self.encode(features, lengths)
        return self.decode(draw_latents(mean, log_variance), lengths), mean, log_variance

    def _stack(self, patches_BPc: Tensor) -> Tensor:
        return patches_BPc.unflatten(1, (-1, self.config.patches_per_latent)).flatten(2)

    def _visible_patches(self, lengths: Tensor, frames: int) -> Tensor:
        # Whole latents: the patches of a clip's last latent are all real, since its last frame is held
        # through them.
        per_latent = self.config.frames_per_latent
        ends = (lengths + per_latent - 1) // per_latent * self.config.patches_per_latent
        return visible_frames(ends, frames // self.config.patch_frames)


class DilatedBlock(nn.Module):
    """Residual block: norm, dilated convolution over time, SiLU, pointwise projection."""

    def __init__(self, width: int, dilation: int, kernel: int = 3) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(
            width, width, kernel, dilation=dilation, padding=dilation * (kernel // 2)
        )
        self.projection = nn.Linear(width, width)
        nn.init.zeros_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, hidden_BNW: Tensor, visible_BN: Tensor) -> Tensor:
        # Zeros past the end equal the convolution's own padding, so batching changes nothing.
        normed_BNW = self.norm(hidden_BNW) * visible_BN[..., None]
        mixed_BNW = self.convolution(normed_BNW.transpose(1, 2)).transpose(1, 2)
        return hidden_BNW + self.projection(F.silu(mixed_BNW))


def _hold_last_frame(features_BTF: Tensor, lengths_B: Tensor, frames: int) -> Tensor:
    """Repeat each clip's last frame until ``frames`` frames."""
    index_BT = torch.arange(frames, device=lengths_B.device).minimum(lengths_B[:, None] - 1)
    return features_BTF.gather(1, index_BT[..., None].expand(-1, -1, features_BTF.shape[-1]))
