"""Put generated motion onto given frames: the given frames stay as they are, and the seams are smooth.

A model that continues a motion, or fills its middle, also makes its own version of the given frames, and its
path starts wherever it likes. For each gap between given frames `join`

1. scales the generated motion to the given body, and turns and shifts it onto the frames before the gap;
2. bends its path so that it leaves with their velocity and arrives at the frames after the gap, most where
   the body moves fastest;
3. lets what is left over, the difference in pose, decay, so that position and velocity are continuous
   (inertialisation: Bollo 2018, "Inertialization: High-Performance Animation Transitions in Gears of War");
4. rebuilds the body from bone directions with the given bone lengths, and puts the feet down where they
   stood (see `foot_lock`).

Where the generated motion passes through the given frames already, nothing changes.

Shapes: T frames of the result; joints (T, 22, 3) in metres, y up. Within a gap, time counts in frames from
0, the last frame before it, to N, the first frame after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.bones import bone_lengths
from motiongpt3.motion.features import FRAMES_PER_SECOND
from motiongpt3.motion.foot_lock import ANKLES, KNEES, TOES
from motiongpt3.motion.gap_filling import fill_gap
from motiongpt3.motion.gaps import CONTEXT
from motiongpt3.motion.skeleton import JOINT_COUNT

_OTHER_FLOOR = 0.03  # metres; a reconstruction is not that far off in height, another floor is


@dataclass(frozen=True)
class Stretch:
    """Consecutive frames of a clip.

    Attributes:
        start: frame of the clip that the first of them is.
        joints: (n, 22, 3) metres, y up.
    """

    start: int
    joints: Tensor

    @property
    def stop(self) -> int:
        """The frame after the last."""
        return self.start + len(self.joints)


def join(given: Sequence[Stretch], generated: Stretch, frames: int, fps: float = FRAMES_PER_SECOND) -> Tensor:
    """Fill the gaps between given frames from a generated motion.

    The generated motion may lie and face anywhere. Where it overlaps given frames it is taken for their
    reconstruction, and tells how far it is off; where it does not (a fresh clip, from its own origin) it is
    laid against the given motion by its first or last frames. With no overlap its floor must be the given
    one's.

    Args:
        given: stretches that must stay as they are, in order and apart: a beginning, an end, both, or none;
            stretches in between are kept too.
        generated: covers at least every frame that is not given.
        frames: T, the frames of the result.
        fps: frames per second.

    Returns:
        (T, 22, 3), of the given dtype and on the given device; given frames are equal bit for bit.

    Raises:
        InputError: naming the stretch that is not (n, 22, 3), not finite, empty, out of place or overlapping
            another; or what is missing from the generated motion.
    """
    _check(given, generated, frames, fps)
    given = [stretch for stretch in given if len(stretch.joints)]
    like = given[0].joints if given else generated.joints
    result = generated.joints.new_zeros(frames, JOINT_COUNT, 3).to(like)
    for stretch in given:
        result[stretch.start : stretch.stop] = stretch.joints
    gaps = _gaps(given, frames)
    if not given:
        offset = -generated.start
        result[:] = generated.joints[offset : offset + frames]
    elif gaps:
        given = [Stretch(stretch.start, stretch.joints.detach().double().cpu()) for stretch in given]
        generated = Stretch(generated.start, generated.joints.detach().double().cpu())
        generated = _on_the_same_floor(given, _of_the_same_body(given, generated))
        lengths = torch.cat([bone_lengths(stretch.joints) for stretch in given]).median(0).values
        for start, stop in gaps:
            before = next((stretch.joints for stretch in given if stretch.stop == start), None)
            after = next((stretch.joints for stretch in given if stretch.start == stop), None)
            result[start:stop] = _fill(before, after, generated, start, stop, lengths, fps).to(result)
    return result


def _check(given: Sequence[Stretch], generated: Stretch, frames: int, fps: float) -> None:
    if frames < 1:
        raise InputError(f"a joined motion needs at least 1 frame, not {frames}")
    if not 0 < fps < math.inf:
        raise InputError(f"the frame rate must be positive, not {fps!r}")
    named = [(f"given stretch {index}", stretch) for index, stretch in enumerate(given)]
    for name, stretch in [*named, ("generated motion", generated)]:
        shape = tuple(stretch.joints.shape)
        if len(shape) != 3 or shape[1:] != (JOINT_COUNT, 3):
            raise InputError(f"{name}: expected joints of shape (frames, {JOINT_COUNT}, 3), found {shape}")
        if not stretch.joints.is_floating_point():
            raise InputError(f"{name}: positions must be floating-point, not {stretch.joints.dtype}")
        unusable = ~torch.isfinite(stretch.joints).flatten(1).all(1)
        if unusable.any():
            frame = stretch.start + int(unusable.nonzero()[0])
            raise InputError(f"{name}: NaN or infinite position in frame {frame}")
    end = 0
    for name, stretch in named:
        if stretch.start < end or stretch.stop > frames:
            raise InputError(
                f"{name}: frames {stretch.start} to {stretch.stop - 1} do not lie within {end} to "
                f"{frames - 1}, the frames left for it"
            )
        end = stretch.stop
    if len({(stretch.joints.dtype, stretch.joints.device) for stretch in given}) > 1:
        raise InputError("given stretches differ in dtype or device: convert them first")
    for start, stop in _gaps(given, frames):
        if generated.start > start or generated.stop < stop:
            raise InputError(
                f"generated motion: has frames {generated.start} to {generated.stop - 1}, "
                f"but {start} to {stop - 1} are to be filled"
            )


def _gaps(given: Sequence[Stretch], frames: int) -> list[tuple[int, int]]:
    edges = [0, *(edge for stretch in given for edge in (stretch.start, stretch.stop)), frames]
    return [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if start < stop]


def _of_the_same_body(given: Sequence[Stretch], generated: Stretch) -> Stretch:
    """The generated motion scaled to the given leg length, its path too."""
    given_legs = torch.cat([_leg_lengths(stretch.joints) for stretch in given]).median()
    legs = _leg_lengths(generated.joints).median()
    if min(given_legs, legs) <= 0:
        whose = "given stretches" if given_legs <= 0 else "generated motion"
        raise InputError(f"{whose}: legs have no length: these are not body joints")
    return Stretch(generated.start, generated.joints * (given_legs / legs))


def _leg_lengths(joints: Tensor) -> Tensor:
    return bone_lengths(joints)[:, KNEES + ANKLES].sum(1)


def _on_the_same_floor(given: Sequence[Stretch], generated: Stretch) -> Stretch:
    """The generated motion lifted to the given floor, if it was made on another."""
    rises = [
        stretch.joints[first - stretch.start : last - stretch.start, ANKLES + TOES, 1]
        - generated.joints[first - generated.start : last - generated.start, ANKLES + TOES, 1]
        for stretch in given
        if (first := max(stretch.start, generated.start)) < (last := min(stretch.stop, generated.stop))
    ]
    rise = torch.cat(rises).median() if rises else torch.zeros(())
    if rise.abs() < _OTHER_FLOOR:
        return generated
    return Stretch(generated.start, generated.joints + rise * rise.new_tensor([0.0, 1.0, 0.0]))


def _fill(
    before: Tensor | None,
    after: Tensor | None,
    generated: Stretch,
    start: int,
    stop: int,
    lengths: Tensor,
    fps: float,
) -> Tensor:
    """(stop - start, 22, 3) joints of one gap between given frames, of which one side may be missing."""
    source, known = _around(generated, start, stop)
    if before is not None:
        return fill_gap(before, after, source, known, lengths, fps)
    assert after is not None
    return fill_gap(after.flip(0), None, source.flip(0), known[::-1], lengths, fps).flip(0)


def _around(generated: Stretch, start: int, stop: int) -> tuple[Tensor, tuple[int, int]]:
    """The frames of a gap and `CONTEXT` on each side; how many of these were generated, not extrapolated."""
    first, last = start - CONTEXT, stop + CONTEXT
    begin, end = max(first, generated.start), min(last, generated.stop)
    joints = generated.joints[begin - generated.start : end - generated.start]
    steps = joints.diff(dim=0) if len(joints) > 1 else torch.zeros_like(joints)
    back = torch.arange(begin - first, 0, -1).to(joints)[:, None, None]
    forth = torch.arange(1, last - end + 1).to(joints)[:, None, None]
    padded = torch.cat([joints[:1] - back * steps[:1], joints, joints[-1:] + forth * steps[-1:]])
    return padded, (start - begin, end - stop)
