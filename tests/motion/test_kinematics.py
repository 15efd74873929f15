from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from motiongpt3.errors import InputError
from motiongpt3.motion.kinematics import (
    bone_offsets,
    face_forward,
    foot_contacts,
    forward_direction,
    forward_kinematics,
    inverse_kinematics,
    put_on_floor,
    uniform_skeleton,
)
from motiongpt3.motion.rotations import quaternion_rotate, yaw_to_quaternion
from motiongpt3.motion.skeleton import CHAINS, JOINT_INDEX, PARENTS, RAW_DIRECTIONS, UNIFORM_OFFSETS
from tests.motion.bodies import standing, travelling, wriggling

seeds = st.integers(0, 10_000)


def bone_lengths(joints: torch.Tensor) -> torch.Tensor:
    return (joints[..., 1:, :] - joints[..., PARENTS[1:], :]).norm(dim=-1)


def test_forward_direction_follows_the_heading():
    yaw = torch.linspace(-3, 3, 40)
    forward = forward_direction(travelling(yaw, torch.zeros(40, 3)))
    expected = torch.stack([yaw.sin(), torch.zeros(40), yaw.cos()], dim=-1)
    torch.testing.assert_close(forward, expected.double())


@pytest.mark.parametrize("frames", [3, 50, 300])
def test_smoothing_is_scipys_gaussian_filter(frames: int):
    joints = wriggling(frames, amount=0.1)
    raw = forward_direction(joints).numpy()
    smooth = gaussian_filter1d(raw, 20, axis=0, mode="nearest")
    smooth /= (smooth**2).sum(-1, keepdims=True) ** 0.5
    # Where hips and shoulders are not level a direction weighs less; levelled, all weigh 1 as in `raw`.
    level = joints.clone()
    for name in ("left_hip", "right_hip", "left_shoulder", "right_shoulder"):
        level[:, JOINT_INDEX[name], 1] = 1.0
    torch.testing.assert_close(forward_direction(level, smoothing=20.0), torch.from_numpy(smooth))


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_forward_kinematics_undoes_inverse_kinematics(seed: int):
    lengths = torch.rand(22, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.05
    joints = wriggling(12, seed, RAW_DIRECTIONS * lengths)
    offsets = bone_offsets(joints[0])
    torch.testing.assert_close(offsets, RAW_DIRECTIONS * lengths)
    again = forward_kinematics(inverse_kinematics(joints), joints[:, 0], offsets)
    torch.testing.assert_close(again, joints)


def test_inverse_kinematics_of_the_rest_pose_is_the_identity():
    quaternions = inverse_kinematics(standing(3))
    torch.testing.assert_close(quaternions, torch.tensor([1.0, 0, 0, 0]).double().expand(3, 22, 4))


def test_inverse_kinematics_agrees_with_the_loop_along_each_chain():
    joints = wriggling(6)
    quaternions = inverse_kinematics(joints)
    for chain in CHAINS:
        for frame in range(len(joints)):
            running = [quaternions[frame, 0]]  # the arms, too, begin at the root's rotation
            for parent, child in pairwise(chain):
                running.append(quaternions[frame, child])
                bone = RAW_DIRECTIONS[child].double()
                for quaternion in reversed(running):
                    bone = quaternion_rotate(quaternion, bone)
                observed = joints[frame, child] - joints[frame, parent]
                torch.testing.assert_close(bone, observed / observed.norm())


def test_root_rotation_turns_the_heading_to_z_except_in_the_first_frame():
    yaw = torch.linspace(1, 2, 10)
    root = inverse_kinematics(travelling(yaw, torch.zeros(10, 3)))[:, 0]
    torch.testing.assert_close(root[0], torch.tensor([1.0, 0, 0, 0]).double())
    torch.testing.assert_close(root[1:], yaw_to_quaternion(-yaw[1:].double()))


def test_heading_of_a_twisted_trunk_is_across_shoulders_minus_hips():
    joints, twist = standing(2), 0.3
    for name in ("left_hip", "right_hip"):
        turn = yaw_to_quaternion(torch.tensor(twist).double())
        joints[:, JOINT_INDEX[name]] = quaternion_rotate(turn, joints[:, JOINT_INDEX[name]])
    # UNIFORM_OFFSETS: the shoulders are 0.281 m apart, and the hips, turned by `twist`, 0.213 m.
    wide, narrow = 0.13748683 + 0.14338283, 0.10307395 + 0.10988335
    across = torch.tensor([wide + narrow * math.cos(math.pi - twist), narrow * math.sin(math.pi - twist)])
    yaw = math.atan2(across[1], across[0])
    expected = yaw_to_quaternion(torch.tensor(yaw).double())
    torch.testing.assert_close(inverse_kinematics(joints)[1, 0], expected, atol=1e-6, rtol=0)


def test_a_bone_without_length_does_not_give_nan():
    joints = wriggling(4)
    joints[:, JOINT_INDEX["head"]] = joints[:, JOINT_INDEX["neck"]]
    joints.requires_grad_()
    quaternions = inverse_kinematics(joints)
    quaternions.sum().backward()
    assert torch.isfinite(quaternions).all()
    assert torch.isfinite(joints.grad).all()


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_uniform_skeleton_changes_lengths_but_not_directions(seed: int):
    offsets = UNIFORM_OFFSETS * torch.linspace(0.7, 1.4, 22)[:, None]
    joints = wriggling(8, seed, offsets)
    fitted = uniform_skeleton(joints)
    expected = UNIFORM_OFFSETS[1:].norm(dim=-1).double().expand(8, 21)
    torch.testing.assert_close(bone_lengths(fitted), expected)
    before = (joints[:, 1:] - joints[:, PARENTS[1:]]) / bone_lengths(joints)[..., None]
    after = (fitted[:, 1:] - fitted[:, PARENTS[1:]]) / expected[..., None]
    torch.testing.assert_close(after, before)
    leg = [JOINT_INDEX["right_knee"] - 1, JOINT_INDEX["right_ankle"] - 1]
    scale = expected[0, leg].sum() / bone_lengths(joints)[0, leg].sum()
    torch.testing.assert_close(fitted[:, 0], joints[:, 0] * scale)


def test_uniform_skeleton_leaves_a_uniform_body_alone():
    joints = wriggling(8)
    torch.testing.assert_close(uniform_skeleton(joints), joints)


def test_a_body_without_legs_is_refused():
    with pytest.raises(InputError, match="leg"):
        uniform_skeleton(torch.zeros(4, 22, 3))


def test_floor_is_under_the_lowest_joint_of_each_clip():
    clips = torch.stack([wriggling(9, seed) for seed in (1, 2)])
    floored = put_on_floor(clips)
    torch.testing.assert_close(floored[..., 1].amin(dim=(1, 2)), torch.zeros(2).double())
    moved = (floored - clips)[..., 1]
    torch.testing.assert_close(moved, moved[:, :1, :1].expand_as(moved))
    assert torch.equal(floored[..., 0::2], clips[..., 0::2])


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_facing_forward_is_rigid_and_starts_over_the_origin(seed: int):
    joints = wriggling(9, seed)
    placed = face_forward(joints)
    torch.testing.assert_close(placed[0, 0, 0::2], torch.zeros(2).double(), atol=1e-12, rtol=0)
    forward = forward_direction(placed)[0]
    torch.testing.assert_close(forward, torch.tensor([0.0, 0, 1]).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(placed[..., 1], joints[..., 1])
    pairs = torch.cdist(joints.flatten(0, 1), joints.flatten(0, 1))
    torch.testing.assert_close(
        torch.cdist(placed.flatten(0, 1), placed.flatten(0, 1)), pairs, atol=1e-6, rtol=0
    )


def test_a_body_that_faces_backward_is_turned_and_not_tipped():
    backward = travelling(torch.full((3,), math.pi), torch.zeros(3, 3))
    torch.testing.assert_close(face_forward(backward), standing(3), atol=1e-6, rtol=0)


def test_contacts_come_in_the_order_of_the_features():
    joints = standing(2)
    for column, name in enumerate(("left_ankle", "left_foot", "right_ankle", "right_foot")):
        moved = joints.clone()
        moved[1, JOINT_INDEX[name], 2] += 0.05  # 0.0025 square metres in a frame
        expected = torch.ones(1, 4).double()
        expected[0, column] = 0
        assert torch.equal(foot_contacts(moved), expected)
        assert foot_contacts(moved, threshold=0.003).all()


def test_leading_dimensions_are_batches():
    clips = torch.stack([wriggling(7, seed) for seed in range(4)]).reshape(2, 2, 7, 22, 3)
    for function in (inverse_kinematics, uniform_skeleton, put_on_floor, face_forward, foot_contacts):
        torch.testing.assert_close(function(clips)[1, 0], function(clips[1, 0]))
    smooth = forward_direction(clips, smoothing=2.0)
    torch.testing.assert_close(smooth[0, 1], forward_direction(clips[0, 1], smoothing=2.0))
