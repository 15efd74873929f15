"""Optional repairs of a motion before it is used: loop, smoothing, planted feet, floor.

Bones keep the lengths that they have in each frame, and a motion with rotations keeps how its bones are
twisted. Feet get where they should be by bending the legs (`foot_lock.reach_legs`).

Shapes: T frames; joints (T, 22, 3) float64 in metres, y up; feet are ordered left, right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.bones import assembled, bone_lengths, bone_vectors
from motiongpt3.motion.foot_lock import ANKLES, TOES, ground_height, reach_legs, resting_foot_joints
from motiongpt3.motion.gaps import CONTEXT, decay
from motiongpt3.motion.joining import Stretch, join
from motiongpt3.motion.kinematics import forward_direction
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.rotations import rotate_about_up, unit_vector
from motiongpt3.motion.skeleton import PARENTS

CUTOFF = 4.0
"""Hertz at which `smoothed` halves the power of a movement; 20 frames a second hold up to 10."""

SLIDING_SPEED = 0.5
"""Metres per second up to which a low foot counts as one that stands, and slides."""

LOOP_SECONDS = 1.0
"""The shortest loop; also no less than half of the clip is kept."""

REPAIRS = ("loop", "smooth", "feet", "floor")
"""What can be asked for, in the order in which it is done."""

_RELEASE_SECONDS = 0.4
_SHORTEST_STANCE = 0.1  # seconds
_LONGEST_SLIDE = 0.12  # metres; a foot that slides further takes a step
_BLEND_SECONDS = 0.5
_MOST_COMPARED = 1500  # frames, each with each
_VELOCITY_SECONDS = 0.2  # a velocity that is off by 1 m/s counts like a place that is off by 20 cm
_WORTH_OF_LENGTH = 0.02  # metres by which a loop of the whole clip may be worse than a very short one
_UP = (0.0, 1.0, 0.0)
_GROUND_PLANE = (1.0, 0.0, 1.0)


@dataclass(frozen=True)
class CleanUp:
    """Which repairs to do; see the functions of the same names.

    Attributes:
        loop: cut and blend the clip so that it can be played in a circle (`looped`).
        smooth: take out trembling (`smoothed`).
        feet: let feet that stand stay where they are (`with_planted_feet`).
        floor: put the clip on y = 0 (`on_floor`).
    """

    loop: bool = False
    smooth: bool = False
    feet: bool = False
    floor: bool = False

    @classmethod
    def parse(cls, text: str) -> CleanUp:
        """From names of `REPAIRS` with commas between them, or ``all`` for all but the loop.

        Raises:
            InputError: for another name, or none.
        """
        names = [name.strip().lower() for name in text.split(",") if name.strip()]
        names = [each for name in names for each in (REPAIRS[1:] if name == "all" else (name,))]
        for name in names:
            if name not in REPAIRS:
                raise InputError(f"unknown repair {name!r}: use all, or some of {', '.join(REPAIRS)}")
        if not names:
            raise InputError(f"no repair named: use all, or some of {', '.join(REPAIRS)}")
        return cls(**dict.fromkeys(names, True))

    def __call__(self, motion: Motion) -> Motion:
        """The repaired motion, without features.

        A loop of frames 0 to N - 1 goes on with frame 0 at the place and heading that it arrives at.

        Raises:
            InputError: naming the source, if it is too short for a loop.
        """
        joints = motion.joints.double()
        first, frames, turn, step = 0, len(joints), 0.0, torch.zeros(3, dtype=torch.float64)
        if self.loop:
            try:
                first, joints, turn, step = looped(joints, motion.fps)
            except InputError as error:
                raise InputError(f"{motion.source or motion.name}: {error}") from None
            frames = len(joints)
            # What comes before and after decides as well, so that the ends go on fitting each other.
            joints = _three_rounds(joints, turn, step)
        if self.smooth:
            joints = smoothed(joints, motion.fps)
        if self.feet:
            joints = with_planted_feet(joints, motion.fps)
        if self.floor:
            joints = on_floor(joints)
        if self.loop:
            joints = joints[frames : 2 * frames]
        pose = motion.pose
        if pose is not None:
            cut = replace(pose, rotations=pose.rotations[first : first + frames])
            pose = cut.following(joints)
            joints = pose.joints(joints[:, 0])
        return replace(motion, joints=joints, features=None, pose=pose)


def smoothed(joints: Tensor, fps: float, cutoff: float = CUTOFF) -> Tensor:
    """Low-pass filter the path of the root, the directions and lengths of bones, and the paths of the feet.

    The Gaussian whose gain at ``cutoff`` Hz is the square root of a half; beyond the ends, the clip goes on
    turned about its end.
    """
    sigma = math.sqrt(math.log(2)) / (2 * math.pi * cutoff) * fps
    directions = unit_vector(bone_vectors(joints))
    lengths = _low_pass(bone_lengths(joints), sigma)
    body = assembled(
        _low_pass(joints[:, 0], sigma), unit_vector(_low_pass(directions, sigma)), lengths.clamp_min(0)
    )
    return _with_feet(body, _low_pass(joints[:, ANKLES], sigma), _low_pass(joints[:, TOES], sigma))


def on_floor(joints: Tensor) -> Tensor:
    """Move the clip so that its ground is at y = 0, and lift feet that are then below it.

    The ground is the 10 % quantile of the lowest joint, so that one deep frame does not lift the whole clip.
    """
    up = joints.new_tensor(_UP)
    joints = joints - joints[..., 1].amin(1).quantile(0.1) * up
    ankles, toes = (joints[:, part] + (-joints[:, part, 1:2]).clamp_min(0) * up for part in (ANKLES, TOES))
    return _with_feet(joints, ankles, toes)


def with_planted_feet(joints: Tensor, fps: float, speed: float = SLIDING_SPEED) -> Tensor:
    """Keep ankle and toe joints over one place of the ground for as long as they rest on it.

    The place is the mean of where the joint was while it rested; how much it was moved for that decays
    when the foot leaves the ground. Heights stay. A joint that slides on for more than 12 cm takes a step.

    Args:
        joints: (T, 22, 3).
        fps: frames per second.
        speed: see `SLIDING_SPEED`.
    """
    rests = resting_foot_joints(joints, ground_height(joints), fps, speed)
    moved = joints.clone()
    for part, places in enumerate((ANKLES, TOES)):
        for foot, joint in enumerate(places):
            moved[:, joint] = _planted(joints[:, joint], rests[:, part, foot], fps)
    return _with_feet(joints, moved[:, ANKLES], moved[:, TOES])


def looped(joints: Tensor, fps: float) -> tuple[int, Tensor, float, Tensor]:
    """Cut out the part whose end is most like its beginning, and let its end run into its beginning.

    Poses are compared in the body's own place and heading, with their velocities. The last half second is
    bent to what is then still missing (`joining.join`).

    Returns:
        First frame of the part; its joints (N, 22, 3); and how the beginning lies behind the end: turned by
        radians about +y through the origin, then shifted by (3,) metres along the ground.

    Raises:
        InputError: if the clip is hardly longer than `LOOP_SECONDS`.
    """
    shortest = max(math.ceil(LOOP_SECONDS * fps), len(joints) // 2)
    if len(joints) <= shortest + 1:
        raise InputError(f"{len(joints) / fps:.2g} s are too short for a loop of {LOOP_SECONDS:g} s or more")
    first, last = _most_alike(joints, fps, shortest)
    heading = _headings(joints[[first, last]])
    turn = float(heading[1] - heading[0])
    step = joints[last, 0] - rotate_about_up(joints[first, 0], joints.new_tensor(turn))
    step = step * joints.new_tensor(_GROUND_PLANE)

    frames = last - first
    bent = min(max(1, round(_BLEND_SECONDS * fps)), frames // 2)
    again = _moved(joints[first : first + CONTEXT], turn, step)
    given = [Stretch(0, joints[first : last - bent]), Stretch(frames, again)]
    made = join(given, Stretch(0, joints[first : last + CONTEXT]), frames + len(again), fps)
    return first, made[:frames], turn, step


def _most_alike(joints: Tensor, fps: float, shortest: int) -> tuple[int, int]:
    """Two frames, at least ``shortest`` apart, between which a clip would jump least."""
    stride = math.ceil(len(joints) / _MOST_COMPARED)
    heading = _headings(joints)
    pelvis = joints[:, :1] * joints.new_tensor(_GROUND_PLANE)
    poses = rotate_about_up(joints - pelvis, -heading[:, None])
    velocities = torch.gradient(joints, spacing=1 / fps, dim=0)[0]
    velocities = rotate_about_up(velocities, -heading[:, None])
    seen = torch.cat([poses, _VELOCITY_SECONDS * velocities], dim=1).flatten(1)[::stride]
    distance = torch.cdist(seen, seen) / len(PARENTS) ** 0.5
    # Of loops that are equally smooth, the longer.
    frame = torch.arange(len(seen)) * stride
    length = frame - frame[:, None]
    distance = distance - _WORTH_OF_LENGTH * length / len(joints)
    distance[length < shortest] = math.inf
    first, last = divmod(int(distance.argmin()), len(seen))
    return first * stride, last * stride


def _headings(joints: Tensor) -> Tensor:
    """(T,) radians about +y from +z."""
    x, _, z = forward_direction(joints).unbind(-1)
    return torch.atan2(x, z)


def _moved(joints: Tensor, turn: float, step: Tensor) -> Tensor:
    return rotate_about_up(joints, joints.new_tensor(turn)) + step


def _three_rounds(joints: Tensor, turn: float, step: Tensor) -> Tensor:
    before = rotate_about_up(joints - step, joints.new_tensor(-turn))
    return torch.cat([before, joints, _moved(joints, turn, step)])


def _low_pass(values: Tensor, sigma: float) -> Tensor:
    """Gaussian over time of (T, ...); beyond the ends values go on as they came, turned about the end."""
    radius = min(math.ceil(4 * sigma), len(values) - 1)
    steps = torch.arange(-radius, radius + 1, dtype=values.dtype)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    head = 2 * values[:1] - values[1 : radius + 1].flip(0)
    tail = 2 * values[-1:] - values[-radius - 1 : -1].flip(0)
    rows = torch.cat([head, values, tail]).flatten(1).T[:, None]
    return F.conv1d(rows, (weights / weights.sum())[None, None])[:, 0].T.reshape(values.shape)


def _planted(path: Tensor, rests: Tensor, fps: float) -> Tensor:
    """The path (T, 3) of a joint that stays over one place while it rests (T,)."""
    flat = path * path.new_tensor(_GROUND_PLANE)
    time = torch.arange(len(path), dtype=path.dtype)
    stances = _stances(flat, rests.tolist(), fps)
    correction = torch.zeros_like(path)
    for index, (begin, end) in enumerate(stances):
        anchor = flat[begin : end + 1].mean(0)
        correction[begin : end + 1] = anchor - flat[begin : end + 1]
        arrival = begin - stances[index - 1][1] if index else math.inf
        departure = stances[index + 1][0] - end if index + 1 < len(stances) else math.inf
        for elapsed, edge, inside, room in (
            (begin - time, begin, begin + 1, arrival),
            (time - end, end, end - 1, departure),
        ):
            # Goes on changing as it did when the joint was held, so that no jerk gives the repair away.
            decaying = decay(
                anchor - flat[edge], flat[inside] - flat[edge], min(_RELEASE_SECONDS * fps, room), elapsed
            )
            correction = correction + decaying * (elapsed > 0)[:, None]
    return path + correction


def _stances(flat: Tensor, rests: Sequence[bool], fps: float) -> list[tuple[int, int]]:
    """First and last frame of each time that a joint rests, cut where it has slid too far."""
    shortest = max(2, math.ceil(_SHORTEST_STANCE * fps))
    found = []
    start = None
    for frame, resting in enumerate([*rests, False]):
        if start is None:
            start = frame if resting else None
            continue
        if resting:
            place = flat[start : frame + 1]
            if torch.linalg.vector_norm(place.amax(0) - place.amin(0)) <= _LONGEST_SLIDE:
                continue
        if frame - start >= shortest:
            found.append((start, frame - 1))
        # A frame between the two stances is free, or the joint would jump from one to the other.
        start = None
    return found


def _with_feet(joints: Tensor, ankles: Tensor, toes: Tensor) -> Tensor:
    """Bend the legs so that feet come to their targets (T, 2, 3); each keeps its length about its middle."""
    lengths = bone_lengths(joints)
    half = unit_vector(toes - ankles) * lengths[:, TOES, None] / 2
    middle = (ankles + toes) / 2
    return reach_legs(joints, middle - half, middle + half, lengths)
