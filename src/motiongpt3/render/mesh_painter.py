"""Paint a mesh, lit and throwing its shadow on itself and on the floor, onto a picture, with NumPy alone.

Light is computed at vertices, in linear light, and interpolated: with a few thousand vertices on a body
nobody sees the difference. Pictures are float32 (H, W, 3), 0 to 255.

Shapes: V vertices, F faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from motiongpt3.render.camera import Camera, camera_axes
from motiongpt3.render.painter import LIGHT
from motiongpt3.render.rasterizer import Array, Indices, visible_samples
from motiongpt3.render.shadow_map import ShadowMap

# Samples a pixel, along each axis.
_SAMPLING = 2
_GAMMA = 2.2

_KEY = np.array([1.02, 0.98, 0.92], dtype=np.float32)
_SKY = np.array([0.42, 0.47, 0.54], dtype=np.float32)
_BOUNCE = np.array([0.20, 0.185, 0.17], dtype=np.float32)
_RIM = np.array([0.10, 0.12, 0.15], dtype=np.float32)
_SHINE, _SHINE_POWER = 0.10, 24

_OCCLUSION_DIRECTIONS, _OCCLUSION_TEXELS = 48, 256


@dataclass(frozen=True)
class Surface:
    """What a mesh looks like, whatever its pose.

    Attributes:
        faces: (F, 3).
        colours: (V, 3) linear light, 0 to 1.
        openness: (V,) how much of the sky each vertex sees in a neutral pose, 0 to 1.
        normals_from_faces: (V, F) sparse: adds up the faces around each vertex.
        smoothing: (V, V) sparse: replaces each vertex's value by the mean of it and its neighbours.
    """

    faces: Indices
    colours: Array
    openness: Array
    normals_from_faces: sparse.csr_matrix
    smoothing: sparse.csr_matrix

    @classmethod
    def of(cls, vertices: Array, faces: NDArray[np.int64], colours: Array) -> Surface:
        """Prepare a mesh.

        Args:
            vertices: (V, 3) in a neutral pose, metres, where no part covers another that it should not.
            faces: (F, 3), counter-clockwise from outside.
            colours: (V, 3) or (3,) sRGB, 0 to 255.
        """
        corners = faces.astype(np.intp)
        count = len(corners)
        owners = np.tile(np.arange(count), 3)
        ones = np.ones(3 * count, dtype=np.float32)
        adds_up = sparse.csr_matrix((ones, (corners.T.ravel(), owners)), shape=(len(vertices), count))
        linear = np.broadcast_to(linear_light(colours), (len(vertices), 3))
        shared = adds_up @ adds_up.T
        shared = sparse.diags(1 / np.maximum(np.asarray(shared.sum(axis=1)).ravel(), 1e-6)) @ shared
        smoothing = sparse.csr_matrix(shared, dtype=np.float32)
        plain = cls(corners, linear, np.ones(len(vertices), dtype=np.float32), adds_up, smoothing)
        return replace(plain, openness=_openness(vertices.astype(np.float32), plain))

    def normals(self, vertices: Array) -> Array:
        """(V, 3) unit normals of the mesh in some pose."""
        a, b, c = (vertices[self.faces[:, k]] for k in range(3))
        summed = self.normals_from_faces @ np.cross(b - a, c - a)
        return (summed / np.maximum(np.linalg.norm(summed, axis=-1, keepdims=True), 1e-12)).astype(np.float32)


def linear_light(colours: Array) -> Array:
    """sRGB colours, 0 to 255, as linear light, 0 to 1."""
    return ((np.asarray(colours, dtype=np.float32) / 255) ** _GAMMA).astype(np.float32)


def light_direction(axes: Array) -> Array:
    """(3,) towards the light in the world, for a camera's axes."""
    return (LIGHT @ axes).astype(np.float32)


def paint_meshes(
    picture: Array,
    camera: Camera,
    surface: Surface,
    meshes: Sequence[Array],
    shadows: Sequence[ShadowMap],
    colours: Sequence[Array],
) -> None:
    """Paint one mesh in some poses, in place; what is nearer hides what is farther.

    Args:
        picture: (H, W, 3).
        camera: projects points relative to its target.
        surface: what the mesh looks like.
        meshes: (V, 3) relative to the camera's target, metres, of each pose.
        shadows: of each pose on itself.
        colours: (V, 3) of each pose, linear light.
    """
    shades = np.concatenate(
        [
            _shade(camera, surface, mesh, colour, shadow)
            for mesh, shadow, colour in zip(meshes, shadows, colours, strict=True)
        ]
    )
    vertices = np.concatenate(list(meshes))
    faces = np.concatenate([surface.faces + k * len(meshes[0]) for k in range(len(meshes))])
    pixels, depth, _ = camera.project(vertices)
    nearness = -depth
    if camera.distance is not None:
        away = camera.distance + depth
        nearness = 1 / np.maximum(away, 1e-3)
        pixels = np.where((away > 1e-2)[:, None], pixels, np.nan)
    _paint_samples(picture, pixels, nearness, faces, shades)


def _paint_samples(picture: Array, pixels: Array, nearness: Array, faces: Indices, shades: Array) -> None:
    """Paint triangles whose corners have colours, averaging the samples of each pixel."""
    rows, columns = picture.shape[:2]
    with np.errstate(invalid="ignore"):
        low = np.clip(np.floor(np.nanmin(pixels, axis=0)) - 1, 0, (columns, rows)).astype(int)
        high = np.clip(np.ceil(np.nanmax(pixels, axis=0)) + 2, 0, (columns, rows)).astype(int)
    if (high <= low).any():
        return
    width, height = (high - low).tolist()
    size = (_SAMPLING * width, _SAMPLING * height)
    samples = visible_samples((pixels - low) * _SAMPLING, nearness, faces, size)
    if not len(samples.places):
        return
    seen = samples.interpolate(shades, faces)
    y, x = np.divmod(samples.places, size[0])
    at = (y // _SAMPLING) * width + x // _SAMPLING
    count = np.bincount(at, minlength=width * height)
    covered = np.flatnonzero(count)
    share = 1 / np.float32(_SAMPLING**2)
    window = picture[low[1] : high[1], low[0] : high[0]]
    flat = window.reshape(-1, 3)[covered]
    flat *= (1 - share * count[covered])[:, None]
    for channel in range(3):
        flat[:, channel] += share * np.bincount(at, seen[:, channel], minlength=width * height)[covered]
    rows_at, columns_at = np.divmod(covered, width)
    window[rows_at, columns_at] = flat


def _shade(camera: Camera, surface: Surface, points: Array, colours: Array, shadow: ShadowMap) -> Array:
    """(V, 3) sRGB, 0 to 255, of every vertex of a mesh that is at ``points``."""
    normals, openness = surface.normals(points), surface.openness
    # The edge of a shadow would follow the triangles.
    lit = surface.smoothing @ shadow.lit(points, normals)
    to_light = light_direction(camera.axes)
    # A parallel camera is one very far away.
    to_eye = (camera.distance or 1e4) * camera.axes[2] - points
    to_eye = to_eye / np.maximum(np.linalg.norm(to_eye, axis=-1, keepdims=True), 1e-6)
    facing_light = normals @ to_light
    # Light wraps around a little, as from a large lamp.
    key = np.clip((facing_light + 0.15) / 1.15, 0, 1) * lit
    sky = 0.5 + 0.5 * normals[:, 1]
    ambient = openness[:, None] * (sky[:, None] * _SKY + (1 - sky)[:, None] * _BOUNCE)
    light = key[:, None] * _KEY * 0.78 + ambient
    half = to_light + to_eye
    half = half / np.maximum(np.linalg.norm(half, axis=-1, keepdims=True), 1e-6)
    shine = _SHINE * np.clip((normals * half).sum(-1), 0, 1) ** _SHINE_POWER * lit
    edge = np.clip(1 - (normals * to_eye).sum(-1), 0, 1) ** 3
    linear = colours * light + shine[:, None] + (openness * edge)[:, None] * _RIM
    return (255 * np.clip(linear, 0, 1) ** (1 / _GAMMA)).astype(np.float32)


def _openness(vertices: Array, surface: Surface) -> Array:
    """(V,) of the light from all sides, how much reaches each vertex."""
    normals = surface.normals(vertices)
    total = np.zeros(len(vertices), dtype=np.float32)
    weight = np.zeros(len(vertices), dtype=np.float32)
    turns = np.arange(_OCCLUSION_DIRECTIONS) + 0.5
    # A spiral of directions that covers the sphere evenly.
    for height, angle in zip(
        1 - 2 * turns / _OCCLUSION_DIRECTIONS, np.pi * (1 + 5**0.5) * turns, strict=True
    ):
        direction = camera_axes(float(angle), float(np.arcsin(height)))[2]
        facing = np.clip(normals @ direction, 0, 1)
        seen = ShadowMap(vertices, surface.faces, direction, _OCCLUSION_TEXELS)
        total += facing * seen.lit(vertices, normals)
        weight += facing
    return (total / np.maximum(weight, 1e-6)).astype(np.float32)
