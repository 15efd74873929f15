"""How well given and generated frames of one clip fit together, where one meets the other.

Shapes: T frames, joints (T, 22, 3) in metres, y up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.evaluation.kinematics import validated
from motiongpt3.motion.bones import bone_lengths
from motiongpt3.motion.features import FRAMES_PER_SECOND
from motiongpt3.motion.foot_lock import ANKLES, TOES, ground_height, resting_foot_joints

STANDING_SPEED = 0.15
"""Metres per second below which a joint of a foot stands still. In motion capture a toe joint that is slower
stays within 1.5 cm of a place for as long as it is, 19 times in 20."""


@dataclass(frozen=True)
class SeamMeasures:
    """What `measure_seams` finds where given frames meet others.

    Attributes:
        frame: the first frame after the seam.
        position_jump: metres by which the step across the seam differs from the mean of the steps before and
            after it, for the worst joint; 0 where motion is smooth.
        velocity_jump: metres per second, the greatest change of velocity from a step to the next, of those
            before, across and after the seam, for the worst joint.
        foot_slide: metres, how far a joint of a foot that stands in the given frames moves from there as long
            as it should stand, for the worst joint; NaN if no foot stands at the seam.
        bone_drift: metres, the greatest deviation of a bone's length, in the frames that are not given and
            reach to the next seam, from its median over the given frames.
    """

    frame: int
    position_jump: float
    velocity_jump: float
    foot_slide: float
    bone_drift: float


def measure_seams(
    joints: Tensor,
    given: Sequence[range],
    generated: Tensor | None = None,
    fps: float = FRAMES_PER_SECOND,
) -> list[SeamMeasures]:
    """Measure a joined clip at each seam.

    Args:
        joints: (T, 22, 3).
        given: the frames that were given, in order and apart.
        generated: (T, 22, 3) the motion from which the rest was made, which says how long a foot should
            stand; by default ``joints`` says so itself.
        fps: frames per second.

    Raises:
        InputError: if ``joints`` are not a clip, ``generated`` has another shape, or frames are given that
            the clip does not have.
    """
    joints = validated(joints)
    guide = joints if generated is None else validated(generated)
    if guide.shape != joints.shape:
        raise InputError(f"generated has {len(guide)} frames, joints have {len(joints)}")
    for frames in given:
        if not 0 <= frames.start < frames.stop <= len(joints) or frames.step != 1:
            raise InputError(f"{frames} is no range of frames of a clip of {len(joints)} frames")
    if not given:
        return []
    lengths = bone_lengths(joints)
    usual = torch.cat([lengths[list(frames)] for frames in given]).median(0).values
    drift = (lengths - usual).abs().amax(1)
    edges = [0, *(edge for frames in given for edge in (frames.start, frames.stop)), len(joints)]
    measures = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if start == stop:
            continue
        for seam, forward in ((start, True), (stop, False)):
            if 0 < seam < len(joints):
                measures.append(
                    SeamMeasures(
                        seam,
                        *_jumps(joints, seam, fps),
                        _foot_slide(joints, guide, seam, forward, fps),
                        float(drift[start:stop].max()),
                    )
                )
    return measures


def _jumps(joints: Tensor, seam: int, fps: float) -> tuple[float, float]:
    steps = joints[max(seam - 2, 0) : seam + 2].diff(dim=0)
    if len(steps) < 2:
        return 0.0, 0.0
    across = 1 if seam >= 2 else 0
    beside = torch.cat([steps[:across], steps[across + 1 :]])
    position = torch.linalg.vector_norm(steps[across] - beside.mean(0), dim=-1).max()
    velocity = torch.linalg.vector_norm(steps.diff(dim=0), dim=-1).max() * fps
    return float(position), float(velocity)


def _foot_slide(joints: Tensor, guide: Tensor, seam: int, forward: bool, fps: float) -> float:
    """Greatest way of a standing ankle or toe joint from its place in the given frame at the seam."""
    given = seam - 1 if forward else seam
    inwards = range(seam, len(joints)) if forward else range(seam - 1, -1, -1)
    ends = joints[max(given - 1, 0) : given + 1] if forward else joints[given : given + 2]
    at_given = resting_foot_joints(ends, ground_height(joints), fps, STANDING_SPEED)[-1 if forward else 0]
    rests = resting_foot_joints(guide, ground_height(guide), fps, STANDING_SPEED)
    stands = torch.cat([(at_given & rests[given])[None], rests[list(inwards)]])
    stands = stands.long().cumprod(0).bool()
    feet = torch.stack([joints[:, ANKLES], joints[:, TOES]], dim=1)
    way = torch.linalg.vector_norm(feet[[given, *inwards]] - feet[given], dim=-1)
    return float(way[stands].max()) if stands[1:].any() else float("nan")
