from __future__ import annotations

import contextlib
import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motiongpt3.errors import InputError
from motiongpt3.motion.formats import read_motion
from motiongpt3.motion.formats.npz import NpzArchive, write_npz
from tests.motion.formats.smpl_files import recording


class Explosive:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("unpickled",)


def member(shape: str, data: bytes, descr: str = "'<f8'") -> bytes:
    """An array file with a header that may lie."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def pack(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def test_arrays_come_back(tmp_path: Path) -> None:
    values = np.asfortranarray(np.arange(12, dtype=np.int32).reshape(3, 4))
    write_npz(tmp_path / "a.npz", {"values": values, "gender": "Male", "fps": 30.0, "none": np.zeros((0, 3))})
    archive = NpzArchive(tmp_path / "a.npz")
    assert archive.names == ("values", "gender", "fps", "none")
    assert np.array_equal(archive.numbers("values"), values)
    assert archive.numbers("none").shape == (0, 3)
    assert archive.number("fps") == 30
    assert archive.word("gender") == "male"
    assert archive.word("fps") is None
    with pytest.raises(InputError, match=r"no array 'pose'; the archive has fps, gender"):
        archive.numbers("pose")


def test_headers_must_agree_with_the_data(tmp_path: Path) -> None:
    path = pack(
        tmp_path / "a.npz",
        huge=member("(1000000000, 22, 3)", b"\0" * 64),
        long=member("(2,)", b"\0" * 24),
        negative=member("(-1, 3)", b"\0" * 24),
        odd=member("(3,)", b"\0" * 12, "'<f4'").replace(b"NUMPY\x01", b"NUMPY\x09"),
        code=member("(__import__('os').mkdir('called'),)", b"\0" * 8),
        text=b"not an array",
        empty=b"",
    )
    archive = NpzArchive(path)
    for name, message in {
        "huge": "announces 528000000000 bytes, the entry has 64",
        "long": "announces 16 bytes, the entry has 24",
        "negative": "impossible shape|cannot be read",
        "odd": "unknown version",
        "code": "cannot be read",
        "text": "cannot be read",
        "empty": "cannot be read",
    }.items():
        with pytest.raises(InputError, match=message):
            archive.numbers(name)
    assert not Path("called").exists()


def test_a_zip_bomb_is_refused_by_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motiongpt3.motion.formats.npz.MAX_ARRAY_BYTES", 8 * 2**20)
    path = tmp_path / "bomb.npz"
    size = 9 * 2**20
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("poses.npy", "w") as file,
    ):
        file.write(member(f"({size // 8},)", b""))
        for _ in range(size // 2**20):
            file.write(bytes(2**20))
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="unpacks to 9 MiB; arrays are read up to 8"):
        NpzArchive(path).numbers("poses")


def test_messages_are_one_line_whatever_arrays_are_called(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.npz", **{"evil\n\x1b[2Jname": member("(1,)", b"\0" * 8)})
    for attempt in (lambda: read_motion(path), lambda: NpzArchive(path).numbers("poses")):
        with pytest.raises(InputError, match=r"the archive has evil\?\?\[2Jname$"):
            attempt()


def test_an_entry_without_a_name_is_no_array(tmp_path: Path) -> None:
    # Found by fuzzing: zipfile's own test for folders fails on it.
    path = pack(tmp_path / "a.npz", p=member("(1,)", b"\0" * 8))
    nameless = path.read_bytes().replace(b"p.npy", b"\0.npy")
    (tmp_path / "a.npz").write_bytes(nameless)
    with pytest.raises(InputError, match="neither AMASS"):
        read_motion(path)


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
        for number in range(1001):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(InputError, match="1001 entries"):
        NpzArchive(tmp_path / "many.npz")


def test_pickles_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", poses=np.array([Explosive()], dtype=object), gender=np.array(Explosive(), dtype=object))
    archive = NpzArchive("a.npz")
    with pytest.raises(InputError, match="pickled Python objects, which are never loaded"):
        archive.numbers("poses")
    assert archive.word("gender") is None
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("contents", [b"", b"PK", b"PK\x03\x04" + b"\0" * 60, b"\x80\x04\x95", b"hello"])
def test_what_is_no_archive_is_refused(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(contents)
    with pytest.raises(InputError, match=r"a.npz: not a readable .npz archive"):
        read_motion(tmp_path / "a.npz")
    with pytest.raises(InputError, match="no such file"):
        NpzArchive(tmp_path / "b.npz")
    with pytest.raises(InputError, match=r"folder|not a readable"):
        NpzArchive(tmp_path)


def good() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **recording(frames=4))  # type: ignore[arg-type]
    return buffer.getvalue()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_an_input_error_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    contents = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.npz"
    path.write_bytes(bytes(contents[: data.draw(st.integers(len(contents) // 2, len(contents)))]))
    with contextlib.suppress(InputError):
        assert read_motion(path).joints.isfinite().all()


GOOD = good()
