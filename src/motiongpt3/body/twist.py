"""Twist: how much a limb turns about its own length, and the bones that spread it along the limb.

A joint's rotation takes its bone from the T-pose to where it points. There is one *natural* rotation for
every direction, chosen once per joint; what a joint turns beyond it, about the bone, is its twist. Natural
rotations change smoothly with the direction, except at one that the joint cannot reach (a thigh that points
backwards and up).

Shapes: ... is any leading dimensions, the same for both arguments.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from motiongpt3.motion.rotations import (
    axis_angle_to_matrix,
    matrix_to_quaternion,
    quaternion_between,
    quaternion_to_matrix,
    unit_vector,
)
from motiongpt3.motion.skeleton import JOINT_INDEX, JOINT_NAMES

# Where the bone of a joint points half-way through what it can reach, left side, in its parent's frame.
_MIDDLES: dict[str, tuple[float, float, float]] = {
    "hip": (0.25, -0.75, 0.6),
    "knee": (0.0, -0.7, -0.7),
    "shoulder": (0.5, -0.6, 0.6),
    "elbow": (0.6, 0.0, 0.8),
}
# A direction for which the natural rotation is the smallest one from the T-pose: hanging arms get palms that
# face the thighs. Joints that are not here take the smallest rotation to their middle.
_HANGING: dict[str, tuple[float, float, float]] = {"shoulder": (0.05, -1.0, 0.0)}


class TwistBone(NamedTuple):
    """A bone that follows its joint, but twists only in part.

    Attributes:
        joint: whose bone it goes along.
        end: the joint at the end of that bone.
        fraction: of the twist that it takes over; the twist of ``end`` about this bone counts too.
    """

    joint: int
    end: int
    fraction: float

    @property
    def name(self) -> str:
        """As in ``left_elbow_twist_50``."""
        return f"{JOINT_NAMES[self.joint]}_twist_{round(100 * self.fraction)}"


def _twist_bones() -> tuple[TwistBone, ...]:
    parts = (
        ("shoulder", "elbow", (0.0, 0.5)),
        ("elbow", "wrist", (0.0, 0.5, 1.0)),
        ("hip", "knee", (0.0, 0.5)),
    )
    return tuple(
        TwistBone(JOINT_INDEX[f"{side}_{joint}"], JOINT_INDEX[f"{side}_{end}"], fraction)
        for side in ("left", "right")
        for joint, end, fractions in parts
        for fraction in fractions
    )


TWIST_BONES = _twist_bones()


def natural_rotation(joint: int, rest: Tensor, direction: Tensor) -> Tensor:
    """The rotation without twist that takes a limb's bone from the T-pose to a direction.

    Args:
        joint: hip, knee, shoulder or elbow.
        rest: (3,) direction of the bone in the T-pose.
        direction: (..., 3) where it points, in the parent's frame.

    Returns:
        (..., 3, 3).
    """
    side, _, part = JOINT_NAMES[joint].partition("_")
    middle = _sided(_MIDDLES[part], side, rest)
    if part in _HANGING:
        hanging = _sided(_HANGING[part], side, rest)
        start = _turn(hanging, middle) @ _turn(rest, hanging)
    else:
        start = _turn(rest, middle)
    return _turn(middle, direction) @ start


def twist_angle(joint: int, rest: Tensor, rotation: Tensor) -> Tensor:
    """How far a rotation turns a limb about itself beyond the natural rotation.

    Args:
        joint: hip, knee, shoulder or elbow.
        rest: (3,) direction of the bone in the T-pose.
        rotation: (..., 3, 3) of the joint, relative to its parent.

    Returns:
        (...) radians in (-pi, pi], about the bone.
    """
    natural = natural_rotation(joint, rest, (rotation @ rest[..., None])[..., 0])
    return _angle_about(rest, natural.transpose(-1, -2) @ rotation)


def twist_bone_rotations(rotations: Tensor, rest: Tensor) -> Tensor:
    """Rotations of `TWIST_BONES` relative to the parents of their joints.

    Args:
        rotations: (..., 22, 3, 3) of the joints, relative to their parents.
        rest: (22, 3) joints in the T-pose.

    Returns:
        (..., len(TWIST_BONES), 3, 3).
    """
    found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    result = []
    for bone in TWIST_BONES:
        if bone.joint not in found:
            along = unit_vector(rest[bone.end] - rest[bone.joint])
            rotation = rotations[..., bone.joint, :, :]
            natural = natural_rotation(bone.joint, along, (rotation @ along[:, None])[..., 0])
            angle = _angle_about(along, natural.transpose(-1, -2) @ rotation)
            if JOINT_NAMES[bone.joint].endswith("elbow"):
                angle = angle + _angle_about(along, rotations[..., bone.end, :, :])
            found[bone.joint] = (natural, along, angle)
        natural, along, angle = found[bone.joint]
        result.append(natural @ axis_angle_to_matrix(bone.fraction * angle[..., None] * along))
    return torch.stack(result, dim=-3)


def _angle_about(axis: Tensor, rotation: Tensor) -> Tensor:
    """The twist of rotations (..., 3, 3) about a unit axis (3,), swing-twist decomposition."""
    quaternion = matrix_to_quaternion(rotation)
    return 2 * torch.atan2((quaternion[..., 1:] * axis).sum(-1), quaternion[..., 0])


def _turn(source: Tensor, target: Tensor) -> Tensor:
    return quaternion_to_matrix(quaternion_between(source, target))


def _sided(direction: tuple[float, float, float], side: str, like: Tensor) -> Tensor:
    x, y, z = direction
    return unit_vector(like.new_tensor([-x if side == "right" else x, y, z]))
