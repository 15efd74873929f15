"""HumanML3D's layout on disk, the one dataset format of this project: reading it, and writing it.

A dataset is a folder::

    new_joint_vecs/NAME.npy   (T, 263) float32 features
    new_joints/NAME.npy       (T, 22, 3) float32 joints: the position path of those features (optional)
    texts/NAME.txt            one caption a line, see `captions`
    train.txt val.txt test.txt all.txt      one NAME a line
    Mean.npy Std.npy          (263,) of the training split
    metadata.jsonl            what else is known of a clip (this project's addition; optional)
    ATTRIBUTION.md            notices to keep with the data (likewise)

Files written by others are only ever read as arrays and text: nothing in a dataset can run code.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from motiongpt3.data.captions import Caption, format_caption, parse_caption
from motiongpt3.errors import InputError
from motiongpt3.files import atomic_folder
from motiongpt3.motion.features import (
    FEATURE_WIDTH,
    FRAMES_PER_SECOND,
    KIT_FEATURE_WIDTH,
    Statistics,
    features_to_joints,
)
from motiongpt3.motion.skeleton import JOINT_COUNT

FEATURES, JOINTS, TEXTS = "new_joint_vecs", "new_joints", "texts"
SPLITS = ("train", "val", "test")
METADATA, ATTRIBUTION = "metadata.jsonl", "ATTRIBUTION.md"
MIN_FRAMES, MAX_FRAMES = 20, 200

_LISTS = {f"{split}.txt" for split in (*SPLITS, "all")}
_LAYOUT = {FEATURES, JOINTS, TEXTS, METADATA, ATTRIBUTION, "Mean.npy", "Std.npy"} | _LISTS
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipMetadata:
    """What a dataset knows of a clip beyond its motion and captions; None or empty where it does not.

    Attributes:
        id: the clip's name.
        label: what is done, in the source's words ("walk-turn-left").
        style: how it is done ("elderly").
        group: "free" for any use, "nc" for non-commercial use only.
        licence: as the source states it.
        source: the recording, and where it was published.
        mirrored_from: the clip that this one is the mirror image of.
        duplicate_of: a clip or recording that shows nearly the same performance.
        human: for each caption of the clip, whether a person wrote it, or its mirror image, about the motion.
    """

    id: str
    label: str | None = None
    style: str | None = None
    group: str | None = None
    licence: str | None = None
    source: str | None = None
    mirrored_from: str | None = None
    duplicate_of: str | None = None
    human: tuple[bool, ...] = ()


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
        path = self.root / f"{_clip_name(name)}.txt"
        if not path.is_file():
            raise InputError(f"{self.root} has no split {name!r}: there is no {path.name}")
        lines = (line.strip() for line in _read_text(path).splitlines())
        return [_clip_name(line) for line in lines if line]

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and deviation that come with the dataset."""
        return Statistics.load(self.root)

    @cached_property
    def metadata(self) -> dict[str, ClipMetadata]:
        """What `metadata.jsonl` says of each clip; empty without that file. Unknown keys are skipped.

        Raises:
            InputError: if a line is not an object with an ``id``.
        """
        path = self.root / METADATA
        if not path.is_file():
            return {}
        entries = [parse_metadata(line, f"{path}, line {number}") for number, line in _numbered_lines(path)]
        return {entry.id: entry for entry in entries}

    def captions(self, clip: str) -> list[Caption]:
        """The captions of a clip.

        Raises:
            InputError: if the file is missing or a line is not a caption.
        """
        path = self.root / TEXTS / f"{_clip_name(clip)}.txt"
        captions = []
        for number, line in _numbered_lines(path):
            try:
                captions.append(parse_caption(line))
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error}") from None
        return captions

    def joints(self, clip: str) -> np.ndarray:
        """Joints (T, 22, 3) of a clip as stored.

        Raises:
            InputError: if the file is missing or not such an array.
        """
        path = self.root / JOINTS / f"{_clip_name(clip)}.npy"
        array = open_array(path)
        if array.ndim != 3 or array.shape[1:] != (JOINT_COUNT, 3):
            raise InputError(f"{path}: expected joints of shape (T, {JOINT_COUNT}, 3), found {array.shape}")
        return np.array(array, dtype=np.float32)

    def clip(self, id: str) -> Clip:
        """A whole clip.

        Raises:
            InputError: if a file of it is missing, unreadable, of another width, or holds NaN.
        """
        path = self._features_path(id)
        return Clip(id, _finite(_open_features(path), path), self.captions(id))

    def features(self, segment: Segment) -> np.ndarray:
        """Raw features (frames, 263) float32 of a segment.

        Raises:
            InputError: see `clip`.
        """
        path = self._features_path(segment.clip)
        return _finite(_open_features(path)[segment.start : segment.end], path)

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
            length = len(_open_features(self._features_path(clip)))
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
        return self.root / FEATURES / f"{_clip_name(clip)}.npy"


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
        if _clip_name(id) in self._names:
            raise InputError(f"the dataset has a clip {id!r} already")
        if split is not None and split not in SPLITS:
            raise InputError(f"clip {id!r}: a split is one of {', '.join(SPLITS)}, not {split!r}")
        if not captions:
            raise InputError(f"clip {id!r} has no caption")
        _check_width(features.shape, id)
        rows = _finite(features, id)
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
            lines = [_metadata_line(self._metadata[clip]) for clip in sorted(self._metadata)]
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
    foreign = sorted(present - _LAYOUT)
    if foreign:
        raise InputError(f"cannot write a dataset to {root}: it holds other things, such as {foreign[0]!r}")
    if present and not overwrite:
        raise InputError(
            f"{root} is not empty: choose another folder, or allow overwriting (--overwrite true)"
        )


def open_array(path: Path) -> np.ndarray:
    """Map a numpy file of floating-point numbers into memory without reading it.

    Raises:
        InputError: if it is missing, not a numpy file, or holds anything else.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"cannot read {path} as a numpy file: {' '.join(str(error).split())}") from None
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{path} does not hold one array of floating-point numbers")
    return array


def parse_metadata(line: str, where: str) -> ClipMetadata:
    """Read one line of ``metadata.jsonl``; ``where`` begins the message of an error.

    Raises:
        InputError: if it is not a JSON object with an ``id``.
    """
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from None
    if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str):
        raise InputError(f"{where}: expected an object with an id")
    known = {field.name for field in fields(ClipMetadata)}
    values = {key: value for key, value in entry.items() if key in known}
    values["human"] = tuple(bool(flag) for flag in values.get("human") or ())
    return ClipMetadata(**values)


def _metadata_line(metadata: ClipMetadata) -> str:
    known = {key: value for key, value in asdict(metadata).items() if value is not None and value != ()}
    return json.dumps(known) + "\n"


def _open_features(path: Path) -> np.ndarray:
    array = open_array(path)
    _check_width(array.shape, str(path))
    return array


def _check_width(shape: tuple[int, ...], where: str) -> None:
    if len(shape) == 2 and shape[1] == FEATURE_WIDTH:
        return
    if shape and shape[-1] == KIT_FEATURE_WIDTH:
        raise InputError(
            f"{where}: {KIT_FEATURE_WIDTH} values a frame is KIT-ML's 21-joint layout; "
            f"this project reads HumanML3D's {FEATURE_WIDTH}"
        )
    raise InputError(f"{where}: expected features of shape (T, {FEATURE_WIDTH}), found {shape}")


def _finite(features: np.ndarray, where: str | Path) -> np.ndarray:
    rows = np.array(features, dtype=np.float32)
    if not np.isfinite(rows).all():
        frame = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise InputError(
            f"{where}: NaN or infinite features in frame {frame}; take the clip out of its split"
        )
    return rows


def _clip_name(name: str) -> str:
    if not name or name in (".", "..") or set(name) & set("/\\\0\n\r"):
        raise InputError(f"{name!r} cannot be the name of a clip: it must be a plain file name")
    return name


def _numbered_lines(path: Path) -> Iterable[tuple[int, str]]:
    lines = enumerate(_read_text(path).splitlines(), start=1)
    return ((number, line) for number, line in lines if line.strip())


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} as text: {error}") from None
