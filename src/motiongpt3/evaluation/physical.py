"""How physical a motion looks: sliding feet, floor, jerk, bone lengths; and how much motions differ.

Shapes: T frames, joints (T, 22, 3) in metres, y up, uniform skeleton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.evaluation.kinematics import lower_foot_height, validated
from motiongpt3.motion.kinematics import FOOT_JOINTS, face_forward
from motiongpt3.motion.skeleton import JOINT_INDEX, PARENTS

ANKLE_CONTACT = 0.12
"""Height of an ankle over the ground, metres, below which its foot may be in contact (standing: 0.09)."""

TOE_CONTACT = 0.05
"""Height of a toe joint over the ground, metres, below which its foot may be in contact."""

_TIME_STEPS = 40


@dataclass(frozen=True)
class PhysicalMeasures:
    """What `measure_physics` finds in one clip.

    Attributes:
        foot_skate: centimetres per second, NaN if no foot is ever in contact; see `foot_skate`.
        lowest_foot: lowest height of the feet in any frame, metres; negative is under the floor y = 0.
        jerk: metres per second cubed; see `jerk`.
        bone_drift: greatest change of a bone's length, as a fraction of it; see `bone_length_drift`.
    """

    foot_skate: float
    lowest_foot: float
    jerk: float
    bone_drift: float


def measure_physics(joints: Tensor, fps: float = 20.0) -> PhysicalMeasures:
    """All measures of one clip (T, 22, 3).

    Raises:
        InputError: see `kinematics.validated`.
    """
    joints = validated(joints)
    return PhysicalMeasures(
        foot_skate=foot_skate(joints, fps),
        lowest_foot=float(joints[:, FOOT_JOINTS, 1].min()),
        jerk=jerk(joints, fps),
        bone_drift=bone_length_drift(joints),
    )


def foot_skate(joints: Tensor, fps: float = 20.0) -> float:
    """Mean horizontal speed of the feet that are on the ground, centimetres per second.

    A foot is on the ground from one frame to the next if in both its ankle is below `ANKLE_CONTACT` and its
    toe joint below `TOE_CONTACT`, over the ground of the clip (10 % quantile of the lower foot's height). Its
    speed is the mean of ankle and toe joint. There is no threshold on speed: no foot escapes by sliding fast.

    Returns:
        NaN if no foot is ever on the ground.
    """
    feet = joints[:, FOOT_JOINTS].unflatten(1, (2, 2))
    height = feet[..., 1] - lower_foot_height(joints).quantile(0.1)
    low = (height < height.new_tensor([ANKLE_CONTACT, TOE_CONTACT])).all(-1)
    on_ground = low[1:] & low[:-1]
    speed = torch.linalg.vector_norm((feet[1:] - feet[:-1])[..., (0, 2)], dim=-1).mean(-1) * fps
    return float(speed[on_ground].mean() * 100)


def jerk(joints: Tensor, fps: float = 20.0) -> float:
    """Mean length of the third difference of the joint positions, metres per second cubed."""
    return float(torch.linalg.vector_norm(joints.diff(n=3, dim=0), dim=-1).mean() * fps**3)


def bone_length_drift(joints: Tensor) -> float:
    """Greatest deviation of a bone's length from its median over the clip, as a fraction of that median."""
    lengths = torch.linalg.vector_norm(joints[:, 1:] - joints[:, PARENTS[1:]], dim=-1)
    median = lengths.median(dim=0).values
    return float(((lengths - median).abs() / median.clamp_min(1e-6)).max())


def mean_pairwise_distance(clips: Sequence[Tensor]) -> float:
    """Variety: mean distance between two different clips, metres.

    Every clip is turned to face +z in frame 0, the horizontal position of the pelvis is subtracted in every
    frame (how far somebody walks is not variety), and time is resampled to 40 frames (nor is how long it
    takes). The distance of two clips is the mean over frames and joints of the distance between joints.

    Returns:
        NaN for fewer than two clips.
    """
    if len(clips) < 2:
        return float("nan")
    normal = torch.stack([_in_place(clip) for clip in clips]).flatten(1, 2)
    distances = [
        torch.linalg.vector_norm(normal[i + 1 :] - normal[i], dim=-1).mean(-1) for i in range(len(normal) - 1)
    ]
    return float(torch.cat(distances).mean())


def _in_place(joints: Tensor) -> Tensor:
    """(40, 22, 3) of a clip: facing forward, without its path, at one length."""
    joints = face_forward(validated(joints))
    pelvis = joints[:, JOINT_INDEX["pelvis"], None]
    joints = joints - pelvis * joints.new_tensor([1.0, 0.0, 1.0])
    values = joints.flatten(1).T[None]
    resampled = F.interpolate(values, size=_TIME_STEPS, mode="linear", align_corners=True)
    return resampled[0].T.unflatten(1, (-1, 3))
