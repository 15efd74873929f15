"""What sources have in common: clips one after the other into a dataset; the unusable are set aside."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np

from motiongpt3.data.captions import Caption, mirror_words
from motiongpt3.data.humanml3d import SPLITS, ClipMetadata, check_writable, write_dataset


@dataclass(frozen=True, eq=False)
class SourceClip:
    """A clip ready to be written; see `DatasetWriter.add`."""

    name: str
    features: np.ndarray
    captions: Sequence[Caption]
    split: str | None
    metadata: ClipMetadata


@dataclass(frozen=True)
class SkippedClip:
    """A clip that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class PreparedClips:
    """What was written.

    Attributes:
        clips: number of clips of each split, mirror images included.
        frames: frames of features in all clips.
        skipped: clips that were left out.
    """

    clips: dict[str, int]
    frames: int
    skipped: tuple[SkippedClip, ...]


def write_clips(
    clips: Iterable[SourceClip | SkippedClip],
    out: str | Path,
    attribution: str,
    overwrite: bool,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> PreparedClips:
    """Write clips as a dataset, which appears when complete.

    Args:
        clips: in any order.
        out: the dataset to write.
        attribution: text of ``ATTRIBUTION.md``.
        overwrite: replace a dataset that is at ``out``.
        total: how many clips there will be.
        progress: called with (clips done, clips in all).

    Raises:
        InputError: if ``out`` may not be written, or no clip is in the training split.
    """
    check_writable(out, overwrite)
    counts = dict.fromkeys(SPLITS, 0)
    frames = 0
    skipped = []
    with write_dataset(out, attribution, overwrite) as writer:
        for done, clip in enumerate(clips, 1):
            if isinstance(clip, SkippedClip):
                skipped.append(clip)
            else:
                writer.add(clip.name, clip.features, clip.captions, clip.split, clip.metadata)
                frames += len(clip.features)
                if clip.split is not None:
                    counts[clip.split] += 1
            if progress is not None:
                progress(done, total)
    return PreparedClips(counts, frames, tuple(skipped))


def mirror_metadata(metadata: ClipMetadata) -> ClipMetadata:
    """What is known of the mirror image of a clip."""
    label = metadata.label and mirror_words(metadata.label)
    return replace(metadata, id=f"M{metadata.id}", label=label, mirrored_from=metadata.id)


def assign_splits(names: Iterable[str]) -> dict[str, str]:
    """Divide clips as HumanML3D is divided, 80 % train, 5 % val, 15 % test, the same way every time."""
    ordered = sorted(names, key=lambda name: (zlib.crc32(name.encode()), name))
    train, val = ceil(0.8 * len(ordered)), ceil(0.85 * len(ordered))
    return {
        name: "train" if place < train else "val" if place < val else "test"
        for place, name in enumerate(ordered)
    }
