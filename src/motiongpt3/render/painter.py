"""Paint capsules, their soft shadow and a checkered floor onto a picture, with NumPy alone.

A capsule is drawn as the projection of a round cone: its edge is antialiased by distance, its surface gets a
normal per pixel, and a depth buffer decides what is in front. Pictures are float32 (H, W, 3), 0 to 255.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from motiongpt3.render.camera import Camera

Array = NDArray[np.float32]

SKY_TOP = np.array([222, 229, 238], dtype=np.float32)
SKY_HORIZON = np.array([247, 249, 251], dtype=np.float32)
TILE_DARK = np.array([205, 212, 222], dtype=np.float32)
TILE_LIGHT = np.array([228, 233, 240], dtype=np.float32)
SHADOW = np.array([38, 46, 66], dtype=np.float32)
TRAIL = np.array([226, 74, 110], dtype=np.float32)
TILE_METRES = 0.5

# Direction to the light in camera axes: right, up, towards the viewer.
LIGHT = np.array([-0.42, 0.68, 0.60], dtype=np.float32)
LIGHT /= np.linalg.norm(LIGHT)
HALF_VECTOR = LIGHT + np.array([0, 0, 1], dtype=np.float32)
HALF_VECTOR /= np.linalg.norm(HALF_VECTOR)

# Metres to the right and away from the viewer that a shadow falls aside per metre of height.
SHADOW_DRIFT = (0.18, 0.12)
_SHADOW_TEXELS = 96


class Floor:
    """The checkered ground of one camera: sky, tiles, and the shadow and trail laid on them.

    Args:
        camera: where it is seen from.
        size: width and height in pixels.
        height: height of the floor above the camera's target, metres.
        fade: metres from the target, across and in depth, at which tiles have faded into the sky.

    Attributes:
        world_x, world_z: (H, W) where each pixel's ray meets the floor, relative to the target; else NaN.
        strength: (H, W) how much of the floor is left before it has faded, 0 to 1.
    """

    def __init__(
        self, camera: Camera, size: tuple[int, int], height: float, fade: tuple[float, float]
    ) -> None:
        self.camera, self.height = camera, height
        self.width, self.rows = size
        x, y = np.meshgrid(
            np.arange(self.width, dtype=np.float32) + 0.5, np.arange(self.rows, dtype=np.float32) + 0.5
        )
        world_x, world_z, depth = camera.floor_at(x, y, height)
        self.world_x, self.world_z = world_x, world_z
        across = world_x * camera.axes[0, 0] + world_z * camera.axes[0, 2]
        distance = np.hypot(across / fade[0], depth / fade[1])
        strength = np.clip(1.15 - distance, 0, 1)
        strength = np.nan_to_num(strength * strength * (3 - 2 * strength))
        self.strength = strength.astype(np.float32)
        self._first_row = int(np.argmax(strength.max(axis=1) > 1e-3))
        blend = (np.arange(self.rows, dtype=np.float32) / self.rows)[:, None, None] ** 0.8
        sky: Array = np.broadcast_to(SKY_TOP + (SKY_HORIZON - SKY_TOP) * blend, (self.rows, self.width, 3))
        rows = slice(self._first_row, None)
        self._mean = sky.copy()
        weight = strength[rows, :, None]
        self._mean[rows] += weight * ((TILE_DARK + TILE_LIGHT) / 2 - sky[rows])
        self._contrast = (weight * (TILE_LIGHT - TILE_DARK) / 2).astype(np.float32)
        turn = np.float32(math.pi / TILE_METRES)
        self._turns_x = np.nan_to_num(world_x[rows]) * turn
        self._turns_z = np.nan_to_num(world_z[rows]) * turn
        # Edge of a tile blurred over one pixel: steep near the viewer, flat where a tile is a pixel or less.
        self._steep_x = _steepness(self._turns_x)
        self._steep_z = _steepness(self._turns_z)

    def paint(self, target_x: float, target_z: float) -> Array:
        """A fresh picture (H, W, 3) of sky and tiles when the camera's target is at world (x, z)."""
        phase_x = np.float32(math.remainder(target_x * math.pi / TILE_METRES, 2 * math.pi))
        phase_z = np.float32(math.remainder(target_z * math.pi / TILE_METRES, 2 * math.pi))
        waves = np.clip(np.sin(self._turns_x + phase_x) * self._steep_x, -1, 1)
        waves *= np.clip(np.sin(self._turns_z + phase_z) * self._steep_z, -1, 1)
        picture = np.empty_like(self._mean)
        picture[: self._first_row] = self._mean[: self._first_row]
        ground = picture[self._first_row :]
        np.multiply(self._contrast, waves[..., None], out=ground)
        ground += self._mean[self._first_row :]
        return picture

    def draw_trail(self, picture: Array, path: Array, width: float, fade_frames: float) -> None:
        """Draw a path on the floor, fading with age, in place.

        Args:
            picture: (H, W, 3).
            path: (N, 2) world x and z relative to the camera's target, oldest first, metres.
            width: metres.
            fade_frames: age at which the path has faded by two thirds, frames.
        """
        points = np.insert(path, 1, self.height, axis=1).astype(np.float32)
        pixels, depth, pixels_per_metre = self.camera.project(points)
        nearest = -np.inf if self.camera.distance is None else -0.6 * self.camera.distance
        inside = (depth > nearest) & (np.abs(pixels) < 4 * max(self.width, self.rows)).all(axis=1)
        if inside.sum() < 2:
            return
        low = np.clip(np.floor(pixels[inside].min(axis=0)) - 6, 0, (self.width, self.rows)).astype(int)
        high = np.clip(np.ceil(pixels[inside].max(axis=0)) + 6, 0, (self.width, self.rows)).astype(int)
        if (high <= low).any():
            return
        mask = Image.new("L", (2 * int(high[0] - low[0]), 2 * int(high[1] - low[1])))
        draw = ImageDraw.Draw(mask)
        ages = np.arange(len(path) - 1, -1, -1)
        for k in range(1, len(path)):
            if inside[k - 1] and inside[k]:
                ends = [tuple(2 * (pixels[i] - low)) for i in (k - 1, k)]
                stroke = max(2, round(2 * width * float(pixels_per_metre[k])))
                tone = round(40 + 190 * math.exp(-float(ages[k]) / fade_frames))
                draw.line(ends, fill=tone, width=stroke)
        coverage = np.asarray(mask.reduce(2), dtype=np.float32) / 255
        rows, columns = slice(low[1], high[1]), slice(low[0], high[0])
        coverage = coverage * self.strength[rows, columns]
        window = picture[rows, columns]
        window += coverage[..., None] * (TRAIL - window)


class SoftShadow:
    """The shadow of capsules on a floor, around one spot of it.

    Every capsule becomes a few Gaussian spots below it, wider and fainter the higher they hang, the way a
    large light casts them. Spots are separable, so their sum is one small matrix product.

    Args:
        floor: what the shadow falls on.
        spot: x and z of the middle, relative to the camera's target, metres.
        reach: metres around the spot that the shadow may cover.
    """

    def __init__(self, floor: Floor, spot: tuple[float, float], reach: float) -> None:
        self._height = floor.height
        right, _, back = floor.camera.axes[:, ::2]
        self._drift_x, self._drift_z = SHADOW_DRIFT[0] * right - SHADOW_DRIFT[1] * back
        self._texels_x = spot[0] + np.linspace(-reach, reach, _SHADOW_TEXELS, dtype=np.float32)
        self._texels_z = spot[1] + np.linspace(-reach, reach, _SHADOW_TEXELS, dtype=np.float32)
        away_x, away_z = floor.world_x - np.float32(spot[0]), floor.world_z - np.float32(spot[1])
        away = np.nan_to_num(np.maximum(np.abs(away_x), np.abs(away_z)), nan=np.inf)
        covered = away < reach
        rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        row_span = slice(rows[0], rows[-1] + 1) if len(rows) else slice(0, 0)
        column_span = slice(columns[0], columns[-1] + 1) if len(columns) else slice(0, 0)
        self._window = (row_span, column_span)
        texels_per_metre = (_SHADOW_TEXELS - 1) / (2 * reach)
        at_x = _texel(away_x[self._window], reach, texels_per_metre)
        at_z = _texel(away_z[self._window], reach, texels_per_metre)
        self._between_x, self._between_z = at_x - np.floor(at_x), at_z - np.floor(at_z)
        # One index type and one flat texture: np.take is then several times as fast as indexing.
        self._at = np.floor(at_z).astype(np.intp) * _SHADOW_TEXELS + np.floor(at_x).astype(np.intp)
        # Towards the edge the shadow fades out, so that no straight border can show.
        edge = np.clip(4 * (1 - away[self._window] / reach), 0, 1)
        self._strength = (edge * np.sqrt(floor.strength[self._window])).astype(np.float32)

    def lay(self, picture: Array, starts: Array, ends: Array, radii: Array) -> None:
        """Darken the floor of a picture, in place.

        Args:
            picture: (H, W, 3).
            starts: (L, 3) of the capsules, relative to the camera's target, metres.
            ends: (L, 3).
            radii: (L, 2) at start and end, metres.
        """
        fractions = np.array([0.125, 0.375, 0.625, 0.875], dtype=np.float32)[:, None]
        spots = (starts + (ends - starts) * fractions[..., None]).reshape(-1, 3)
        radius = (radii[:, 0] + (radii[:, 1] - radii[:, 0]) * fractions).reshape(-1)
        length = np.linalg.norm(ends - starts, axis=-1) + 2 * radii.mean(axis=1)
        above = np.maximum(spots[:, 1] - self._height, 0)
        sigma = 0.75 * radius + 0.16 * above
        strength = 0.62 * radius * np.tile(length / len(fractions), len(fractions)) / sigma**2
        middle_x = spots[:, 0] + self._drift_x * above
        middle_z = spots[:, 2] + self._drift_z * above
        columns = np.exp(-0.5 * ((self._texels_x - middle_x[:, None]) / sigma[:, None]) ** 2)
        rows = np.exp(-0.5 * ((self._texels_z - middle_z[:, None]) / sigma[:, None]) ** 2)
        density = (rows * strength[:, None]).T @ columns
        shadow = (0.62 * (1 - np.exp(-density))).astype(np.float32).ravel()
        # Bilinear: along x in the whole texture first, which is smaller than the picture.
        step = np.diff(shadow, append=shadow[-1:])
        far = np.take(shadow, self._at) + np.take(step, self._at) * self._between_x
        below = self._at + _SHADOW_TEXELS
        near = np.take(shadow, below) + np.take(step, below) * self._between_x
        amount = (far + (near - far) * self._between_z) * self._strength
        window = picture[self._window]
        window += amount[..., None] * (SHADOW - window)


def paint_capsules(
    picture: Array, camera: Camera, starts: Array, ends: Array, radii: Array, colours: Array
) -> None:
    """Paint shaded capsules, in place; what is nearer hides what is farther.

    Args:
        picture: (H, W, 3).
        camera: projects points relative to its target.
        starts: (L, 3) relative to the camera's target, metres.
        ends: (L, 3).
        radii: (L, 2) at start and end, metres.
        colours: (L, 3), 0 to 255.
    """
    start_pixels, start_depth, start_scale = camera.project(starts)
    end_pixels, end_depth, end_scale = camera.project(ends)
    start_radius, end_radius = radii[:, 0] * start_scale, radii[:, 1] * end_scale
    rows, columns = picture.shape[:2]
    margin = 1 + np.maximum(start_radius, end_radius)[:, None]
    low = np.floor(np.minimum(start_pixels, end_pixels) - margin)
    high = np.ceil(np.maximum(start_pixels, end_pixels) + margin) + 1
    low = np.clip(low, 0, (columns, rows)).astype(int)
    high = np.clip(high, 0, (columns, rows)).astype(int)
    if not len(low) or (high <= low).all():
        return
    origin = low.min(axis=0)
    extent = high.max(axis=0) - origin
    nearest = np.full((extent[1], extent[0]), np.inf, dtype=np.float32)
    for k in np.argsort(-(start_depth + end_depth), kind="stable"):
        (x0, y0), (x1, y1) = low[k], high[k]
        if x1 <= x0 or y1 <= y0:
            continue
        x = np.arange(x0, x1, dtype=np.float32)[None, :] + np.float32(0.5) - start_pixels[k, 0]
        y = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5) - start_pixels[k, 1]
        axis_x, axis_y = (float(value) for value in end_pixels[k] - start_pixels[k])
        squared = axis_x * axis_x + axis_y * axis_y
        along = np.clip((x * axis_x + y * axis_y) / max(squared, 1e-6), 0, 1)
        radius = start_radius[k] + (end_radius[k] - start_radius[k]) * along
        side_x, side_y = x - along * np.float32(axis_x), y - along * np.float32(axis_y)
        reach = np.sqrt(side_x * side_x + side_y * side_y)
        coverage = np.clip(radius - reach + np.float32(0.5), 0, 1)
        inverse = 1 / np.maximum(radius, np.float32(1e-3))
        normal_x, normal_y = side_x * inverse, side_y * inverse
        normal_z = np.sqrt(np.maximum(1 - normal_x * normal_x - normal_y * normal_y, 0))
        world_radius = radii[k, 0] + (radii[k, 1] - radii[k, 0]) * along
        depth = start_depth[k] + (end_depth[k] - start_depth[k]) * along - normal_z * world_radius

        window = (slice(y0 - origin[1], y1 - origin[1]), slice(x0 - origin[0], x1 - origin[0]))
        behind = nearest[window]
        coverage *= depth < behind
        np.copyto(behind, depth, where=coverage > 0.5)

        diffuse = normal_x * LIGHT[0] - normal_y * LIGHT[1] + normal_z * LIGHT[2]
        shine = normal_x * HALF_VECTOR[0] - normal_y * HALF_VECTOR[1] + normal_z * HALF_VECTOR[2]
        shine = np.maximum(shine, 0)
        for _ in range(4):
            shine = shine * shine
        light = np.float32(0.60) + np.float32(0.44) * diffuse + np.float32(0.08) * normal_z
        light = np.clip(light, np.float32(0.34), np.float32(1.06))
        colour = light[..., None] * colours[k] + (np.float32(46) * shine)[..., None]
        np.minimum(colour, 255, out=colour)
        area = picture[y0:y1, x0:x1]
        area += coverage[..., None] * (colour - area)


def _texel(away: Array, reach: float, texels_per_metre: float) -> Array:
    inside = np.nan_to_num((away + reach) * texels_per_metre)
    return np.clip(inside, 0, _SHADOW_TEXELS - 1.001).astype(np.float32)


def _steepness(turns: Array) -> Array:
    """How steep a wave must be for its edges to be one pixel wide, from how fast it turns between pixels."""
    if min(turns.shape) < 2:
        return np.ones_like(turns)
    down, across = np.gradient(turns)
    footprint = np.hypot(down, across)
    return np.clip(1.6 / np.maximum(footprint, 1e-4), 0.0, 60).astype(np.float32) * (footprint < 2.2)
