"""The figures that act in pictures: sticks and balls, capsules, or a body with a skin.

A figure knows where its motion puts it; pictures ask it to paint some of its poses. Every figure has a
mannequin of capsules, whatever it looks like: it is what cameras frame and what soft shadows are made from.

Shapes: T frames, L capsules, V vertices.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np

from motiongpt3.body.embedded import BODY_COLOUR, embedded_body
from motiongpt3.body.fitting import fit_body
from motiongpt3.errors import InputError
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.skeleton import JOINT_NAMES, PARENTS
from motiongpt3.render.camera import Array, Camera
from motiongpt3.render.mannequin import (
    LEFT_COLOUR,
    LIMB_COLOURS,
    RIGHT_COLOUR,
    Mannequin,
    build_mannequin,
)
from motiongpt3.render.mesh_painter import Surface, light_direction, linear_light, paint_meshes
from motiongpt3.render.painter import Floor, paint_capsules
from motiongpt3.render.rasterizer import Indices
from motiongpt3.render.shadow_map import ShadowMap

Style = Literal["skeleton", "cylinders", "mesh"]
STYLES: tuple[Style, ...] = get_args(Style)

# What poses fade to that are far from the one that matters.
PALE = np.array([232, 236, 242], dtype=np.float32)
_STICK, _BALL = 0.014, 0.026
_STICK_GREY = (120, 124, 132)
_SPINE_COLOUR = (158, 163, 172)
# Frames whose vertices are made at once: a film asks for them in order.
_CHUNK = 32


class Pose(NamedTuple):
    """One pose to paint.

    Attributes:
        frame: which frame of the motion.
        shift: (3,) added to all positions, metres: what puts the camera's target at the origin.
        fade: how far the colours have faded, from 0 (not at all) to 1.
    """

    frame: int
    shift: Array
    fade: float = 0.0


class Figure(Protocol):
    """Whoever acts in a picture.

    Attributes:
        mannequin: capsules about as thick as the figure.
    """

    mannequin: Mannequin

    def paint(self, picture: Array, camera: Camera, floor: Floor, poses: Sequence[Pose]) -> None:
        """Paint poses, and what shadow the figure throws beyond a soft one, in place."""
        ...


class CapsuleFigure:
    """A figure of capsules, whose own shadow is the soft one alone.

    Args:
        mannequin: for framing and soft shadows.
        starts: (T, L, 3) metres.
        ends: (T, L, 3) metres.
        radii: (L, 2) at start and end, metres.
        colours: (L, 3), 0 to 255.
    """

    def __init__(
        self, mannequin: Mannequin, starts: Array, ends: Array, radii: Array, colours: Array
    ) -> None:
        self.mannequin, self.radii = mannequin, radii
        self._starts, self._ends, self._colours = starts, ends, colours

    def capsules(self, frames: list[int]) -> tuple[Array, Array]:
        """Starts and ends of the capsules of some frames, (K, L, 3) each, metres."""
        return self._starts[frames], self._ends[frames]

    def faded_colours(self, fades: Array) -> Array:
        """(K, L, 3) colours, 0 to 255, faded by (K,) shares."""
        return (self._colours + fades[:, None, None] * (PALE - self._colours)).astype(np.float32)

    def paint(self, picture: Array, camera: Camera, floor: Floor, poses: Sequence[Pose]) -> None:
        """Paint poses, the nearer ones over the farther ones."""
        paint_capsules(
            picture,
            camera,
            np.concatenate([self._starts[pose.frame] + pose.shift for pose in poses]),
            np.concatenate([self._ends[pose.frame] + pose.shift for pose in poses]),
            np.concatenate([self.radii for _ in poses]),
            np.concatenate(self.faded_colours(np.array([pose.fade for pose in poses]))),
        )


class MeshFigure:
    """A body with a skin, lit, with a shadow of its own on itself and on the floor."""

    def __init__(self, motion: Motion) -> None:
        self.mannequin = build_mannequin(motion.joints.numpy())
        self._surface = _body_surface()
        self._fitted = fit_body(motion, embedded_body())
        self._first = 0
        self._vertices: Array = np.zeros((0, 0, 3), dtype=np.float32)

    @property
    def faces(self) -> Indices:
        """(F, 3) corners."""
        return self._surface.faces

    def faded_colours(self, fades: Array) -> Array:
        """(K, 3) colours of the whole body, 0 to 255, faded by (K,) shares."""
        colour = np.array(BODY_COLOUR, dtype=np.float32)
        return (colour + fades[:, None] * (PALE - colour)).astype(np.float32)

    def vertices(self, frame: int) -> Array:
        """(V, 3) of a frame, metres."""
        if not self._first <= frame < self._first + len(self._vertices):
            self._first = frame
            self._vertices = self._fitted.vertices(slice(frame, frame + _CHUNK)).numpy()
        return self._vertices[frame - self._first]

    def paint(self, picture: Array, camera: Camera, floor: Floor, poses: Sequence[Pose]) -> None:
        """Paint poses, the nearer ones over the farther ones."""
        to_light = light_direction(camera.axes)
        pale = linear_light(PALE)
        meshes, colours = [], []
        for pose in poses:
            mesh = (self.vertices(pose.frame) + pose.shift).astype(np.float32)
            meshes.append(mesh)
            colours.append(self._surface.colours + np.float32(pose.fade) * (pale - self._surface.colours))
        shadows = [ShadowMap(mesh, self._surface.faces, to_light) for mesh in meshes]
        for shadow, pose in zip(shadows, poses, strict=True):
            shadow.darken(picture, floor, 1 - pose.fade)
        paint_meshes(picture, camera, self._surface, meshes, shadows, colours)


def make_figure(motion: Motion, style: Style) -> Figure:
    """A figure that moves as a motion does.

    Raises:
        InputError: an unknown style.
    """
    if style == "mesh":
        return MeshFigure(motion)
    joints = motion.joints.numpy()
    mannequin = build_mannequin(joints)
    if style == "cylinders":
        return CapsuleFigure(mannequin, mannequin.starts, mannequin.ends, mannequin.radii, LIMB_COLOURS)
    if style != "skeleton":
        raise InputError(f"unknown style {style!r}: use {', '.join(STYLES)}")
    # Bones first, then a ball at every joint.
    parents = np.array([max(parent, 0) for parent in PARENTS])
    starts = np.concatenate([joints[:, parents], joints], axis=1)
    ends = np.concatenate([joints, joints], axis=1)
    radii = mannequin.size * np.repeat([[_STICK, _STICK], [_BALL, _BALL]], len(PARENTS), axis=0)
    sides = np.array([_side_colour(name) for name in JOINT_NAMES], dtype=np.float32)
    sticks = np.broadcast_to(np.array(_STICK_GREY, dtype=np.float32), sides.shape)
    colours = np.concatenate([0.35 * sticks + 0.65 * sides, sides])
    return CapsuleFigure(mannequin, starts, ends, radii.astype(np.float32), colours.astype(np.float32))


def _side_colour(joint: str) -> tuple[int, int, int]:
    if joint.startswith("left"):
        return LEFT_COLOUR
    return RIGHT_COLOUR if joint.startswith("right") else _SPINE_COLOUR


@lru_cache(maxsize=1)
def _body_surface() -> Surface:
    body = embedded_body()
    # In its own pose, arms away from the trunk: what is open there stays open in most poses.
    return Surface.of(body.template.numpy(), body.faces.numpy(), np.array(BODY_COLOUR))
