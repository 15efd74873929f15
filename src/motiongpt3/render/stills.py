"""Single pictures of motion: one pose, or a whole motion with its poses fading in through time.

Shapes: K poses, N balls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.skeleton import JOINT_INDEX
from motiongpt3.render.camera import Array, camera_axes
from motiongpt3.render.figures import Figure, Pose, Style, make_figure
from motiongpt3.render.lettering import Caption
from motiongpt3.render.mannequin import build_mannequin
from motiongpt3.render.painter import Floor, SoftShadow
from motiongpt3.render.staging import (
    AZIMUTH,
    ELEVATION,
    Shot,
    balls_of,
    checked_joints,
    checked_size,
    floor_height,
    heading,
    middle_height,
    standing_camera,
)

MAX_POSES = 64
# The first pose of a sequence has faded so far.
_FADE = 0.66
# Poses nearer than this, as a share of the body's size, are spread out sideways.
_CROWDED, _SPREAD = 0.34, 0.62
# Degrees from the side of the way that a sequence is seen, towards its end.
_SEQUENCE_TURN = math.radians(28)
_PICTURE_SUFFIXES = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}


def render_frame(
    motion: Motion,
    at: float = 0.5,
    size: int | tuple[int, int] = 720,
    caption: str | None = None,
    style: Style = "cylinders",
) -> NDArray[np.uint8]:
    """Draw one pose.

    Args:
        motion: see `render_frames`.
        at: which: 0 is the first frame, 1 the last, 0.5 half-way.
        size: width and height in pixels, or one number for a square; even, 64 to 4096.
        caption: text at the top; none when empty or ``None``.
        style: skeleton, cylinders or mesh.

    Returns:
        uint8 (height, width, 3).

    Raises:
        InputError: see `render_frames`; or a moment outside 0 to 1.
    """
    joints = checked_joints(motion)
    azimuth, poses = frame_pose(joints, at)
    return _draw(make_figure(motion, style), joints, poses, azimuth, checked_size(size), caption)


def render_sequence(
    motion: Motion,
    poses: int = 8,
    size: int | tuple[int, int] = (1280, 640),
    caption: str | None = None,
    style: Style = "cylinders",
) -> NDArray[np.uint8]:
    """Draw a whole motion in one picture: poses evenly spaced in time, the earlier the paler.

    Poses stand where they were, and the way runs from left to right. Where that would heap them up, they are
    spread out sideways.

    Args:
        motion: see `render_frames`.
        poses: how many, 1 to 64; a clip with fewer frames shows each once.
        size: see `render_frame`.
        caption: see `render_frame`.
        style: see `render_frame`.

    Returns:
        uint8 (height, width, 3).

    Raises:
        InputError: see `render_frames`; or an impossible number of poses.
    """
    joints = checked_joints(motion)
    azimuth, standing = sequence_poses(joints, poses)
    return _draw(make_figure(motion, style), joints, standing, azimuth, checked_size(size), caption)


def write_picture(picture: NDArray[np.uint8], path: str | Path) -> None:
    """Write a picture as .png, .webp or .jpg, which appears only when it is complete.

    Raises:
        InputError: another ending.
    """
    path = Path(path)
    kind = _PICTURE_SUFFIXES.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(_PICTURE_SUFFIXES)
        raise InputError(f"cannot write a picture as {path.suffix or 'a file without ending'!r}: use {known}")
    options = {"optimize": True} if kind == "PNG" else {"quality": 90}
    with atomic_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format=kind, **options)


def _laid_out(joints: Array, frames: NDArray[np.int64], size: float) -> tuple[float, list[Array]]:
    """Where to look from, and what to add to each frame's positions: (3,) metres."""
    route = joints[frames, JOINT_INDEX["pelvis"]] * np.array([1, 0, 1], dtype=np.float32)
    steps = np.linalg.norm(np.diff(route, axis=0), axis=-1)
    if not len(steps) or float(np.median(steps)) > _CROWDED * size:
        way = route[-1] - route[0]
        if np.linalg.norm(way) < size:
            # Somewhere and back: the direction it reached furthest in.
            way = route[np.argmax(np.linalg.norm(route - route[0], axis=-1))] - route[0]
        azimuth = math.atan2(-float(way[2]), float(way[0])) + _SEQUENCE_TURN
        middle = (route.min(axis=0) + route.max(axis=0)) / 2
        return azimuth, [-middle for _ in frames]
    azimuth = heading(joints) + AZIMUTH
    right = camera_axes(azimuth, ELEVATION)[0]
    asides = (np.arange(len(frames)) - (len(frames) - 1) / 2) * _SPREAD * size
    return azimuth, [-route.mean(axis=0) + np.float32(aside) * right for aside in asides]


def still_shot(
    figure: Figure,
    joints: Array,
    poses: Sequence[Pose],
    azimuth: float,
    size: tuple[int, int],
    above: float,
) -> Shot:
    """The camera of a picture, and the target of each of its poses.

    Args:
        figure: who acts.
        joints: (T, 22, 3) of the figure, metres.
        poses: as `sequence_poses` and `frame_pose` place them.
        azimuth: radians about +y from +z, where the camera stands.
        size: width and height in pixels.
        above: pixels at the top kept free.
    """
    body = figure.mannequin
    ground = floor_height(joints)
    middle = middle_height(body, ground)
    frames = [pose.frame for pose in poses]
    targets = np.stack([np.array([0, middle, 0]) - pose.shift for pose in poses]).astype(np.float32)
    balls, radii = balls_of(body, np.zeros((len(joints), 3), dtype=np.float32))
    placed = balls[frames] - targets[:, None]
    # Sideways the target is the middle of the picture: put it in the middle of what is in it.
    right = camera_axes(azimuth, ELEVATION)[0]
    across = placed @ right
    aside = ((across.min() + across.max()) / 2 * right).astype(np.float32)
    camera = standing_camera(placed - aside, radii[frames], body.size, ground - middle, azimuth, size, above)
    return Shot(camera, targets + aside, ground - middle)


def sequence_poses(joints: Array, poses: int) -> tuple[float, list[Pose]]:
    """The azimuth to see a sequence from, in radians, and its poses, shifted to stand around the origin.

    Args:
        joints: (T, 22, 3) metres.
        poses: how many; a clip with fewer frames shows each once.

    Raises:
        InputError: an impossible number of poses.
    """
    if not 1 <= poses <= MAX_POSES:
        raise InputError(f"a sequence takes 1 to {MAX_POSES} poses, got {poses}")
    count = min(poses, len(joints))
    frames = np.round(np.linspace(0, len(joints) - 1, count)).astype(int)
    azimuth, shifts = _laid_out(joints, frames, build_mannequin(joints).size)
    fades = _FADE * (1 - np.linspace(0, 1, count)) if count > 1 else np.zeros(1)
    placed = zip(frames.tolist(), shifts, fades.tolist(), strict=True)
    return azimuth, [Pose(frame, shift, fade) for frame, shift, fade in placed]


def frame_pose(joints: Array, at: float) -> tuple[float, list[Pose]]:
    """As `sequence_poses`, for the one pose at a moment from 0 (the first frame) to 1 (the last).

    Raises:
        InputError: a moment outside 0 to 1.
    """
    if not 0 <= at <= 1:
        raise InputError(f"a pose is from 0 (the first frame) to 1 (the last), not {at}")
    frame = round(at * (len(joints) - 1))
    pelvis = joints[frame, JOINT_INDEX["pelvis"]]
    shift = np.array([-pelvis[0], 0, -pelvis[2]], dtype=np.float32)
    return heading(joints, frame) + AZIMUTH, [Pose(frame, shift)]


def _draw(
    figure: Figure,
    joints: Array,
    poses: Sequence[Pose],
    azimuth: float,
    size: tuple[int, int],
    caption: str | None,
) -> NDArray[np.uint8]:
    title = Caption(caption, size)
    body = figure.mannequin
    camera, targets, ground = still_shot(figure, joints, poses, azimuth, size, title.above)
    shown = [pose._replace(shift=-target) for pose, target in zip(poses, targets, strict=True)]
    distance = camera.distance or 1.0
    floor = Floor(camera, size, ground, fade=(0.9 * distance, 1.1 * distance))
    picture = floor.paint(0.0, 0.0)
    for pose in shown:
        starts, ends = body.starts[pose.frame] + pose.shift, body.ends[pose.frame] + pose.shift
        spot = (starts.mean(axis=0) + ends.mean(axis=0)) / 2
        reach = float(np.abs(np.concatenate((starts, ends)) - spot)[:, ::2].max()) + 0.6 * body.size
        before = picture.copy()
        SoftShadow(floor, (float(spot[0]), float(spot[2])), reach).lay(picture, starts, ends, body.radii)
        picture += np.float32(pose.fade) * (before - picture)
    figure.paint(picture, camera, floor, shown)
    title.lay(picture)
    return picture.astype(np.uint8)
