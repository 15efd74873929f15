"""Joint rotations in the convention of SMPL and of animation tools, and how to get them from positions.

Here a joint's rotation is relative to its parent's and turns everything below it; without rotations the body
stands in its rest pose, a T-pose facing +z (Loper et al. 2015, "SMPL", section 3). This is not HumanML3D's
convention, which `kinematics` has.

Joint positions do not say how a bone is twisted about itself. Rotations made from positions are therefore a
choice: pelvis and upper spine get the rotation that fits their three children best, every other joint the
smallest rotation from its parent's frame, and head, feet and wrists follow their parents.

Shapes: joints (T, 22, 3) in metres, y up; quaternions (w, x, y, z).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.motion.bones import bone_lengths, bone_vectors
from motiongpt3.motion.rotations import (
    axis_angle_to_quaternion,
    matrix_to_quaternion,
    quaternion_between,
    quaternion_inverse,
    quaternion_multiply,
    quaternion_rotate,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
    unit_vector,
)
from motiongpt3.motion.skeleton import JOINT_COUNT, JOINT_INDEX, JOINT_NAMES, MIRROR, PARENTS, UNIFORM_OFFSETS

BRANCHES: tuple[tuple[int, int, int, int], ...] = tuple(
    (JOINT_INDEX[joint], JOINT_INDEX[left], JOINT_INDEX[right], JOINT_INDEX[top])
    for joint, left, right, top in (
        ("pelvis", "left_hip", "right_hip", "spine1"),
        ("spine3", "left_collar", "right_collar", "neck"),
    )
)
"""The joints with three children: joint, left, right and upper child."""

CHILDREN: tuple[tuple[int, ...], ...] = tuple(
    tuple(child for child in range(JOINT_COUNT) if PARENTS[child] == joint) for joint in range(JOINT_COUNT)
)


def sided(table: Mapping[str, tuple[float, float, float]], joint: str) -> tuple[float, float, float]:
    """Look up ``left_hip`` or ``right_hip`` under ``hip``, with x turned around for the right side."""
    side, _, part = joint.rpartition("_")
    x, y, z = table[part]
    return (-x if side == "right" else x), y, z


def directions(table: Mapping[str, tuple[float, float, float]]) -> Tensor:
    """Directions given for the middle and the left side: (22, 3) float64 unit vectors, zero for the root."""
    rows = [(0.0, 0.0, 0.0), *(sided(table, name) for name in JOINT_NAMES[1:])]
    return unit_vector(torch.tensor(rows, dtype=torch.float64))


T_POSE_DIRECTIONS: Tensor = directions(
    {
        "hip": (0.6, -0.8, 0.0),
        "spine1": (0.0, 1.0, -0.2),
        "knee": (0.1, -1.0, 0.0),
        "spine2": (0.0, 1.0, 0.0),
        "ankle": (0.0, -1.0, -0.1),
        "spine3": (0.0, 0.9, 0.4),
        "foot": (0.2, -0.4, 0.9),
        "neck": (0.0, 1.0, -0.2),
        "collar": (0.5, 0.8, -0.2),
        "head": (0.0, 0.8, 0.6),
        "shoulder": (1.0, 0.3, -0.1),
        "elbow": (1.0, 0.0, -0.1),
        "wrist": (1.0, 0.0, 0.0),
    }
)
"""(22, 3) direction of each joint from its parent when an adult stands with straight arms held out.

Rounded to a tenth. The rest pose of a body model depends on its shape; the angles between the bones that
leave pelvis and upper spine are within 5 degrees of HumanML3D's sample clip 012314, which SMPL-H made.
"""

T_POSE_OFFSETS: Tensor = (
    T_POSE_DIRECTIONS * torch.linalg.vector_norm(UNIFORM_OFFSETS.double(), dim=-1)[:, None]
)
"""(22, 3) float64 offsets from the parents, metres: the T-pose of the uniform skeleton."""


@dataclass(frozen=True, eq=False)
class BodyPose:
    """Rotations of a clip, and the body that they turn.

    Attributes:
        rotations: (T, 22, 4) unit quaternions, each relative to the parent's; the pelvis' is in the world
            (y up). Identities are the rest pose.
        rest: (22, 3) offset of each joint from its parent in the rest pose, metres. Row 0 is where a body
            model has its pelvis before it is moved; zero where that is not known.
        betas: (B,) shape parameters of the SMPL family, if the rotations came with some.
        gender: of the body model: "neutral", "female" or "male".
    """

    rotations: Tensor
    rest: Tensor
    betas: Tensor | None = None
    gender: str = "neutral"

    def joints(self, root: Tensor) -> Tensor:
        """Joint positions (T, 22, 3) with the pelvis at ``root`` (T, 3), metres."""
        return pose_to_joints(self.rotations, root, self.rest)

    def following(self, joints: Tensor) -> BodyPose:
        """The pose after joints were moved to (T, 22, 3): bones turn with them, and keep their twist.

        Bones to the children of pelvis and upper spine come as near as one rotation for three can.
        """
        world = world_rotations(self.rotations)
        above = world[:, PARENTS[1:]]
        bones = F.pad(quaternion_rotate(above, self.rest.to(world)[1:]), (0, 0, 1, 0))
        moved = F.pad(bone_vectors(joints), (0, 0, 1, 0)).to(world)
        turns = matrix_to_quaternion(rotations_of_bones(moved, bones))
        rotations = local_rotations(quaternion_multiply(turns, world))
        return replace(self, rotations=continuous_quaternions(rotations))

    def mirrored(self) -> BodyPose:
        """The pose seen in a mirror (x to -x, left and right swapped), on the mirrored body."""
        order = torch.tensor(MIRROR)
        flip = self.rotations.new_tensor([1.0, 1.0, -1.0, -1.0])
        return replace(
            self,
            rotations=self.rotations[:, order] * flip,
            rest=self.rest[order] * self.rest.new_tensor([-1.0, 1.0, 1.0]),
        )


def world_rotations(rotations: Tensor) -> Tensor:
    """Rotations relative to the parent (..., 22, 4) as rotations in the world (..., 22, 4)."""
    world = [rotations[..., 0, :]]
    for joint in range(1, JOINT_COUNT):
        world.append(quaternion_multiply(world[PARENTS[joint]], rotations[..., joint, :]))
    return torch.stack(world, dim=-2)


def local_rotations(world: Tensor) -> Tensor:
    """The inverse of `world_rotations`."""
    above = quaternion_inverse(world[..., PARENTS[1:], :])
    return torch.cat([world[..., :1, :], quaternion_multiply(above, world[..., 1:, :])], dim=-2)


def pose_to_joints(rotations: Tensor, root: Tensor, rest: Tensor) -> Tensor:
    """Forward kinematics in SMPL's convention.

    Args:
        rotations: (..., 22, 4) as in `BodyPose`.
        root: (..., 3) position of the pelvis, metres.
        rest: (22, 3) offsets, or anything that broadcasts to (..., 22, 3).

    Returns:
        (..., 22, 3) positions, metres.
    """
    world = world_rotations(rotations)
    bones = quaternion_rotate(world[..., PARENTS[1:], :], rest.to(world)[..., 1:, :])
    positions = [root]
    for joint in range(1, JOINT_COUNT):
        positions.append(positions[PARENTS[joint]] + bones[..., joint - 1, :])
    return torch.stack(positions, dim=-2)


def pose_from_joints(joints: Tensor, rest: Tensor) -> Tensor:
    """Rotations that turn a rest pose to the bones of a clip; see the top of this module for what is chosen.

    Exact in the directions of all bones but those to the children of pelvis and upper spine, which are as
    near as one rotation for the three can bring them (least squares).

    Args:
        joints: (T, 22, 3) metres; computed in their precision, best double.
        rest: (22, 3) offsets of the body to be turned.

    Returns:
        (T, 22, 4) quaternions as in `BodyPose`, without jumps of sign.
    """
    bones = F.pad(bone_vectors(joints), (0, 0, 1, 0))
    world = matrix_to_quaternion(rotations_of_bones(bones, rest.to(bones)))
    return continuous_quaternions(local_rotations(world))


def rotations_of_bones(bones: Tensor, rest: Tensor) -> Tensor:
    """Rotation of every joint in the world, (T, 22, 3, 3), that turns the rest pose to the observed bones.

    Args:
        bones: (T, 22, 3) vector from each joint's parent to it.
        rest: (22, 3) the same in the rest pose, or (T, 22, 3) in a pose for each frame.
    """
    rotations: list[Tensor] = []
    for joint in range(JOINT_COUNT):
        children = list(CHILDREN[joint])
        if len(children) > 1:
            rotations.append(best_rotation(rest[..., children, :], bones[:, children]))
            continue
        above = rotations[PARENTS[joint]]
        if children:
            seen = (above.transpose(-1, -2) @ bones[:, children[0], :, None])[..., 0]
            above = above @ quaternion_to_matrix(quaternion_between(rest[..., children[0], :], seen))
        rotations.append(above)
    return torch.stack(rotations, dim=1)


def best_rotation(rest: Tensor, seen: Tensor) -> Tensor:
    """The rotations (T, 3, 3) that bring points (N, 3) nearest to (T, N, 3), least squares (Kabsch 1976).

    The first may be (T, N, 3) as well.
    """
    left, _, right = torch.linalg.svd(rest.transpose(-1, -2) @ seen)
    rotation = right.transpose(-1, -2) @ left.transpose(-1, -2)
    handed = seen.new_ones(len(seen), 3)
    handed[:, 2] = torch.linalg.det(rotation).sign()
    return (right.transpose(-1, -2) * handed[:, None, :]) @ left.transpose(-1, -2)


def median_bone_lengths(joints: Tensor) -> Tensor:
    """Median length of each bone over a clip: (T, 22, 3) to (22,), metres; zero for the root."""
    return bone_lengths(joints).median(dim=0).values


def interpolate_rotations(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Turn evenly from one rotation to another the short way (Shoemake 1985), weight 0 to 1.

    Args:
        first: (..., 4) unit quaternions.
        second: (..., 4).
        weight: broadcasts to (..., 1); 0 gives ``first`` exactly, and 1 ``second``.
    """
    turn = quaternion_to_axis_angle(quaternion_multiply(second, quaternion_inverse(first)))
    between = quaternion_multiply(axis_angle_to_quaternion(turn * weight), first)
    return torch.where(weight == 0, first, torch.where(weight == 1, second, unit_vector(between)))


def continuous_quaternions(quaternions: Tensor) -> Tensor:
    """Choose the sign of quaternions (T, ..., 4) so that each is near the one of the frame before."""
    against = (quaternions[1:] * quaternions[:-1]).sum(-1, keepdim=True) < 0
    flips = torch.where(against, -1.0, 1.0).cumprod(0).to(quaternions)
    return torch.cat([quaternions[:1], quaternions[1:] * flips])
