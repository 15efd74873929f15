from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motiongpt3.errors import InputError
from motiongpt3.motion.features import features_to_joints, joints_to_features
from motiongpt3.motion.formats import read_motion, write_features, write_motion
from motiongpt3.motion.formats.npy import read_npy, write_npy
from motiongpt3.motion.motion import Motion
from tests.motion.bodies import wriggling


class Explosive:
    """Unpickling this would raise from inside, so that a test notices."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("unpickled",)


def test_joints_round_trip_exactly(tmp_path: Path) -> None:
    motion = Motion.from_joints(wriggling(60).float(), fps=30)
    write_motion(motion, tmp_path / "sub" / "walk.npy")
    stored = np.load(tmp_path / "sub" / "walk.npy")
    assert stored.dtype == np.float32
    assert stored.shape == (60, 22, 3)
    back = read_motion(tmp_path / "sub" / "walk.npy", fps=30)
    assert torch.equal(back.joints, motion.joints)
    assert (back.fps, back.name) == (30, "walk")
    assert back.source is not None
    assert back.source.endswith("walk.npy")


def test_reads_the_official_demo_output_and_double_precision(tmp_path: Path) -> None:
    joints = wriggling(60).float()
    np.save(tmp_path / "out.npy", joints[None].double().numpy())
    back = read_npy(tmp_path / "out.npy")
    assert back.fps == 20
    assert torch.equal(back.joints, joints)


def test_features_are_recognised_and_kept(tmp_path: Path) -> None:
    features = joints_to_features(wriggling(60).float())
    write_features(Motion.from_features(features), tmp_path / "features.npy")
    back = read_npy(tmp_path / "features.npy")
    assert back.features is not None
    assert torch.equal(back.features, features)
    assert torch.equal(back.joints, features_to_joints(features))


def test_features_are_computed_where_a_motion_has_none(tmp_path: Path) -> None:
    joints = wriggling(60).float()
    write_features(Motion.from_joints(joints), tmp_path / "features.npy")
    assert np.allclose(np.load(tmp_path / "features.npy"), joints_to_features(joints), atol=1e-4)
    with pytest.raises(InputError, match="20 fps"):
        write_features(Motion.from_joints(joints, fps=30), tmp_path / "other.npy")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((40, 251), "KIT-ML"),
        ((40, 21, 3), "KIT-ML"),
        ((3, 40, 22, 3), "not one motion"),
        ((3, 40, 263), "not one motion"),
        ((40, 24, 3), "neither joints"),
        ((), "neither joints"),
        ((0, 22, 3), "at least 2 frames"),
        ((1, 22, 3), "at least 2 frames"),
        ((22, 3), "neither joints"),
        ((1, 263), "at least 2 frames"),
    ],
)
def test_other_shapes_are_explained(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    np.save(tmp_path / "clip.npy", np.zeros(shape, np.float32))
    with pytest.raises(InputError, match=message):
        read_npy(tmp_path / "clip.npy")


def test_pickles_are_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "objects.npy", np.array([Explosive()], dtype=object), allow_pickle=True)
    np.array([Explosive()], dtype=object).dump(tmp_path / "pickle.npy")
    for name in ("objects.npy", "pickle.npy"):
        with pytest.raises(InputError, match=name):
            read_npy(tmp_path / name)
    assert not (tmp_path / "unpickled").exists()


def test_a_header_that_promises_terabytes_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**11, 22, 3)}
    )
    (tmp_path / "big.npy").write_bytes(header.getvalue() + bytes(100))
    with pytest.raises(InputError, match=r"big\.npy"):
        read_npy(tmp_path / "big.npy")


def test_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "archive.npz", joints=np.zeros((5, 22, 3)))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    np.save(tmp_path / "integers.npy", np.zeros((5, 22, 3), np.int64))
    (tmp_path / "empty.npy").write_bytes(b"")
    for name, message in (
        ("archive.npy", "archive"),
        ("integers.npy", "int64"),
        ("empty.npy", "not a readable"),
        ("missing.npy", "no such file"),
        ("", "folder"),
    ):
        with pytest.raises(InputError, match=message):
            read_npy(tmp_path / name)


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("disk full")

    write_npy(Motion.from_joints(wriggling(5).float()), tmp_path / "clip.npy")
    before = (tmp_path / "clip.npy").read_bytes()
    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(OSError, match="disk full"):
        write_npy(Motion.from_joints(wriggling(9).float()), tmp_path / "clip.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.npy"]
    assert (tmp_path / "clip.npy").read_bytes() == before


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 200), junk=st.binary(min_size=1, max_size=40), cut=st.integers(0, 700))
def test_damaged_files_raise_nothing_but_input_errors(
    tmp_path: Path, position: int, junk: bytes, cut: int
) -> None:
    file = io.BytesIO()
    np.save(file, wriggling(2).float().numpy())
    data = file.getvalue()
    damaged = (data[:position] + junk + data[position + len(junk) :])[: len(data) - cut]
    (tmp_path / "damaged.npy").write_bytes(damaged)
    if damaged == data:
        return
    try:
        motion = read_npy(tmp_path / "damaged.npy")
    except InputError:
        return
    assert torch.isfinite(motion.joints).all()


def test_units_and_axes_of_joints(tmp_path: Path) -> None:
    motion = Motion.from_joints(wriggling(5).float())
    write_npy(motion, tmp_path / "a.npy", unit="cm", up="z")
    x, y, z = motion.joints.double().numpy().transpose(2, 0, 1)
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), 100 * np.stack([x, -z, y], -1), rtol=1e-5)
    back = read_npy(tmp_path / "a.npy", scale=0.01, up="z")
    torch.testing.assert_close(back.joints, motion.joints)
    features = joints_to_features(wriggling(20))
    np.save(tmp_path / "features.npy", features.numpy())
    with pytest.raises(InputError, match="features are in metres"):
        read_npy(tmp_path / "features.npy", up="z")
    with pytest.raises(InputError, match="unknown unit 'mile'"):
        write_npy(motion, tmp_path / "b.npy", unit="mile")  # type: ignore[arg-type]
