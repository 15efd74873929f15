"""NumPy archives (.npz) from anywhere: sizes are checked before anything is allocated, pickle is never run.

``numpy.load`` allocates what an array's header asks for before it looks at how much there is, and an archive
of a few kilobytes can unpack to gigabytes. Here the directory of the archive must stay within limits, only
arrays that are asked for are unpacked, and each header must agree with the size of its entry.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file

MAX_ARRAY_BYTES = 512 * 2**20
"""Of one array, unpacked: ten minutes of SMPL-H at 120 frames a second are a fifth of this."""
MAX_ENTRIES = 1_000

# What zipfile and numpy raise for truncated, foreign and hostile archives, depending on where the damage is.
_BROKEN_ARCHIVE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    SyntaxError,
    OverflowError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    UnicodeError,
)


class NpzArchive:
    """The arrays of a file by name, unpacked when asked for.

    Raises:
        InputError: if the file is missing, or not a zip archive of at most 1000 entries.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = archive.infolist()
        except FileNotFoundError as error:
            raise InputError(f"{self.path}: no such file") from error
        except IsADirectoryError as error:
            raise InputError(f"{self.path}: is a folder, not an .npz archive") from error
        except _BROKEN_ARCHIVE as error:
            raise InputError(
                f"{self.path}: not a readable .npz archive ({_reason(error)}); it may be cut short"
            ) from error
        if len(entries) > MAX_ENTRIES:
            raise InputError(f"{self.path}: {len(entries)} entries; archives are read up to {MAX_ENTRIES}")
        files = (entry for entry in entries if not entry.filename.endswith("/"))
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in files}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all arrays, none of which has been looked at."""
        return tuple(self._entries)

    def listing(self) -> str:
        """The first names for a message, without control characters."""
        listed = ", ".join(sorted(self._entries)[:40])[:400] or "nothing"
        return "".join(letter if letter.isprintable() else "?" for letter in listed)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def numbers(self, name: str) -> np.ndarray:
        """One array of integers or real numbers, as float64.

        Raises:
            InputError: if it is not there, broken, larger than `MAX_ARRAY_BYTES`, of another kind, or
                holds NaN or infinity.
        """
        array = self._read(name)
        if array.dtype.kind not in "fiub":
            raise InputError(f"{self.path}: {name!r} holds {array.dtype} values, not numbers")
        values = array.astype(np.float64)
        if not np.isfinite(values).all():
            place = tuple(int(index) for index in np.argwhere(~np.isfinite(values))[0])
            raise InputError(f"{self.path}: {name!r} has a NaN or infinite value at {place}")
        return values

    def number(self, name: str) -> float:
        """A single number, however it is wrapped; errors as for `numbers`."""
        values = self.numbers(name)
        if values.size != 1:
            raise InputError(f"{self.path}: {name!r} should be one number, found shape {values.shape}")
        return float(values.reshape(()))

    def word(self, name: str) -> str | None:
        """A single string or byte string, lower case; ``None`` for anything else, such as a pickled one.

        Raises:
            InputError: if it is not there or broken.
        """
        try:
            array = self._read(name)
        except _PickledError:
            return None
        if array.dtype.kind not in "US" or array.size != 1:
            return None
        value = array.reshape(()).item()
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        return text.strip().casefold()

    def words(self, name: str) -> list[str]:
        """A row of strings.

        Raises:
            InputError: if it is not there, broken, or something else.
        """
        array = self._read(name)
        if array.dtype.kind != "U" or array.ndim != 1:
            raise InputError(f"{self.path}: {name!r} is no row of words")
        return [str(word) for word in array]

    def _read(self, name: str) -> np.ndarray:
        entry = self._entries.get(name)
        if entry is None:
            raise InputError(f"{self.path}: no array {name!r}; the archive has {self.listing()}")
        if entry.file_size > MAX_ARRAY_BYTES:
            size, limit = entry.file_size / 2**20, MAX_ARRAY_BYTES // 2**20
            raise InputError(
                f"{self.path}: {name!r} unpacks to {size:.0f} MiB; arrays are read up to {limit}"
            )
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(entry) as file:
                return self._array(file, entry.file_size, name)
        except InputError:
            raise
        except _BROKEN_ARCHIVE as error:
            raise InputError(f"{self.path}: array {name!r} cannot be read ({_reason(error)})") from error

    def _array(self, file: IO[bytes], size: int, name: str) -> np.ndarray:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"unknown version {version} of the array format")
        shape, fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise _PickledError(
                f"{self.path}: array {name!r} is pickled Python objects, which are never loaded; "
                "save it as a plain array of numbers or text"
            )
        if any(length < 0 for length in shape):
            raise ValueError(f"impossible shape {shape}")
        expected = math.prod(shape) * dtype.itemsize
        if expected != size - file.tell():
            raise ValueError(f"the header announces {expected} bytes, the entry has {size - file.tell()}")
        data = file.read(expected)
        if len(data) != expected or file.read(1):
            raise EOFError("the entry is cut short")
        array = np.frombuffer(data, dtype) if expected else np.empty(0, dtype)
        return array.reshape(shape, order="F" if fortran else "C")


class _PickledError(InputError):
    pass


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray | str | float]) -> None:
    """Write arrays as a compressed archive; nothing is ever half-written."""
    contents: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **contents)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
