"""A pinhole or parallel camera at a fixed angle, that follows a point and frames a whole motion.

World axes: y up, metres. Screen: pixels, x to the right, y down. A camera only ever translates: its rotation
and distance are chosen once per motion, so what depends on them alone is computed once.

Shapes: T frames, P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Focal length over picture height: a field of view of about 27 degrees, where limbs keep their proportions.
FOCAL_LENGTH = 2.1


@dataclass(frozen=True)
class Camera:
    """Where a point relative to the camera's target lands on the screen.

    Attributes:
        axes: (3, 3) rows are the camera's right, up and backward (towards the viewer) directions, unit.
        scale: pixels per metre at the target.
        distance: metres from the target; ``None`` for parallel projection.
        centre: (x, y) pixel of the target.
    """

    axes: Array
    scale: float
    distance: float | None
    centre: tuple[float, float]

    def project(self, points: Array) -> tuple[Array, Array, Array]:
        """Project points given relative to the target.

        Args:
            points: (..., 3) metres.

        Returns:
            Pixels (..., 2), depth (...) growing away from the viewer in metres, pixels per metre (...).
            Points behind the camera have a depth below ``-distance``; their pixels mean nothing.
        """
        across, upward, towards = np.moveaxis(points @ self.axes.T, -1, 0)
        nearness = self._nearness(towards)
        pixels_per_metre = np.float32(self.scale) * nearness
        pixels = np.stack(
            (self.centre[0] + across * pixels_per_metre, self.centre[1] - upward * pixels_per_metre), axis=-1
        )
        return pixels.astype(np.float32), -towards, pixels_per_metre

    def floor_at(self, x: Array, y: Array, height: float) -> tuple[Array, Array, Array]:
        """Where the rays through pixels meet the horizontal plane ``height`` metres above the target.

        Returns:
            World x and z relative to the target, and depth; NaN where the ray never meets the plane.
        """
        right, up, back = self.axes
        across, upward = (x - self.centre[0]) / self.scale, (self.centre[1] - y) / self.scale
        inverse = 0.0 if self.distance is None else 1 / self.distance
        slope = back[1] - upward * up[1] * inverse
        with np.errstate(divide="ignore", invalid="ignore"):
            towards = (height - upward * up[1]) / slope
            towards = np.where(slope > 1e-3, towards, np.nan)
        spread = 1 - towards * inverse
        across, upward = across * spread, upward * spread
        world_x = across * right[0] + upward * up[0] + towards * back[0]
        world_z = across * right[2] + upward * up[2] + towards * back[2]
        return world_x.astype(np.float32), world_z.astype(np.float32), -towards.astype(np.float32)

    def _nearness(self, towards: Array) -> Array:
        if self.distance is None:
            return np.ones_like(towards)
        return np.float32(self.distance) / np.maximum(np.float32(self.distance) - towards, np.float32(1e-3))


def camera_axes(azimuth: float, elevation: float) -> Array:
    """(3, 3) right, up and backward of a camera that looks at the origin.

    Args:
        azimuth: radians about +y from +z, where the camera stands.
        elevation: radians above the horizon.
    """
    back = np.array(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    )
    right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    return np.stack((right, np.cross(back, right), back)).astype(np.float32)


def frame_perspective(
    axes: Array, points: Array, radii: Array, size: tuple[int, int], top: float, margin: float
) -> Camera:
    """The closest perspective camera that keeps every ball inside the picture.

    Sideways the target stays in the middle; up and down the picture is shifted, as a view camera's lens is,
    so that what is highest and what is lowest leave the same room.

    Args:
        axes: (3, 3) of the camera.
        points: (N, 3) ball centres relative to the target, metres.
        radii: (N,) metres.
        size: width and height in pixels.
        top: pixels at the top kept free, for the caption.
        margin: pixels kept free on all sides.
    """
    width, height = size
    focal = FOCAL_LENGTH * height
    across, upward, towards = (points @ axes.T).astype(np.float64).T
    near = towards + radii

    def spans(distance: float) -> tuple[float, float, float]:
        scale = focal / (distance - near)
        aside = (np.abs(across) + radii) * scale
        return aside.max(), ((upward + radii) * scale).max(), ((radii - upward) * scale).max()

    closest = float(near.max()) + 1e-3
    farthest = closest + 4 * focal * float(np.abs(points).max() + radii.max() + 1e-2) / (min(size) / 4)
    for _ in range(40):
        distance = (closest + farthest) / 2
        aside, above, below = spans(distance)
        fits = aside <= width / 2 - margin and above + below <= height - top - 2 * margin
        closest, farthest = (closest, distance) if fits else (distance, farthest)
    _, above, below = spans(farthest)
    middle_row = (top + height + above - below) / 2
    return Camera(axes, focal / farthest, farthest, (width / 2, middle_row))


def follow(path: Array, frames: float) -> Array:
    """Smooth a path so that a camera can follow it without shaking and without lagging behind.

    Args:
        path: (T, D).
        frames: standard deviation of the Gaussian window, frames.
    """
    reach = max(1, round(3 * frames))
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(frames, 1e-3)) ** 2)
    window /= window.sum()
    # Mirroring the ends through the end points keeps a steady walk steady up to its last frame.
    count = len(path)
    indices = np.arange(-reach, count + reach)
    before, after = np.abs(indices), 2 * (count - 1) - indices
    inside = np.clip(np.where(indices < 0, before, np.where(indices >= count, after, indices)), 0, count - 1)
    padded = path[inside].astype(np.float64)
    padded[indices < 0] = 2 * path[0] - padded[indices < 0]
    padded[indices >= count] = 2 * path[-1] - padded[indices >= count]
    columns = [np.convolve(column, window, mode="valid") for column in padded.T]
    return np.stack(columns, axis=-1).astype(np.float32)
