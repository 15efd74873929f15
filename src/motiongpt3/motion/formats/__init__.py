"""Motion files: one module a format; every reader gives a `Motion`, every writer takes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from motiongpt3.errors import InputError
from motiongpt3.motion.formats.bvh_motion import UpAxis, read_bvh, write_bvh
from motiongpt3.motion.formats.npy import read_npy, write_features, write_npy
from motiongpt3.motion.formats.skeleton_maps import JointMap
from motiongpt3.motion.motion import Motion

__all__ = [
    "FORMATS",
    "Format",
    "read_bvh",
    "read_motion",
    "read_npy",
    "write_bvh",
    "write_features",
    "write_motion",
    "write_npy",
]


@dataclass(frozen=True)
class Format:
    """A file format for motion.

    Attributes:
        name: as people say it.
        suffix: file name ending, with the dot.
        magic: how the contents begin, for files with another ending.
        keeps: what survives writing and reading again.
        write: writes a motion to a path.
    """

    name: str
    suffix: str
    magic: bytes
    keeps: str
    write: Callable[[Motion, Path], None]


NPY_FORMAT = Format(
    "NumPy joints", ".npy", b"\x93NUMPY", "joints exactly; not the frame rate, nor features", write_npy
)
BVH_FORMAT = Format(
    "BVH",
    ".bvh",
    b"HIERARCHY",
    "frame rate, and joints to a millimetre; not features",
    write_bvh,
)
FORMATS: dict[str, Format] = {format_.suffix: format_ for format_ in (NPY_FORMAT, BVH_FORMAT)}
"""Formats by suffix."""


def read_motion(
    path: str | Path,
    fps: float | None = None,
    joint_map: JointMap | str | Path | None = None,
    scale: float | None = None,
    up: UpAxis | None = None,
) -> Motion:
    """Read a motion file, recognised by its suffix, else by its contents.

    Args:
        path: joints or features (.npy), or BVH; see `read_npy` and `read_bvh`.
        fps: frames per second; from the file if it says, else 20.
        joint_map: for a BVH of an unknown skeleton: SMPL joint name to source joint, or a JSON file.
        scale: for BVH: metres per unit, if it cannot be recognised.
        up: for BVH: "y" or "z", if it cannot be recognised.

    Raises:
        InputError: naming the file and what is wrong with it.
    """
    path = Path(path)
    if _recognise(path) is BVH_FORMAT:
        return read_bvh(path, fps, joint_map, scale, up)
    if joint_map is not None or scale is not None or up is not None:
        raise InputError(f"{path}: joint_map, scale and up apply to BVH files, not to arrays")
    return read_npy(path, fps)


def write_motion(motion: Motion, path: str | Path) -> None:
    """Write a motion in the format of the path's suffix (.npy: joints; .bvh); nothing is ever half-written.

    Raises:
        InputError: for another suffix.
    """
    path = Path(path)
    chosen = FORMATS.get(path.suffix.lower())
    if chosen is None:
        raise InputError(f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {_suffixes()}")
    chosen.write(motion, path)


def _recognise(path: Path) -> Format:
    known = FORMATS.get(path.suffix.lower())
    if known is not None:
        return known
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    for candidate in FORMATS.values():
        if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(candidate.magic):
            return candidate
    raise InputError(f"{path}: not a motion file that can be read; use {_suffixes()}")


def _suffixes() -> str:
    return " or ".join(FORMATS)
