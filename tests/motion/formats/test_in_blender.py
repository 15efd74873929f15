"""Blender as an independent reader. Skipped where it is not installed (see `motiongpt3.blender`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from motiongpt3.blender import find_blender, run_in_blender
from motiongpt3.errors import InputError, MissingDependencyError
from motiongpt3.motion.formats import WriteOptions, read_motion, write_motion
from motiongpt3.motion.formats.joint_names import NAMINGS
from motiongpt3.motion.kinematics import put_on_floor, uniform_skeleton
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.skeleton import JOINT_NAMES
from tests.motion.bodies import wriggling
from tests.motion.formats.gltf_files import skinned

SCRIPT = Path(__file__).with_name("bones_in_blender.py")


@pytest.fixture
def blender() -> None:
    try:
        find_blender()
    except MissingDependencyError:
        pytest.skip("Blender is not installed (pip install 'motiongpt3[blender]', or MOTIONGPT3_BLENDER)")


def clip(frames: int = 24, fps: float = 25) -> Motion:
    return Motion.from_joints(put_on_floor(uniform_skeleton(wriggling(frames, amount=0.2))), fps, "clip")


def shown(path: Path) -> dict[str, np.ndarray]:
    run_in_blender(SCRIPT, [path, path.with_suffix(".npz"), 25])
    with np.load(path.with_suffix(".npz")) as arrays:
        return dict(arrays)


@pytest.mark.usefixtures("blender")
@pytest.mark.parametrize(("suffix", "naming"), [(".bvh", "smpl"), (".bvh", "mixamo"), (".glb", "smpl")])
def test_blender_shows_our_joints(tmp_path: Path, suffix: str, naming: str) -> None:
    motion = clip()
    path = tmp_path / f"clip{suffix}"
    write_motion(motion, path, options=WriteOptions(naming=naming))  # type: ignore[arg-type]
    seen = shown(path)
    assert float(seen["fps"]) == 25
    order = [list(seen["names"]).index(NAMINGS[naming][joint]) for joint in JOINT_NAMES]
    # Blender turns y up to z up.
    expected = motion.joints.numpy()[..., [0, 2, 1]] * [1, -1, 1]
    np.testing.assert_allclose(seen["positions"][:, order], expected, atol=1e-4)
    if suffix == ".glb":
        expected = skinned(path)[..., [0, 2, 1]] * [1, -1, 1]
        np.testing.assert_allclose(seen["vertices"], expected, atol=1e-4)


@pytest.mark.usefixtures("blender")
@pytest.mark.parametrize("naming", ["smpl", "mixamo"])
def test_fbx_comes_back(tmp_path: Path, naming: str) -> None:
    motion = clip()
    write_motion(motion, tmp_path / "clip.fbx", options=WriteOptions(naming=naming))  # type: ignore[arg-type]
    assert (tmp_path / "clip.fbx").read_bytes().startswith(b"Kaydara FBX Binary")
    back = read_motion(tmp_path / "clip.fbx")
    torch.testing.assert_close(back.joints, motion.joints, atol=1e-4, rtol=0)
    assert (back.fps, back.name) == (25, "clip")


@pytest.mark.usefixtures("blender")
def test_a_broken_fbx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.fbx").write_bytes(b"Kaydara FBX Binary  \x00\x1a\x00" + bytes(100))
    with pytest.raises(InputError, match=r"clip.fbx: reading FBX failed in Blender: "):
        read_motion(tmp_path / "clip.fbx")


def test_without_blender_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTIONGPT3_BLENDER", str(tmp_path / "none"))
    with pytest.raises(MissingDependencyError, match="MOTIONGPT3_BLENDER"):
        write_motion(clip(), tmp_path / "clip.fbx")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="no such file"):
        read_motion(tmp_path / "clip.fbx")
