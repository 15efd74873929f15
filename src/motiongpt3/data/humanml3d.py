"""Datasets in HumanML3D's layout, the one dataset format of this project: reading them, and writing them.

What lies where is `layout`'s to say.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from motiongpt3.data.captions import Caption, format_caption, parse_captions
from motiongpt3.data.layout import (
    ATTRIBUTION,
    EVERYTHING,
    FEATURES,
    JOINTS,
    METADATA,
    SPLITS,
    TEXTS,
    ClipMetadata,
    check_width,
    clip_name,
    finite,
    metadata_line,
    open_array,
    open_features,
    parse_metadata,
    read_text,
)
from motiongpt3.errors import InputError
from motiongpt3.files import atomic_folder
from motiongpt3.motion.features import FRAMES_PER_SECOND, Statistics, features_to_joints
from motiongpt3.motion.skeleton import JOINT_COUNT

MIN_FRAMES, MAX_FRAMES = 20, 200

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """One file of a dataset: its name, raw features (T, 263) float32, and captions."""

    id: str
    features: np.ndarray
    captions: list[Caption]


@dataclass(frozen=True)
class Segment:
    """A stretch of a clip and the sentences about it: what a model trains on and is tested with.

    Attributes:
        name: the clip's name for a whole clip, else ``NAME_from_to`` with the tags in seconds.
        clip: the clip's name.
        start: first frame.
        end: the frame after the last.
        captions: sentences, at least one.
        label: of the clip, if its metadata has one.
    """

    name: str
    clip: str
    start: int
    end: int
    captions: list[str]
    label: str | None = None

    def __len__(self) -> int:
        return self.end - self.start


class HumanML3DDataset:
    """A dataset on disk, read as the field reads HumanML3D, at 20 frames a second.

    Args:
        root: the folder.

    Raises:
        InputError: if the folder is not a dataset in this layout.
    """

    fps = FRAMES_PER_SECOND

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"no dataset at {self.root}: there is no such folder")
        if not (self.root / FEATURES).is_dir():
            raise InputError(f"{self.root} is not in HumanML3D's layout: it has no folder {FEATURES}")

    @property
    def splits(self) -> list[str]:
        """Names of the splits that the dataset has, train first."""
        return [split for split in SPLITS if (self.root / f"{split}.txt").is_file()]

    def split(self, name: str) -> list[str]:
        """Clip names of a split ("train", "val", "test", or any other list NAME.txt), in the file's order.

        Raises:
            InputError: if there is no such list, or a line in it cannot be a clip's name.
        """
        path = self.root / f"{clip_name(name)}.txt"
        if not path.is_file():
            raise InputError(f"{self.root} has no split {name!r}: there is no {path.name}")
        lines = (line.strip() for line in read_text(path).splitlines())
        return [clip_name(line) for line in lines if line]

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and deviation that come with the dataset."""
        return Statistics.load(self.root)

    @cached_property
    def metadata(self) -> dict[str, ClipMetadata]:
        """What `metadata.jsonl` says of each clip; empty without that file. Unknown keys are skipped.

        Raises:
            InputError: if a line is not what `ClipMetadata` is made of.
        """
        path = self.root / METADATA
        if not path.is_file():
            return {}
        lines = enumerate(read_text(path).splitlines(), start=1)
        entries = [parse_metadata(line, f"{path}, line {number}") for number, line in lines if line.strip()]
        return {entry.id: entry for entry in entries}

    def captions(self, clip: str) -> list[Caption]:
        """The captions of a clip.

        Raises:
            InputError: if the file is missing or a line is not a caption.
        """
        path = self.root / TEXTS / f"{clip_name(clip)}.txt"
        return parse_captions(read_text(path), str(path))

    def joints(self, clip: str) -> np.ndarray:
        """Joints (T, 22, 3) of a clip as stored.

        Raises:
            InputError: if the file is missing or not such an array.
        """
        path = self.root / JOINTS / f"{clip_name(clip)}.npy"
        array = open_array(path)
        if array.ndim != 3 or array.shape[1:] != (JOINT_COUNT, 3):
            raise InputError(f"{path}: expected joints of shape (T, {JOINT_COUNT}, 3), found {array.shape}")
        return np.array(array, dtype=np.float32)

    def clip(self, id: str) -> Clip:
        """A whole clip.

        Raises:
            InputError: if a file of it is missing, unreadable, of another width, or holds NaN.
        """
        return Clip(id, self.clip_features(id), self.captions(id))

    def clip_features(self, id: str) -> np.ndarray:
        """Raw features (T, 263) float32 of a whole clip.

        Raises:
            InputError: see `clip`.
        """
        path = self._features_path(id)
        return finite(open_features(path), path)

    def features(self, segment: Segment) -> np.ndarray:
        """Raw features (frames, 263) float32 of a segment.

        Raises:
            InputError: see `clip`.
        """
        path = self._features_path(segment.clip)
        return finite(open_features(path)[segment.start : segment.end], path)

    def segments(
        self, split: str, min_frames: int = MIN_FRAMES, max_frames: int = MAX_FRAMES
    ) -> list[Segment]:
        """What a split offers to learn from: whole clips and the stretches that captions are about.

        As in the field: a clip's captions without times make one segment; captions with times make one for
        each stretch, frames ``int(from * 20)`` up to ``int(to * 20)``; what is shorter than ``min_frames``,
        or has ``max_frames`` frames or more, is left out. The defaults are those of the official training;
        the standard protocol of evaluation is 40 and 200 (at most 196 after cutting to a multiple of 4).
        Unlike there, captions about one stretch share a segment instead of replacing each other, and a long
        clip's stretches are judged by their own length.

        Clips of the list without a file are left out with a warning; ``motiongpt3 data check`` names them.

        Raises:
            InputError: if the split does not exist, none of its clips does, or a file is broken.
        """
        segments: list[Segment] = []
        names = self.split(split)
        missing = 0
        for clip in names:
            if not (self._features_path(clip).is_file() and (self.root / TEXTS / f"{clip}.txt").is_file()):
                missing += 1
                continue
            length = len(open_features(self._features_path(clip)))
            segments.extend(
                segment
                for segment in self._segments_of(clip, length)
                if min_frames <= len(segment) < max_frames
            )
        if names and missing == len(names):
            raise InputError(f"none of the {missing} clips of split {split!r} has its files in {self.root}")
        if missing:
            _log.warning(
                "%d of %d clips of split %r have no files in %s", missing, len(names), split, self.root
            )
        return segments

    def _segments_of(self, clip: str, length: int) -> Iterator[Segment]:
        label = self.metadata[clip].label if clip in self.metadata else None
        stretches: dict[str, Segment] = {}
        for caption in self.captions(clip):
            name = clip if caption.whole_clip else f"{clip}_{caption.start:f}_{caption.end:f}"
            start, end = caption.frames(length, self.fps)
            segment = stretches.setdefault(name, Segment(name, clip, start, max(start, end), [], label))
            segment.captions.append(caption.text)
        yield from stretches.values()

    def _features_path(self, clip: str) -> Path:
        return self.root / FEATURES / f"{clip_name(clip)}.npy"


class DatasetWriter:
    """Collects clips into a new dataset; `write_dataset` makes one.

    Args:
        folder: an existing empty folder to fill.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._splits: dict[str, list[str]] = {split: [] for split in SPLITS}
        self._metadata: dict[str, ClipMetadata] = {}
        self._names: set[str] = set()
        for name in (FEATURES, JOINTS, TEXTS):
            (folder / name).mkdir()

    def add(
        self,
        id: str,
        features: np.ndarray,
        captions: Sequence[Caption],
        split: str | None,
        metadata: ClipMetadata | None = None,
        joints: np.ndarray | None = None,
    ) -> None:
        """Write the files of one clip.

        Args:
            id: its name; becomes file names.
            features: (T, 263), not normalised.
            captions: about the clip or stretches of it, at least one.
            split: "train", "val", "test", or None for a clip that only ``all.txt`` lists.
            metadata: what else is known of it.
            joints: (T, 22, 3) the position path of ``features`` if it is at hand, else it is computed.

        Raises:
            InputError: for a name that is taken or cannot be a file's, another shape, NaN, or no caption.
        """
        if clip_name(id) in self._names:
            raise InputError(f"the dataset has a clip {id!r} already")
        if split is not None and split not in SPLITS:
            raise InputError(f"clip {id!r}: a split is one of {', '.join(SPLITS)}, not {split!r}")
        if not captions:
            raise InputError(f"clip {id!r} has no caption")
        check_width(features.shape, id)
        rows = finite(features, id)
        if joints is None:
            joints = features_to_joints(torch.from_numpy(rows)).numpy()
        if joints.shape != (len(rows), JOINT_COUNT, 3):
            raise InputError(
                f"clip {id!r}: {len(rows)} frames of features but joints of shape {joints.shape}"
            )
        text = "".join(f"{format_caption(caption)}\n" for caption in captions)

        self._names.add(id)
        if split is not None:
            self._splits[split].append(id)
        if metadata is not None:
            self._metadata[id] = metadata
        np.save(self._folder / FEATURES / f"{id}.npy", rows)
        np.save(self._folder / JOINTS / f"{id}.npy", joints.astype(np.float32, copy=False))
        (self._folder / TEXTS / f"{id}.txt").write_text(text, encoding="utf-8")

    def finish(self, attribution: str | None = None) -> None:
        """Write the lists, the statistics of the training split, the metadata and the attribution.

        Raises:
            InputError: if the training split is empty.
        """
        if not self._splits["train"]:
            raise InputError(
                "a dataset needs clips in its training split: Mean and Std are computed from them"
            )
        for name, clips in {**self._splits, "all": self._names}.items():
            (self._folder / f"{name}.txt").write_text("".join(f"{clip}\n" for clip in sorted(clips)))
        train = (np.load(self._folder / FEATURES / f"{clip}.npy") for clip in sorted(self._splits["train"]))
        Statistics.of(train).save(self._folder)
        if self._metadata:
            lines = [metadata_line(self._metadata[clip]) for clip in sorted(self._metadata)]
            (self._folder / METADATA).write_text("".join(lines), encoding="utf-8")
        if attribution is not None:
            (self._folder / ATTRIBUTION).write_text(attribution, encoding="utf-8")


@contextmanager
def write_dataset(
    root: str | Path, attribution: str | None = None, overwrite: bool = False
) -> Iterator[DatasetWriter]:
    """Yield a writer whose dataset appears at ``root`` as a whole when the block succeeds, or not at all.

    Args:
        root: a folder that does not exist or is empty.
        attribution: the text of ``ATTRIBUTION.md``.
        overwrite: replace a dataset that is at ``root``.

    Raises:
        InputError: if something is at ``root`` that may not be replaced, or the dataset is not complete.
    """
    check_writable(root, overwrite)
    with atomic_folder(root) as folder:
        writer = DatasetWriter(folder)
        yield writer
        writer.finish(attribution)


def check_writable(root: str | Path, overwrite: bool = False) -> None:
    """Refuse to write a dataset over something else.

    Raises:
        InputError: if ``root`` is a file, holds anything foreign, or is a dataset and not ``overwrite``.
    """
    root = Path(root)
    if root.exists() and not root.is_dir():
        raise InputError(f"cannot write a dataset to {root}: it is a file")
    present = {path.name for path in root.iterdir()} if root.is_dir() else set()
    foreign = sorted(present - EVERYTHING)
    if foreign:
        raise InputError(f"cannot write a dataset to {root}: it holds other things, such as {foreign[0]!r}")
    if present and not overwrite:
        raise InputError(
            f"{root} is not empty: choose another folder, or allow overwriting (--overwrite true)"
        )
