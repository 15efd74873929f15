"""Feeding clips to training: shuffled batches of similar length, padded, reproducible and resumable."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from motiongpt3.data.humanml3d import HumanML3DDataset, Segment
from motiongpt3.errors import ConfigError, InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """A dataclass whose tensors, also those in lists and in what has a ``to``, move to a device together."""

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device (Lightning moves batches through this)."""
        moved = {field.name: _moved(getattr(self, field.name), device) for field in fields(self)}
        return replace(self, **moved)


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    return value.to(device) if hasattr(value, "to") else value


@dataclass(frozen=True)
class MotionBatch(Batch):
    """Padded clips: raw features (B, T, F) with zeros past each clip's length, and lengths (B,) in frames."""

    features: Tensor
    lengths: Tensor


class Draw(int):
    """The number of an item, drawn at one place of a run.

    What is random about the item follows from that place (see `item_generator`) rather than from a global
    generator: it is the same however many workers and processes there are, and after any restart.

    Args:
        index: of the item in its dataset.
        place: seed of the run, epoch, and position in the epoch.
    """

    place: tuple[int, ...]

    def __new__(cls, index: int, place: tuple[int, ...]) -> Draw:
        draw = super().__new__(cls, index)
        draw.place = place
        return draw

    def __getnewargs__(self) -> tuple[int, tuple[int, ...]]:  # type: ignore[override]
        return int(self), self.place


def item_generator(index: int) -> torch.Generator:
    """The source of all that is random about an item, on the CPU.

    A `Draw` has its own at every place of a run. A plain number has one that is always the same, so that two
    passes over a validation set can be compared.
    """
    place = index.place if isinstance(index, Draw) else (index,)
    return torch.Generator().manual_seed(seed_of(*place))


def seed_of(*numbers: int) -> int:
    """One well-mixed seed (64 bits) from several non-negative numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


class MotionClips(Dataset[Tensor]):
    """The raw features of each segment of a split; optionally a random crop of it.

    Args:
        dataset: a dataset in HumanML3D's layout.
        segments: the segments to serve, as `HumanML3DDataset.segments` lists them.
        crop: if given, the probability that an item is a random stretch of its segment, at least
            ``shortest_crop`` frames long, rather than the whole. Drawn by `item_generator`.
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
        if not self.crop or len(features) <= self.shortest_crop:
            return features
        random = item_generator(index)
        if float(torch.rand((), generator=random)) >= self.crop:
            return features
        frames = int(torch.randint(self.shortest_crop, len(features) + 1, (), generator=random))
        start = int(torch.randint(0, len(features) - frames + 1, (), generator=random))
        return features[start : start + frames]


class MotionWindows(Dataset[Tensor]):
    """Clips as a VQ-VAE reads them: whole codes only, at most ``window`` frames.

    Args:
        clips: what to draw from.
        unit: frames of a code; lengths are multiples of it.
        window: frames of a longest item, at a place in its clip drawn by `item_generator`; None for whole
            clips, which start at their first frame.

    Raises:
        ConfigError: if a clip is shorter than a code.
    """

    def __init__(self, clips: MotionClips, unit: int, window: int | None = None) -> None:
        self._clips = clips
        self._random = window is not None
        longest = max(clips.lengths) if window is None else window
        self.lengths = [min(length, longest) // unit * unit for length in clips.lengths]
        if not min(self.lengths):
            raise ConfigError(f"a code stands for {unit} frames, but a clip has only {min(clips.lengths)}")

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> Tensor:
        features, frames = self._clips[index], self.lengths[index]
        start = 0
        if self._random:
            start = int(torch.randint(len(features) - frames + 1, (), generator=item_generator(index)))
        return features[start : start + frames]


def pad_clips(clips: Sequence[Tensor]) -> MotionBatch:
    """Collate clips (T_i, F) into one batch."""
    lengths = torch.tensor([len(clip) for clip in clips])
    return MotionBatch(torch.nn.utils.rnn.pad_sequence(list(clips), batch_first=True), lengths)


def split_batches(
    dataset: HumanML3DDataset, split: str, batch_size: int = 32
) -> Iterator[tuple[list[Segment], list[Tensor], MotionBatch]]:
    """All segments of a split in order: some segments, their raw features (T_i, F), and those padded.

    Raises:
        InputError: if the split has no segment that can be used.
    """
    segments = dataset.segments(split)
    if not segments:
        raise InputError(f"{dataset.root}: split {split!r} has no clips of a length that can be used")
    for start in range(0, len(segments), batch_size):
        part = segments[start : start + batch_size]
        clips = MotionClips(dataset, part)
        features = [clips[index] for index in range(len(part))]
        yield part, features, pad_clips(features)


class LengthBuckets(Sampler[list[int]]):
    """Shuffled batches whose items have similar lengths, so that little of a batch is padding.

    Items are shuffled (or drawn by weight, with replacement), sorted by length within pools of ``pool``
    batches, cut into batches, and the batches shuffled. Everything follows from (seed, epoch); the items of a
    batch are `Draw`, so that what is random about them does, too. Iteration gives the first epoch; training
    goes through `BatchStream`.

    Args:
        lengths: of each item, in any unit.
        batch_size: items per batch and process (all there are, if fewer); what does not fill a batch is left
            out of the epoch.
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
        self.batch_size = batch_size
        self.probabilities = None if weights is None else np.asarray(weights) / np.sum(weights)
        self.seed = seed
        self.pool = pool

    def joint_size(self, processes: int = 1) -> int:
        """Items in the batches that ``processes`` processes share: each gets equally many.

        Raises:
            InputError: if there are fewer items than processes.
        """
        if len(self.lengths) < processes:
            raise InputError(f"{len(self.lengths)} clips cannot be shared by {processes} processes")
        return min(self.batch_size, len(self.lengths) // processes) * processes

    def __len__(self) -> int:
        return len(self.lengths) // self.joint_size()

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.epoch(0)

    def epoch(self, number: int, processes: int = 1) -> list[list[int]]:
        """The batches of one epoch, each for all ``processes`` together."""
        random = np.random.default_rng((self.seed, number))
        size, count = self.joint_size(processes), len(self.lengths)
        if self.probabilities is None:
            order = random.permutation(count)
        else:
            order = random.choice(count, size=count, p=self.probabilities)
        # Whole batches, so that nothing is left over between pools.
        drawn = order[: count // size * size]
        batches: list[list[int]] = []
        for start in range(0, len(drawn), self.pool * size):
            pool = drawn[start : start + self.pool * size]
            by_length = pool[np.argsort(self.lengths[pool], kind="stable")]
            batches.extend(by_length.reshape(-1, size).tolist())
        random.shuffle(batches)
        return [
            [Draw(item, (self.seed, number, place * size + row)) for row, item in enumerate(batch)]
            for place, batch in enumerate(batches)
        ]

    def run(self, start: int, stop: int, rank: int = 0, processes: int = 1) -> Iterator[list[int]]:
        """Batches ``start`` to ``stop`` of a run through epoch after epoch: the share of process ``rank``.

        The shares of all processes make up the batches of one process with the joint batch size, drawn alike.
        """
        epoch: list[list[int]] = []
        per_epoch, current = len(self.lengths) // self.joint_size(processes), -1
        for batch in range(start, stop):
            if batch // per_epoch != current:
                current = batch // per_epoch
                epoch = self.epoch(current, processes)
            # Every so-manieth, because the items are sorted: the shares are equally long.
            yield epoch[batch % per_epoch][rank::processes]


class Shares(Sampler[list[int]]):
    """All items in their order, in batches shared out to the processes: for validation.

    Every process gets equally many batches, none of them empty. No item comes twice, unless there are fewer
    items than processes: then each gets all.

    Args:
        count: items.
        batch_size: of a batch; where the items do not come out even, batches may differ by one.
    """

    def __init__(self, count: int, batch_size: int) -> None:
        self.count = count
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.shares(*process()))

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.shares(*process())

    def shares(self, rank: int = 0, processes: int = 1) -> list[list[int]]:
        """The batches of process ``rank``."""
        if self.count < processes:
            return [list(range(self.count))]
        each = min(math.ceil(self.count / (self.batch_size * processes)), self.count // processes)
        batches = np.array_split(np.arange(self.count), each * processes)
        return [batch.tolist() for batch in batches[rank::processes]]


class BatchStream:
    """The batches of a whole run in one pass, which goes on where it was stopped.

    Epoch follows upon epoch without a break. In a process group each process gets its share of every batch.
    The state says how many batches were handed out; what workers have prepared beyond that does not count.

    Args:
        loader: names the dataset, its `LengthBuckets`, how items are collated and by how many workers.
        length: batches of the run.

    Raises:
        TypeError: if the batches of ``loader`` are not of `LengthBuckets`.
    """

    def __init__(self, loader: DataLoader[Any], length: int) -> None:
        if not isinstance(loader.batch_sampler, LengthBuckets):
            raise TypeError("training needs a DataLoader whose batch_sampler is LengthBuckets")
        self._loader = loader
        self._buckets = loader.batch_sampler
        self._length = length
        self.position = 0

    def __len__(self) -> int:
        return self._length

    @property
    def seed(self) -> int:
        """Of the run."""
        return self._buckets.seed

    def __iter__(self) -> Iterator[Any]:
        loader = self._loader
        batches: DataLoader[Any] = DataLoader(
            loader.dataset,
            batch_sampler=self._buckets.run(self.position, self._length, *process()),
            collate_fn=loader.collate_fn,
            num_workers=loader.num_workers,
            prefetch_factor=loader.prefetch_factor,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
        )
        for batch in batches:
            self.position += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Where the run is, and what that number depends on."""
        size = self._buckets.joint_size(process()[1])
        return {"position": self.position, "seed": self._buckets.seed, "batch_size": size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on behind the batches that were handed out."""
        self.position = state["position"]
        changed = {name for name, value in self.state_dict().items() if state[name] != value}
        if changed:
            logger.warning("the data comes in another order than before: %s changed", ", ".join(changed))


def process() -> tuple[int, int]:
    """Rank of this process, and how many there are."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
