"""Bones as vectors from each joint's parent to it: their lengths, and bodies put together of them.

Shapes: T frames; joints (..., 22, 3) in metres.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.motion.skeleton import JOINT_COUNT, PARENTS


def bone_vectors(joints: Tensor) -> Tensor:
    """(..., 21, 3) from the parent of each joint but the root to that joint."""
    return joints[..., 1:, :] - joints[..., PARENTS[1:], :]


def bone_lengths(joints: Tensor) -> Tensor:
    """(..., 22) length of the bone that ends at each joint (..., 22, 3); 0 for the root."""
    return F.pad(torch.linalg.vector_norm(bone_vectors(joints), dim=-1), (1, 0))


def assembled(root: Tensor, directions: Tensor, lengths: Tensor) -> Tensor:
    """Joints (T, 22, 3) of a root (T, 3), directions of the bones (T, 21, 3) and their lengths (T, 22)."""
    joints = [root]
    for joint in range(1, JOINT_COUNT):
        joints.append(joints[PARENTS[joint]] + lengths[:, joint, None] * directions[:, joint - 1])
    return torch.stack(joints, dim=1)
