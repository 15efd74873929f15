"""What a light far away sees of a mesh: which points are lit, and the shadow it throws on the floor."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from motiongpt3.render.painter import SHADOW, Floor
from motiongpt3.render.rasterizer import Array, Indices, visible_samples

_TEXELS = 320
_BLUR_TEXELS = 2.2
_BIAS_METRES = 0.02
_FLOOR_STRENGTH = 0.36


class ShadowMap:
    """What the light sees of a mesh.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3).
        to_light: (3,) unit direction.
        texels: of the map, along each side.
    """

    def __init__(self, vertices: Array, faces: Indices, to_light: Array, texels: int = _TEXELS) -> None:
        side = np.array([1, 0, 0]) if abs(to_light[1]) > 0.9 else np.array([0, 1, 0])
        right = np.cross(side, to_light)
        right /= np.linalg.norm(right)
        self._axes = np.stack([right, np.cross(to_light, right), to_light]).astype(np.float32)
        seen = vertices @ self._axes.T
        low, high = seen[:, :2].min(axis=0), seen[:, :2].max(axis=0)
        self._middle = (low + high) / 2
        margin = 6.0
        self._scale = np.float32((texels - 2 * margin) / max(float((high - low).max()), 1e-3))
        self._texels = texels
        samples = visible_samples(self._places(seen), seen[:, 2], faces, (texels, texels))
        self._depth = np.full(texels * texels, -np.inf, dtype=np.float32)
        self._depth[samples.places] = samples.interpolate(seen[:, 2:], faces)[:, 0]

    def lit(self, points: Array, normals: Array) -> Array:
        """(N,) how much light reaches points (N, 3) of the mesh itself, 0 to 1, soft over a texel."""
        # A step out of the surface: it must not shade itself.
        seen = (points + _BIAS_METRES * normals) @ self._axes.T
        places = self._places(seen) - 0.5
        base = np.floor(places).astype(np.intp)
        between = places - base
        height = seen[:, 2]
        total: Array = np.zeros(len(points), dtype=np.float32)
        for dy in (-1, 0, 1, 2):
            for dx in (-1, 0, 1, 2):
                x = np.clip(base[:, 0] + dx, 0, self._texels - 1)
                y = np.clip(base[:, 1] + dy, 0, self._texels - 1)
                free = self._depth[y * self._texels + x] <= height
                total += free * _tent(dx, between[:, 0]) * _tent(dy, between[:, 1])
        return (total / 9).astype(np.float32)

    def darken(self, picture: Array, floor: Floor, strength: float = 1.0) -> None:
        """Lay the shadow on the floor of a picture, in place."""
        window, points = self._floor_window(floor)
        if not len(points):
            return
        covered = (self._depth > -np.inf).astype(np.float32).reshape(self._texels, self._texels)
        mask = gaussian_filter(covered, _BLUR_TEXELS)
        places = np.clip(self._places(points @ self._axes.T) - 0.5, 0, self._texels - 1.001)
        base = places.astype(np.intp)
        across, down = (places - base).T.astype(np.float32)
        at = base[:, 1] * self._texels + base[:, 0]
        flat = mask.ravel()
        upper = flat[at] + (flat[at + 1] - flat[at]) * across
        lower = flat[at + self._texels] + (flat[at + self._texels + 1] - flat[at + self._texels]) * across
        amount = (
            (upper + (lower - upper) * down)
            * np.float32(_FLOOR_STRENGTH * strength)
            * floor.strength.ravel()[window]
        )
        pixels = picture.reshape(-1, 3)
        pixels[window] += amount[:, None] * (SHADOW - pixels[window])

    def _floor_window(self, floor: Floor) -> tuple[Indices, Array]:
        """Flat indices of the floor's pixels that the map may darken, and where they are (N, 3)."""
        half = np.float32((self._texels - 2) / 2) / self._scale
        right, upward, back = self._axes
        # Four corners of the map, followed along the light down to the floor.
        corners = []
        for aside, above in ((-half, -half), (-half, half), (half, -half), (half, half)):
            across, up = float(self._middle[0] + aside), float(self._middle[1] + above)
            point = np.asarray(right * across + upward * up)
            away = (floor.height - point[1]) / back[1] if abs(back[1]) > 1e-3 else 0.0
            corners.append(point + away * back)
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        with np.errstate(invalid="ignore"):
            inside = (floor.world_x > low[0]) & (floor.world_x < high[0])
            inside &= (floor.world_z > low[2]) & (floor.world_z < high[2])
        window = np.flatnonzero(inside)
        x, z = floor.world_x.ravel()[window], floor.world_z.ravel()[window]
        return window, np.stack([x, np.full_like(x, floor.height), z], axis=-1)

    def _places(self, seen: Array) -> Array:
        places = (seen[:, :2] - self._middle) * self._scale
        return np.stack([self._texels / 2 + places[:, 0], self._texels / 2 - places[:, 1]], axis=-1)


def _tent(step: int, between: Array) -> Array:
    """Weight of the texel ``step`` away in a box of three texels at a place between two."""
    if step == -1:
        return 1 - between
    return between if step == 2 else np.ones_like(between)
