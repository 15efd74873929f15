"""Features to motion codes and back: a VQ-VAE together with the statistics of its features.

Shapes: B clips, T frames, F features, K codes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from motiongpt3.errors import ConfigError
from motiongpt3.models.folders import (
    WEIGHTS_FILE,
    build,
    config_from_json,
    config_to_json,
    load_strictly,
    read_config_of,
    read_tensors,
    write_config,
    write_tensors,
)
from motiongpt3.models.statistics import register_statistics
from motiongpt3.models.vq_vae import VQVAE, VQVAEConfig
from motiongpt3.motion.features import FEATURE_WIDTH, Statistics

MODEL_NAME = "motion-tokenizer"


class MotionTokenizer(nn.Module):
    """A VQ-VAE between raw features and codes.

    Args:
        vq_vae: the network.
        statistics: per-feature mean and standard deviation of the data (each (F,)); by default 0 and 1,
            until a checkpoint is loaded.

    Raises:
        ConfigError: if the VQ-VAE is not made for HumanML3D's features.
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, vq_vae: VQVAE, statistics: Statistics | None = None) -> None:
        super().__init__()
        if vq_vae.config.feature_width != FEATURE_WIDTH:
            found = vq_vae.config.feature_width
            raise ConfigError(
                f"vq_vae.feature_width: {found} features a frame are not HumanML3D's {FEATURE_WIDTH}"
            )
        self.vq_vae = vq_vae
        register_statistics(self, statistics)

    @property
    def vocabulary_size(self) -> int:
        """How many codes there are: they are numbered from 0."""
        return self.vq_vae.config.code_count

    @property
    def frames_per_code(self) -> int:
        """Frames that one code stands for."""
        return self.vq_vae.config.frames_per_code

    def code_count(self, length: int) -> int:
        """K, the codes of a clip of ``length`` frames; the frames that do not fill a code are left out."""
        return self.vq_vae.code_count(length)

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Codes of each clip.

        Args:
            features: (B, T, F), not normalised; frames past a clip's length are ignored.
            lengths: (B,) frames in each clip, ``frames_per_code`` ≤ length ≤ T.

        Returns:
            (B, K) int64, K = ``code_count(max(lengths))``; past a clip's own codes, 0.

        Raises:
            InputError: if a clip is shorter than a code.
        """
        return self.vq_vae.encode((features - self.feature_mean) / self.feature_std, lengths)

    def decode(self, codes: Tensor, counts: Tensor) -> Tensor:
        """Raw features (B, T, F), T = max(counts) · ``frames_per_code``, of codes (B, K).

        Frames past a clip's ``counts`` (B,) codes hold no meaning.
        """
        return self.vq_vae.decode(codes, counts) * self.feature_std + self.feature_mean

    def fingerprint(self) -> str:
        """16 hexadecimal digits that depend on all weights: codes of another tokenizer mean another thing."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().to("cpu", torch.float32).numpy().astype("<f4").tobytes())
        return digest.hexdigest()[:16]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into ``folder``."""
        write_tensors(Path(folder) / WEIGHTS_FILE, self.state_dict())
        write_config(folder, {"model": MODEL_NAME, "vq_vae": config_to_json(self.vq_vae.config)})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MotionTokenizer:
        """Read what `save_pretrained` wrote; evaluation mode.

        Raises:
            CheckpointError: if the folder is not a motion tokenizer or its weights do not fit its config.
            ConfigError: if the config does not describe a VQ-VAE.
        """
        config = read_config_of(folder, MODEL_NAME, "a motion tokenizer")
        tokenizer = cls(build_vq_vae(config.get("vq_vae"), str(folder)))
        load_strictly(tokenizer, read_tensors(Path(folder) / WEIGHTS_FILE), str(folder))
        return tokenizer.eval()


def build_vq_vae(values: object, where: str) -> VQVAE:
    """A VQ-VAE with random weights from its JSON config; ``where`` is for error messages.

    Raises:
        ConfigError: naming what is unknown, missing or impossible in the config.
    """
    config = config_from_json(VQVAEConfig, values, f"{where}, vq_vae")
    return build(lambda: VQVAE(config), f"{where}, vq_vae")
