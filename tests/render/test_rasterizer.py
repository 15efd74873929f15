from __future__ import annotations

import numpy as np
import pytest

from motiongpt3.render.rasterizer import visible_samples

SIZE = (41, 33)


def brute_force(pixels: np.ndarray, nearness: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangle (-1 for none) and nearness at every sample, one triangle and one sample after the other."""
    width, height = SIZE
    chosen, best = np.full((height, width), -1), np.full((height, width), -np.inf)
    for index, face in enumerate(faces):
        (ax, ay), (bx, by), (cx, cy) = pixels[face].astype(float)
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area >= 0:
            continue
        for row in range(height):
            for column in range(width):
                x, y = column + 0.5, row + 0.5
                first = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
                second = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
                third = 1 - first - second
                if min(first, second, third) < 0:
                    continue
                near = float(np.dot([first, second, third], nearness[face]))
                if near > best[row, column]:
                    chosen[row, column], best[row, column] = index, near
    return chosen, best


@pytest.mark.parametrize("seed", range(4))
def test_samples_are_those_of_brute_force(seed):
    generator = np.random.default_rng(seed)
    pixels = generator.uniform(-10, 50, (30, 2)).astype(np.float32)
    nearness = generator.uniform(0, 1, 30).astype(np.float32)
    faces = generator.integers(0, 30, (25, 3))
    chosen, best = brute_force(pixels, nearness, faces)
    samples = visible_samples(pixels, nearness, faces, SIZE)
    found = np.full(chosen.size, -1)
    found[samples.places] = samples.triangles
    # Samples exactly on an edge may fall to either side.
    assert (found.reshape(chosen.shape) != chosen).mean() < 0.002
    near = samples.interpolate(nearness[:, None], faces)[:, 0]
    same = found[samples.places] == chosen.ravel()[samples.places]
    assert near[same] == pytest.approx(best.ravel()[samples.places][same], abs=1e-4)


def test_each_place_is_seen_once_in_order():
    generator = np.random.default_rng(9)
    pixels = generator.uniform(0, 40, (60, 2)).astype(np.float32)
    samples = visible_samples(
        pixels, generator.random(60).astype(np.float32), generator.integers(0, 60, (80, 3)), SIZE
    )
    assert (np.diff(samples.places) > 0).all()
    assert samples.weights.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_neighbours_leave_no_gap_and_no_overlap():
    # A square of two triangles covers each of its samples once, wherever it lies.
    square = np.array([[3.2, 4.7], [20.9, 4.7], [20.9, 15.1], [3.2, 15.1]], dtype=np.float32)
    faces = np.array([[0, 2, 1], [0, 3, 2]])
    samples = visible_samples(square, np.zeros(4, dtype=np.float32), faces, SIZE)
    assert len(samples.places) == 18 * 10


def test_triangles_seen_from_behind_are_left_out_if_asked():
    pixels = np.array([[5, 5], [25, 5], [5, 25]], dtype=np.float32)
    near = np.zeros(3, dtype=np.float32)
    behind = np.array([[0, 1, 2]])
    assert len(visible_samples(pixels, near, behind, SIZE).places) == 0
    assert len(visible_samples(pixels, near, behind[:, ::-1], SIZE).places) > 100
    assert len(visible_samples(pixels, near, behind, SIZE, cull=False).places) > 100


def test_nothing_to_see_gives_nothing():
    near = np.zeros(3, dtype=np.float32)
    faces = np.array([[0, 2, 1]])
    outside = np.array([[500, 5], [525, 5], [505, 25]], dtype=np.float32)
    line = np.array([[5, 5], [15, 15], [25, 25]], dtype=np.float32)
    broken = np.array([[5, 5], [np.nan, 5], [5, 25]], dtype=np.float32)
    for pixels in (outside, line, broken):
        assert len(visible_samples(pixels, near, faces, SIZE).places) == 0
    assert len(visible_samples(line, near, np.zeros((0, 3), dtype=int), SIZE).places) == 0
