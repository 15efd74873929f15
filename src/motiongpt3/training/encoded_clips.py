"""Clips as the language side sees them: latents, encoded once, with what is said of them.

Shapes: T frames, F features, K latents, C channels per latent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.loaders import split_batches
from motiongpt3.models.codec import MotionCodec
from motiongpt3.models.known import GivenFrames
from motiongpt3.motion.completion import goal_between
from motiongpt3.motion.features import features_to_joints


@dataclass(frozen=True)
class EncodedClip:
    """One clip.

    Attributes:
        mean: (K, C) of the posterior of its latents.
        std: (K, C).
        features: (T, F) raw.
        captions: what is said of it.
        label: of its action, if known.
    """

    mean: Tensor
    std: Tensor
    features: Tensor
    captions: tuple[str, ...]
    label: str | None

    def drawn(self, generator: torch.Generator | None = None) -> Tensor:
        """Latents (K, C) from the posterior."""
        return self.mean + torch.randn(self.std.shape, generator=generator) * self.std

    def given(self, start: int, end: int) -> GivenFrames:
        """All frames up to ``start`` and from ``end`` on."""
        frames = len(self.features)
        goal = None
        if start > 0 and end < frames:
            joints = features_to_joints(self.features)
            goal = goal_between(joints[start - 1], joints[end])
        return GivenFrames(frames, self.features[:start], self.features[end:], goal)


@torch.inference_mode()
def encode_split(
    dataset: HumanML3DDataset, split: str, codec: MotionCodec, batch_size: int = 32
) -> list[EncodedClip]:
    """Encode every segment of a split once.

    Raises:
        InputError: if the split has no segment that can be used.
    """
    encoded: list[EncodedClip] = []
    for part, features, batch in split_batches(dataset, split, batch_size):
        means, stds = codec.encode(batch.features, batch.lengths)
        counts = codec.latent_counts(batch.lengths).tolist()
        encoded.extend(
            EncodedClip(
                mean[:count].clone(), std[:count].clone(), clip, tuple(segment.captions), segment.label
            )
            for mean, std, count, clip, segment in zip(means, stds, counts, features, part)
        )
    return encoded


def balanced_rates(labels: Sequence[str | None], exponent: float) -> list[float]:
    """The rate at which each clip is drawn: (clips with its label) ** -exponent."""
    counts = Counter(labels)
    return [1.0 if label is None else counts[label] ** -exponent for label in labels]
