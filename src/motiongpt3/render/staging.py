"""What a picture needs to know of a motion before it is drawn: is it drawable, where is the floor, from where
to look at it.

Shapes: T frames, N balls.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from motiongpt3.errors import InputError
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.skeleton import JOINT_INDEX
from motiongpt3.render.camera import Array, Camera, camera_axes, frame_perspective
from motiongpt3.render.mannequin import Mannequin

AZIMUTH = math.radians(32)
ELEVATION = math.radians(17)

MINIMUM_SIZE, MAXIMUM_SIZE = 64, 4096
LARGEST_COORDINATE = 1e4  # metres; beyond that float32 pixels tear

_PERSON_METRES = 1.75  # every film frames at least a standing person, so that films compare in size


class Shot(NamedTuple):
    """How poses are seen.

    Attributes:
        camera: projects points relative to the target.
        targets: (K, 3) for each pose, the point of its own space that the camera looks at, metres.
        ground: height of the floor above the target, metres.
    """

    camera: Camera
    targets: Array
    ground: float


def checked_joints(motion: Motion) -> Array:
    """The joints (T, 22, 3) of a motion that can be drawn.

    Raises:
        InputError: values that are not finite, or too large for metres.
    """
    joints = motion.joints.numpy()
    # A motion is checked when it is made, but its tensor may have been written to since.
    if not np.isfinite(joints).all():
        frame = int(np.flatnonzero(~np.isfinite(joints).all(axis=(1, 2)))[0])
        raise InputError(f"Cannot draw {motion.name}: NaN or infinite position in frame {frame}")
    farthest = float(np.abs(joints).max())
    if farthest > LARGEST_COORDINATE:
        raise InputError(
            f"Cannot draw {motion.name}: a joint is {farthest:.3g} m from the origin; are these metres?"
        )
    return joints


def checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Width and height in pixels, from both or from the one number of a square.

    Raises:
        InputError: odd or impossible numbers.
    """
    width, height = (size, size) if isinstance(size, int) else size
    for pixels in (width, height):
        if not MINIMUM_SIZE <= pixels <= MAXIMUM_SIZE or pixels % 2:
            raise InputError(
                f"Width and height are even, from {MINIMUM_SIZE} to {MAXIMUM_SIZE} pixels, got {pixels}"
            )
    return width, height


def heading(joints: Array, frame: int = 0) -> float:
    """Radians about +y from +z that the body faces in a frame; 0 where that is not defined."""
    left = joints[frame, JOINT_INDEX["left_hip"]] + joints[frame, JOINT_INDEX["left_shoulder"]]
    right = joints[frame, JOINT_INDEX["right_hip"]] + joints[frame, JOINT_INDEX["right_shoulder"]]
    across_x, _, across_z = (left - right).tolist()
    # Facing is across x up, with across pointing to the body's left.
    return math.atan2(-across_z, across_x)


def floor_height(joints: Array) -> float:
    """0 where the clip stands on the floor, as it should; else its lowest joint, so that it can be seen."""
    lowest = float(joints[..., 1].min())
    return 0.0 if abs(lowest) < 0.5 else lowest


def middle_height(body: Mannequin, ground: float) -> float:
    """Half-way up what a film shows, above the floor: at least a standing person."""
    heights = body.points[..., 1] - ground
    return (min(0.0, float(heights.min())) + max(_PERSON_METRES * body.size, float(heights.max()))) / 2


def balls_of(body: Mannequin, targets: Array) -> tuple[Array, Array]:
    """The ends of all capsules relative to the camera's target of each frame, (T, N, 3), and radii (T, N)."""
    balls = np.concatenate((body.starts, body.ends), axis=1) - targets[:, None]
    radii = np.concatenate((body.radii[:, 0], body.radii[:, 1]))
    return balls.astype(np.float32), np.broadcast_to(radii, balls.shape[:2])


def standing_camera(
    balls: Array,
    radii: Array,
    size_of_body: float,
    ground: float,
    azimuth: float,
    size: tuple[int, int],
    above: float,
) -> Camera:
    """The closest camera that has every ball, and a standing person, in its picture.

    Args:
        balls: (T, N, 3) relative to the target, metres.
        radii: (T, N) metres.
        size_of_body: how much larger the body is than one with legs of 0.82 m.
        ground: height of the floor above the target, metres.
        azimuth: radians about +y from +z, where the camera stands.
        size: width and height in pixels.
        above: pixels at the top kept free.
    """
    person = np.array([[0, ground, 0], [0, ground + _PERSON_METRES * size_of_body, 0]], dtype=np.float32)
    points = np.concatenate((balls.reshape(-1, 3), person))
    thickness = np.concatenate((radii.reshape(-1), np.zeros(2, dtype=np.float32)))
    axes = camera_axes(azimuth, ELEVATION)
    return frame_perspective(axes, points, thickness, size, above, margin=min(size) / 20)
