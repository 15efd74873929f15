"""The VQ-VAE of MotionGPT and T2M-GPT: motion as a sequence of codes, one for every few frames.

Convolutions halve the frame rate some times; each vector that they make becomes the nearest of a codebook's,
and convolutions write the motion from those (Zhang et al. 2023, "T2M-GPT", arXiv:2301.06052, section 3.1;
Jiang et al. 2023, "MotionGPT", arXiv:2306.14795, section 3.1). Modules are named as in the official
checkpoints, so that their ``vae.*`` tensors load as they are, without the prefix.

Every convolution masks what lies past the end of a clip, so a clip gives the same codes alone or padded in a
batch. Frames at the end of a clip that do not fill a code are left out.

Shapes: B clips, T frames, F features, K codes, N steps at any rate between, W width, C channels of a code's
vector, V vectors in the codebook.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.vae import visible_frames


@dataclass(frozen=True)
class VQVAEConfig:
    """Sizes of a `VQVAE`.

    Args:
        feature_width: features per frame (263 for HumanML3D).
        width: W, channels of the convolutions.
        code_count: V, vectors in the codebook.
        code_width: C, channels of such a vector.
        halvings: how often the frame rate is halved; a code stands for 2 ** halvings frames.
        residual_blocks: behind each halving, and before each doubling.
        dilation_growth: block n, counted from the last, has a dilation of dilation_growth ** n.
    """

    feature_width: int
    width: int
    code_count: int
    code_width: int
    halvings: int
    residual_blocks: int
    dilation_growth: int

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ConfigError(f"vq_vae.{field.name}: {getattr(self, field.name)} is not positive")

    @classmethod
    def official(cls) -> VQVAEConfig:
        """The sizes in MotionGPT's checkpoints for HumanML3D."""
        return cls(
            feature_width=263,
            width=512,
            code_count=512,
            code_width=512,
            halvings=2,
            residual_blocks=3,
            dilation_growth=3,
        )

    @property
    def frames_per_code(self) -> int:
        """Frames that one code stands for."""
        return 2**self.halvings


class VQVAE(nn.Module):
    """A convolutional autoencoder whose latents are the nearest vectors of a codebook."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quantizer = Codebook(config.code_count, config.code_width)
        self.decoder = Decoder(config)

    def code_count(self, length: int) -> int:
        """K, the codes of a clip of ``length`` frames; 0 if it is too short to have any."""
        return length // self.config.frames_per_code

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Codes of each clip.

        Args:
            features: (B, T, F), normalised; frames past a clip's length are ignored.
            lengths: (B,) frames in each clip, ``frames_per_code`` ≤ length ≤ T.

        Returns:
            (B, K) int64, K = ``code_count(max(lengths))``; past a clip's own codes, 0.

        Raises:
            InputError: if a clip is shorter than a code.
        """
        vectors_BKC = self.encode_vectors(features, lengths)
        visible_BK = visible_frames(lengths // self.config.frames_per_code, vectors_BKC.shape[1])
        return self.quantizer.nearest(vectors_BKC).masked_fill(~visible_BK, 0)

    def encode_vectors(self, features: Tensor, lengths: Tensor) -> Tensor:
        """What `encode` finds the nearest codes of: (B, K, C); no meaning past a clip's own codes."""
        shortest, per_code = int(lengths.min()), self.config.frames_per_code
        if shortest < per_code:
            raise InputError(f"a clip of {shortest} frames is too short: a motion code takes {per_code}")
        counts = lengths // per_code
        return self.encoder(features[:, : int(counts.max()) * per_code], counts * per_code)

    def decode(self, codes: Tensor, counts: Tensor) -> Tensor:
        """Features of each clip.

        Args:
            codes: (B, K) int64, from 0 to V - 1, also past a clip's own.
            counts: (B,) codes of each clip, 1 ≤ count ≤ K.

        Returns:
            (B, T, F) normalised features, T = max(counts) · ``frames_per_code``; zero past a clip's frames.
        """
        return self.decode_vectors(self.quantizer.vectors(codes), counts)

    def decode_vectors(self, vectors: Tensor, counts: Tensor) -> Tensor:
        """`decode` of codebook vectors (B, K, C) instead of their numbers."""
        return self.decoder(vectors[:, : int(counts.max())], counts)


class Codebook(nn.Module):
    """V vectors of C channels. They follow moving averages instead of gradients, so they are a buffer."""

    codebook: Tensor

    def __init__(self, code_count: int, code_width: int) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.randn(code_count, code_width))

    def nearest(self, vectors: Tensor) -> Tensor:
        """The number of the nearest codebook vector (...) of each vector (..., C), by Euclidean distance."""
        # |x|² is the same for all candidates, and left out.
        distances = self.codebook.square().sum(dim=-1) - 2 * vectors @ self.codebook.T
        return distances.argmin(dim=-1)

    def vectors(self, codes: Tensor) -> Tensor:
        """Codebook vectors (..., C) by number (...)."""
        return F.embedding(codes, self.codebook)


class Encoder(nn.Module):
    """Frames to vectors: a convolution, halvings with residual blocks behind each, a convolution."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        width = config.width
        stages = (
            nn.ModuleList([MaskedConvolution(width, width, kernel=4, stride=2), ResidualStack(config)])
            for _ in range(config.halvings)
        )
        self.model = nn.ModuleList(
            [
                MaskedConvolution(config.feature_width, width),
                nn.ReLU(),
                *stages,
                MaskedConvolution(width, config.code_width),
            ]
        )

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        first, activation, *stages, last = self.model
        visible_BN = visible_frames(lengths_B, features_BTF.shape[1])
        hidden_BWN = activation(first(features_BTF.transpose(1, 2), visible_BN))
        for stage in stages:
            halve, residual = cast(nn.ModuleList, stage)
            hidden_BWN = halve(hidden_BWN, visible_BN)
            # A step at half the rate is there if both of its steps are: lengths are multiples of a code's.
            visible_BN = visible_BN[:, 1::2]
            hidden_BWN = residual(hidden_BWN, visible_BN)
        return last(hidden_BWN, visible_BN).transpose(1, 2)


class Decoder(nn.Module):
    """Vectors to frames: the encoder in reverse, each step repeated where the rate is doubled."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        width = config.width
        stages = (
            nn.ModuleList(
                [
                    ResidualStack(config),
                    nn.Upsample(scale_factor=2, mode="nearest"),
                    MaskedConvolution(width, width),
                ]
            )
            for _ in range(config.halvings)
        )
        self.model = nn.ModuleList(
            [
                MaskedConvolution(config.code_width, width),
                nn.ReLU(),
                *stages,
                MaskedConvolution(width, width),
                nn.ReLU(),
                MaskedConvolution(width, config.feature_width),
            ]
        )

    def forward(self, vectors_BKC: Tensor, counts_B: Tensor) -> Tensor:
        first, activation, *stages, before_last, last_activation, last = self.model
        visible_BN = visible_frames(counts_B, vectors_BKC.shape[1])
        hidden_BWN = activation(first(vectors_BKC.transpose(1, 2), visible_BN))
        for stage in stages:
            residual, double, convolve = cast(nn.ModuleList, stage)
            hidden_BWN = double(residual(hidden_BWN, visible_BN))
            visible_BN = visible_BN.repeat_interleave(2, dim=1)
            hidden_BWN = convolve(hidden_BWN, visible_BN)
        hidden_BWN = last_activation(before_last(hidden_BWN, visible_BN))
        features_BTF = last(hidden_BWN, visible_BN).transpose(1, 2)
        return features_BTF.masked_fill(~visible_BN[..., None], 0.0)


class ResidualStack(nn.Module):
    """Residual blocks of falling dilation."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        dilations = [config.dilation_growth**number for number in range(config.residual_blocks)]
        self.model = nn.ModuleList(ResidualBlock(config.width, dilation) for dilation in reversed(dilations))

    def forward(self, hidden_BWN: Tensor, visible_BN: Tensor) -> Tensor:
        for block in self.model:
            hidden_BWN = block(hidden_BWN, visible_BN)
        return hidden_BWN


class ResidualBlock(nn.Module):
    """ReLU, dilated convolution, ReLU, pointwise convolution, added to what came in."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = MaskedConvolution(width, width, dilation=dilation)
        self.conv2 = nn.Conv1d(width, width, 1)

    def forward(self, hidden_BWN: Tensor, visible_BN: Tensor) -> Tensor:
        return hidden_BWN + self.conv2(F.relu(self.conv1(F.relu(hidden_BWN), visible_BN)))


class MaskedConvolution(nn.Conv1d):
    """A convolution that keeps the rate, or halves it, and sees zeros past the end of a clip.

    The same zeros that a convolution pads a clip with that stands alone.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=dilation, dilation=dilation)

    def forward(self, hidden_BWN: Tensor, visible_BN: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(hidden_BWN.masked_fill(~visible_BN[:, None], 0.0))
