"""Feet that stand stay where they stand: stances, when a foot may move, and inverse kinematics of the legs.

A foot is anchored at its toe joint; the ankle follows by the direction of the foot. Bending the path of the
body (see `joining`) would drag standing feet along, so each footprint is moved as a whole instead: the
correction that a foot gets is that of one moment of its stance, and changes only while the foot swings.

Shapes: T frames; joints (T, 22, 3) in metres, y up; feet are ordered left, right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from motiongpt3.motion.rotations import quaternion_between, quaternion_rotate, unit_vector
from motiongpt3.motion.skeleton import JOINT_INDEX

HIPS, KNEES, ANKLES, TOES = (
    tuple(JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right"))
    for part in ("hip", "knee", "ankle", "foot")
)

RESTING_SPEED = 0.25
"""Metres per second below which an ankle or toe joint near the ground counts as standing on it."""

ANKLE_HEIGHT, TOE_HEIGHT = 0.14, 0.06
"""Metres over the ground below which ankle and toe joint may stand on it (standing still: 0.09, 0.02)."""

_SHORTEST_SWING = 0.15  # seconds; a foot that leaves the ground for less has only trembled
_STEP_SECONDS = 0.4
_LANDING_SECONDS = 0.25
_LIFT_SHARE, _HIGHEST_LIFT = 0.4, 0.06
_DEAD_ZONE = 1e-4  # metres; corrections below it are rounding, and straight legs would amplify them


def ground_height(joints: Tensor) -> Tensor:
    """Height of the ground that a clip (T, 22, 3) stands on: the 10 % quantile of its lowest foot joint."""
    return joints[:, ANKLES + TOES, 1].amin(1).quantile(0.1)


def standing_feet(joints: Tensor, ground: Tensor | float, fps: float) -> Tensor:
    """(T, 2) which feet stand in each frame, left and right: on the ankle or on the toe joint.

    See `resting_foot_joints`.
    """
    return resting_foot_joints(joints, ground, fps).any(1)


def resting_foot_joints(
    joints: Tensor, ground: Tensor | float, fps: float, speed: float = RESTING_SPEED
) -> Tensor:
    """Which joints of the feet rest on the ground in each frame.

    A joint rests where it is low (`ANKLE_HEIGHT`, `TOE_HEIGHT`) and, on the way from the frame before or to
    the frame after, slow. In a single frame low is enough.

    Args:
        joints: (T, 22, 3).
        ground: height of the ground, metres.
        fps: frames per second.
        speed: metres per second that is still slow.

    Returns:
        (T, 2, 2) booleans: ankle and toe joint, of left and right foot.
    """
    parts = torch.stack([joints[:, ANKLES], joints[:, TOES]], dim=1)
    low = parts[..., 1] - ground < parts.new_tensor([[ANKLE_HEIGHT], [TOE_HEIGHT]])
    if len(joints) == 1:
        return low
    slow = torch.linalg.vector_norm(parts.diff(dim=0), dim=-1) * fps < speed
    return low & torch.cat([slow[:1], slow[1:] | slow[:-1], slow[-1:]])


@dataclass(frozen=True)
class FootPlan:
    """When one foot may move, on a time axis of frames 0 to N.

    Attributes:
        moments: (T,) the moment whose correction the foot has in each frame; constant while it stands.
        held: for each edge, how many frames from it inwards an offset from the given frames is held.
        free: for each edge, how many frames there are after that to make up for the offset.
        step: beginning and end of a step that the foot has to make though it stands from 0 to N; or None.
    """

    moments: Tensor
    held: tuple[float, ...]
    free: tuple[float, ...]
    step: tuple[float, float] | None = None


def plan_foot(
    standing: Tensor, times: Tensor, last: float, given: Sequence[bool], turn: int, fps: float
) -> FootPlan:
    """Decide when one foot may move.

    Args:
        standing: (T,) booleans of the generated clip.
        times: (T,) frame numbers, contiguous; 0 is the last given frame.
        last: N, the first given frame after the gap (or the last frame of the clip, if it ends open).
        given: whether the foot stands in the given frames at 0 and, if the gap is closed, at N.
        turn: 0 or 1; which foot steps first when both have to.
        fps: frames per second.
    """
    closed = len(given) == 2
    stances = _stances(standing, times, last, fps)
    first = bool(stances) and stances[0][0] <= 0
    final = bool(stances) and stances[-1][1] >= last and closed
    if first and final and len(stances) == 1:
        half = min(_STEP_SECONDS * fps, 0.8 * last) / 2
        centre = last * (1 + turn) / 3
        step = (max(0.0, centre - half), min(last, centre + half))
        knots = [_Knot(0.0, step[0], 0.0), _Knot(step[1], last, last)]
        lasting = step[1] - step[0]
        return FootPlan(_moments(knots, times), (step[0], last - step[1]), (lasting, lasting), step)

    first, final = first and given[0], final and closed and given[-1]
    landing = min(_LANDING_SECONDS * fps, last / 2)
    knots = []
    for index, (begin, end) in enumerate(stances):
        # A foot that is in the air at the edge needs time to land, however early it was generated to stand.
        begin = begin if index == 0 and first else min(max(begin, landing), end)
        if closed and not (index == len(stances) - 1 and final):
            end = max(min(end, last - landing), begin)
        knots.append(_Knot(begin, end, (begin + end) / 2))
    if first:
        knots[0] = replace(knots[0], moment=0.0)
    else:
        knots.insert(0, _Knot(0.0, 0.0, 0.0, slope=1.0))
    if final:
        knots[-1] = replace(knots[-1], moment=last)
    elif knots[-1].end < last:
        knots.append(_Knot(last, last, last, slope=1.0))
    held = [stances[0][1] if first else 0.0]
    if closed:
        held.append(last - stances[-1][0] if final else 0.0)
    free = tuple((last - time) if closed else float("inf") for time in held)
    return FootPlan(_moments(knots, times), tuple(held), free)


@dataclass(frozen=True)
class _Knot:
    """From ``begin`` to ``end`` a foot has the correction of ``moment``; ``slope`` before and after."""

    begin: float
    end: float
    moment: float
    slope: float = 0.0


def _stances(standing: Tensor, times: Tensor, last: float, fps: float) -> list[tuple[float, float]]:
    """First and last moment of each stance within 0..last, without trembling."""
    stances: list[tuple[float, float]] = []
    for time, stands in zip(times.tolist(), standing.tolist(), strict=True):
        if not stands or not 0 <= time <= last:
            continue
        if stances and time - stances[-1][1] <= max(1.0, _SHORTEST_SWING * fps):
            stances[-1] = (stances[-1][0], time)
        else:
            stances.append((time, time))
    return stances


def _moments(knots: Sequence[_Knot], times: Tensor) -> Tensor:
    """(T,) moments through the knots, by cubic Hermite curves between them."""
    first, last = knots[0], knots[-1]
    moments = first.moment + first.slope * (times - first.begin).clamp_max(0)
    for left, right in pairwise(knots):
        span = max(right.begin - left.end, 1e-9)
        s = ((times - left.end) / span).clamp(0, 1)
        rise = s * s * (3 - 2 * s)
        slopes = span * s * (1 - s) * (left.slope * (1 - s) - right.slope * s)
        curve = left.moment + (right.moment - left.moment) * rise + slopes
        moments = torch.where(times > left.end, curve, moments)
    return torch.where(times > last.end, last.moment + last.slope * (times - last.end), moments)


def step_lift(times: Tensor, step: tuple[float, float], distance: Tensor, fps: float) -> Tensor:
    """(T,) height by which a foot is lifted to move ``distance`` metres within ``step`` without sliding."""
    begin, end = step
    if end - begin < 0.25 * fps:
        return torch.zeros_like(times)
    s = ((times - begin) / (end - begin)).clamp(0, 1)
    height = (_LIFT_SHARE * (distance - 0.01)).clamp(0, _HIGHEST_LIFT)
    return height * torch.sin(torch.pi * s).square()


def reach_legs(joints: Tensor, ankles: Tensor, toes: Tensor, lengths: Tensor) -> Tensor:
    """Move knees, ankles and toe joints so that the feet come where they should.

    Analytic two-bone inverse kinematics: the knee opens until the ankle is as far from the hip as its target,
    then the leg swings by the smallest rotation. The knee keeps its plane; a leg that was straight bends
    towards the toes. A target out of reach is approached as far as the leg goes.

    Args:
        joints: (T, 22, 3) with bones of ``lengths``.
        ankles: (T, 2, 3) targets.
        toes: (T, 2, 3) targets of the toe joints, a foot's length from ``ankles``.
        lengths: (T, 22) bone lengths, each at the bone's lower end.

    Returns:
        (T, 22, 3); frames whose feet are there already do not change.
    """
    hip, knee, ankle = joints[:, HIPS], joints[:, KNEES], joints[:, ANKLES]
    move = _beyond_dead_zone(ankles - ankle)
    target = ankle + move
    thigh, shank = lengths[:, KNEES, None], lengths[:, ANKLES, None]

    line, aim = ankle - hip, target - hip
    along, distance = unit_vector(line), torch.linalg.vector_norm(aim, dim=-1, keepdim=True)
    longest = torch.maximum(torch.linalg.vector_norm(line, dim=-1, keepdim=True), 0.9995 * (thigh + shank))
    distance = torch.minimum(distance, longest).clamp_min(1e-3)
    distance = torch.maximum(distance, (thigh - shank).abs() + 1e-3)

    bend = _across(knee - hip, along)
    doubt = 2 * torch.linalg.vector_norm(move, dim=-1, keepdim=True).clamp_max(0.01)
    bend = bend + (doubt + 1e-9) * unit_vector(_across(joints[:, TOES] - ankle, along))
    swing = quaternion_between(along, unit_vector(aim))
    along, bend = unit_vector(aim), quaternion_rotate(swing, unit_vector(bend))

    cosine = ((thigh**2 + distance**2 - shank**2) / (2 * thigh * distance)).clamp(-1, 1)
    sine = (1 - cosine**2).clamp_min(0).sqrt()
    reached = hip + distance * along
    moved = joints.clone()
    moved[:, KNEES] = hip + thigh * (cosine * along + sine * bend)
    moved[:, ANKLES] = reached
    moved[:, TOES] = joints[:, TOES] + _beyond_dead_zone(toes - joints[:, TOES]) + (reached - target)
    return moved


def _across(vector: Tensor, axis: Tensor) -> Tensor:
    """The part of vectors (..., 3) that is perpendicular to a unit ``axis``."""
    return vector - (vector * axis).sum(-1, keepdim=True) * axis


def _beyond_dead_zone(move: Tensor) -> Tensor:
    square = move.square().sum(-1, keepdim=True)
    return move * (square / (square + _DEAD_ZONE**2))
