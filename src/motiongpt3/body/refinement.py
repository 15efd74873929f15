"""Optimisation after the closed form: nearer joints where a body's bones differ, steadier feet, less jitter.

Every rotation may turn a little from where the closed form left it, and the body may move a little. What is
minimised, over the whole sequence at once: squared distances of the joints; how much the body's joints jerk
more than they did; how far each joint turned (a pose prior: the closed form is natural where joints say
nothing); and the speed of feet that stand.

Shapes: T frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motiongpt3.body.fitting import BodyMotion
from motiongpt3.body.model import joint_transforms
from motiongpt3.errors import InputError
from motiongpt3.motion.kinematics import FOOT_JOINTS
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.rotations import axis_angle_to_matrix
from motiongpt3.motion.skeleton import JOINT_COUNT

MAX_STEPS = 10_000


@dataclass(frozen=True)
class RefinementWeights:
    """How much each term counts beside the squared distance of the joints in metres.

    Attributes:
        smoothness: of the squared second difference of joints, metres, at 20 frames a second.
        pose: of the squared turn of each joint away from the closed form, radians.
        contact: of the squared displacement, metres a frame, of feet that stand.
    """

    smoothness: float = 0.05
    pose: float = 2e-4
    contact: float = 0.5


_LEARNING_RATE = 0.01
# Feet stand where their ball is this near the floor, metres, and this slow, metres a second.
_CONTACT_HEIGHT, _CONTACT_SPEED = 0.06, 0.35


def refine_fit(
    fitted: BodyMotion,
    motion: Motion,
    steps: int = 100,
    weights: RefinementWeights | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BodyMotion:
    """Improve a fit by gradient descent (Adam) on the whole sequence.

    Args:
        fitted: what `fit_body` made; its body's device is where the work is done.
        motion: the joints that it was fitted to.
        steps: of the descent, 0 to 10000; with 0 the fit comes back as it is.
        weights: of the terms.
        progress: called with (steps done, steps in all).

    Raises:
        InputError: if the motion has another number of frames, or for an impossible number of steps.
    """
    if len(motion) != len(fitted):
        raise InputError(f"{motion.name}: {len(motion)} frames, but the fit has {len(fitted)}")
    if not 0 <= steps <= MAX_STEPS:
        raise InputError(f"a refinement takes 0 to {MAX_STEPS} steps, not {steps}")
    weights = weights or RefinementWeights()
    body = fitted.body
    target = motion.joints.to(body.joints)
    standing = _standing(target, motion.fps)
    rate = (motion.fps / 20) ** 2
    turns = torch.zeros(len(fitted), JOINT_COUNT, 3).to(target).requires_grad_()
    moves = torch.zeros(len(fitted), 3).to(target).requires_grad_()
    optimiser = torch.optim.Adam([turns, moves], lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    for step in range(steps):
        rotations = fitted.rotations @ axis_angle_to_matrix(turns)
        joints = joint_transforms(rotations, body.joints, fitted.translation + moves)[..., 3]
        loss = (joints - target).square().sum(-1).mean()
        loss = loss + weights.pose * turns.square().sum(-1).mean()
        if len(fitted) > 2:
            jerk = joints[2:] - 2 * joints[1:-1] + joints[:-2]
            loss = loss + weights.smoothness * rate * jerk.square().sum(-1).mean()
        slide = (joints[1:] - joints[:-1])[:, FOOT_JOINTS].square().sum(-1)
        loss = loss + weights.contact * (standing * slide).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if progress:
            progress(step + 1, steps)
    with torch.no_grad():
        rotations = fitted.rotations @ axis_angle_to_matrix(turns)
        return replace(fitted, rotations=rotations, translation=fitted.translation + moves.detach())


def _standing(joints: Tensor, fps: float) -> Tensor:
    """(T - 1, 4) 1 where a foot joint stands from one frame to the next, else 0."""
    feet = joints[:, FOOT_JOINTS]
    speed = torch.linalg.vector_norm(feet[1:] - feet[:-1], dim=-1) * fps
    lowest = feet[..., 1].amin(dim=0)
    low = feet[:-1, :, 1] - lowest < _CONTACT_HEIGHT
    return (low & (speed < _CONTACT_SPEED)).to(joints)
