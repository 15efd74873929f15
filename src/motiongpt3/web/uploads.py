"""Motion files from strangers: size, kind and number of frames are looked at before anything is parsed."""

from __future__ import annotations

import io
import re
import shutil
import tempfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np

from motiongpt3.errors import InputError
from motiongpt3.motion.formats import FORMATS, read_motion
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.standard import standardise

MAX_BYTES = 20 * 2**20
MAX_FRAMES = 40_000
MAX_UNPACKED_BYTES = 256 * 2**20
MAX_SECONDS = 120.0

READABLE = {
    format_.suffix: format_
    for format_ in FORMATS.values()
    # Through Blender, a file of a stranger would be opened by a program that runs scripts.
    if format_.read is not None and format_.name != "fbx"
}
"""Endings of files that are taken, with their formats."""

_NAME = re.compile(r"[^\w.-]+", re.ASCII)
_BVH_FRAMES = re.compile(rb"^\s*Frames:\s*(\d{1,12})", re.MULTILINE | re.IGNORECASE)


def safe_name(name: str) -> str:
    """A file name in plain letters, without folders, at most 80 characters long."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = _NAME.sub("-", plain.replace("\\", "/").rpartition("/")[2]).strip("-.")
    stem, dot, suffix = plain.rpartition(".")
    return f"{stem[:70] or 'motion'}{dot}{suffix[:9]}" if dot else plain[:80] or "motion"


def check_upload(data: bytes, name: str) -> None:
    """Refuse what is no motion file, or too much of one, by its first bytes and what it says of itself.

    Raises:
        InputError: saying which.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in READABLE:
        raise InputError(
            f"{name}: {suffix or 'a file without an ending'} is not taken: {', '.join(READABLE)} are"
        )
    if not data:
        raise InputError(f"{name}: the file is empty")
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(READABLE[suffix].magic):
        raise InputError(f"{name}: the contents are not {READABLE[suffix].title}")
    frames = _announced_frames(data, suffix, name)
    if frames > MAX_FRAMES:
        raise InputError(f"{name}: {frames} frames; at most {MAX_FRAMES} are read: cut the clip")


def _announced_frames(data: bytes, suffix: str, name: str) -> int:
    """How many frames a file says that it has; 0 if it does not say."""
    if suffix == ".bvh":
        return max((int(found) for found in _BVH_FRAMES.findall(data)), default=0)
    if suffix == ".npz":
        _check_archive(data, name)
    elif suffix == ".npy":
        return max(_npy_shape(data, name)[:2], default=0)
    return 0


def _npy_shape(data: bytes, name: str) -> tuple[int, ...]:
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        return tuple(read(file)[0])
    except Exception as error:
        raise InputError(f"{name}: not a readable .npy array; save it with numpy.save") from error


def _check_archive(data: bytes, name: str) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:
        raise InputError(f"{name}: not a readable .npz archive; it may be cut short") from error
    if unpacked > MAX_UNPACKED_BYTES:
        raise InputError(
            f"{name}: unpacks to {unpacked >> 20} MiB; at most {MAX_UNPACKED_BYTES >> 20} MiB are read"
        )


def read_upload(data: bytes, name: str, folder: Path) -> Motion:
    """The motion of an uploaded file, as it is in the file.

    Args:
        data: its contents.
        name: what the client calls it.
        folder: where it may lie while it is read.

    Raises:
        InputError: naming the file as the client does.
    """
    name = safe_name(name)
    check_upload(data, name)
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=folder, prefix="upload-"))
    try:
        path = place / name
        path.write_bytes(data)
        motion = read_motion(path)
        if motion.duration > MAX_SECONDS:
            raise InputError(
                f"{name}: {motion.duration:.0f} s; at most {MAX_SECONDS:g} s are taken: cut the clip"
            )
    except InputError as error:
        raise InputError(str(error).replace(f"{place}/", "")) from None
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return Motion(motion.joints, motion.fps, motion.features, Path(name).stem, name, motion.pose)


def read_for_model(data: bytes, name: str, folder: Path, fps: float) -> Motion:
    """The motion of an uploaded file at the model's frame rate; errors as for `read_upload`.

    Joints in an npy at that rate stay as they are, so that what is given can be kept exactly.
    """
    motion = read_upload(data, name, folder)
    exact = name.lower().endswith(".npy") and motion.fps == fps
    return motion if exact or motion.features is not None else standardise(motion)
