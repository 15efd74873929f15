"""Unpacking archives that came from elsewhere: plain files and folders only, all inside the target."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from motiongpt3.errors import CheckpointError

SUFFIXES = (".zip", ".tar.gz", ".tgz")
LARGEST_TOTAL = 16 * 1024**3


def is_archive(name: str) -> bool:
    """Whether a file of this name is one that `unpack` takes (a plain ``.tar`` is often a checkpoint)."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: str | Path, folder: str | Path, largest_total: int = LARGEST_TOTAL) -> None:
    """Unpack a zip or gzipped tar into ``folder``, which is created.

    The whole table of contents is examined before anything is written. Raises `CheckpointError` for a
    damaged archive, a path that leads out of ``folder``, a link or device, or more than ``largest_total``
    bytes in all.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        if archive.name.lower().endswith(".zip"):
            _unpack_zip(archive, folder, largest_total)
        else:
            _unpack_tar(archive, folder, largest_total)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
    ) as error:
        raise CheckpointError(f"cannot unpack {archive}: {error}; delete it and fetch it again") from error


def _unpack_zip(archive: Path, folder: Path, largest_total: int) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        _check_total(archive, sum(member.file_size for member in members), largest_total)
        for member in members:
            _check_name(archive, member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise CheckpointError(f"{archive} holds {member.filename!r}, no plain file or folder")
        file.extractall(folder)


def _unpack_tar(archive: Path, folder: Path, largest_total: int) -> None:
    with tarfile.open(archive, "r:gz") as file:
        members = file.getmembers()
        _check_total(archive, sum(member.size for member in members), largest_total)
        for member in members:
            _check_name(archive, member.name)
            if not (member.isreg() or member.isdir()):
                raise CheckpointError(f"{archive} holds {member.name!r}, no plain file or folder")
        folder.mkdir(parents=True, exist_ok=True)
        file.extractall(folder, filter="data")


def _check_total(archive: Path, total: int, largest_total: int) -> None:
    if total > largest_total:
        raise CheckpointError(f"{archive} would unpack to {total} bytes; {largest_total} is the limit")


def _check_name(archive: Path, name: str) -> None:
    # Judged by the rules of both systems: a drive letter is harmless here and not elsewhere.
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.is_absolute() or path.drive or path.root or ".." in path.parts:
            raise CheckpointError(f"{archive} holds the path {name!r}, which leads out of its folder")
