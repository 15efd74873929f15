"""A gap between given frames, what is generated for it, and how differences at its edges die away.

Shapes: a gap of n frames; time counts from 0, the last given frame before it. Frame n + 1 = N is the first
given one after it; an open gap, at the end of a clip, has none. Arrays over time begin at -1 and end at N + 1
(open: at n), because velocities at the edges need one more frame. Joints (..., 22, 3) in metres, y up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from motiongpt3.motion.rotations import rotate_about_up

CONTEXT = 4
"""Frames on each side of a gap by which the generated motion is aligned."""


@dataclass(frozen=True)
class Edge:
    """One side of a gap, seen inwards.

    Attributes:
        here: place of the edge frame in arrays over time.
        beyond: place of the frame outside it.
        given: (2, 22, 3) given joints beyond and here.
        moves: whether there was a given frame beyond.
        fresh: whether the generated motion was extrapolated to these frames.
        elapsed: (T,) frames from the edge inwards.
    """

    here: int
    beyond: int
    given: Tensor
    moves: bool
    fresh: bool
    elapsed: Tensor

    def mismatch(self, values: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """What ``values`` (T, ...) lack to be ``given`` (2, ...) at the edge, and its growth inwards."""
        offset, earlier = given[1] - values[self.here], given[0] - values[self.beyond]
        return offset, (offset - earlier if self.moves else torch.zeros_like(offset))


@dataclass(frozen=True)
class Gap:
    """A gap and what is known about it.

    Attributes:
        motion: (T, 22, 3) generated joints, laid onto the given frames before the gap.
        times: (T,) frames since the last given one.
        last: N of a closed gap, n of an open one.
        edges: the frames given before, and those after it if it is closed.
        lengths: (22,) bone lengths of the body, metres.
        ground: height of the ground, metres.
        fps: frames per second.
    """

    motion: Tensor
    times: Tensor
    last: float
    edges: tuple[Edge, ...]
    lengths: Tensor
    ground: Tensor
    fps: float

    @property
    def closed(self) -> bool:
        """Whether there are given frames after it."""
        return len(self.edges) == 2

    def span(self, seconds: float) -> float:
        """Frames in ``seconds``, at most those of a closed gap: what begins at one edge ends at the other."""
        frames = max(seconds * self.fps, 1.0)
        return min(frames, self.last) if self.closed else frames


@dataclass(frozen=True)
class Placement:
    """Where the generated body is put: a turn and a shift for each moment.

    Attributes:
        yaw: (T,) radians about +y through the origin.
        shift: (T, 3) metres, horizontal, after the turn.
    """

    yaw: Tensor
    shift: Tensor

    def at(self, places: Tensor) -> Placement:
        """The placement at fractional places (M,) of the time axis."""
        below = places.floor().long().clamp(0, len(self.yaw) - 2)
        part = places - below
        return Placement(
            torch.lerp(self.yaw[below], self.yaw[below + 1], part),
            torch.lerp(self.shift[below], self.shift[below + 1], part[:, None]),
        )

    def turned(self, vectors: Tensor) -> Tensor:
        """Vectors (T, ..., 3) turned by the yaw of their moment."""
        return rotate_about_up(vectors, self.yaw.reshape(-1, *[1] * (vectors.ndim - 2)))

    def placed(self, points: Tensor) -> Tensor:
        """Points (T, ..., 3) turned and shifted."""
        return self.turned(points) + self.shift.reshape(-1, *[1] * (points.ndim - 2), 3)


def decay(offset: Tensor, velocity: Tensor, span: float, elapsed: Tensor) -> Tensor:
    """An offset that starts with a velocity and is gone, with two derivatives, after ``span`` frames.

    The quintic polynomial with no acceleration at the start.

    Args:
        offset: (...) at the start.
        velocity: (...) per frame.
        span: frames.
        elapsed: (T,) frames since the start; before it the offset is constant.

    Returns:
        (T, ...).
    """
    s = (elapsed / span).clamp(0, 1).reshape(-1, *[1] * offset.ndim)
    remaining = 1 - s**3 * (10 - 15 * s + 6 * s**2)
    excursion = s * (1 - s) ** 3 * (1 + 3 * s)
    return remaining * offset + span * excursion * velocity
