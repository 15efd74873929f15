from __future__ import annotations

import numpy as np
import pytest

from motiongpt3.render.camera import Camera, camera_axes
from motiongpt3.render.mesh_painter import Surface, light_direction, linear_light, paint_meshes
from motiongpt3.render.painter import Floor
from motiongpt3.render.shadow_map import ShadowMap

AXES = camera_axes(0.3, 0.25)
WHITE = np.full(3, 255.0)


def ball(centre: tuple[float, float, float] = (0, 0, 0), radius: float = 0.5, rings: int = 24):
    """A sphere of vertices (V, 3) and faces (F, 3) that look outward."""
    turns = 2 * rings
    heights, angles = np.linspace(0, np.pi, rings + 1)[1:-1], np.arange(turns) * 2 * np.pi / turns
    grid = np.stack(
        [
            np.sin(heights)[:, None] * np.sin(angles),
            np.repeat(np.cos(heights)[:, None], turns, axis=1),
            np.sin(heights)[:, None] * np.cos(angles),
        ],
        axis=-1,
    ).reshape(-1, 3)
    vertices = np.concatenate([grid, [[0, 1, 0], [0, -1, 0]]]) * radius + centre
    rows = np.arange((rings - 2) * turns)
    after = rows - rows % turns + (rows + 1) % turns
    top, bottom = len(grid), len(grid) + 1
    first, last = np.arange(turns), len(grid) - turns + np.arange(turns)
    faces = np.concatenate(
        [
            np.stack([rows, rows + turns, after], axis=1),
            np.stack([after, rows + turns, after + turns], axis=1),
            np.stack([np.full(turns, top), first, (first + 1) % turns], axis=1),
            np.stack([np.full(turns, bottom), np.roll(last, -1), last], axis=1),
        ]
    )
    return vertices.astype(np.float32), faces


def camera_at(distance: float | None = 4.0, size: int = 100) -> Camera:
    return Camera(AXES, 60.0, distance, (size / 2, size / 2))


def paint(vertices, surface, camera, picture=None, shadow_of=None, colours=None) -> np.ndarray:
    picture = np.zeros((100, 100, 3), dtype=np.float32) if picture is None else picture
    faces = surface.faces if shadow_of is None else shadow_of[1]
    casting = vertices if shadow_of is None else shadow_of[0]
    shadow = ShadowMap(casting, faces, light_direction(camera.axes))
    colours = [surface.colours] if colours is None else colours
    paint_meshes(picture, camera, surface, [vertices] * len(colours), [shadow] * len(colours), colours)
    return picture


@pytest.mark.parametrize("distance", [None, 4.0])
def test_a_ball_is_round_and_bright_towards_the_light(distance):
    vertices, faces = ball()
    picture = paint(vertices, Surface.of(vertices, faces, WHITE), camera_at(distance)).mean(axis=-1)
    rows, columns = np.nonzero(picture > 0)
    radius = (np.ptp(columns) + 1) / 2
    assert radius == pytest.approx(30, rel=0.03)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1)
    assert (picture > 0).sum() == pytest.approx(np.pi * radius**2, rel=0.05)
    # The light comes from the upper left.
    bright, dark = picture[35, 40], picture[68, 60]
    assert bright > 1.5 * dark > 0


def test_edges_are_antialiased():
    vertices, faces = ball()
    picture = paint(vertices, Surface.of(vertices, faces, WHITE), camera_at()).mean(axis=-1)
    inside = [row[row > 0] for row in picture if (row > 0).sum() > 10]
    # Where the outline crosses a pixel, the pixel is partly black.
    assert min(row[0] / row[3] for row in inside) < 0.6


def test_what_is_nearer_hides_what_is_farther():
    vertices, faces = ball()
    surface = Surface.of(vertices, faces, WHITE)
    red, blue = (
        np.broadcast_to(linear_light(np.array(c)), vertices.shape) for c in ((220, 0, 0), (0, 0, 220))
    )
    nearer = vertices + 1.2 * AXES[2]
    camera = camera_at()
    shadow = ShadowMap(vertices, surface.faces, light_direction(camera.axes))
    for order in ((0, 1), (1, 0)):
        picture = np.zeros((100, 100, 3), dtype=np.float32)
        meshes, colours = [nearer, vertices], [red, blue]
        near_shadow = ShadowMap(nearer, surface.faces, light_direction(camera.axes))
        shadows = [near_shadow, shadow]
        paint_meshes(
            picture,
            camera,
            surface,
            [meshes[k] for k in order],
            [shadows[k] for k in order],
            [colours[k] for k in order],
        )
        assert picture[50, 50, 0] > 2 * picture[50, 50, 2]


def test_a_lid_throws_its_shadow_on_what_is_below():
    vertices, faces = ball()
    surface = Surface.of(vertices, faces, WHITE)
    to_light = light_direction(AXES)
    lid = vertices + 1.5 * to_light
    both = (np.concatenate([vertices, lid]), np.concatenate([faces, faces + len(vertices)]))
    free = paint(vertices, surface, camera_at()).mean()
    shaded = paint(vertices, surface, camera_at(), shadow_of=both).mean()
    assert shaded < 0.8 * free


def test_a_convex_body_does_not_shade_itself():
    vertices, faces = ball()
    shadow = ShadowMap(vertices, faces, light_direction(AXES))
    normals = Surface.of(vertices, faces, WHITE).normals(vertices)
    facing = normals @ light_direction(AXES)
    lit = shadow.lit(vertices, normals)
    assert lit[facing > 0.3].min() > 0.95
    assert lit[facing < -0.4].max() < 0.05


def test_normals_of_a_ball_point_outward():
    vertices, faces = ball()
    normals = Surface.of(vertices, faces, WHITE).normals(vertices)
    assert (normals * vertices).sum(axis=1) == pytest.approx(0.5, abs=0.01)


def test_hollows_are_less_open():
    # Two balls that overlap: the groove between them sees less of the sky.
    first, faces = ball((-0.35, 0, 0))
    second, _ = ball((0.35, 0, 0))
    vertices = np.concatenate([first, second])
    surface = Surface.of(vertices, np.concatenate([faces, faces + len(first)]), WHITE)
    outside = np.abs(vertices[:, 0]) > 0.7
    groove = (np.abs(vertices[:, 0]) < 0.1) & (np.linalg.norm(vertices[:, 1:], axis=1) > 0.3)
    assert surface.openness[groove].mean() < surface.openness[outside].mean() - 0.1


def test_the_floor_darkens_where_the_light_is_hidden():
    camera = camera_at(5.0)
    floor = Floor(camera, (100, 100), -0.6, fade=(50.0, 50.0))
    vertices, faces = ball()
    picture = floor.paint(0.0, 0.0)
    before = picture.copy()
    ShadowMap(vertices, faces.astype(np.intp), light_direction(AXES)).darken(picture, floor)
    change = (before - picture).sum(axis=-1)
    assert change.min() >= 0
    assert change.max() > 60
    # It lies where the light's rays through the middle of the ball meet the floor.
    to_light = light_direction(AXES)
    spot = -to_light * 0.6 / to_light[1]
    pixel, _, _ = camera.project(spot[None].astype(np.float32))
    rows, columns = np.nonzero(change > 0.5 * change.max())
    assert (columns.mean(), rows.mean()) == pytest.approx(tuple(pixel[0]), abs=2.5)


def test_a_mesh_outside_the_picture_is_not_painted():
    vertices, faces = ball()
    surface = Surface.of(vertices, faces, WHITE)
    assert paint(vertices + 40 * AXES[0], surface, camera_at()).sum() == 0
