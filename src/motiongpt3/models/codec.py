"""Features to latents and back: a motion VAE together with the statistics on both sides of it.

The VAE sees normalised features; the language side sees latents scaled to about unit variance. `MotionCodec`
holds the four statistics, so that nobody else needs to know them.

Shapes: B clips, T frames, F features, K latents, C channels per latent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from motiongpt3.errors import ConfigError
from motiongpt3.models.folders import (
    WEIGHTS_FILE,
    build_kind,
    config_to_json,
    load_strictly,
    read_config_of,
    read_tensors,
    write_config,
    write_tensors,
)
from motiongpt3.models.mld_vae import MLDVAE, MLDVAEConfig
from motiongpt3.models.statistics import register_statistics
from motiongpt3.models.temporal_vae import TemporalVAE, TemporalVAEConfig
from motiongpt3.motion.features import FEATURE_WIDTH, Statistics

MODEL_NAME = "motion-codec"
VAE_KINDS: dict[str, tuple[type, type]] = {
    "temporal": (TemporalVAE, TemporalVAEConfig),
    "mld": (MLDVAE, MLDVAEConfig),
}


def build_vae(config: Any) -> TemporalVAE | MLDVAE:
    """A VAE with random weights from its JSON config, whose ``kind`` is ``temporal`` or ``mld``.

    Raises:
        ConfigError: naming what is unknown, missing or impossible in the config.
    """
    return build_kind(config, VAE_KINDS, "vae")


def vae_to_json(vae: TemporalVAE | MLDVAE) -> dict[str, Any]:
    """The JSON config that `build_vae` turns into the same VAE."""
    kind = next(name for name, (model, _) in VAE_KINDS.items() if isinstance(vae, model))
    return {"kind": kind, **config_to_json(vae.config)}


class MotionCodec(nn.Module):
    """A motion VAE between raw features and unit-variance latents.

    Args:
        vae: the network.
        statistics: per-feature mean and standard deviation of the data (each (F,)); by default 0 and 1,
            until a checkpoint is loaded.

    Raises:
        ConfigError: if the VAE is not made for HumanML3D's features.
    """

    feature_mean: Tensor
    feature_std: Tensor
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, vae: TemporalVAE | MLDVAE, statistics: Statistics | None = None) -> None:
        super().__init__()
        if vae.config.feature_width != FEATURE_WIDTH:
            found = vae.config.feature_width
            raise ConfigError(
                f"vae.feature_width: {found} features a frame are not HumanML3D's {FEATURE_WIDTH}"
            )
        self.vae = vae
        register_statistics(self, statistics)
        self.register_buffer("latent_mean", torch.zeros(vae.latent_channels))
        self.register_buffer("latent_std", torch.ones(vae.latent_channels))

    @property
    def latent_channels(self) -> int:
        """C, the channels of one latent."""
        return self.vae.latent_channels

    @property
    def frames_per_latent(self) -> int | None:
        """Frames that one latent stands for; None if clips of all lengths have the same number of latents."""
        return self.vae.config.frames_per_latent if isinstance(self.vae, TemporalVAE) else None

    def latent_count(self, length: int) -> int:
        """K, the latents of a clip of ``length`` frames."""
        return self.vae.latent_count(length)

    def latent_counts(self, lengths: Tensor) -> Tensor:
        """K of each of several clips, (B,), from their lengths (B,) in frames."""
        counts = [self.latent_count(length) for length in lengths.tolist()]
        return torch.tensor(counts, device=lengths.device)

    def encode(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (B, K, C) of the scaled latents of raw features (B, T, F)."""
        normalised = (features - self.feature_mean) / self.feature_std
        mean, log_variance = self.vae.encode(normalised, lengths)
        return (mean - self.latent_mean) / self.latent_std, (0.5 * log_variance).exp() / self.latent_std

    def decode(self, latents: Tensor, lengths: Tensor) -> Tensor:
        """Raw features (B, T, F), T = max(lengths), of scaled latents (B, K, C).

        Frames past a clip's length hold no meaning.
        """
        normalised = self.vae.decode(latents * self.latent_std + self.latent_mean, lengths)
        return normalised * self.feature_std + self.feature_mean

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into ``folder``."""
        write_tensors(Path(folder) / WEIGHTS_FILE, self.state_dict())
        write_config(folder, {"model": MODEL_NAME, "vae": vae_to_json(self.vae)})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MotionCodec:
        """Read what `save_pretrained` wrote; evaluation mode.

        Raises:
            CheckpointError: if the folder is not a motion codec or its weights do not fit its config.
            ConfigError: if the config does not describe a VAE.
        """
        config = read_config_of(folder, MODEL_NAME, "a motion codec")
        codec = cls(build_vae(config.get("vae")))
        load_strictly(codec, read_tensors(Path(folder) / WEIGHTS_FILE), str(folder))
        return codec.eval()
