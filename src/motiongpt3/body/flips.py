"""Flips: joints of a fitted body that turn over between two frames although nothing of the motion does.

A limb that is straight, or points at a pole of its natural rotation, does not show how it is twisted. A fit
that guesses anew in every frame then turns it back and forth, which no distance between joints can tell.

Shapes: T frames.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from motiongpt3.body.fitting import BodyMotion
from motiongpt3.body.model import joint_offsets, joint_transforms
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.rotations import unit_vector
from motiongpt3.motion.skeleton import CHAINS, JOINT_COUNT, JOINT_INDEX, JOINT_NAMES

# The source may turn by this share of the limit and the body's turn still counts as a flip.
_STILL = 2 / 3


class Flip(NamedTuple):
    """A joint that turned over between a frame and the next."""

    joint: str
    frame: int
    degrees: float


def find_flips(fitted: BodyMotion, motion: Motion, limit: float = 60.0) -> list[Flip]:
    """Joints that turn too far in one frame without a reason in the motion.

    A reason is any bone of the joint's chain, or the line of hips or shoulders, that swings by two thirds of
    the limit between the same frames.

    Args:
        fitted: a body fitted to the motion.
        motion: what it was fitted to.
        limit: degrees, in the world.
    """
    world = joint_transforms(fitted.rotations, fitted.body.joints, fitted.translation)[..., :3].cpu()
    turns = world[1:] @ world[:-1].transpose(-1, -2)
    turned = ((turns.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1).acos().rad2deg()
    swung = _swings(motion.joints)
    found = []
    for joint in range(JOINT_COUNT):
        limb = sorted({member for chain in CHAINS if joint in chain for member in chain})
        source = swung[:, [*limb, JOINT_COUNT, JOINT_COUNT + 1]].amax(1)
        frames = ((turned[:, joint] > limit) & (source < _STILL * limit)).nonzero()[:, 0].tolist()
        found += [Flip(JOINT_NAMES[joint], frame, float(turned[frame, joint])) for frame in frames]
    return found


def _swings(joints: Tensor) -> Tensor:
    """(T - 1, 24) degrees that each bone swings from frame to frame, and the lines of hips and shoulders."""
    lines = [
        joints[:, JOINT_INDEX[f"left_{part}"]] - joints[:, JOINT_INDEX[f"right_{part}"]]
        for part in ("hip", "shoulder")
    ]
    bones = unit_vector(torch.cat([joint_offsets(joints), torch.stack(lines, dim=1)], dim=1))
    swung = (bones[1:] * bones[:-1]).sum(-1).clamp(-1, 1).acos().rad2deg()
    swung[:, 0] = 0
    return swung
