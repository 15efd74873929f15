from __future__ import annotations

import math

import numpy as np
import pytest

from motiongpt3.render.camera import Camera, camera_axes, follow, frame_perspective

AXES = camera_axes(0.4, 0.3)


@pytest.mark.parametrize("distance", [None, 5.0])
def test_what_is_right_up_or_near_is_drawn_so(distance):
    camera = Camera(AXES, 100.0, distance, (50.0, 60.0))
    points = np.stack([np.zeros(3), AXES[0], AXES[1], AXES[2]]).astype(np.float32)
    pixels, depth, scale = camera.project(points)
    assert pixels[0] == pytest.approx((50, 60))
    assert pixels[1] == pytest.approx((150, 60), abs=1e-3)
    assert pixels[2] == pytest.approx((50, -40), abs=1e-3)
    assert depth[3] < depth[0]
    assert (scale[3] > scale[0]) if distance else (scale[3] == scale[0])


@pytest.mark.parametrize("distance", [None, 5.0])
def test_the_floor_under_a_pixel_projects_back_to_it(distance):
    camera = Camera(AXES, 60.0, distance, (50.0, 40.0))
    x, y = np.meshgrid(np.arange(0, 100, 7.0), np.arange(50, 100, 7.0))
    world_x, world_z, depth = camera.floor_at(x, y, -0.9)
    points = np.stack([world_x, np.full_like(world_x, -0.9), world_z], axis=-1)
    pixels, depth_again, _ = camera.project(points)
    assert pixels == pytest.approx(np.stack([x, y], axis=-1), abs=0.02)
    assert depth_again == pytest.approx(depth, abs=1e-3)


def test_there_is_no_floor_above_the_horizon():
    camera = Camera(camera_axes(0.0, 0.1), 60.0, 5.0, (50.0, 50.0))
    world_x, _, _ = camera.floor_at(np.array([50.0]), np.array([-500.0]), -1.0)
    assert np.isnan(world_x).all()


def test_framing_is_tight_and_leaves_nothing_out():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(200, 3)).astype(np.float32)
    radii = np.full(200, 0.1, dtype=np.float32)
    camera = frame_perspective(AXES, points, radii, (300, 200), top=20, margin=10)
    pixels, depth, scale = camera.project(points)
    assert (depth > -camera.distance).all()
    assert (pixels[:, 0] - radii * scale).min() >= 10
    assert (pixels[:, 0] + radii * scale).max() <= 290
    assert (pixels[:, 1] - radii * scale).min() >= 30
    assert (pixels[:, 1] + radii * scale).max() <= 190
    assert np.ptp(pixels[:, 1]) > 0.7 * 160


def test_the_camera_does_not_shake_nor_lag():
    steady = np.linspace((0, 1), (3, 4), 50).astype(np.float32)
    assert follow(steady, 8.0) == pytest.approx(steady, abs=1e-4)
    shaking = steady + 0.1 * np.cos(math.pi * np.arange(50))[:, None].astype(np.float32)
    assert np.abs(np.diff(follow(shaking, 8.0) - steady, axis=0)).max() < 0.01
    assert follow(steady[:2], 8.0).shape == (2, 2)
