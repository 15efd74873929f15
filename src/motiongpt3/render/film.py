"""Films of motion on a checkered floor, seen by a camera that follows, or by one that sees the whole way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from motiongpt3.errors import InputError
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.skeleton import JOINT_INDEX
from motiongpt3.render.camera import Array, follow
from motiongpt3.render.figures import Figure, Pose, Style, make_figure
from motiongpt3.render.lettering import Caption
from motiongpt3.render.painter import Floor, SoftShadow
from motiongpt3.render.staging import (
    AZIMUTH,
    Shot,
    balls_of,
    checked_joints,
    checked_size,
    floor_height,
    heading,
    middle_height,
    standing_camera,
)
from motiongpt3.render.video import video_encoder

CameraPath = Literal["follow", "fixed"]

_FOLLOW_SECONDS = 0.5
_TRAIL_SECONDS = 2.5
_TRAIL_FOLLOW_SECONDS = 0.12
_TRAIL_METRES = 0.022


def render_frames(
    motion: Motion,
    size: int | tuple[int, int] = 480,
    caption: str | None = None,
    style: Style = "cylinders",
    camera: CameraPath = "follow",
) -> Iterator[NDArray[np.uint8]]:
    """Draw every frame of a motion.

    Args:
        motion: joints (T, 22, 3) in metres, y up, floor at y = 0.
        size: width and height in pixels, or one number for a square; even, 64 to 4096.
        caption: text at the top; none when empty or ``None``.
        style: how the figure looks: skeleton, cylinders or mesh.
        camera: follow moves with the body; fixed stands where it sees the whole way.

    Yields:
        T pictures, uint8 (height, width, 3).

    Raises:
        InputError: joints that are not finite or not (T, 22, 3), an impossible size, an unknown style or
            camera. Raised at the call, before the first picture.
    """
    joints = checked_joints(motion)
    if camera not in ("follow", "fixed"):
        raise InputError(f"unknown camera {camera!r}: use follow or fixed")
    checked = checked_size(size)
    return _draw_frames(make_figure(motion, style), joints, float(motion.fps), checked, caption, camera)


def write_video(
    motion: Motion,
    path: str | Path,
    size: int | tuple[int, int] = 480,
    caption: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    style: Style = "cylinders",
    camera: CameraPath = "follow",
) -> None:
    """Write a film of a motion at its own frame rate: .mp4, .gif or .webp, by the ending of ``path``.

    Args:
        motion: see `render_frames`.
        path: file to write; it appears only when it is complete.
        size: see `render_frames`.
        caption: see `render_frames`.
        progress: called with (frames drawn, frames in all).
        style: see `render_frames`.
        camera: see `render_frames`.

    Raises:
        InputError: see `render_frames`; or another ending.
    """
    encode = video_encoder(Path(path))
    frames = render_frames(motion, size, caption, style, camera)
    total = len(motion.joints)

    def counted() -> Iterator[NDArray[np.uint8]]:
        for index, frame in enumerate(frames):
            yield frame
            if progress:
                progress(index + 1, total)

    encode(counted(), Path(path), float(motion.fps), checked_size(size))


def film_shot(
    figure: Figure,
    joints: Array,
    fps: float,
    size: tuple[int, int],
    above: float,
    camera_path: CameraPath,
) -> Shot:
    """The camera of a film, and where it looks in every frame.

    Args:
        figure: who acts.
        joints: (T, 22, 3) of the figure, metres.
        fps: frames per second.
        size: width and height in pixels.
        above: pixels at the top kept free.
        camera_path: see `render_frames`.
    """
    body = figure.mannequin
    ground = floor_height(joints)
    route = joints[:, JOINT_INDEX["pelvis"], ::2]
    targets = np.insert(_watched(route, fps, camera_path), 1, ground, axis=1).astype(np.float32)
    targets[:, 1] += middle_height(body, ground)
    balls, radii = balls_of(body, targets)
    level = float(ground - targets[0, 1])
    camera = standing_camera(balls, radii, body.size, level, heading(joints) + AZIMUTH, size, above)
    return Shot(camera, targets, level)


def _draw_frames(
    figure: Figure,
    joints: Array,
    fps: float,
    size: tuple[int, int],
    caption: str | None,
    camera_path: CameraPath,
) -> Iterator[NDArray[np.uint8]]:
    title = Caption(caption, size)
    body = figure.mannequin
    camera, targets, level = film_shot(figure, joints, fps, size, title.above, camera_path)
    distance = camera.distance or 1.0
    floor = Floor(camera, size, level, fade=(0.62 * distance, 0.9 * distance))
    balls, _ = balls_of(body, targets)
    reach = float(np.abs(balls[..., ::2]).max()) + 0.6 * body.size
    shadow = SoftShadow(floor, (0.0, 0.0), reach)
    trail = follow(joints[:, JOINT_INDEX["pelvis"], ::2], _TRAIL_FOLLOW_SECONDS * fps)

    for t in range(len(joints)):
        picture = floor.paint(float(targets[t, 0]), float(targets[t, 2]))
        walked = trail[: t + 1] - targets[t, ::2]
        floor.draw_trail(picture, walked, _TRAIL_METRES * body.size, _TRAIL_SECONDS * fps)
        shadow.lay(picture, body.starts[t] - targets[t], body.ends[t] - targets[t], body.radii)
        figure.paint(picture, camera, floor, [Pose(t, -targets[t])])
        title.lay(picture)
        yield picture.astype(np.uint8)


def _watched(route: Array, fps: float, camera_path: CameraPath) -> Array:
    """(T, 2) world x and z of the point that the camera looks at, over a route (T, 2)."""
    if camera_path == "follow":
        return follow(route, _FOLLOW_SECONDS * fps)
    middle = (route.min(axis=0) + route.max(axis=0)) / 2
    return np.broadcast_to(middle, route.shape)
