"""Bend one stretch of generated motion into a gap between given frames; `joining` says what for.

The generated body is placed in each frame by a turn about the vertical and a horizontal shift, which change
smoothly over the gap; what the placed body still differs by at the edges of the gap decays from there. Poses
are blended as directions of bones, so no limb gets shorter on the way.

Shapes: see `gaps`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.motion.bones import assembled, bone_lengths, bone_vectors
from motiongpt3.motion.foot_lock import (
    ANKLES,
    TOES,
    FootPlan,
    ground_height,
    plan_foot,
    reach_legs,
    standing_feet,
    step_lift,
)
from motiongpt3.motion.gaps import CONTEXT, Edge, Gap, Placement, decay
from motiongpt3.motion.rotations import (
    axis_angle_to_quaternion,
    quaternion_between,
    quaternion_rotate,
    quaternion_to_axis_angle,
    rotate_about_up,
    unit_vector,
)
from motiongpt3.motion.skeleton import JOINT_INDEX

BLEND_SECONDS = 0.4
"""Time in which a difference at an edge decays; longer for large ones (`BLEND_SPEED`, `BRAKING`)."""

BLEND_SPEED = 1.6
"""Metres per second, on average, that a joint moves at most to make up for a difference in pose."""

BRAKING = 4.0
"""Metres per second squared, on average, by which the body takes on another velocity."""

_STILL = 0.1  # metres per second that a body counts as moving at least, where a path is bent
_FASTEST_TURN = 0.5  # radians per frame; faster differences are of bones that point opposite ways
_HELD_BLEND_SECONDS = 0.2
_TORSO = tuple(
    JOINT_INDEX[name]
    for name in (
        *("pelvis", "left_hip", "right_hip", "spine1", "spine2", "spine3", "neck"),
        *("left_collar", "right_collar", "left_shoulder", "right_shoulder"),
    )
)
_GROUND_PLANE = (1.0, 0.0, 1.0)


def fill_gap(
    before: Tensor,
    after: Tensor | None,
    source: Tensor,
    known: tuple[int, int],
    lengths: Tensor,
    fps: float,
) -> Tensor:
    """Joints for one gap.

    Args:
        before: (a, 22, 3) given frames before the gap.
        after: (b, 22, 3) given frames after it, or None at the end of a clip.
        source: (4 + n + 4, 22, 3) generated frames, wherever they lie.
        known: how many of the four frames on each side were generated; the others are extrapolated.
        lengths: (22,) bone lengths of the body.
        fps: frames per second.

    Returns:
        (n, 22, 3).
    """
    matched = min(max(known[0], 1), len(before), CONTEXT)
    source = _laid_onto(source, before[-matched:])
    frames = len(source) - 2 * CONTEXT
    last = frames if after is None else frames + 1
    times = torch.arange(-1.0, last + (1 if after is None else 2), dtype=source.dtype)
    edges = [Edge(1, 0, _two_frames(before.flip(0)), len(before) > 1, known[0] < 2, times)]
    turn = 0.0
    if after is not None:
        matched = min(max(known[1], 1), len(after), CONTEXT)
        turn = _yaw_onto(source[CONTEXT + frames :][:matched], after[:matched])
        edges.append(Edge(last + 1, last + 2, _two_frames(after), len(after) > 1, known[1] < 2, last - times))
    gap = Gap(
        motion=source[CONTEXT - 2 :][: len(times)],
        times=times,
        last=float(last),
        edges=tuple(edges),
        lengths=lengths,
        ground=ground_height(source),
        fps=fps,
    )
    return _body(gap, _path(gap, turn))[2 : 2 + frames]


def _two_frames(inwards: Tensor) -> Tensor:
    """The second and the first of some frames; the first twice if there is no other."""
    return inwards[[min(1, len(inwards) - 1), 0]]


def _laid_onto(source: Tensor, before: Tensor) -> Tensor:
    """Turn and shift ``source`` so that its frames before the gap lie on ``before``, the last exactly."""
    yaw = _yaw_onto(source[CONTEXT - len(before) : CONTEXT], before)
    turned = rotate_about_up(source, source.new_tensor(yaw))
    return turned + (before[-1, 0] - turned[CONTEXT - 1, 0]) * source.new_tensor(_GROUND_PLANE)


def _yaw_onto(source: Tensor, target: Tensor) -> float:
    """The turn about +y, radians, that takes the trunk in (M, 22, 3) nearest to that in ``target``."""
    source, target = source[:, _TORSO].flatten(0, 1), target[:, _TORSO].flatten(0, 1)
    (x, _, z), (to_x, _, to_z) = (source - source.mean(0)).T, (target - target.mean(0)).T
    return math.atan2(float((z * to_x - x * to_z).sum()), float((x * to_x + z * to_z).sum()))


def _path(gap: Gap, turn: float) -> Placement:
    """Bend the path of the body so that its root leaves and arrives where the given one does.

    A fresh clip also takes over the given velocity, and keeps the way that this makes. If the given frames
    were reconstructed, a difference in velocity at their edge is mostly noise, and is left to the pose.

    Args:
        turn: radians by which the heading at the end of the gap is off.
    """
    share = _share_of_path(gap)
    rates = [
        _wrapped(_yaw_mismatch(gap, edge, 1) - _yaw_mismatch(gap, edge, 0)) * (edge.moves and edge.fresh)
        for edge in gap.edges
    ]
    spans = [gap.span(BLEND_SECONDS) for _ in gap.edges]
    yaw = _spread(gap, gap.motion.new_tensor(rates)[:, None], spans, gap.motion.new_tensor([turn]), share)[
        :, 0
    ]

    root = gap.motion[:, 0] * gap.motion.new_tensor(_GROUND_PLANE)
    steps = rotate_about_up(root.diff(dim=0), (yaw[1:] + yaw[:-1]) / 2)
    path = torch.cat([torch.zeros_like(root[:1]), steps.cumsum(0)])
    path = path + (gap.edges[0].given[1, 0] * root.new_tensor(_GROUND_PLANE) - path[1])
    found = [edge.mismatch(path, edge.given[:, 0] * root.new_tensor(_GROUND_PLANE)) for edge in gap.edges]
    velocities = torch.stack(
        [velocity * edge.fresh for edge, (_, velocity) in zip(gap.edges, found, strict=True)]
    )
    speeds = torch.linalg.vector_norm(velocities, dim=-1) * gap.fps
    spans = [gap.span(max(BLEND_SECONDS, float(speed) / BRAKING)) for speed in speeds]
    path = path + _spread(gap, velocities, spans, found[-1][0], share)
    return Placement(yaw, path - rotate_about_up(root, yaw))


def _wrapped(angle: float) -> float:
    return math.remainder(angle, 2 * math.pi)


def _yaw_mismatch(gap: Gap, edge: Edge, here: int) -> float:
    place = edge.here if here else edge.beyond
    return _yaw_onto(gap.motion[place : place + 1], edge.given[here : here + 1])


def _spread(gap: Gap, rates: Tensor, spans: list[float], total: Tensor, share: Tensor) -> Tensor:
    """A correction over time that starts from 0, with given rates at the edges.

    From each edge on the correction changes at the rate found there, ever more slowly; what then lacks to
    be 0 at the beginning, and ``total`` at the end of a closed gap, is spread by ``share``.

    Args:
        rates: (edges, C) per frame, inwards.
        spans: frames in which each rate dies away.
        total: (C,) correction at the end of a closed gap.
        share: (T,) from 0 to 1.

    Returns:
        (T, C).
    """
    carried = sum(
        _carry(edge.elapsed, span)[:, None] * rate
        for edge, span, rate in zip(gap.edges, spans, rates, strict=True)
    )
    assert isinstance(carried, Tensor)
    if not gap.closed:
        return carried
    first, final = carried[gap.edges[0].here], carried[gap.edges[1].here]
    return carried - first * (1 - share[:, None]) + (total - final) * share[:, None]


def _carry(elapsed: Tensor, span: float) -> Tensor:
    """Distance gone at a speed that is 1 at first and smoothly falls to 0 within ``span`` frames."""
    s = (elapsed / span).clamp(max=1)
    return span * torch.where(s < 0, s, s - s**3 + s**4 / 2)


def _share_of_path(gap: Gap) -> Tensor:
    """(T,) from 0 to 1 over a closed gap: the share of a correction of the path that is made by each frame.

    It grows with the way that the feet go, so a body that stands is not pushed along, and level at the edges.
    """
    feet = gap.motion[:, TOES].diff(dim=0)[..., (0, 2)]
    speed = torch.linalg.vector_norm(feet, dim=-1).mean(-1) * gap.fps + _STILL
    radius = max(1, round(0.2 * gap.fps))
    kernel = torch.hann_window(2 * radius + 3, periodic=False, dtype=speed.dtype)[1:-1]
    held = F.pad(speed[None, None], (radius, radius), mode="replicate")
    smooth = F.conv1d(held, (kernel / kernel.sum())[None, None])[0, 0]
    middles = (gap.times[1:] + gap.times[:-1]) / 2
    ramp = min(BLEND_SECONDS * gap.fps, gap.last / 2)
    rise = (torch.minimum(middles, gap.last - middles) / ramp).clamp(0, 1)
    weight = smooth * rise * rise * (3 - 2 * rise)
    return F.pad(weight.cumsum(0) / weight.sum().clamp_min(1e-12), (1, 0))


def _body(gap: Gap, placement: Placement) -> Tensor:
    """(T, 22, 3) the placed body, its pose blended into the given ones at the edges."""
    placed = placement.placed(gap.motion)
    spans = [_pose_span(gap, edge, placed) for edge in gap.edges]
    root = placed[:, 0] + _decaying(gap, placed[:, 0], [edge.given[:, 0] for edge in gap.edges], spans)
    measured = gap.lengths.expand(len(placed), -1)
    lengths = measured + _decaying(
        gap, measured, [bone_lengths(edge.given) for edge in gap.edges], spans, moving=False
    )
    directions = _blended_directions(gap, unit_vector(bone_vectors(placed)), spans)
    toes, soles = [], []
    for foot in range(2):
        toe, sole = _foot(gap, placement, foot, spans)
        toes.append(toe)
        soles.append(sole)
        directions[:, TOES[foot] - 1] = sole
    joints = assembled(root, directions, lengths)
    targets, soles_T23 = torch.stack(toes, 1), torch.stack(soles, 1)
    ankles = targets - soles_T23 * lengths[:, TOES, None]
    return reach_legs(joints, ankles, targets, lengths)


def _pose_span(gap: Gap, edge: Edge, placed: Tensor) -> float:
    distance = torch.linalg.vector_norm(edge.given[1] - placed[edge.here], dim=-1).max()
    return gap.span(max(BLEND_SECONDS, float(distance) / BLEND_SPEED))


def _decaying(
    gap: Gap, values: Tensor, given: list[Tensor], spans: list[float], moving: bool = True
) -> Tensor:
    """(T, ...) what ``values`` lack at the edges, decaying inwards."""
    correction = torch.zeros_like(values)
    for edge, wanted, span in zip(gap.edges, given, spans, strict=True):
        offset, velocity = edge.mismatch(values, wanted)
        correction = correction + decay(offset, velocity * moving, span, edge.elapsed)
    return correction


def _turn_mismatch(edge: Edge, directions: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """As `Edge.mismatch`, for directions (T, ..., 3): rotation vectors."""
    now, earlier = (
        quaternion_to_axis_angle(quaternion_between(directions[place], wanted))
        for place, wanted in ((edge.here, given[1]), (edge.beyond, given[0]))
    )
    rate = (now - earlier) * edge.moves
    speed = torch.linalg.vector_norm(rate, dim=-1, keepdim=True)
    return now, rate * (_FASTEST_TURN / speed.clamp_min(_FASTEST_TURN))


def _turned_by(rotation_vectors: Tensor, directions: Tensor) -> Tensor:
    return quaternion_rotate(axis_angle_to_quaternion(rotation_vectors), directions)


def _blended_directions(gap: Gap, directions: Tensor, spans: list[float]) -> Tensor:
    turns = torch.zeros_like(directions)
    for edge, span in zip(gap.edges, spans, strict=True):
        offset, rate = _turn_mismatch(edge, directions, unit_vector(bone_vectors(edge.given)))
        turns = turns + decay(offset, rate, span, edge.elapsed)
    return _turned_by(turns, directions)


def _foot(gap: Gap, placement: Placement, foot: int, spans: list[float]) -> tuple[Tensor, Tensor]:
    """Where one foot goes: (T, 3) its toe joint, (T, 3) direction from ankle to toe joint."""
    plan = _foot_plan(gap, foot)
    footing = placement.at(plan.moments + 1)
    toe = footing.placed(gap.motion[:, TOES[foot]])
    sole = footing.turned(unit_vector(gap.motion[:, TOES[foot]] - gap.motion[:, ANKLES[foot]]))
    move, turn = torch.zeros_like(toe), torch.zeros_like(sole)
    for edge, span, held, free in zip(gap.edges, spans, plan.held, plan.free, strict=True):
        given_toe = edge.given[:, TOES[foot]]
        given_sole = unit_vector(given_toe - edge.given[:, ANKLES[foot]])
        offset, velocity = edge.mismatch(toe, given_toe)
        angle, rate = _turn_mismatch(edge, sole, given_sole)
        release = edge.elapsed - held
        if held:
            brief = gap.span(_HELD_BLEND_SECONDS)
            span = max(1.0, min(span, free))
            move = move + decay(torch.zeros_like(offset), velocity, brief, edge.elapsed)
            turn = turn + decay(torch.zeros_like(angle), rate, brief, edge.elapsed)
            velocity, rate = torch.zeros_like(velocity), torch.zeros_like(rate)
        move = move + decay(offset, velocity, span, release)
        turn = turn + decay(angle, rate, span, release)
    toe, sole = toe + move, _turned_by(turn, sole)
    if plan.step is not None:
        begin, end = (round(moment) + 1 for moment in plan.step)
        distance = torch.linalg.vector_norm(toe[end] - toe[begin])
        toe = toe + step_lift(gap.times, plan.step, distance, gap.fps)[:, None] * toe.new_tensor(
            [0.0, 1.0, 0.0]
        )
    return _above_floor(gap, toe, foot), sole


def _above_floor(gap: Gap, toe: Tensor, foot: int) -> Tensor:
    """No lower than this toe joint was generated or given."""
    heights = [gap.motion[:, TOES[foot], 1], *(edge.given[:, TOES[foot], 1] for edge in gap.edges)]
    lowest = torch.cat(heights).min()
    return torch.stack([toe[:, 0], toe[:, 1].clamp_min(lowest), toe[:, 2]], dim=-1)


def _foot_plan(gap: Gap, foot: int) -> FootPlan:
    standing = standing_feet(gap.motion, gap.ground, gap.fps)[:, foot]
    given = [
        bool(standing_feet(edge.given if edge.moves else edge.given[1:], gap.ground, gap.fps)[-1, foot])
        for edge in gap.edges
    ]
    return plan_foot(standing, gap.times, gap.last, given, turn=foot, fps=gap.fps)
