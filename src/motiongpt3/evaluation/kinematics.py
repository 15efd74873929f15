"""What a body did in one clip, in numbers with units: hands, path, steps, flight, trunk, legs.

Everything is computed from joint positions alone, in the body's own directions (left, up, facing), so that
position, heading and file format do not matter, and mirroring a clip exactly swaps the measurements of its
two sides. The lengths assume the uniform skeleton (`motion.kinematics.uniform_skeleton`) and +y up.

Shapes: T frames, joints (T, 22, 3) in metres. Left is +x for a body that faces +z.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.kinematics import forward_direction
from motiongpt3.motion.skeleton import JOINT_COUNT, JOINT_INDEX

MIN_FRAMES = 4

SMOOTHING_SECONDS = 0.25
"""Width of the moving average over headings and root positions: shorter than a step, longer than jitter."""

HAND_RAISED = -0.10
"""Height of a raised wrist over its own shoulder, metres: the lowest of the real raises, done by the old."""

HAND_WAVING = -0.25
"""Height over its own shoulder that a waving wrist gets to, metres: small goodbyes are waved at the chest."""

HELD = 0.10
"""A wrist is held up while it is at most this far under its peak, metres."""

SWING = 0.03
"""Path of a wrist between two turning points, metres, that counts as a swing; gentle waves have no more."""

STRIDE = 0.15
"""Change of the distance between the ankles along the facing direction, metres, that counts as a step."""

ANKLE_OVER_TOE = 0.05
"""How much higher an ankle is than the toe joint while the foot stands, metres, with some slack."""

FLIGHT = 0.04
"""Height of the lower foot over the ground of that moment, metres, from which the body is in the air."""

FLIGHT_SECONDS = 0.4
"""The ground of a moment is the lowest that a foot gets within this time before and after it."""

AIRBORNE = 0.10
"""Height of the lower foot over the ground of the clip, metres, from which a body is off the ground."""

LEG_EXTENDED = 0.3
"""How far the ankle is in front of the pelvis, metres, for its height to count as the height of a kick."""

_PELVIS, _NECK, _HEAD = (JOINT_INDEX[name] for name in ("pelvis", "neck", "head"))


@dataclass(frozen=True)
class Measurements:
    """What `measure` finds in one clip.

    Attributes:
        seconds: duration.
        left_hand_peak, right_hand_peak: greatest height of the wrist over its own shoulder, metres.
        left_hand_raised, right_hand_raised: longest time with the wrist over `HAND_RAISED`, seconds.
        left_hand_swings, right_hand_swings: movements of at least `SWING` metres between two turning points
            along the main direction of the wrist, from the first to the last moment that it is `HELD` up; 0
            for a wrist that never gets over `HAND_WAVING`. Raising a hand and lowering it makes up to 2.
        mean_speed, top_speed: horizontal speed of the pelvis, mean and 90 % quantile, metres per second.
        forward_speed, left_speed: mean velocity of the pelvis along the facing direction and to its left.
        displacement: horizontal distance from the first to the last position of the pelvis, metres.
        heading_change: facing direction at the end against the start, degrees, left positive, unwrapped.
        steps: how often the feet change places, one in front of the other, by at least `STRIDE` metres.
        step_rate: steps per second.
        flight_fraction: fraction of frames with both feet `FLIGHT` metres over the ground of the moment.
        airborne_height: greatest height of the lower foot over the ground of the clip, metres.
        airborne_seconds: longest time with the lower foot over `AIRBORNE`.
        pelvis_range: highest minus lowest pelvis, metres.
        pelvis_drop: median minus lowest height of the pelvis, metres.
        trunk_pitch: greatest forward lean of the trunk (pelvis to neck) from the vertical, degrees.
        trunk_pitch_at_ends: the greater of the leans at the start and the end.
        neck_over_pelvis: lowest height of the neck over the pelvis, metres; negative when upside down.
        feet_over_pelvis: greatest mean height of the ankles over the pelvis, metres; negative when upright.
        lowest_hand: lowest height of a wrist over the ground, metres.
        kick_height: greatest height of an ankle over the other while `LEG_EXTENDED`, metres; 0 if never.
        kick_speed: greatest speed of an ankle relative to the pelvis, metres per second.
    """

    seconds: float
    left_hand_peak: float
    right_hand_peak: float
    left_hand_raised: float
    right_hand_raised: float
    left_hand_swings: int
    right_hand_swings: int
    mean_speed: float
    top_speed: float
    forward_speed: float
    left_speed: float
    displacement: float
    heading_change: float
    steps: int
    step_rate: float
    flight_fraction: float
    airborne_height: float
    airborne_seconds: float
    pelvis_range: float
    pelvis_drop: float
    trunk_pitch: float
    trunk_pitch_at_ends: float
    neck_over_pelvis: float
    feet_over_pelvis: float
    lowest_hand: float
    kick_height: float
    kick_speed: float

    def mirrored(self) -> Measurements:
        """What the mirrored clip measures: sides swapped, signed numbers negated."""
        return replace(
            self,
            left_hand_peak=self.right_hand_peak,
            right_hand_peak=self.left_hand_peak,
            left_hand_raised=self.right_hand_raised,
            right_hand_raised=self.left_hand_raised,
            left_hand_swings=self.right_hand_swings,
            right_hand_swings=self.left_hand_swings,
            left_speed=-self.left_speed,
            heading_change=-self.heading_change,
        )


def measure(joints: Tensor, fps: float = 20.0) -> Measurements:
    """Measure one clip.

    Args:
        joints: (T, 22, 3), metres, y up, uniform skeleton; T at least `MIN_FRAMES`.
        fps: frames per second.

    Raises:
        InputError: if the shape is wrong, the clip is too short, or a number is not finite.
    """
    joints = validated(joints)
    seconds = joints.shape[0] / fps
    window = max(1, round(SMOOTHING_SECONDS * fps))
    forward = F.normalize(moving_average(forward_direction(joints), window), dim=-1)
    left = torch.linalg.cross(joints.new_tensor([0.0, 1.0, 0.0]).expand_as(forward), forward)

    velocity = _derivative(moving_average(joints[:, _PELVIS], window), fps)
    speed = torch.linalg.vector_norm(velocity[:, (0, 2)], dim=-1)
    heading = heading_angles(forward)
    left_in_front = ((_joint(joints, "left_ankle") - _joint(joints, "right_ankle")) * forward).sum(-1)
    steps = count_swings(left_in_front, STRIDE)

    lower_foot = lower_foot_height(joints)
    over_ground = lower_foot - lower_foot.quantile(0.1)
    over_moment = lower_foot - _local_minimum(lower_foot, round(FLIGHT_SECONDS * fps))

    trunk = joints[:, _NECK] - joints[:, _PELVIS]
    pitch = torch.rad2deg(torch.atan2((trunk * forward).sum(-1), trunk[:, 1]))
    pelvis = joints[:, _PELVIS, 1]
    ankles = torch.stack([_joint(joints, "left_ankle"), _joint(joints, "right_ankle")], dim=1)
    wrists = torch.stack([_joint(joints, "left_wrist"), _joint(joints, "right_wrist")], dim=1)
    from_pelvis = ankles - joints[:, _PELVIS, None]
    lift = ankles[..., 1] - ankles.flip(1)[..., 1]
    in_front = (from_pelvis * forward[:, None]).sum(-1) > LEG_EXTENDED

    hands = {side: _hand(joints, side, forward, left, fps) for side in ("left", "right")}
    return Measurements(
        seconds=seconds,
        left_hand_peak=hands["left"][0],
        right_hand_peak=hands["right"][0],
        left_hand_raised=hands["left"][1],
        right_hand_raised=hands["right"][1],
        left_hand_swings=hands["left"][2],
        right_hand_swings=hands["right"][2],
        mean_speed=float(speed.mean()),
        top_speed=float(speed.quantile(0.9)),
        forward_speed=float((velocity * forward).sum(-1).mean()),
        left_speed=float((velocity * left).sum(-1).mean()),
        displacement=float(torch.linalg.vector_norm((joints[-1, _PELVIS] - joints[0, _PELVIS])[[0, 2]])),
        heading_change=float(torch.rad2deg(_end(heading) - _start(heading))),
        steps=steps,
        step_rate=steps / seconds,
        flight_fraction=float((over_moment > FLIGHT).float().mean()),
        airborne_height=float(over_ground.max()),
        airborne_seconds=longest_run(over_ground > AIRBORNE) / fps,
        pelvis_range=float(pelvis.max() - pelvis.min()),
        pelvis_drop=float(pelvis.median() - pelvis.min()),
        trunk_pitch=float(pitch.max()),
        trunk_pitch_at_ends=max(float(_start(pitch)), float(_end(pitch))),
        neck_over_pelvis=float(trunk[:, 1].min()),
        feet_over_pelvis=float(from_pelvis[..., 1].mean(1).max()),
        lowest_hand=float(wrists[..., 1].min() - lower_foot.quantile(0.1)),
        kick_height=float(torch.where(in_front, lift, 0.0).clamp_min(0.0).max()),
        kick_speed=float(torch.linalg.vector_norm(_derivative(from_pelvis, fps), dim=-1).max()),
    )


def validated(joints: Tensor) -> Tensor:
    """``joints`` in double precision if it is a clip that can be measured.

    Raises:
        InputError: if the shape is not (T, 22, 3), T is below `MIN_FRAMES`, or a number is not finite.
    """
    if joints.ndim != 3 or joints.shape[1:] != (JOINT_COUNT, 3):
        raise InputError(f"joints have shape {tuple(joints.shape)}; expected (frames, {JOINT_COUNT}, 3)")
    if joints.shape[0] < MIN_FRAMES:
        raise InputError(f"{joints.shape[0]} frames are too few to measure; give at least {MIN_FRAMES}")
    if not torch.isfinite(joints).all():
        raise InputError("joints hold numbers that are not finite")
    return joints.double()


def lower_foot_height(joints: Tensor) -> Tensor:
    """(T,) height of the lower foot: the lowest toe joint, or ankle less `ANKLE_OVER_TOE`."""
    toes = torch.minimum(_joint(joints, "left_foot")[:, 1], _joint(joints, "right_foot")[:, 1])
    ankles = torch.minimum(_joint(joints, "left_ankle")[:, 1], _joint(joints, "right_ankle")[:, 1])
    return torch.minimum(toes, ankles - ANKLE_OVER_TOE)


def heading_angles(forward: Tensor) -> Tensor:
    """(T,) angle of the facing direction about +y in radians, continuous in time, left positive."""
    before, after = forward[:-1], forward[1:]
    sine = before[:, 2] * after[:, 0] - before[:, 0] * after[:, 2]
    turns = torch.atan2(sine, (before * after).sum(-1))
    return F.pad(turns.cumsum(0), (1, 0))


def moving_average(values: Tensor, window: int) -> Tensor:
    """Mean over ``window`` frames about each frame of (T, ...) values, with the end values held."""
    window = min(window, values.shape[0])
    before = (window - 1) // 2
    frames = torch.arange(-before, values.shape[0] + window - 1 - before, device=values.device)
    return values[frames.clamp(0, values.shape[0] - 1)].unfold(0, window, 1).mean(-1)


def count_swings(values: Tensor, amplitude: float) -> int:
    """How many rises and falls of at least ``amplitude`` a signal (T,) has, smaller ones ignored.

    The same for a signal and its negative.
    """
    swings = direction = 0
    low = high = float(values[0])
    for value in values.tolist():
        low, high = min(low, value), max(high, value)
        if direction <= 0 and value - low >= amplitude:
            swings, direction, high = swings + 1, 1, value
        elif direction >= 0 and high - value >= amplitude:
            swings, direction, low = swings + 1, -1, value
    return swings


def longest_run(condition: Tensor) -> int:
    """Length of the longest stretch of frames in which a (T,) condition holds."""
    longest = current = 0
    for holds in condition.tolist():
        current = current + 1 if holds else 0
        longest = max(longest, current)
    return longest


def _hand(joints: Tensor, side: str, forward: Tensor, left: Tensor, fps: float) -> tuple[float, float, int]:
    """Peak height, seconds raised and swings of one hand."""
    wrist = _joint(joints, f"{side}_wrist") - _joint(joints, f"{side}_shoulder")
    height = wrist[:, 1]
    raised = longest_run(height > HAND_RAISED) / fps
    held = torch.nonzero(height > max(HAND_WAVING, float(height.max()) - HELD)).flatten()
    swings = 0
    if len(held) > 0:
        own = torch.stack([(wrist * left).sum(-1), height, (wrist * forward).sum(-1)], dim=-1)
        own = own[int(held[0]) : int(held[-1]) + 1]
        own = own - own.mean(0)
        main_direction = torch.linalg.svd(own, full_matrices=False).Vh[0]
        swings = count_swings(own @ main_direction, SWING)
    return float(height.max()), raised, swings


def _joint(joints: Tensor, name: str) -> Tensor:
    return joints[:, JOINT_INDEX[name]]


def _derivative(values: Tensor, fps: float) -> Tensor:
    return torch.gradient(values, spacing=1 / fps, dim=0)[0]


def _local_minimum(values: Tensor, radius: int) -> Tensor:
    return -F.max_pool1d(-values[None, None], 2 * radius + 1, stride=1, padding=radius)[0, 0]


def _start(values: Tensor) -> Tensor:
    return values[:3].mean()


def _end(values: Tensor) -> Tensor:
    return values[-3:].mean()
