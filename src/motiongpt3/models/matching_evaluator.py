"""An evaluator that anyone can train: motions and sentences as points that are close where they match.

Guo et al. (2022, "Generating Diverse and Natural 3D Human Motions from Text", section 6) measure generated
motion in the space of such a pair of encoders; Petrovich et al. (2023, "TMR", arXiv:2305.00976) train theirs
by contrast, as it is done here. Motions: stretches of four frames, a small transformer over them, a mean.
Sentences: vectors of a frozen `SentenceEncoder` and two layers. Both end on the unit sphere.

Shapes: B items, T frames, F features, N = T // 4 stretches, W width, E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motiongpt3.errors import ConfigError, InputError
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
from motiongpt3.models.vae import visible_frames
from motiongpt3.motion.features import FEATURE_WIDTH, Statistics

MODEL_NAME = "matching-evaluator"
FRAMES_PER_STRETCH = 4


@dataclass(frozen=True)
class MatchingEvaluatorConfig:
    """Sizes of a `MatchingEvaluator`, and whose sentences it knows.

    Args:
        sentence_encoder: name or folder of the sentence encoder.
        sentence_fingerprint: of its weights; empty until trained.
        sentence_width: of its vectors.
        feature_width: values a frame.
        width: of the motion encoder.
        layers: of its transformer.
        heads: of its attention; divide ``width``.
        text_width: of the hidden layer over sentence vectors.
        embedding: E.
        longest_frames: of a motion.
        dropout: in training.
    """

    sentence_encoder: str
    sentence_fingerprint: str
    sentence_width: int
    feature_width: int = FEATURE_WIDTH
    width: int = 256
    layers: int = 3
    heads: int = 4
    text_width: int = 512
    embedding: int = 128
    longest_frames: int = 400
    dropout: float = 0.1


class MatchingEvaluator(nn.Module):
    """Both encoders, with the statistics of the motions that they were trained on.

    Args:
        config: sizes.
        statistics: of the training split; by default 0 and 1, until a checkpoint is loaded.

    Raises:
        ConfigError: if the sizes contradict one another.
    """

    feature_mean: Tensor
    feature_std: Tensor
    places: Tensor

    def __init__(self, config: MatchingEvaluatorConfig, statistics: Statistics | None = None) -> None:
        super().__init__()
        if config.width % config.heads or config.width % 2 or min(config.layers, config.embedding) < 1:
            raise ConfigError(
                f"evaluator: {config.heads} heads and {config.layers} layers of width {config.width} "
                f"for an embedding of {config.embedding} cannot be built"
            )
        self.config = config
        width = config.width
        register_statistics(self, statistics, config.feature_width)
        stretches = config.longest_frames // FRAMES_PER_STRETCH
        self.register_buffer("places", _sinusoids(stretches, width), persistent=False)
        # Stretches do not overlap, so that what lies past a clip's end never reaches it.
        self.movement = nn.Conv1d(config.feature_width, width, FRAMES_PER_STRETCH, FRAMES_PER_STRETCH)
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 2 * width, config.dropout, F.gelu, batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(
            layer, config.layers, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.motion_out = nn.Linear(width, config.embedding)
        self.text = nn.Sequential(
            nn.Linear(config.sentence_width, config.text_width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.text_width, config.embedding),
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_motions(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, E) points of raw features (B, T, F), clips of ``lengths`` (B,); what lies past them is ignored.

        Frames that do not fill a stretch of four are left out.

        Raises:
            InputError: if a clip has fewer than four frames or more than the longest.
        """
        longest = self.config.longest_frames
        if int(lengths.min()) < FRAMES_PER_STRETCH or int(lengths.max()) > longest:
            raise InputError(f"the evaluator reads {FRAMES_PER_STRETCH} to {longest} frames at once")
        counts = lengths // FRAMES_PER_STRETCH
        frames = int(counts.max()) * FRAMES_PER_STRETCH
        seen_BT1 = visible_frames(counts * FRAMES_PER_STRETCH, frames)[..., None]
        normal_BTF = (features[:, :frames] - self.feature_mean) / self.feature_std
        # Not a product: zero times what a decoder leaves past the end may be NaN.
        stretches_BNW = self.movement(normal_BTF.masked_fill(~seen_BT1, 0.0).mT).mT
        visible_BN = visible_frames(counts, stretches_BNW.shape[1])
        hidden_BNW = self.transformer(
            stretches_BNW + self.places[: stretches_BNW.shape[1]], src_key_padding_mask=~visible_BN
        )
        mean_BW = (hidden_BNW * visible_BN[..., None]).sum(1) / counts[:, None]
        return F.normalize(self.motion_out(mean_BW), dim=-1)

    def embed_texts(self, sentence_vectors: Tensor) -> Tensor:
        """(B, E) points of sentence vectors (B, sentence_width)."""
        return F.normalize(self.text(sentence_vectors), dim=-1)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``; ``dtype`` of the weights, None keeps theirs.

        The statistics keep theirs in any case.
        """
        tensors = {
            name: tensor if dtype is None or name.startswith("feature_") else tensor.to(dtype)
            for name, tensor in self.state_dict().items()
        }
        write_tensors(Path(folder) / WEIGHTS_FILE, tensors)
        write_config(folder, {"model": MODEL_NAME, "evaluator": config_to_json(self.config)})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MatchingEvaluator:
        """Read what `save_pretrained` wrote; evaluation mode.

        Raises:
            CheckpointError: if the folder is no such evaluator or its weights do not fit its config.
            ConfigError: if the config does not describe one.
        """
        config = read_config_of(folder, MODEL_NAME, "an evaluator")
        read = config_from_json(MatchingEvaluatorConfig, config.get("evaluator"), f"{folder}: evaluator")
        model = build(lambda: cls(read), f"{folder}: evaluator")
        load_strictly(model, read_tensors(Path(folder) / WEIGHTS_FILE), str(folder))
        return model.eval()


def contrastive_loss(texts: Tensor, motions: Tensor, scale: Tensor, excluded: Tensor) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018, arXiv:1807.03748; Radford et al. 2021, arXiv:2103.00020).

    Args:
        texts: (B, E).
        motions: (B, E), of which row i belongs to text i.
        scale: factor of the similarities.
        excluded: (B, B) true where text i is true of motion j as well, which makes them no counter-example.
            Its diagonal is false.
    """
    logits = (scale * texts @ motions.T).masked_fill(excluded, float("-inf"))
    targets = torch.arange(len(texts), device=texts.device)
    return 0.5 * (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets))


def shared_captions(own: Sequence[str], captions: Sequence[frozenset[str]]) -> Tensor:
    """(B, B) true where caption i is one of the captions of motion j, i ≠ j."""
    shared = torch.tensor([[caption in known for known in captions] for caption in own])
    return shared.fill_diagonal_(False)


def _sinusoids(count: int, width: int) -> Tensor:
    """(count, width) sine and cosine of places (Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(-math.log(10000.0) * torch.arange(0, width, 2) / width)
    angles = torch.arange(count)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
