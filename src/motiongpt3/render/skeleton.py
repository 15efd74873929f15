"""Draw motion as a shaded mannequin on a checkered floor: frames, films, and one-picture strips.

The body's left is warm (orange) and its right cool (blue). A film's camera stands before the body, a little
to its side, follows the root without turning, and stays as far away as the widest pose needs. A strip lays
poses out along time, left to right. The same motion gives the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.skeleton import JOINT_INDEX
from motiongpt3.render.camera import Array, Camera, camera_axes, follow, frame_perspective
from motiongpt3.render.lettering import INK, text_height, text_layer, wrap
from motiongpt3.render.mannequin import LIMB_COLOURS, LIMB_ENDS, LIMB_STARTS, Mannequin, build_mannequin
from motiongpt3.render.painter import Floor, SoftShadow, paint_capsules
from motiongpt3.render.video import video_encoder

AZIMUTH = math.radians(32)
ELEVATION = math.radians(17)
STRIP_AZIMUTH = math.radians(38)
STRIP_ELEVATION = math.radians(14)

MINIMUM_SIZE, MAXIMUM_SIZE = 64, 4096
LARGEST_COORDINATE = 1e4  # metres; beyond that float32 pixels tear

_FOLLOW_SECONDS = 0.5
_TRAIL_SECONDS = 2.5
_TRAIL_FOLLOW_SECONDS = 0.12
_TRAIL_METRES = 0.022
_PERSON_METRES = 1.75  # every film frames at least a standing person, so that films compare in size


def render_frames(
    motion: Motion, size: int | tuple[int, int] = 480, caption: str | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Draw every frame of a motion.

    Args:
        motion: joints (T, 22, 3) in metres, y up, floor at y = 0.
        size: width and height in pixels, or one number for a square; even, 64 to 4096.
        caption: text at the top; none when empty or ``None``.

    Yields:
        T pictures, uint8 (height, width, 3).

    Raises:
        InputError: joints that are not finite or not (T, 22, 3), or an impossible size. Raised at the call,
            before the first picture.
    """
    joints = _checked_joints(motion)
    return _draw_frames(joints, float(motion.fps), _checked_size(size), caption or "")


def write_video(
    motion: Motion,
    path: str | Path,
    size: int | tuple[int, int] = 480,
    caption: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a film of a motion: .mp4 or .gif by the ending of ``path``, at the motion's own frame rate.

    Args:
        motion: see `render_frames`.
        path: file to write; it appears only when it is complete.
        size: see `render_frames`.
        caption: see `render_frames`.
        progress: called with (frames drawn, frames in all).

    Raises:
        InputError: see `render_frames`; or another ending than .mp4 and .gif.
    """
    encode = video_encoder(Path(path))
    frames = render_frames(motion, size, caption)
    total = len(motion.joints)

    def counted() -> Iterator[NDArray[np.uint8]]:
        for index, frame in enumerate(frames):
            yield frame
            if progress:
                progress(index + 1, total)

    encode(counted(), Path(path), float(motion.fps), _checked_size(size))


def render_strip(
    motions: Motion | Sequence[Motion],
    captions: Sequence[str | None] | None = None,
    poses: int = 8,
    pose_height: int = 300,
) -> NDArray[np.uint8]:
    """Draw motions as rows of poses, evenly spaced in time from first frame to last, left to right.

    Poses stand side by side wherever the body went, each labelled with its time in seconds.

    Args:
        motions: one motion, or several: one row each, all at one scale.
        captions: text over each row; none where empty or ``None``.
        poses: most poses in a row, 1 to 64; a clip with fewer frames shows each once.
        pose_height: pixels that the tallest pose of all may take, 64 to 2048.

    Returns:
        uint8 (height, width, 3).

    Raises:
        InputError: see `render_frames`; or no motion, or captions that do not match the motions.
    """
    rows = [motions] if isinstance(motions, Motion) else list(motions)
    titles = [None] * len(rows) if captions is None else list(captions)
    if not rows:
        raise InputError("No motion to draw a strip of")
    if len(titles) != len(rows):
        raise InputError(f"A strip of {len(rows)} motions needs as many captions, got {len(titles)}")
    if not 1 <= poses <= 64:
        raise InputError(f"A strip takes 1 to 64 poses, got {poses}")
    if not MINIMUM_SIZE <= pose_height <= 2048:
        raise InputError(f"The height of a pose is {MINIMUM_SIZE} to 2048 pixels, got {pose_height}")
    strips = [_Strip(_checked_joints(motion), float(motion.fps), poses) for motion in rows]
    scale = pose_height / max(strip.extent[1] for strip in strips)
    pitch = max(strip.pitch for strip in strips)
    columns = max(len(strip.times) for strip in strips)
    width = round(scale * pitch * (columns + 0.35))
    pictures = [
        strip.draw(width, pose_height, scale, pitch, title or "") for strip, title in zip(strips, titles)
    ]
    return np.concatenate(pictures).astype(np.uint8)


def write_strip(
    motions: Motion | Sequence[Motion],
    path: str | Path,
    captions: Sequence[str | None] | None = None,
    poses: int = 8,
    pose_height: int = 300,
) -> None:
    """Write `render_strip` as a .png file, which appears only when it is complete."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"A strip is written as .png, not {path.suffix or 'without ending'!r}")
    picture = render_strip(motions, captions, poses, pose_height)
    with atomic_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", optimize=True)


def _draw_frames(
    joints: Array, fps: float, size: tuple[int, int], caption: str
) -> Iterator[NDArray[np.uint8]]:
    width, height = size
    letters = max(round(height / 26), 9)
    lines = wrap(caption, round(0.92 * width), letters, 3)
    above = text_height(len(lines), letters) + 0.6 * letters if lines else 0.0

    body = build_mannequin(joints)
    root = joints[:, JOINT_INDEX["pelvis"]]
    ground = _floor_height(joints)
    targets = np.insert(follow(root[:, ::2], _FOLLOW_SECONDS * fps), 1, ground, axis=1).astype(np.float32)
    targets[:, 1] += _middle_height(body, ground)
    starts, ends = body.starts - targets[:, None], body.ends - targets[:, None]
    camera = _film_camera(starts, ends, body, ground - targets[0, 1], _heading(joints) + AZIMUTH, size, above)
    distance = camera.distance or 1.0
    floor = Floor(camera, size, float(ground - targets[0, 1]), fade=(0.62 * distance, 0.9 * distance))
    reach = float(max(np.abs(starts[..., ::2]).max(), np.abs(ends[..., ::2]).max())) + 0.6 * body.size
    shadow = SoftShadow(floor, (0.0, 0.0), reach)
    text = text_layer((width, math.ceil(above)), _centred(lines, width, letters), letters) if lines else None
    trail = follow(root[:, ::2], _TRAIL_FOLLOW_SECONDS * fps)

    for t in range(len(joints)):
        picture = floor.paint(float(targets[t, 0]), float(targets[t, 2]))
        walked = trail[: t + 1] - targets[t, ::2]
        floor.draw_trail(picture, walked, _TRAIL_METRES * body.size, _TRAIL_SECONDS * fps)
        shadow.lay(picture, starts[t], ends[t], body.radii)
        paint_capsules(picture, camera, starts[t], ends[t], body.radii, LIMB_COLOURS)
        if text is not None:
            banner = picture[: len(text)]
            banner += text * (INK - banner)
        yield picture.astype(np.uint8)


def _middle_height(body: Mannequin, ground: float) -> float:
    """Half-way up what a film shows, above the floor: at least a standing person."""
    heights = body.points[..., 1] - ground
    return (min(0.0, float(heights.min())) + max(_PERSON_METRES * body.size, float(heights.max()))) / 2


def _film_camera(
    starts: Array,
    ends: Array,
    body: Mannequin,
    ground: float,
    azimuth: float,
    size: tuple[int, int],
    above: float,
) -> Camera:
    """The camera that has every pose of a film, and a standing person, in its picture."""
    balls = np.concatenate((starts, ends), axis=1)
    radii = np.broadcast_to(np.concatenate((body.radii[:, 0], body.radii[:, 1])), balls.shape[:2])
    person = np.array([[0, ground, 0], [0, ground + _PERSON_METRES * body.size, 0]], dtype=np.float32)
    points = np.concatenate((balls.reshape(-1, 3), person))
    thickness = np.concatenate((radii.reshape(-1), np.zeros(2, dtype=np.float32)))
    axes = camera_axes(azimuth, ELEVATION)
    return frame_perspective(axes, points, thickness, size, above, margin=min(size) / 20)


class _Strip:
    """One row of poses: which frames, how they stand, and how much room each needs."""

    def __init__(self, joints: Array, fps: float, poses: int) -> None:
        count = min(poses, len(joints))
        frames = np.round(np.linspace(0, len(joints) - 1, count)).astype(int)
        body = build_mannequin(joints)
        self.times = frames / fps
        self.size = body.size
        self.radii = body.radii
        self.axes = camera_axes(_heading(joints) + STRIP_AZIMUTH, STRIP_ELEVATION)
        # Each pose stands over its own spot: the middle of its width on the screen, on the floor.
        points = body.points[frames]
        points = points - np.array([0, _floor_height(joints), 0], dtype=np.float32)
        root = points[:, :1] * np.array([1, 0, 1], dtype=np.float32)
        points = points - root
        across = points @ self.axes[0]
        middle = (across.min(axis=1) + across.max(axis=1)) / 2
        self.points = points - middle[:, None, None] * self.axes[0]
        upward = self.points @ self.axes[1]
        thick = 0.11 * body.size
        widest = float((across.max(axis=1) - across.min(axis=1)).max()) + 2 * thick
        self.low = min(float(upward.min()) - thick, -0.32 * body.size)
        self.high = max(float(upward.max()) + thick, 1.75 * body.size)
        self.extent = (widest, self.high - self.low)
        self.pitch = max(widest + 0.08 * body.size, 0.72 * body.size)

    def draw(self, width: int, pose_height: int, scale: float, pitch: float, caption: str) -> Array:
        """The row as a float32 picture (height, width, 3)."""
        letters = max(round(pose_height / 18), 11)
        small = max(round(pose_height / 26), 10)
        lines = wrap(caption, round(0.94 * width), letters, 2)
        above = (text_height(len(lines), letters) + 0.6 * letters) if lines else 0.3 * letters
        below = 1.5 * small
        height = math.ceil(above + self.extent[1] * scale + below)
        ground_row = above + self.high * scale
        camera = Camera(self.axes, scale, None, (width / 2, ground_row))
        floor = Floor(camera, (width, height), 0.0, fade=(1e6, 1.5 * self.size))
        picture = floor.paint(0.0, 0.0)
        reach = float(np.abs(self.points[..., ::2]).max()) + 0.5 * self.size
        places = (np.arange(len(self.times)) - (len(self.times) - 1) / 2) * pitch
        standing = self.points + places[:, None, None].astype(np.float32) * self.axes[0]
        starts, ends = standing[:, LIMB_STARTS], standing[:, LIMB_ENDS]
        for pose, place in enumerate(places):
            spot = (float(place * self.axes[0, 0]), float(place * self.axes[0, 2]))
            SoftShadow(floor, spot, reach).lay(picture, starts[pose], ends[pose], self.radii)
        for pose in range(len(places)):
            paint_capsules(picture, camera, starts[pose], ends[pose], self.radii, LIMB_COLOURS)
        labels = _centred(lines, width, letters)
        text = text_layer((width, height), labels, letters)
        stamps = [
            (f"{time:.1f} s", width / 2 + place * scale, height - 1.35 * small)
            for time, place in zip(self.times, places)
        ]
        text = np.maximum(text, 0.75 * text_layer((width, height), stamps, small))
        picture += text * (INK - picture)
        return picture


def _centred(lines: list[str], width: int, letters: int) -> list[tuple[str, float, float]]:
    return [(line, width / 2, 0.5 * letters + text_height(k, letters)) for k, line in enumerate(lines)]


def _heading(joints: Array) -> float:
    """Radians about +y from +z that the body faces in its first frame; 0 where that is not defined."""
    left = joints[0, JOINT_INDEX["left_hip"]] + joints[0, JOINT_INDEX["left_shoulder"]]
    right = joints[0, JOINT_INDEX["right_hip"]] + joints[0, JOINT_INDEX["right_shoulder"]]
    across_x, _, across_z = (left - right).tolist()
    # Facing is across x up, with across pointing to the body's left.
    return math.atan2(-across_z, across_x)


def _floor_height(joints: Array) -> float:
    """0 where the clip stands on the floor, as it should; else its lowest joint, so that it can be seen."""
    lowest = float(joints[..., 1].min())
    return 0.0 if abs(lowest) < 0.5 else lowest


def _checked_joints(motion: Motion) -> Array:
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


def _checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    width, height = (size, size) if isinstance(size, int) else size
    for pixels in (width, height):
        if not MINIMUM_SIZE <= pixels <= MAXIMUM_SIZE or pixels % 2:
            raise InputError(
                f"Width and height are even, from {MINIMUM_SIZE} to {MAXIMUM_SIZE} pixels, got {pixels}"
            )
    return width, height
