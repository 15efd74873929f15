"""HumanML3D's layout on disk: what the files of a dataset are called, and how each kind of them is read.

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
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from motiongpt3.errors import InputError
from motiongpt3.motion.features import FEATURE_WIDTH, KIT_FEATURE_WIDTH

FEATURES, JOINTS, TEXTS = "new_joint_vecs", "new_joints", "texts"
SPLITS = ("train", "val", "test")
METADATA, ATTRIBUTION = "metadata.jsonl", "ATTRIBUTION.md"
STATISTICS = ("Mean.npy", "Std.npy")
LISTS = tuple(f"{split}.txt" for split in (*SPLITS, "all"))
EVERYTHING = {FEATURES, JOINTS, TEXTS, METADATA, ATTRIBUTION, *STATISTICS, *LISTS}
"""All that a dataset's folder may hold."""


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
        InputError: if it is not a JSON object with an ``id``, or a value is of another type.
    """
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from None
    if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str):
        raise InputError(f"{where}: expected an object with an id")
    known = {field.name for field in fields(ClipMetadata)}
    values = {key: value for key, value in entry.items() if key in known}
    human = values.pop("human", None) or []
    if not isinstance(human, list):
        raise InputError(f"{where}: human is a list of true and false, one for each caption")
    for key, value in values.items():
        if not isinstance(value, str | None):
            raise InputError(f"{where}: {key} is text, not {str(value)[:40]!r}")
    return ClipMetadata(**values, human=tuple(bool(flag) for flag in human))


def metadata_line(metadata: ClipMetadata) -> str:
    """The line that `parse_metadata` reads back."""
    known = {key: value for key, value in asdict(metadata).items() if value is not None and value != ()}
    return json.dumps(known) + "\n"


def open_features(path: Path) -> np.ndarray:
    """`open_array` of features (T, 263).

    Raises:
        InputError: see there, and for another width.
    """
    array = open_array(path)
    check_width(array.shape, str(path))
    return array


def check_width(shape: tuple[int, ...], where: str) -> None:
    """Refuse what has not the shape of features.

    Raises:
        InputError: beginning with ``where``.
    """
    if len(shape) == 2 and shape[1] == FEATURE_WIDTH:
        return
    if shape and shape[-1] == KIT_FEATURE_WIDTH:
        raise InputError(
            f"{where}: {KIT_FEATURE_WIDTH} values a frame is KIT-ML's 21-joint layout; "
            f"this project reads HumanML3D's {FEATURE_WIDTH}"
        )
    raise InputError(f"{where}: expected features of shape (T, {FEATURE_WIDTH}), found {shape}")


def finite(features: np.ndarray, where: str | Path) -> np.ndarray:
    """Features (T, 263) as float32, read into memory.

    Raises:
        InputError: naming the first frame that is not finite.
    """
    rows = np.array(features, dtype=np.float32)
    if not np.isfinite(rows).all():
        frame = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise InputError(
            f"{where}: NaN or infinite features in frame {frame}; take the clip out of its split"
        )
    return rows


def clip_name(name: str) -> str:
    """The name of a clip, which becomes file names.

    Raises:
        InputError: if it could lead out of the dataset's folder.
    """
    if not name or name in (".", "..") or set(name) & set("/\\\0\n\r"):
        raise InputError(f"{name!r} cannot be the name of a clip: it must be a plain file name")
    return name


def read_text(path: Path) -> str:
    """A file of text in UTF-8.

    Raises:
        InputError: if it is missing, or something else.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} as text: {error}") from None
