from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from motiongpt3.body.embedded import embedded_body
from motiongpt3.body.fitting import clip_proportions, fit_body, joint_error
from motiongpt3.body.flips import find_flips
from motiongpt3.body.model import joint_offsets, posed_joints
from motiongpt3.body.smpl import smpl_from_arrays
from motiongpt3.body.twist import natural_rotation
from motiongpt3.errors import InputError
from motiongpt3.motion.kinematics import put_on_floor
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import T_POSE_OFFSETS, BodyPose
from motiongpt3.motion.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    quaternion_to_matrix,
    unit_vector,
)
from motiongpt3.motion.skeleton import JOINT_INDEX, PARENTS
from tests.body.smpl_arrays import smpl_arrays
from tests.figures import raising_arm, standing, walking
from tests.motion.bodies import wriggling

J = JOINT_INDEX
BODY = embedded_body("light")
TEST_CLIPS = 40


def steps_in_degrees(rotations: torch.Tensor) -> torch.Tensor:
    """(T - 1, ...) how far rotations (T, ..., 3, 3) turn from frame to frame."""
    turn = rotations[1:] @ rotations[:-1].transpose(-1, -2)
    trace = turn.diagonal(dim1=-2, dim2=-1).sum(-1)
    return ((trace - 1) / 2).clamp(-1, 1).acos().rad2deg()


def posed_motion(**turns: torch.Tensor) -> tuple[torch.Tensor, Motion]:
    """Joints of our body with some joints turned by axis-angles (T, 3)."""
    frames = max(len(turn) for turn in turns.values())
    rotations = torch.eye(3).repeat(frames, 22, 1, 1)
    for name, turn in turns.items():
        rotations[:, J[name]] = axis_angle_to_matrix(turn)
    place = torch.tensor([0.0, 1.0, 0.0]).expand(frames, 3)
    return rotations, Motion(put_on_floor(posed_joints(BODY, rotations, place)))


def turning(axis: tuple[float, float, float], angles: torch.Tensor) -> torch.Tensor:
    return angles[:, None] * torch.tensor(axis)


@pytest.mark.parametrize(
    "motion",
    [
        standing(30),
        walking(30),
        raising_arm("left", 20),
    ],
    ids=lambda motion: motion.name,
)
def test_joints_are_met(motion):
    assert joint_error(fit_body(motion, BODY), motion).mean() < 0.005


@pytest.mark.parametrize("size", [0.4, 1.0, 3.0])
def test_any_pose_of_a_body_of_any_size_is_met(size):
    generator = torch.Generator().manual_seed(1)
    other = BODY.with_proportions(
        size * joint_offsets(BODY.joints) * (0.8 + 0.4 * torch.rand(22, 1, generator=generator))
    )
    rotations = axis_angle_to_matrix(0.6 * torch.randn(40, 22, 3, generator=generator))
    motion = Motion(posed_joints(other, rotations, torch.randn(40, 3, generator=generator)))
    assert joint_error(fit_body(motion, BODY), motion).max() < 2e-3 * size


def test_rotations_are_rotations():
    fitted = fit_body(Motion(wriggling(40, seed=3).float()), BODY)
    identity = fitted.rotations @ fitted.rotations.transpose(-1, -2)
    assert (identity - torch.eye(3)).abs().max() < 1e-4
    assert torch.linalg.det(fitted.rotations).min() > 0.99


def test_a_body_that_was_posed_is_found_again():
    angles = torch.linspace(0.4, 1.3, 12)
    rotations, motion = posed_motion(
        pelvis=turning((0, 1.0, 0), angles),
        left_elbow=turning((0, -1.0, 0), angles),
        right_knee=turning((1.0, 0, 0), angles),
        right_hip=turning((-1.0, 0, 0), angles),
    )
    fitted = fit_body(motion, BODY)
    assert joint_error(fitted, motion).max() < 1e-3
    # Bent limbs show their twist: rotations come back, not only positions.
    for name in ("pelvis", "right_hip", "right_knee", "left_shoulder", "left_elbow"):
        left = fitted.rotations[:, J[name]].transpose(-1, -2) @ rotations[:, J[name]]
        off = ((left.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).acos()
        assert float(off.max()) < math.radians(8), name


def test_proportions_are_those_of_the_clip():
    rotations, _ = posed_motion(left_elbow=turning((0, -1.0, 0), torch.linspace(0, 1, 10)))
    offsets = joint_offsets(BODY.joints)
    offsets[J["left_knee"]] *= 1.3
    offsets[J["right_wrist"]] *= 0.8
    other = BODY.with_proportions(offsets)
    joints = posed_joints(other, rotations, torch.zeros(10, 3))
    fitted = fit_body(Motion(joints), BODY)
    found = joint_offsets(fitted.body.joints).norm(dim=-1)
    assert found[1:] == pytest.approx(offsets[1:].norm(dim=-1), abs=1e-4)
    kept = fit_body(Motion(joints), BODY, proportions=False)
    assert kept.body is BODY
    assert 0.005 < joint_error(kept, Motion(joints)).mean() < 0.06


def test_feet_that_stand_are_flat():
    _, motion = posed_motion(left_elbow=turning((0, -1.0, 0), torch.linspace(0, 1, 30)))
    fitted = fit_body(motion, BODY)
    vertices = fitted.vertices()
    lowest = vertices[..., 1].amin(1)
    assert lowest.abs().max() < 0.012
    # Both ends of each sole touch the floor.
    low = vertices[0][vertices[0, :, 1] < 0.012]
    for side in (1, -1):
        sole = low[side * low[:, 0] > 0]
        assert sole[:, 2].max() - sole[:, 2].min() > 0.15


def test_how_high_ankles_are_is_measured():
    _, motion = posed_motion(left_elbow=turning((0, -1.0, 0), torch.linspace(0, 1, 20)))
    _, height = clip_proportions(motion.joints, 20.0, joint_offsets(BODY.joints))
    ankles = motion.joints[0, [J["left_ankle"], J["right_ankle"]], 1]
    assert height == pytest.approx(float(ankles.mean()), abs=0.005)


def test_lifted_heels_bend_the_toes():
    # The foot tips forward about its ball: the ankle rises, the ball stays.
    _, motion = posed_motion(left_elbow=turning((0, -1.0, 0), torch.zeros(20)))
    joints = motion.joints.clone()
    for t in range(8, 20):
        tip = axis_angle_to_matrix(torch.tensor([0.9 * min(1, (t - 7) / 6), 0, 0]))
        for side in ("left", "right"):
            ankle, foot = J[f"{side}_ankle"], J[f"{side}_foot"]
            arm = joints[t, ankle] - joints[t, foot]
            joints[t, ankle] = joints[t, foot] + tip @ arm
    fitted = fit_body(Motion(joints), BODY)
    bend = steps_in_degrees(fitted.rotations[[0, 19]][:, [J["left_foot"], J["right_foot"]]])
    assert bend.min() > 25
    assert fitted.vertices([19])[..., 1].min() > -0.02


@pytest.mark.parametrize("hand", ["left", "right"])
def test_a_turning_arm_never_flips(hand):
    # Straight, sometimes bent a little the impossible way, through every direction.
    time = torch.linspace(0, 4 * math.pi, 160)
    shoulder = J[f"{hand}_shoulder"]
    rest = unit_vector(BODY.joints[J[f"{hand}_elbow"]] - BODY.joints[shoulder])
    sign = 1.0 if hand == "left" else -1.0
    forward = 0.3 + 0.5 * (0.6 * time).cos()
    directions = torch.stack([sign * (0.6 + 0.4 * time.cos()), time.sin(), forward], dim=-1)
    rotations = torch.eye(3).repeat(160, 22, 1, 1)
    rotations[:, shoulder] = natural_rotation(shoulder, rest, unit_vector(directions))
    wobble = 0.08 * (7 * time).sin()
    rotations[:, J[f"{hand}_elbow"]] = axis_angle_to_matrix(turning((0.3, 1.0, 0.5), wobble))
    motion = Motion(posed_joints(BODY, rotations, torch.zeros(160, 3)))
    fitted = fit_body(motion, BODY)
    assert joint_error(fitted, motion).max() < 1e-3
    assert not find_flips(fitted, motion, 30.0)


def test_frame_rates_do_not_change_the_pose():
    angles = torch.linspace(0.2, 1.2, 41)
    _, fine = posed_motion(left_elbow=turning((0, -1.0, 0), angles))
    coarse = Motion(fine.joints[::2], fps=20)
    first = fit_body(Motion(fine.joints, fps=40), BODY).rotations[::2]
    second = fit_body(coarse, BODY).rotations
    assert (first - second).abs().max() < 0.03


@pytest.mark.parametrize("model", ["smpl", "smplx"])
def test_a_licensed_body_takes_the_shape_that_fits_best(model):
    body = smpl_from_arrays(smpl_arrays(model), "test")
    person = body.with_betas(torch.tensor([1.0, -1.0]))
    rotations, _ = posed_motion(left_elbow=turning((0, -1.0, 0), torch.linspace(0.2, 1, 12)))
    joints = posed_joints(person, rotations, torch.tensor([0.3, 1.0, 0.2]).expand(12, 3))
    fitted = fit_body(Motion(joints), body)
    assert joint_error(fitted, Motion(joints)).mean() < 0.012
    assert fitted.vertices().shape == (12, body.vertex_count, 3)


def twisting_wrist() -> Motion:
    """A source with rotations, among them one that joints do not show."""
    turns = axis_angle_to_quaternion(turning((0.9, 0, 0), torch.linspace(0, 1, 8)))
    rotations = torch.zeros(8, 22, 4, dtype=torch.float64)
    rotations[..., 0] = 1
    rotations[:, J["left_wrist"]] = turns.double()
    rotations[:, J["left_elbow"]] = axis_angle_to_quaternion(turning((0, -0.5, 0), torch.ones(8))).double()
    return Motion.from_pose(BodyPose(rotations, T_POSE_OFFSETS), torch.tensor([0.0, 0.95, 0.0]).expand(8, 3))


def test_rotations_that_a_source_has_are_kept():
    motion = twisting_wrist()
    fitted = fit_body(motion, BODY)
    expected = quaternion_to_matrix(motion.pose.rotations).float()
    torch.testing.assert_close(fitted.rotations, expected)
    assert joint_error(fitted, motion).max() < 1e-4
    # The same joints alone say nothing of the wrist.
    bare = fit_body(Motion(motion.joints), BODY)
    assert steps_in_degrees(bare.rotations[:, J["left_wrist"]]).max() < 1


def test_rotations_from_another_rest_pose_are_not_taken():
    motion = twisting_wrist()
    hanging = motion.pose.rest.clone()
    hanging[[J["left_elbow"], J["right_elbow"]]] = torch.tensor([0.0, -0.26, 0.0], dtype=torch.float64)
    pose = BodyPose(motion.pose.rotations, hanging)
    motion = Motion.from_pose(pose, motion.joints[:, 0].double())
    fitted = fit_body(motion, BODY)
    assert joint_error(fitted, motion).mean() < 0.005


def test_a_fitted_body_is_a_motion_again():
    fitted = fit_body(raising_arm("left", 6), BODY)
    motion = fitted.motion()
    torch.testing.assert_close(motion.joints, fitted.joints(), atol=1e-4, rtol=0)
    torch.testing.assert_close(quaternion_to_matrix(motion.pose.rotations).float(), fitted.rotations)


def test_points_are_not_a_body():
    with pytest.raises(InputError, match="no length"):
        fit_body(Motion(torch.zeros(3, 22, 3)), BODY)


def test_joints_on_top_of_their_parents_do_not_matter():
    joints = standing(10).joints.clone()
    for collar in (J["left_collar"], J["right_collar"]):
        joints[:, collar] = joints[:, PARENTS[collar]]
    fitted = fit_body(Motion(joints), BODY)
    assert torch.isfinite(fitted.vertices()).all()
    assert joint_error(fitted, Motion(joints)).mean() < 0.015


def test_real_clips_are_met_without_flips(local_data):
    with np.load(local_data("data/mocap/motions_free.npz")) as arrays:
        offsets, positions = arrays["offsets"], arrays["pos"]
        fps = float(arrays["fps"])
    lengths = np.diff(offsets)
    chosen = [clip for clip in range(0, len(lengths), len(lengths) // TEST_CLIPS) if lengths[clip] > 20]
    errors = []
    for clip in chosen:
        start = offsets[clip]
        joints = positions[start : min(offsets[clip + 1], start + 200)]
        motion = Motion.from_joints(joints, fps)
        fitted = fit_body(motion, BODY)
        errors.append(float(joint_error(fitted, motion).mean()))
        assert not find_flips(fitted, motion), clip
    assert max(errors) < 0.015
