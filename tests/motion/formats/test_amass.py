from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motiongpt3.errors import InputError, MissingDependencyError
from motiongpt3.motion.formats import WriteOptions, read_amass, read_motion, write_amass, write_motion
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import T_POSE_OFFSETS
from motiongpt3.motion.rotations import quaternion_to_matrix
from motiongpt3.motion.skeleton import JOINT_INDEX, PARENTS
from tests.motion.bodies import travelling, wriggling
from tests.motion.formats.smpl_files import body_model, recording, smpl_joints


def save(path: Path, arrays: dict[str, object], **changes: object) -> Path:
    kept = {name: value for name, value in (arrays | changes).items() if value is not None}
    np.savez(path, **kept)  # type: ignore[arg-type]
    return path


def z_up(joints: torch.Tensor) -> np.ndarray:
    x, y, z = joints.double().numpy().transpose(2, 0, 1)
    return np.stack([x, -z, y], axis=-1)


def same_rotations(first: np.ndarray, second: np.ndarray, joints: int) -> bool:
    """Axis-angles (T, 3 J) radians, which may differ by whole turns."""
    ours, theirs = (Rotation.from_rotvec(x[:, : 3 * joints].reshape(-1, 3)) for x in (first, second))
    return bool((ours * theirs.inv()).magnitude().max() < 1e-6)


def test_joints_are_those_of_the_users_body_model(tmp_path: Path) -> None:
    arrays = recording()
    model = body_model(tmp_path / "smplh" / "female" / "model.npz")
    save(tmp_path / "walk_poses.npz", arrays)
    motion = read_motion(tmp_path / "walk_poses.npz", body=tmp_path / "smplh")
    np.testing.assert_allclose(z_up(motion.joints), smpl_joints(model, arrays), atol=1e-6)
    assert (motion.fps, motion.name) == (60, "walk_poses")
    assert motion.pose is not None
    assert motion.pose.gender == "female"


def test_without_a_body_model_rotations_are_exact_and_bones_are_the_uniform_skeletons(tmp_path: Path) -> None:
    arrays = recording()
    motion = read_motion(save(tmp_path / "walk.npz", arrays))
    lengths = torch.linalg.vector_norm(motion.joints[:, 1:] - motion.joints[:, PARENTS[1:]], dim=-1)
    expected = torch.linalg.vector_norm(T_POSE_OFFSETS[1:], dim=-1).float().expand_as(lengths)
    torch.testing.assert_close(lengths, expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(z_up(motion.joints)[:, 0], np.asarray(arrays["trans"]), atol=1e-6)
    # Upright, as the recording is.
    assert float((motion.joints[:, JOINT_INDEX["head"], 1] - motion.joints[:, 0, 1]).min()) > 0.3


@pytest.mark.parametrize("with_body", [False, True])
def test_archives_come_back_with_the_same_numbers(tmp_path: Path, with_body: bool) -> None:
    body_model(tmp_path / "smplh" / "female" / "model.npz")
    body = tmp_path / "smplh" if with_body else None
    arrays = recording()
    write_amass(read_amass(save(tmp_path / "in.npz", arrays), body=body), tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as written:
        assert set(written.files) == {*arrays, "mocap_frame_rate"}
        np.testing.assert_allclose(written["trans"], np.asarray(arrays["trans"]), atol=1e-6)
        np.testing.assert_allclose(written["betas"], np.asarray(arrays["betas"]))
        assert same_rotations(written["poses"], np.asarray(arrays["poses"]), 22)
        assert written["poses"].shape == (24, 156)
        assert not written["poses"][:, 66:].any()
        assert written["dmpls"].shape == (24, 8)
        assert str(written["gender"]) == "female"
        assert float(written["mocap_framerate"]) == float(written["mocap_frame_rate"]) == 60


def test_a_motion_without_rotations_gets_some_that_give_its_joints_back(tmp_path: Path) -> None:
    # Joints of the T-pose's own proportions, so that nothing is lost but the twist.
    source = read_motion(save(tmp_path / "in.npz", recording()))
    joints = Motion.from_joints(source.joints, 60)
    write_motion(joints, tmp_path / "out.npz")
    back = read_motion(tmp_path / "out.npz")
    torch.testing.assert_close(back.joints, joints.joints, atol=1e-4, rtol=0)


def test_the_world_has_z_up_and_the_figure_faces_as_it_did(tmp_path: Path) -> None:
    yaw = torch.linspace(0, 1.5, 10)
    write_amass(Motion.from_joints(travelling(yaw, torch.zeros(10, 3))), tmp_path / "turn.npz")
    with np.load(tmp_path / "turn.npz") as written:
        orient = Rotation.from_rotvec(written["poses"][:, :3])
        assert np.allclose(written["trans"][:, 2], 0.95, atol=1e-6)
    # SMPL's rest pose faces +z and has y up; heading 0 is -y of a world with z up.
    upward, facing = orient.apply([0, 1, 0]), orient.apply([0, 0, 1])
    assert upward[:, 2].min() > 0.95
    heading = np.stack([np.sin(yaw.numpy()), -np.cos(yaw.numpy())], axis=1)
    facing = facing[:, :2] / np.linalg.norm(facing[:, :2], axis=1, keepdims=True)
    # The uniform skeleton is not quite symmetric, which turns its hips by half a degree.
    np.testing.assert_allclose(facing, heading, atol=0.02)
    upright = read_amass(tmp_path / "turn.npz")
    write_amass(upright, tmp_path / "y.npz", up="y")
    torch.testing.assert_close(
        read_amass(tmp_path / "y.npz", up="y").joints, upright.joints, atol=1e-5, rtol=0
    )


def test_later_releases_and_odd_files_are_read(tmp_path: Path) -> None:
    arrays = recording()
    poses = np.asarray(arrays["poses"])
    reference = read_motion(save(tmp_path / "h.npz", arrays))
    smplx = np.concatenate([poses[:, :66], np.zeros((24, 9)), poses[:, 66:]], axis=1)
    variants: dict[str, dict[str, object]] = {
        "x": {"poses": smplx, "mocap_framerate": None, "mocap_frame_rate": np.array([60])},
        "body": {"poses": poses[:, :66].astype(np.float32), "dmpls": None, "betas": None},
        "bytes": {"gender": np.array(b"female"), "fps": 60},
        "pickled": {"gender": np.array("female", dtype=object), "labels": np.array([{"a": 1}], dtype=object)},
    }
    for name, changes in variants.items():
        motion = read_motion(save(tmp_path / f"{name}.npz", arrays, **changes))
        torch.testing.assert_close(motion.joints, reference.joints, atol=1e-5, rtol=0)
        assert motion.fps == 60
        assert motion.pose is not None
        assert motion.pose.gender == ("neutral" if name == "pickled" else "female")


def test_frame_rate_and_options(tmp_path: Path) -> None:
    arrays = recording()
    rateless = save(tmp_path / "rateless.npz", arrays, mocap_framerate=None)
    with pytest.raises(InputError, match=r"rateless.npz: no mocap_framerate; give the frames per second"):
        read_motion(rateless)
    assert read_motion(rateless, fps=100).fps == 100
    with pytest.raises(InputError, match="AMASS has no option 'scale'"):
        read_motion(rateless, scale=0.01)
    with pytest.raises(InputError, match="AMASS has no option 'unit'"):
        write_motion(read_motion(rateless, fps=20), tmp_path / "cm.npz", options=WriteOptions(unit="cm"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poses": np.zeros((24, 63))}, "poses of 21 joints"),
        ({"poses": np.zeros((24, 100))}, "'poses' has shape"),
        ({"poses": np.full((24, 156), 90.0 * 20)}, "radians"),
        ({"poses": np.full((24, 156), np.nan)}, r"'poses' has a NaN or infinite value at \(0, 0\)"),
        ({"poses": np.array([{}], dtype=object)}, "pickled Python objects"),
        ({"poses": np.full((24, 156), "x")}, "not numbers"),
        ({"trans": np.zeros((23, 3))}, "24 frames of rotations"),
        ({"trans": np.zeros(3)}, "24 frames of rotations"),
        ({"betas": np.zeros((0,))}, "betas of shape"),
        ({"betas": np.zeros((2, 3, 4))}, "betas of shape"),
        ({"mocap_framerate": np.array(0.0)}, "frame rate must be above 0"),
        ({"mocap_framerate": np.zeros(3)}, "should be one number"),
        ({"poses": None}, "neither AMASS"),
        ({"poses": np.zeros((1, 156)), "trans": np.zeros((1, 3))}, "at least 2 frames"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = save(tmp_path / "broken.npz", recording(), **changes)
    with pytest.raises(InputError, match=message) as caught:
        read_motion(path)
    assert "broken.npz" in str(caught.value)


def test_missing_and_foreign_body_models_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "clip.npz", recording())
    with pytest.raises(MissingDependencyError, match=r"no female body model in .*mano"):
        read_motion(path, body=tmp_path)
    with pytest.raises(InputError, match="not a body model of the SMPL family: no array 'v_template'"):
        read_motion(path, body=path)
    model = body_model(tmp_path / "model.npz")
    np.savez(tmp_path / "model.npz", **(model | {"shapedirs": np.zeros((4, 3, 10))}))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="do not fit together"):
        read_motion(path, body=tmp_path / "model.npz")


def test_generated_motion_keeps_its_bones_directions(tmp_path: Path) -> None:
    motion = Motion.from_joints(wriggling(30))
    write_amass(motion, tmp_path / "clip.npz")
    back = read_amass(tmp_path / "clip.npz")
    legs = [JOINT_INDEX[name] for name in ("left_knee", "right_ankle", "left_elbow", "right_wrist", "head")]
    for joint in legs:
        seen, given = (
            torch.nn.functional.normalize(m.joints[:, joint] - m.joints[:, PARENTS[joint]], dim=-1)
            for m in (back, motion)
        )
        torch.testing.assert_close(seen, given, atol=1e-4, rtol=0)


def test_rotations_of_the_pose_are_those_of_the_file(tmp_path: Path) -> None:
    arrays = recording()
    motion = read_motion(save(tmp_path / "clip.npz", arrays))
    assert motion.pose is not None
    expected = Rotation.from_rotvec(np.asarray(arrays["poses"])[:, 3:66].reshape(-1, 3)).as_matrix()
    found = quaternion_to_matrix(motion.pose.rotations[:, 1:]).reshape(-1, 3, 3).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)
