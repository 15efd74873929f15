"""Feeding clips to training: shuffled batches of similar length, padded, reproducible and resumable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from motiongpt3.data.humanml3d import HumanML3DDataset, Segment
from motiongpt3.errors import ConfigError, InputError


@dataclass(frozen=True)
class MotionBatch:
    """Padded clips: raw features (B, T, F) with zeros past each clip's length, and lengths (B,) in frames."""

    features: Tensor
    lengths: Tensor

    def to(self, device: torch.device | str) -> MotionBatch:
        """The same batch on another device (Lightning moves batches through this)."""
        return MotionBatch(self.features.to(device), self.lengths.to(device))


class MotionClips(Dataset[Tensor]):
    """The raw features of each segment of a split; optionally a random crop of it.

    Args:
        dataset: a dataset in HumanML3D's layout.
        segments: the segments to serve, as `HumanML3DDataset.segments` lists them.
        crop: if given, the probability that an item is a random stretch of its segment, at least
            ``shortest_crop`` frames long, rather than the whole. Drawn from torch's global generator.
        shortest_crop: frames.

    Raises:
        InputError: if there are no segments, or a file of one is broken.
    """

    def __init__(
        self,
        dataset: HumanML3DDataset,
        segments: Sequence[Segment],
        crop: float = 0.0,
        shortest_crop: int = 20,
    ) -> None:
        if not segments:
            raise InputError(f"{dataset.root}: a split has no clips of a length that can be used")
        self.segments = list(segments)
        self.crop = crop
        self.shortest_crop = shortest_crop
        self._features = [torch.from_numpy(np.array(dataset.features(segment))) for segment in self.segments]

    @property
    def lengths(self) -> list[int]:
        """Frames of each segment, uncropped."""
        return [len(features) for features in self._features]

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, index: int) -> Tensor:
        features = self._features[index]
        if self.crop and len(features) > self.shortest_crop and float(torch.rand(())) < self.crop:
            frames = int(torch.randint(self.shortest_crop, len(features) + 1, ()))
            start = int(torch.randint(0, len(features) - frames + 1, ()))
            features = features[start : start + frames]
        return features


def pad_clips(clips: Sequence[Tensor]) -> MotionBatch:
    """Collate clips (T_i, F) into one batch."""
    lengths = torch.tensor([len(clip) for clip in clips])
    return MotionBatch(torch.nn.utils.rnn.pad_sequence(list(clips), batch_first=True), lengths)


class LengthBuckets(Sampler[list[int]]):
    """Shuffled batches whose items have similar lengths, so that little of a batch is padding.

    Items are shuffled (or drawn by weight, with replacement), sorted by length within pools of ``pool``
    batches, cut into batches, and the batches shuffled. Everything follows from (seed, epoch).

    Args:
        lengths: of each item, in any unit.
        batch_size: items per batch (all there are, if fewer); what does not fill a batch is left out of the
            epoch.
        weights: relative rates at which items are drawn; None draws each item once per epoch.
        seed: of the whole run.
        pool: batches sorted together.

    Raises:
        InputError: if there are no items.
        ConfigError: if a batch would be empty.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        weights: Sequence[float] | None = None,
        seed: int = 0,
        pool: int = 20,
    ) -> None:
        if not lengths:
            raise InputError("there are no clips to train on")
        if batch_size < 1:
            raise ConfigError(f"batch_size: {batch_size} clips are no batch")
        self.lengths = np.asarray(lengths)
        self.batch_size = min(batch_size, len(self.lengths))
        self.probabilities = None if weights is None else np.asarray(weights) / np.sum(weights)
        self.seed = seed
        self.pool = pool
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next (Lightning calls this)."""
        self.epoch = epoch

    @property
    def sampler(self) -> LengthBuckets:
        """Itself: where Lightning looks for the object whose epoch it sets."""
        return self

    def __len__(self) -> int:
        return len(self.lengths) // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.seed, self.epoch))
        count = len(self.lengths)
        if self.probabilities is None:
            order = random.permutation(count)
        else:
            order = random.choice(count, size=count, p=self.probabilities)
        # Whole batches, so that nothing is left over between pools.
        drawn = order[: len(self) * self.batch_size]
        batches: list[list[int]] = []
        for start in range(0, len(drawn), self.pool * self.batch_size):
            pool = drawn[start : start + self.pool * self.batch_size]
            by_length = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches.extend(by_length.reshape(-1, self.batch_size).tolist())
        random.shuffle(batches)
        yield from batches
