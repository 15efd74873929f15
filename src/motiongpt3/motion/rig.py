"""A motion as animation tools play it: a rest pose, rotations, and places of the joints that are not rigid.

Rotations of a motion that has a pose are the pose's. Otherwise the rest pose is a T-pose with the clip's own
bone lengths (median over frames), so that tools can retarget it, and rotations are made from the joints as
`pose` describes. The children of pelvis and upper spine move a little against each other in generated motion,
and all bones may change length; joints of which this is so get a place for each frame besides the rotation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.motion.bones import bone_vectors
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import (
    BRANCHES,
    continuous_quaternions,
    directions,
    local_rotations,
    median_bone_lengths,
    rotations_of_bones,
    world_rotations,
)
from motiongpt3.motion.rotations import (
    matrix_to_euler,
    matrix_to_quaternion,
    quaternion_inverse,
    quaternion_rotate,
    unit_vector,
)
from motiongpt3.motion.skeleton import PARENTS

LENGTH_TOLERANCE = 9e-4
"""Metres that a joint may be off before bones are played with their changes of length."""
_RIGID_TOLERANCE = 1e-4

_REST_DIRECTIONS = directions(
    {
        "hip": (1.0, 0.0, 0.0),
        "spine1": (0.0, 1.0, 0.0),
        "knee": (0.0, -1.0, 0.0),
        "spine2": (0.0, 1.0, 0.0),
        "ankle": (0.0, -1.0, 0.0),
        "spine3": (0.0, 1.0, 0.0),
        "foot": (0.0, -0.45, 0.9),
        "neck": (0.0, 1.0, 0.0),
        "collar": (0.6, 0.8, 0.0),
        "head": (0.0, 0.9, 0.45),
        "shoulder": (0.94, 0.34, 0.0),
        "elbow": (1.0, 0.0, 0.0),
        "wrist": (1.0, 0.0, 0.0),
    }
)
"""Direction from the parent in the T-pose. The children of pelvis and spine3 take the clip's own directions
instead, as long as it has any."""


@dataclass(frozen=True, eq=False)
class JointTracks:
    """What a file of an animation tool holds.

    Attributes:
        rest: (22, 3) float64 offset of each joint from its parent in the rest pose, metres; 0 for the root.
        rotations: (T, 22, 4) quaternions relative to the parent, without jumps of sign.
        places: (T, 22, 3) place of each joint in the frame of its parent, metres; of the root in the world.
        moves: (22,) whether the place of a joint differs from ``rest``; always for the root.
        error: metres by which the largest difference of a joint is, when rotations and the places of those
            that move are played.
    """

    rest: Tensor
    rotations: Tensor
    places: Tensor
    moves: Tensor
    error: float


def joint_tracks(motion: Motion, stretch: bool | None = None) -> JointTracks:
    """Make the tracks of a motion.

    Args:
        motion: the motion.
        stretch: whether all bones that change length get places, which is exact; False keeps lengths constant
            whatever it costs; None: only if some joint would otherwise be about a millimetre off.
    """
    joints = motion.joints.double()
    bones = F.pad(bone_vectors(joints), (0, 0, 1, 0))
    if motion.pose is not None:
        rest, rotations = motion.pose.rest.double().clone(), motion.pose.rotations.double()
        rest[0] = 0
    else:
        rest = rest_of_clip(bones, median_bone_lengths(joints))
        rotations = local_rotations(matrix_to_quaternion(rotations_of_bones(bones, rest)))
    rotations = continuous_quaternions(rotations)
    tracks = _tracks(joints, bones, rest, rotations, bool(stretch))
    if stretch is None and tracks.error > LENGTH_TOLERANCE:
        tracks = _tracks(joints, bones, rest, rotations, True)
    return tracks


def rest_of_clip(bones: Tensor, lengths: Tensor) -> Tensor:
    """Offsets of the T-pose of a clip, (22, 3), from its bones (T, 22, 3) and their lengths (22,)."""
    rest = _REST_DIRECTIONS.to(bones).clone()
    for _, left, right, top in BRANCHES:
        # The clip's own geometry, averaged in a frame of the body: x to its left, y up.
        across = unit_vector(bones[:, left] - bones[:, right])
        upward = bones[:, top] - (bones[:, left] + bones[:, right]) / 2
        upward = unit_vector(upward - (upward * across).sum(-1, keepdim=True) * across)
        body = torch.stack([across, upward, torch.linalg.cross(across, upward)], dim=-2)
        for child in (left, right, top):
            mean = (body @ unit_vector(bones[:, child])[..., None])[..., 0].mean(0)
            if torch.linalg.vector_norm(mean) > 0.1:
                rest[child] = mean
    return unit_vector(rest) * lengths[:, None]


def continuous_euler(rotations: Tensor, order: str) -> Tensor:
    """Euler angles without jumps: of all that give a rotation, those nearest to the frame before.

    Args:
        rotations: (T, J, 3, 3) matrices.
        order: of `EULER_ORDERS`.

    Returns:
        (T, J, 3) radians, see `matrix_to_euler`.
    """
    angles = matrix_to_euler(rotations, order)
    first, second, third = angles.unbind(-1)
    other = torch.stack([first + math.pi, math.pi - second, third + math.pi], dim=-1)
    before = angles[0]
    continuous = [before]
    for candidates in torch.stack([angles, other], dim=1)[1:]:
        turns = ((before - candidates) / (2 * math.pi)).round()
        candidates = candidates + 2 * math.pi * turns
        distance = (candidates - before).square().sum(-1)
        before = torch.where((distance[1] < distance[0])[:, None], candidates[1], candidates[0])
        continuous.append(before)
    return torch.stack(continuous)


def _tracks(joints: Tensor, bones: Tensor, rest: Tensor, rotations: Tensor, stretch: bool) -> JointTracks:
    world = world_rotations(rotations)
    above = world[:, PARENTS[1:]]
    places = quaternion_rotate(quaternion_inverse(above), bones[:, 1:])
    if not stretch:
        places = unit_vector(places) * torch.linalg.vector_norm(rest[1:], dim=-1)[:, None]
    places = torch.cat([joints[:, :1], places], dim=1)
    moves = (places - rest).abs().amax(dim=(0, 2)) > _RIGID_TOLERANCE
    moves[0] = True
    played = torch.where(moves[:, None], places, rest)
    made = [played[:, 0]]
    steps = quaternion_rotate(above, played[:, 1:])
    for joint in range(1, len(PARENTS)):
        made.append(made[PARENTS[joint]] + steps[:, joint - 1])
    error = torch.linalg.vector_norm(torch.stack(made, dim=1) - joints, dim=-1).max()
    return JointTracks(rest, rotations, places, moves, float(error))
