"""Draw motion as strips: poses laid out along time, left to right, a row for each motion.

The body's left is warm (orange) and its right cool (blue). The same motion gives the same pixels.
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
from motiongpt3.render.camera import Array, Camera, camera_axes
from motiongpt3.render.lettering import INK, centred, text_height, text_layer, wrap
from motiongpt3.render.mannequin import LIMB_COLOURS, LIMB_ENDS, LIMB_STARTS, build_mannequin
from motiongpt3.render.painter import Floor, SoftShadow, paint_capsules
from motiongpt3.render.staging import MINIMUM_SIZE, checked_joints, floor_height, heading

STRIP_AZIMUTH = math.radians(38)
STRIP_ELEVATION = math.radians(14)


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
    strips = [_Strip(checked_joints(motion), float(motion.fps), poses) for motion in rows]
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


class _Strip:
    """One row of poses: which frames, how they stand, and how much room each needs."""

    def __init__(self, joints: Array, fps: float, poses: int) -> None:
        count = min(poses, len(joints))
        frames = np.round(np.linspace(0, len(joints) - 1, count)).astype(int)
        body = build_mannequin(joints)
        self.times = frames / fps
        self.size = body.size
        self.radii = body.radii
        self.axes = camera_axes(heading(joints) + STRIP_AZIMUTH, STRIP_ELEVATION)
        # Each pose stands over its own spot: the middle of its width on the screen, on the floor.
        points = body.points[frames]
        points = points - np.array([0, floor_height(joints), 0], dtype=np.float32)
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
        labels = centred(lines, width, letters)
        text = text_layer((width, height), labels, letters)
        stamps = [
            (f"{time:.1f} s", width / 2 + place * scale, height - 1.35 * small)
            for time, place in zip(self.times, places)
        ]
        text = np.maximum(text, 0.75 * text_layer((width, height), stamps, small))
        picture += text * (INK - picture)
        return picture
