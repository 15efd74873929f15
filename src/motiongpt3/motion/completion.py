"""Completing a motion: which of its frames are given, and where the last of them wait.

Shapes: T frames of the whole motion, h given at its beginning, t at its end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from motiongpt3.motion.features import joints_to_features
from motiongpt3.motion.kinematics import forward_direction

PREDICTION_RATIO = 0.2
INBETWEEN_RATIO = 0.25


def prediction_head(frames: int) -> int:
    """h of the prediction task: its first fifth, as in the official release."""
    return int(PREDICTION_RATIO * frames)


def inbetween_ends(frames: int) -> tuple[int, int]:
    """h of the in-between task and the frame at which its end begins: a quarter is given on either side."""
    return int(INBETWEEN_RATIO * frames), int((1 - INBETWEEN_RATIO) * frames)


def goal_between(before: Tensor, after: Tensor) -> Tensor:
    """Where one pose lies as seen from another.

    Args:
        before: (..., 22, 3) joints in metres, y up.
        after: (..., 22, 3) joints in the same world.

    Returns:
        (..., 4): how far the pelvis lies to the left and forward, metres; sine and cosine of the angle about
        +y (left is positive) from the facing direction of the one to that of the other.
    """
    facing, turned = (forward_direction(pose[..., None, :, :])[..., 0, :] for pose in (before, after))
    step = after[..., 0, :] - before[..., 0, :]
    # Seen from above with y up, the left of +z is +x.
    left = torch.stack([facing[..., 2], torch.zeros_like(facing[..., 0]), -facing[..., 0]], dim=-1)
    return torch.stack(
        [
            (vector * axis).sum(-1)
            for vector, axis in ((step, left), (step, facing), (turned, left), (turned, facing))
        ],
        dim=-1,
    )


def stretch_features(joints: Tensor) -> Tensor:
    """HumanML3D features of every frame of a stretch, (T, 263), for T joints (T, 22, 3), T >= 1.

    Features speak of the step to the next frame, so the last frame needs one more: the step before it is
    taken once again.
    """
    last = joints[-1:]
    step = last - joints[-2:-1] if len(joints) > 1 else torch.zeros_like(last)
    return joints_to_features(torch.cat([joints, last + step]), continuous_heading=True)
