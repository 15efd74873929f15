from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motiongpt3.errors import InputError
from motiongpt3.motion.formats import read_motion, read_smpl, write_motion, write_smpl
from motiongpt3.motion.motion import Motion
from tests.motion.bodies import wriggling
from tests.motion.formats.smpl_files import body_model, recording, smpl_joints


def parameters(up: str = "y") -> dict[str, object]:
    """The same recording as `smpl_files.recording`, as the smplx package would hold it."""
    arrays = recording()
    poses, trans = np.asarray(arrays["poses"]), np.asarray(arrays["trans"])
    orient = Rotation.from_rotvec(poses[:, :3])
    if up == "y":
        turn = Rotation.from_euler("x", -90, degrees=True)
        orient, trans = turn * orient, turn.apply(trans)
    return {
        "global_orient": orient.as_rotvec(),
        "body_pose": np.concatenate([poses[:, 3:66], np.zeros((24, 6))], axis=1),
        "transl": trans,
        "betas": np.asarray(arrays["betas"])[:10],
        "fps": 60,
    }


def save(path: Path, arrays: dict[str, object], **changes: object) -> Path:
    kept = {name: value for name, value in (arrays | changes).items() if value is not None}
    np.savez(path, **kept)  # type: ignore[arg-type]
    return path


def test_up_is_seen_and_joints_are_the_models(tmp_path: Path) -> None:
    model = body_model(tmp_path / "SMPL_NEUTRAL.npz", shapes=10)
    for up in ("y", "z"):
        path = save(tmp_path / f"{up}.npz", parameters(up))
        motion = read_motion(path, body=tmp_path)
        arrays = parameters("z")
        poses = np.concatenate([np.asarray(arrays["global_orient"]), np.asarray(arrays["body_pose"])], axis=1)
        joints = smpl_joints(model, {"poses": poses, "trans": arrays["transl"], "betas": arrays["betas"]})
        expected = joints[..., [0, 2, 1]] * [1, 1, -1]
        # The model's own pelvis is moved by no rotation, so a world with other axes has it elsewhere.
        shift = motion.joints.numpy()[:, 0] - expected[:, 0]
        np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-6)
        np.testing.assert_allclose(motion.joints.numpy() - shift[0], expected, atol=1e-5)
        assert motion.fps == 60


def test_parameters_come_back(tmp_path: Path) -> None:
    source = parameters()
    write_motion(read_motion(save(tmp_path / "in.npz", source)), tmp_path / "out.npz", "smpl")
    with np.load(tmp_path / "out.npz") as written:
        assert set(written.files) == {"global_orient", "body_pose", "transl", "betas", "gender", "fps"}
        for name in ("body_pose", "transl", "betas"):
            np.testing.assert_allclose(written[name], np.asarray(source[name]), atol=1e-6)
        turn = (
            Rotation.from_rotvec(written["global_orient"])
            * Rotation.from_rotvec(np.asarray(source["global_orient"])).inv()
        )
        assert turn.magnitude().max() < 1e-6


def test_matrices_and_fewer_joints_are_read(tmp_path: Path) -> None:
    source = parameters()
    reference = read_motion(save(tmp_path / "in.npz", source))
    orient, pose = np.asarray(source["global_orient"]), np.asarray(source["body_pose"])
    matrices = {
        "global_orient": Rotation.from_rotvec(orient).as_matrix()[:, None],
        "body_pose": Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(24, 23, 3, 3),
    }
    short = {"global_orient": orient[:, None], "body_pose": pose[:, :63].reshape(24, 21, 3)}
    for number, changes in enumerate((matrices, short)):
        motion = read_motion(save(tmp_path / f"{number}.npz", source, **changes))
        torch.testing.assert_close(motion.joints, reference.joints, atol=1e-6, rtol=0)


def test_joints_get_rotations(tmp_path: Path) -> None:
    motion = Motion.from_joints(wriggling(30), fps=25)
    write_smpl(motion, tmp_path / "a.npz")
    first = read_smpl(tmp_path / "a.npz")
    write_smpl(Motion.from_joints(first.joints, 25), tmp_path / "b.npz")
    torch.testing.assert_close(read_smpl(tmp_path / "b.npz").joints, first.joints, atol=1e-4, rtol=0)
    torch.testing.assert_close(first.joints[:, 0], motion.joints[:, 0])
    assert first.fps == 25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"body_pose": np.zeros((24, 60))}, "global_orient has .* body_pose"),
        ({"body_pose": np.zeros((23, 69))}, "global_orient has .* body_pose"),
        ({"global_orient": np.zeros((24, 6))}, "global_orient has .* body_pose"),
        ({"global_orient": np.ones((24, 1, 3, 3))}, "matrices that are not rotations"),
        ({"transl": np.zeros((3, 24))}, "24 frames of rotations"),
        ({"fps": "fast"}, "not numbers"),
        ({"body_pose": None}, "neither AMASS"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_motion(save(tmp_path / "broken.npz", parameters(), **changes))


def test_a_rate_is_twenty_unless_told(tmp_path: Path) -> None:
    path = save(tmp_path / "in.npz", parameters(), fps=None)
    assert read_motion(path).fps == 20
    assert read_motion(path, fps=30).fps == 30
