"""Synthetic motions whose velocities and turns are known, for the geometry tests."""

from __future__ import annotations

import torch
from torch import Tensor

from motiongpt3.motion.kinematics import forward_kinematics
from motiongpt3.motion.rotations import (
    quaternion_multiply,
    quaternion_rotate,
    unit_vector,
    yaw_to_quaternion,
)
from motiongpt3.motion.skeleton import UNIFORM_OFFSETS


def standing(frames: int, offsets: Tensor = UNIFORM_OFFSETS) -> Tensor:
    """(T, 22, 3) float64 rest pose that faces +z, the pelvis over the origin."""
    rest = torch.zeros(frames, 22, 4, dtype=torch.float64)
    rest[..., 0] = 1
    root = torch.tensor([0.0, 0.95, 0.0], dtype=torch.float64).expand(frames, 3)
    return forward_kinematics(rest, root, offsets)


def travelling(yaw: Tensor, path: Tensor) -> Tensor:
    """The rest pose with its heading at ``yaw`` (T,) radians about +y and moved by ``path`` (T, 3)."""
    heading = yaw_to_quaternion(yaw.double())[:, None]
    return quaternion_rotate(heading, standing(len(yaw))) + path.double()[:, None]


def wriggling(frames: int, seed: int = 0, offsets: Tensor = UNIFORM_OFFSETS, amount: float = 0.3) -> Tensor:
    """(T, 22, 3) float64 smooth random motion of every joint, turning and wandering about."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(frames, dtype=torch.float64)[:, None, None] / 20

    def waves(width: int) -> Tensor:
        phase, rate, size = (
            torch.randn(1, 22, width, generator=generator, dtype=torch.float64) for _ in range(3)
        )
        return size * torch.sin(rate * time + phase)

    identity = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    local = unit_vector(identity + amount * waves(4))
    turn = yaw_to_quaternion(waves(1)[:, 0, 0] + 2)
    root = torch.cat([turn[:, None], local[:, 1:]], dim=1)
    root = torch.cat([quaternion_multiply(turn, local[:, 0])[:, None], root[:, 1:]], dim=1)
    path = waves(3)[:, 0] + torch.tensor([3.0, 1.0, -2.0], dtype=torch.float64)
    return forward_kinematics(root, path, offsets)
