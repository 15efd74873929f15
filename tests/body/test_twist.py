from __future__ import annotations

import math

import pytest
import torch

from motiongpt3.body.twist import TWIST_BONES, natural_rotation, twist_angle, twist_bone_rotations
from motiongpt3.motion.rotations import axis_angle_to_matrix, unit_vector
from motiongpt3.motion.skeleton import JOINT_INDEX, JOINT_NAMES

REST = {
    "left_shoulder": (1.0, 0.0, 0.0),
    "right_shoulder": (-1.0, 0.0, 0.0),
    "left_elbow": (1.0, 0.0, 0.0),
    "left_hip": (0.0, -1.0, 0.0),
}


def rest_joints() -> torch.Tensor:
    from motiongpt3.body.embedded import embedded_body

    return embedded_body("light").joints


@pytest.mark.parametrize("name", REST)
def test_a_natural_rotation_points_the_limb_and_has_no_twist(name):
    joint, rest = JOINT_INDEX[name], torch.tensor(REST[name])
    directions = unit_vector(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
    rotations = natural_rotation(joint, rest, directions)
    assert (rotations @ rest)[..., :] == pytest.approx(directions, abs=1e-5)
    assert twist_angle(joint, rest, rotations).abs().max() < 1e-3


def test_a_twist_is_measured_about_the_bone():
    joint, rest = JOINT_INDEX["left_shoulder"], torch.tensor(REST["left_shoulder"])
    angles = torch.linspace(-2.5, 2.5, 11)
    natural = natural_rotation(joint, rest, torch.tensor([0.3, -0.9, 0.3]))
    twisted = natural @ axis_angle_to_matrix(angles[:, None] * rest)
    assert twist_angle(joint, rest, twisted) == pytest.approx(angles, abs=1e-4)


def test_hanging_arms_have_palms_that_face_the_thighs():
    # In the T-pose palms look down.
    down = torch.tensor([0.0, -1.0, 0.0])
    for name, inward in (("left_shoulder", -1.0), ("right_shoulder", 1.0)):
        hanging = natural_rotation(JOINT_INDEX[name], torch.tensor(REST[name]), down)
        assert (hanging @ down)[0] * inward > 0.9


def test_sides_mirror_each_other():
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    direction = unit_vector(torch.tensor([0.4, -0.5, 0.7]))
    left = natural_rotation(JOINT_INDEX["left_shoulder"], torch.tensor([1.0, 0, 0]), direction)
    right = natural_rotation(JOINT_INDEX["right_shoulder"], torch.tensor([-1.0, 0, 0]), mirror @ direction)
    assert right == pytest.approx(mirror @ left @ mirror, abs=1e-5)


def test_bones_take_over_their_fraction_of_the_twist():
    joints = rest_joints()
    shoulder, elbow = JOINT_INDEX["left_shoulder"], JOINT_INDEX["left_elbow"]
    along = unit_vector(joints[elbow] - joints[shoulder])
    direction = torch.tensor([0.5, -0.6, 0.6])
    rotations = torch.eye(3).repeat(22, 1, 1)
    natural = natural_rotation(shoulder, along, direction)
    rotations[shoulder] = natural @ axis_angle_to_matrix(1.2 * along)
    turned = twist_bone_rotations(rotations, joints)
    for bone, rotation in zip(TWIST_BONES, turned):
        if bone.joint == shoulder:
            expected = natural @ axis_angle_to_matrix(1.2 * bone.fraction * along)
            assert rotation == pytest.approx(expected, abs=1e-4)


def test_a_forearm_takes_over_the_twist_of_the_wrist():
    joints = rest_joints()
    elbow, wrist = JOINT_INDEX["right_elbow"], JOINT_INDEX["right_wrist"]
    along = unit_vector(joints[wrist] - joints[elbow])
    rotations = torch.eye(3).repeat(2, 22, 1, 1)
    rotations[1, wrist] = axis_angle_to_matrix(math.pi / 2 * along)
    turned = twist_bone_rotations(rotations, joints)
    index = {(bone.joint, bone.fraction): k for k, bone in enumerate(TWIST_BONES)}
    for fraction in (0.0, 0.5, 1.0):
        relative = turned[0, index[elbow, fraction]].T @ turned[1, index[elbow, fraction]]
        cosine = (relative.trace() - 1) / 2
        assert cosine.clamp(-1, 1).acos() == pytest.approx(fraction * math.pi / 2, abs=1e-3)


def test_names_say_whose_bone_and_how_much():
    assert TWIST_BONES[0].name == "left_shoulder_twist_0"
    assert all(JOINT_NAMES[bone.joint] in bone.name for bone in TWIST_BONES)
