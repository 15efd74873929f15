"""Poses and rotations of the 22-joint skeleton: forward and inverse kinematics, floor, facing, feet.

The rotation convention is HumanML3D's (Guo et al. 2022, "Generating Diverse and Natural 3D Human Motions
from Text"), which is not SMPL's: a joint's rotation turns the bone that *ends* there, the rest pose has
straight directions (`RAW_DIRECTIONS`), and both arms hang off the root's rotation, not off the spine's.

Shapes: joints are (..., T, 22, 3) in metres, y up; quaternions (w, x, y, z).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.bones import bone_lengths, bone_vectors
from motiongpt3.motion.rotations import (
    quaternion_between,
    quaternion_inverse,
    quaternion_multiply,
    quaternion_rotate,
    unit_vector,
)
from motiongpt3.motion.skeleton import (
    CHAINS,
    JOINT_COUNT,
    JOINT_INDEX,
    PARENTS,
    RAW_DIRECTIONS,
    UNIFORM_OFFSETS,
)

HEADING_SMOOTHING = 20.0
"""Standard deviation, in frames, with which HumanML3D smooths the heading before it computes features."""

FOOT_JOINTS = tuple(JOINT_INDEX[name] for name in ("left_ankle", "left_foot", "right_ankle", "right_foot"))


def _rotation_parents() -> tuple[int, ...]:
    parents = list(PARENTS)
    for chain in CHAINS:
        parents[chain[1]] = 0  # also for the arms, whose chains begin at the upper spine
    return tuple(parents)


# The joint whose accumulated rotation each joint's own rotation is relative to.
_ROTATION_PARENTS = _rotation_parents()


def forward_direction(joints: Tensor, smoothing: float | None = None) -> Tensor:
    """The horizontal direction that hips and shoulders face in each frame.

    Args:
        joints: (..., T, 22, 3).
        smoothing: standard deviation in frames of a Gaussian over time, or None for none.

    Returns:
        (..., T, 3) unit vectors with y = 0.
    """
    return _forward(_across(joints, "hip") + _across(joints, "shoulder"), smoothing)


def _across(joints: Tensor, part: str) -> Tensor:
    return joints[..., JOINT_INDEX[f"right_{part}"], :] - joints[..., JOINT_INDEX[f"left_{part}"], :]


def _forward(across: Tensor, smoothing: float | None) -> Tensor:
    x, _, z = unit_vector(across).unbind(-1)
    forward = torch.stack([z, torch.zeros_like(x), -x], dim=-1)  # +y crossed with `across`
    # HumanML3D smooths before it normalises; lengths differ where the line across is not level.
    return unit_vector(forward if smoothing is None else _smooth(forward, smoothing))


def _smooth(values: Tensor, sigma: float) -> Tensor:
    """Gaussian filter along the second last dimension, cut at four sigma, with the end values held."""
    radius = int(4 * sigma + 0.5)
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights = (weights / weights.sum()).to(values)
    frames = values.shape[-2]
    held = torch.arange(-radius, frames + radius, device=values.device).clamp(0, frames - 1)
    rows = values.index_select(-2, held).transpose(-1, -2)
    smooth = F.conv1d(rows.reshape(-1, 1, rows.shape[-1]), weights[None, None])
    return smooth.reshape(*rows.shape[:-1], frames).transpose(-1, -2)


def inverse_kinematics(joints: Tensor, smoothing: float | None = None) -> Tensor:
    """Joint rotations of a motion, as HumanML3D defines them.

    The root's rotation turns the heading to +z (so it is the heading's inverse) and is the identity in
    frame 0; every other joint's turns its raw direction to the observed bone.

    The heading here is not `forward_direction`: the published code takes left for right at the hips, so it
    faces across shoulders *minus* hips. The two agree while the trunk is not twisted. All HumanML3D data
    and all models of it hold this heading, so it is kept.

    Args:
        joints: (..., T, 22, 3).
        smoothing: see `forward_direction`.

    Returns:
        (..., T, 22, 4) quaternions, each relative to the joint before it in its chain; the first joint of a
        chain to the root.
    """
    forward = _forward(_across(joints, "shoulder") - _across(joints, "hip"), smoothing)
    root = quaternion_between(forward, forward.new_tensor([0.0, 0.0, 1.0]))
    identity = root.new_tensor([1.0, 0.0, 0.0, 0.0]).expand_as(root[..., :1, :])
    root = torch.cat([identity, root[..., 1:, :]], dim=-2)

    turns = quaternion_between(RAW_DIRECTIONS[1:].to(joints), bone_vectors(joints))
    # Along a chain the running rotation after a bone is exactly the turn of that bone, so no loop is needed.
    accumulated = torch.cat([root[..., None, :], turns], dim=-2)
    local = quaternion_multiply(quaternion_inverse(accumulated[..., _ROTATION_PARENTS[1:], :]), turns)
    return torch.cat([root[..., None, :], local], dim=-2)


def forward_kinematics(quaternions: Tensor, root_positions: Tensor, offsets: Tensor) -> Tensor:
    """Joint positions from rotations: the inverse of `inverse_kinematics`.

    Args:
        quaternions: (..., 22, 4) as `inverse_kinematics` gives them.
        root_positions: (..., 3) position of the pelvis, metres.
        offsets: (22, 3) offset of each joint from its parent in the rest pose, or anything that broadcasts
            to (..., 22, 3).

    Returns:
        (..., 22, 3) positions, metres.
    """
    accumulated = [quaternions[..., 0, :]]
    for joint in range(1, JOINT_COUNT):
        parent = accumulated[_ROTATION_PARENTS[joint]]
        accumulated.append(quaternion_multiply(parent, quaternions[..., joint, :]))
    bones = quaternion_rotate(torch.stack(accumulated, dim=-2), offsets.to(quaternions))
    positions = [root_positions]
    for joint in range(1, JOINT_COUNT):
        positions.append(positions[PARENTS[joint]] + bones[..., joint, :])
    return torch.stack(positions, dim=-2)


def bone_offsets(joints: Tensor) -> Tensor:
    """The rest pose of a body seen in one frame: raw directions times its bone lengths.

    Args:
        joints: (..., 22, 3) one frame.

    Returns:
        (..., 22, 3) offsets from the parents, metres; zero for the root.
    """
    return RAW_DIRECTIONS.to(joints) * bone_lengths(joints)[..., None]


def uniform_skeleton(joints: Tensor, offsets: Tensor = UNIFORM_OFFSETS) -> Tensor:
    """Fit a motion to one body: same bone directions, other bone lengths, path scaled by leg length.

    Args:
        joints: (..., T, 22, 3); the leg length is taken from frame 0.
        offsets: (22, 3) rest pose of the target body, metres.

    Returns:
        (..., T, 22, 3), neither on the floor nor facing anywhere in particular.

    Raises:
        InputError: if the right leg has no length in frame 0, so that there is nothing to scale by.
    """
    source_length = _leg_length(bone_offsets(joints[..., 0, :, :]))
    if not (source_length > 0).all():
        raise InputError("the right leg has no length in the first frame: these are not body joints")
    scale = _leg_length(offsets.to(joints)) / source_length
    root_positions = joints[..., 0, :] * scale[..., None, None]
    return forward_kinematics(inverse_kinematics(joints), root_positions, offsets)


def _leg_length(offsets: Tensor) -> Tensor:
    knee, ankle = JOINT_INDEX["right_knee"], JOINT_INDEX["right_ankle"]
    return offsets[..., knee, :].abs().amax(-1) + offsets[..., ankle, :].abs().amax(-1)


def put_on_floor(joints: Tensor) -> Tensor:
    """Move each clip (..., T, 22, 3) vertically so that its lowest joint in any frame is at y = 0."""
    lowest = joints[..., 1].amin(dim=(-2, -1))
    zero = torch.zeros_like(lowest)
    return joints - torch.stack([zero, lowest, zero], dim=-1)[..., None, None, :]


def face_forward(joints: Tensor) -> Tensor:
    """Move and turn each clip (..., T, 22, 3) so that in frame 0 the pelvis is over the origin, facing +z."""
    start = joints[..., :1, :1, :] * joints.new_tensor([1.0, 0.0, 1.0])
    forward = forward_direction(joints[..., :1, :, :])
    turn = quaternion_between(forward, forward.new_tensor([0.0, 0.0, 1.0]))
    return quaternion_rotate(turn[..., None, :], joints - start)


def foot_contacts(joints: Tensor, threshold: float = 0.002) -> Tensor:
    """Which foot joints rest from one frame to the next.

    Args:
        joints: (..., T, 22, 3).
        threshold: squared displacement, square metres per frame, below which a joint is at rest.

    Returns:
        (..., T - 1, 4) of 0 and 1: left ankle, left foot, right ankle, right foot.
    """
    feet = joints[..., FOOT_JOINTS, :]
    squared = (feet[..., 1:, :, :] - feet[..., :-1, :, :]).square().sum(-1)
    return (squared < threshold).to(joints.dtype)
