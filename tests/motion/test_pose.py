from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import (
    T_POSE_OFFSETS,
    BodyPose,
    continuous_quaternions,
    interpolate_rotations,
    local_rotations,
    median_bone_lengths,
    pose_from_joints,
    pose_to_joints,
    world_rotations,
)
from motiongpt3.motion.rotations import axis_angle_to_quaternion, quaternion_rotate
from motiongpt3.motion.skeleton import JOINT_INDEX, PARENTS, mirror_joints
from tests.motion.bodies import wriggling


def turning(frames: int, seed: int = 0, amount: float = 0.6) -> Tensor:
    """(T, 22, 4) smooth random rotations of every joint, float64."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(frames, dtype=torch.float64)[:, None, None] / 20
    phase, rate, size = (torch.randn(1, 22, 3, generator=generator).double() for _ in range(3))
    return axis_angle_to_quaternion(amount * size * torch.sin(rate * time + phase))


def walk(frames: int) -> Tensor:
    along = torch.arange(frames, dtype=torch.float64) / 20
    return torch.stack([along, torch.full_like(along, 0.9), 0.5 * along.sin()], dim=-1)


def test_forward_kinematics_agrees_with_scipy() -> None:
    quaternions, root = turning(5), walk(5)
    joints = pose_to_joints(quaternions, root, T_POSE_OFFSETS).numpy()
    for frame in range(5):
        world: list[Rotation] = []
        for joint, parent in enumerate(PARENTS):
            own = Rotation.from_quat(quaternions[frame, joint].numpy(), scalar_first=True)
            world.append(own if parent < 0 else world[parent] * own)
            expected = root[frame].numpy()
            if parent >= 0:
                expected = joints[frame, parent] + world[parent].apply(T_POSE_OFFSETS[joint].numpy())
            np.testing.assert_allclose(joints[frame, joint], expected, atol=1e-12)


def test_the_rest_pose_is_a_t_pose_that_faces_forward() -> None:
    identity = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).expand(1, 22, 4)
    joints = pose_to_joints(identity, torch.zeros(1, 3).double(), T_POSE_OFFSETS)[0]
    wrist, ankle, foot, head = (
        joints[JOINT_INDEX[name]] for name in ("left_wrist", "left_ankle", "left_foot", "head")
    )
    assert wrist[0] > 0.6
    assert abs(wrist[1] - joints[JOINT_INDEX["left_shoulder"]][1]) < 0.01
    assert ankle[1] < -0.8
    assert foot[2] > ankle[2] + 0.1
    assert head[1] > 0.5
    # Left and right of the uniform skeleton differ in length by up to 12 mm.
    torch.testing.assert_close(mirror_joints(joints), joints, atol=0.03, rtol=0)


def test_world_and_local_rotations_are_inverse() -> None:
    local = turning(7)
    torch.testing.assert_close(local_rotations(world_rotations(local)), local)


def test_rotations_from_positions_give_the_positions_back() -> None:
    # Of a pose without twist, as positions cannot tell it.
    joints = pose_to_joints(turning(30), walk(30), T_POSE_OFFSETS)
    found = pose_from_joints(joints, T_POSE_OFFSETS)
    torch.testing.assert_close(pose_to_joints(found, joints[:, 0], T_POSE_OFFSETS), joints, atol=1e-9, rtol=0)
    assert ((found[1:] * found[:-1]).sum(-1) > 0).all()


def test_rotations_from_positions_of_another_body_keep_its_bones_directions() -> None:
    joints = wriggling(30)
    found = pose_from_joints(joints, T_POSE_OFFSETS)
    made = pose_to_joints(found, joints[:, 0], T_POSE_OFFSETS)
    single = [j for j in range(1, 22) if PARENTS[j] not in (0, JOINT_INDEX["spine3"])]
    seen, given = (
        torch.nn.functional.normalize((x[:, 1:] - x[:, PARENTS[1:]]), dim=-1)[:, [j - 1 for j in single]]
        for x in (made, joints)
    )
    torch.testing.assert_close(seen, given, atol=1e-9, rtol=0)


def test_bone_lengths_are_medians() -> None:
    joints = pose_to_joints(turning(9), walk(9), T_POSE_OFFSETS)
    joints[0] *= 3
    torch.testing.assert_close(median_bone_lengths(joints), torch.linalg.vector_norm(T_POSE_OFFSETS, dim=-1))


def test_interpolation_is_even_and_takes_the_short_way() -> None:
    half = math.pi / 2
    first = axis_angle_to_quaternion(torch.tensor([[0.0, 0.1, 0.0]]).double())
    second = -axis_angle_to_quaternion(torch.tensor([[0.0, 0.1 + half, 0.0]]).double())
    third = interpolate_rotations(first, second, torch.tensor([1 / 3]).double())
    turned = quaternion_rotate(third, torch.tensor([[0.0, 0.0, 1.0]]).double())
    angle = 0.1 + half / 3
    expected = torch.tensor([[math.sin(angle), 0.0, math.cos(angle)]]).double()
    torch.testing.assert_close(turned, expected)
    assert torch.equal(interpolate_rotations(first, second, torch.zeros(1).double()), first)


def test_signs_are_made_continuous() -> None:
    smooth = turning(40)
    signs = torch.where(torch.rand(40, 22, 1, generator=torch.Generator().manual_seed(1)) < 0.5, -1.0, 1.0)
    torch.testing.assert_close(continuous_quaternions(smooth * signs), smooth * signs[:1])


def test_a_motion_made_of_a_pose_keeps_it() -> None:
    pose = BodyPose(turning(30), T_POSE_OFFSETS)
    motion = Motion.from_pose(pose, walk(30), fps=60)
    assert motion.pose is not None
    assert torch.equal(motion.pose.rotations, pose.rotations)
    torch.testing.assert_close(
        motion.joints, pose_to_joints(pose.rotations, walk(30), T_POSE_OFFSETS).float()
    )


def test_resampling_turns_joints_and_keeps_bones() -> None:
    motion = Motion.from_pose(BodyPose(turning(31), T_POSE_OFFSETS), walk(31), fps=30)
    for fps, frames in ((10, 11), (20, 21), (50, 51)):
        other = motion.resample(fps)
        assert len(other) == frames
        assert other.pose is not None
        assert other.features is None
        lengths = torch.linalg.vector_norm(other.joints[:, 1:] - other.joints[:, PARENTS[1:]], dim=-1)
        expected = torch.linalg.vector_norm(T_POSE_OFFSETS[1:], dim=-1).float().expand_as(lengths)
        torch.testing.assert_close(lengths, expected, atol=1e-5, rtol=0)
    third = motion.resample(10)
    assert third.pose is not None
    assert torch.equal(third.pose.rotations, turning(31)[::3])
    assert torch.equal(third.joints, motion.joints[::3])


def test_the_mirror_image_of_a_pose_makes_the_mirrored_joints() -> None:
    motion = Motion.from_pose(BodyPose(turning(20), T_POSE_OFFSETS), walk(20)).mirrored()
    assert motion.pose is not None
    made = motion.pose.joints(motion.joints[:, 0].double()).float()
    torch.testing.assert_close(made, motion.joints, atol=1e-5, rtol=0)


@pytest.mark.parametrize("change", ["joints", "length", "nan"])
def test_a_pose_of_other_joints_is_dropped(change: str) -> None:
    motion = Motion.from_pose(BodyPose(turning(20), T_POSE_OFFSETS), walk(20))
    assert motion.pose is not None
    if change == "joints":
        other = replace(motion, joints=motion.joints * 1.01)
    elif change == "length":
        other = replace(motion, joints=motion.joints[2:])
    else:
        broken = replace(motion.pose, rotations=motion.pose.rotations * math.nan)
        other = replace(motion, pose=broken)
    assert other.pose is None
    moved = replace(motion, joints=motion.joints + 1)
    assert moved.pose is not None
