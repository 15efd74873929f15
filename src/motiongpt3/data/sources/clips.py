"""What sources have in common: clips one after the other into a dataset; the unusable are set aside."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
import torch

from motiongpt3.data.captions import Caption, mirror_words
from motiongpt3.data.humanml3d import check_writable, write_dataset
from motiongpt3.data.layout import SPLITS, ClipMetadata, open_array
from motiongpt3.errors import InputError
from motiongpt3.motion.skeleton import JOINT_COUNT


@dataclass(frozen=True, eq=False)
class SourceClip:
    """A clip ready to be written; see `DatasetWriter.add`."""

    name: str
    features: np.ndarray
    captions: Sequence[Caption]
    split: str | None
    metadata: ClipMetadata
    joints: np.ndarray | None = None


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
                writer.add(clip.name, clip.features, clip.captions, clip.split, clip.metadata, clip.joints)
                frames += len(clip.features)
                if clip.split is not None:
                    counts[clip.split] += 1
            if progress is not None:
                progress(done, total)
    return PreparedClips(counts, frames, tuple(skipped))


def skip(name: str, reason: str, mirror: bool) -> Iterator[SkippedClip]:
    """A clip that is left out, and its mirror image, if there was to be one."""
    yield SkippedClip(name, reason)
    if mirror:
        yield SkippedClip(f"M{name}", reason)


def read_joints(path: Path) -> torch.Tensor:
    """The first 22 joints (T, 22, 3) float64 of a numpy file that may have more of SMPL's.

    Raises:
        InputError: if the file is missing or holds something else.
    """
    array = open_array(path)
    if array.ndim != 3 or array.shape[1] < JOINT_COUNT or array.shape[2] != 3:
        raise InputError(f"{path}: expected joints (frames, {JOINT_COUNT} or more, 3), found {array.shape}")
    return torch.from_numpy(np.array(array[:, :JOINT_COUNT], dtype=np.float64))


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
