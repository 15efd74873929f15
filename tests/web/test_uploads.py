from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motiongpt3.errors import InputError
from motiongpt3.motion.formats import write_motion
from motiongpt3.motion.motion import Motion
from motiongpt3.web import uploads
from motiongpt3.web.uploads import check_upload, read_for_model, read_upload, safe_name
from tests.motion.bodies import wriggling


def clip(frames: int = 30) -> Motion:
    return Motion.from_joints(wriggling(frames), 20.0)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=array.dtype == object)
    return file.getvalue()


def archive(**sizes: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, size in sizes.items():
            packed.writestr(f"{name}.npy", bytes(size))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clip.bvh", "clip.bvh"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\evil.npy", "evil.npy"),
        ("/abs/ö lüt.npz", "o-lut.npz"),
        ("a\x00b\n;rm -rf.bvh", "a-b-rm--rf.bvh"),
        ("...", "motion"),
        (".bvh", "bvh"),
        ("", "motion"),
        ("x" * 500 + ".bvh", "x" * 70 + ".bvh"),
    ],
)
def test_names_are_harmless(name: str, expected: str) -> None:
    assert safe_name(name) == expected


@given(st.text(max_size=200))
def test_any_name_stays_in_its_folder(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert Path(safe).name == safe
    assert not safe.startswith(".")
    assert safe.isascii()


@pytest.mark.parametrize("suffix", [".npy", ".bvh", ".npz"])
def test_files_are_read(tmp_path: Path, suffix: str) -> None:
    motion = clip()
    write_motion(motion, tmp_path / f"clip{suffix}")
    data = (tmp_path / f"clip{suffix}").read_bytes()
    read = read_upload(data, f"../my clip{suffix}", tmp_path / "out")
    assert (len(read), read.fps, read.name, read.source) == (30, 20.0, "my-clip", f"my-clip{suffix}")
    ready = read_for_model(data, f"clip{suffix}", tmp_path / "out", 20.0)
    if suffix == ".npy":
        np.testing.assert_array_equal(ready.joints, motion.joints)
    else:
        assert ready.features is not None
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("clip.exe", lambda: b"MZ", "'.exe' is not taken|.exe is not taken"),
        ("clip", lambda: b"x", "without an ending"),
        ("clip.bvh", lambda: b"", "is empty"),
        ("clip.bvh", lambda: b"\x7fELF" + bytes(100), "not BVH"),
        ("clip.npy", lambda: b"HIERARCHY", "not NumPy"),
        ("clip.npz", lambda: b"PK\x03\x04" + bytes(50), "not a readable .npz"),
        ("clip.npy", lambda: b"\x93NUMPY\x01\x00\x10\x00{'descr': hostile", "not a readable .npy"),
        ("clip.npy", lambda: npy(np.zeros((50_000, 22, 3), np.float16)), "50000 frames"),
        ("clip.bvh", lambda: b"HIERARCHY\nMOTION\nFrames: 999999999\n", "999999999 frames"),
        ("clip.npy", lambda: npy(np.array([{}], dtype=object)), "clip.npy: "),
        ("clip.npy", lambda: npy(np.zeros((3000, 22, 3), np.float32)), "150 s; at most 120 s"),
        ("clip.bvh", lambda: b"HIERARCHY\n" + b"{" * 100_000, "clip.bvh, line 2"),
    ],
)
def test_what_is_hostile_is_refused(
    tmp_path: Path, name: str, data: Callable[[], bytes], reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read_upload(data(), name, tmp_path / "out")
    assert str(tmp_path) not in str(caught.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_archives_may_not_unpack_to_more_than_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_UNPACKED_BYTES", 2 * 2**20)
    with pytest.raises(InputError, match=r"clip.npz: unpacks to 3 MiB; at most 2 MiB are read"):
        check_upload(archive(poses=2**20, trans=2 * 2**20), "clip.npz")


def test_size_and_kind_are_looked_at_before_anything_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(uploads, "read_motion", never)
    for name, data in (("a.bvh", b"HIERARCHY\nFrames: 9999999"), ("a.exe", b"MZ"), ("a.npy", b"MZ")):
        with pytest.raises(InputError):
            read_upload(data, name, Path("nowhere"))
    assert not Path("nowhere").exists()


@settings(max_examples=60)
@given(st.sampled_from([".npy", ".bvh", ".npz"]), st.binary(max_size=400), st.booleans())
def test_any_bytes_are_read_or_refused(suffix: str, data: bytes, magic: bool) -> None:
    import tempfile

    if magic:
        data = uploads.READABLE[suffix].magic + data
    with tempfile.TemporaryDirectory() as folder, pytest.raises(InputError):
        read_upload(data, f"clip{suffix}", Path(folder))
