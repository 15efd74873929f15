"""Which triangle of a mesh each sample of a picture shows: a depth buffer in NumPy, without OpenGL.

Every triangle is cut into rows, every row into samples, all triangles at once; the nearest sample of a place
wins. Only samples that are covered are ever made, so the cost goes with the covered area and the number of
triangles, not with the size of the picture.

Shapes: V vertices, F triangles, S visible samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Indices = NDArray[np.intp]

# Nearness is compared as an integer of so many bits beside the number of the sample.
_NEARNESS_STEPS = 2**30


@dataclass(frozen=True)
class VisibleSamples:
    """What can be seen of a mesh.

    Attributes:
        places: (S,) index into the flattened picture, ascending, each once.
        triangles: (S,) which triangle is seen there.
        weights: (S, 3) of the triangle's corners there; they sum to 1.
    """

    places: Indices
    triangles: Indices
    weights: Array

    def interpolate(self, values: Array, faces: Indices) -> Array:
        """Values of vertices (V, D), at the samples: (S, D)."""
        corners = faces[self.triangles]
        result = values[corners[:, 0]] * self.weights[:, :1]
        result += values[corners[:, 1]] * self.weights[:, 1:2]
        result += values[corners[:, 2]] * self.weights[:, 2:]
        return result


def visible_samples(
    pixels: Array, nearness: Array, faces: Indices, size: tuple[int, int], cull: bool = True
) -> VisibleSamples:
    """Rasterise a mesh at the centres of samples.

    Args:
        pixels: (V, 2) x to the right and y down; sample (i, j) is centred at (i + 0.5, j + 0.5).
        nearness: (V,) larger is nearer to the viewer, and affine over a triangle on the screen: the inverse
            of the distance under perspective.
        faces: (F, 3) corners, counter-clockwise for a viewer outside.
        size: width and height in samples.
        cull: leave out triangles seen from behind.

    Returns:
        What is visible. Triangles with a corner that is not finite are left out.
    """
    width, height = size
    corners = pixels[faces]
    (x0, y0), (x1, y1), (x2, y2) = (corners[:, k].T.astype(np.float64) for k in range(3))
    # Counter-clockwise as seen is negative here, since y runs down.
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    first_row = np.ceil(np.minimum(np.minimum(y0, y1), y2) - 0.5)
    last_row = np.floor(np.maximum(np.maximum(y0, y1), y2) - 0.5)
    with np.errstate(invalid="ignore"):
        first_row, last_row = np.maximum(first_row, 0), np.minimum(last_row, height - 1)
        facing = (area < -1e-9) if cull else (np.abs(area) > 1e-9)
        kept = np.flatnonzero(facing & (first_row <= last_row) & np.isfinite(area))
    x0, y0, x1, y1, x2, y2, area = (values[kept] for values in (x0, y0, x1, y1, x2, y2, area))
    first_row, last_row = first_row[kept].astype(np.intp), last_row[kept].astype(np.intp)

    owner, row = _expand(first_row, last_row - first_row + 1)
    left, right = _spans((x0, y0, x1, y1, x2, y2), area, owner, row.astype(np.float64) + 0.5)
    first = np.maximum(np.ceil(left - 0.5), 0)
    last = np.minimum(np.floor(right - 0.5), width - 1)
    some = np.flatnonzero(first <= last)
    first, last = first[some].astype(np.intp), last[some].astype(np.intp)
    span, column = _expand(first, last - first + 1)
    row, owner = row[some][span], owner[some][span]

    # Barycentric weights are affine on the screen: weight = slope . (x, y) + constant.
    inverse = 1 / area
    slopes = np.stack([(y1 - y2), (y2 - y0), (x2 - x1), (x0 - x2)]) * inverse
    away_x = column + 0.5 - x2[owner]
    away_y = row + 0.5 - y2[owner]
    weight0 = slopes[0][owner] * away_x + slopes[2][owner] * away_y
    weight1 = slopes[1][owner] * away_x + slopes[3][owner] * away_y
    ends = nearness[faces[kept]].astype(np.float64)
    near = ends[owner, 2] + weight0 * (ends[:, 0] - ends[:, 2])[owner]
    near += weight1 * (ends[:, 1] - ends[:, 2])[owner]

    chosen = _nearest(row * width + column, near, width * height)
    places = row[chosen] * width + column[chosen]
    weight0, weight1 = weight0[chosen], weight1[chosen]
    weights = np.stack([weight0, weight1, 1 - weight0 - weight1], axis=-1).astype(np.float32)
    return VisibleSamples(places, kept[owner[chosen]], weights)


def _expand(first: Indices, counts: Indices) -> tuple[Indices, Indices]:
    """For every range first[k], first[k] + 1, ... of counts[k] numbers: the owners k, and the numbers."""
    owners = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    return owners, np.arange(len(owners)) + (first - starts)[owners]


def _spans(
    corners: tuple[NDArray[np.float64], ...],
    area: NDArray[np.float64],
    owner: Indices,
    y: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where rows at height ``y`` enter and leave their triangles."""
    x0, y0, x1, y1, x2, y2 = corners
    sign = np.sign(area)
    left = np.full(len(owner), -np.inf)
    right = np.full(len(owner), np.inf)
    for ax, ay, bx, by in ((x0, y0, x1, y1), (x1, y1, x2, y2), (x2, y2, x0, y0)):
        # Inside is where (b - a) x (p - a) has the sign of the area.
        run, rise = (bx - ax) * sign, (by - ay) * sign
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(rise == 0, 0, run / rise)
        crossing = ax[owner] + (y - ay[owner]) * slope[owner]
        falling, level = rise[owner] > 0, rise[owner] == 0
        # rise > 0: x must be to the left of the edge; rise < 0: to its right; level: the row range decides.
        right = np.where(falling & ~level, np.minimum(right, crossing), right)
        left = np.where(~falling & ~level, np.maximum(left, crossing), left)
    return left, right


def _nearest(places: Indices, near: NDArray[np.float64], count: int) -> Indices:
    """Of the samples at each place, the one that is nearest, in order of place."""
    if not len(places):
        return places
    low, high = float(near.min()), float(near.max())
    steps = ((near - low) * (_NEARNESS_STEPS / max(high - low, 1e-30))).astype(np.int64)
    keys = (steps << 32) | np.arange(len(places), dtype=np.int64)
    best = np.full(count, -1, dtype=np.int64)
    np.maximum.at(best, places, keys)
    best = best[best >= 0]
    return (best & 0xFFFFFFFF).astype(np.intp)
