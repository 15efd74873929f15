"""A mesh that a skeleton moves, and the mannequin of tapered capsules that motions wear by default.

Shapes: V vertices, F faces, B bones: the 22 joints, then bones of the skin's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from motiongpt3.motion.rotations import matrix_to_quaternion, quaternion_to_matrix
from motiongpt3.motion.skeleton import JOINT_COUNT, JOINT_INDEX, JOINT_NAMES, PARENTS

BONES_PER_VERTEX = 4


@dataclass(frozen=True, eq=False)
class Skin:
    """A mesh on a skeleton of known proportions.

    Attributes:
        vertices: (V, 3) float32 metres, y up, in any pose.
        faces: (F, 3) int64 corners, counter-clockwise from outside.
        weights: (V, B) float32, rows sum to 1; more than four of a vertex are cut when written.
        bind: (B, 4, 4) float32 from the mesh to each bone's frame: its joint, with the axes of the T-pose.
        colours: (V, 3) sRGB 0 to 1.
        extra_bones: of each bone beyond the 22: name, index of the joint that is its parent, and index of the
            joint on which it sits.
        extra_rotations: from rotations of the joints (T, 22, 4) to those of the extra bones (T, B - 22, 4),
            both relative to the parent; None where there are none.
    """

    vertices: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    bind: np.ndarray
    colours: np.ndarray
    extra_bones: tuple[tuple[str, int, int], ...] = ()
    extra_rotations: Callable[[Tensor], Tensor] | None = None


SkinMaker = Callable[[Tensor], Skin]
"""Makes a skin for a skeleton, given the offsets (22, 3) of its rest pose; row 0 is zero."""


class SkinnedBody(Protocol):
    """What a body must have to be worn; see `skin_of_body`."""

    @property
    def template(self) -> Tensor: ...

    @property
    def faces(self) -> Tensor: ...

    @property
    def joints(self) -> Tensor: ...

    @property
    def bind(self) -> Tensor: ...

    @property
    def weights(self) -> Tensor: ...

    def with_proportions(self, offsets: Tensor) -> SkinnedBody:
        """The body with other offsets (22, 3) in its T-pose."""
        ...

    def bone_transforms(self, rotations: Tensor, translation: Tensor) -> Tensor:
        """(T, B, 3, 4) of rotations (T, 22, 3, 3) and places (T, 3)."""
        ...


def skin_of_body(
    body: SkinnedBody,
    extra_bones: tuple[tuple[str, int, int], ...] = (),
    colour: tuple[float, float, float] = (0.8,) * 3,
) -> SkinMaker:
    """Let a skinned body be worn.

    Args:
        body: template (V, 3), faces (F, 3), weights (V, B), bind (B, 3, 4); 22 joints come first.
        extra_bones: see `Skin`.
        colour: of all vertices, sRGB.
    """

    def make(rest: Tensor) -> Skin:
        fitted = body.with_proportions(rest.to(body.joints))
        bottom = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(len(fitted.bind), 1, 4)
        bind = torch.cat([fitted.bind.float().cpu(), bottom], dim=1)

        def extra_rotations(rotations: Tensor) -> Tensor:
            matrices = quaternion_to_matrix(rotations).to(fitted.joints)
            still = fitted.joints.new_zeros(len(matrices), 3)
            world = fitted.bone_transforms(matrices, still)[..., :3]
            above = world[:, [parent for _, parent, _ in extra_bones]].transpose(-1, -2)
            return matrix_to_quaternion((above @ world[:, JOINT_COUNT:]).double().cpu())

        return Skin(
            fitted.template.float().cpu().numpy(),
            fitted.faces.cpu().numpy(),
            fitted.weights.float().cpu().numpy(),
            bind.numpy(),
            np.tile(np.array(colour, dtype=np.float32), (len(fitted.template), 1)),
            extra_bones,
            extra_rotations if extra_bones else None,
        )

    return make


class _Limb(NamedTuple):
    """A tapered capsule: points it goes between, radii, and the bones that hold its ends."""

    start: str
    end: str
    start_radius: float
    end_radius: float
    start_bone: str
    end_bone: str


_REFERENCE_LEG = 0.82
"""Metres, of the body that the radii are for."""
_AROUND, _CAP_RINGS, _SIDE_RINGS = 12, 4, 3
_LEFT, _RIGHT, _MIDDLE, _FACE = (
    (0.93, 0.48, 0.2),
    (0.16, 0.49, 0.8),
    (0.88, 0.88, 0.86),
    (0.27, 0.29, 0.33),
)
_MIDDLE_LIMBS = (
    _Limb("left_hip", "right_hip", 0.074, 0.074, "pelvis", "pelvis"),
    _Limb("pelvis", "spine2", 0.1, 0.108, "pelvis", "spine2"),
    _Limb("spine2", "chest", 0.108, 0.125, "spine2", "spine3"),
    _Limb("chest", "left_shoulder", 0.1, 0.05, "spine3", "left_collar"),
    _Limb("chest", "right_shoulder", 0.1, 0.05, "spine3", "right_collar"),
    _Limb("chest", "head", 0.06, 0.05, "spine3", "neck"),
    _Limb("head", "skull", 0.07, 0.108, "head", "head"),
)
_FACE_LIMB = _Limb("face_left", "face_right", 0.034, 0.034, "head", "head")
_SIDE_LIMBS = (
    _Limb("hip", "knee", 0.084, 0.058, "hip", "hip"),
    _Limb("knee", "ankle", 0.057, 0.04, "knee", "knee"),
    _Limb("heel", "foot", 0.043, 0.04, "ankle", "ankle"),
    _Limb("ankle", "foot", 0.042, 0.038, "ankle", "ankle"),
    _Limb("foot", "toe", 0.038, 0.032, "foot", "foot"),
    _Limb("shoulder", "elbow", 0.054, 0.043, "shoulder", "shoulder"),
    _Limb("elbow", "wrist", 0.043, 0.032, "elbow", "elbow"),
    _Limb("wrist", "hand", 0.038, 0.03, "wrist", "wrist"),
)


def mannequin_skin(rest: Tensor) -> Skin:
    """Dress a skeleton in capsules, as thick as its legs are long; warm on its left, cool on its right.

    Args:
        rest: (22, 3) offsets of the rest pose, metres, facing +z.
    """
    joints = rest_joints(rest)
    points, size = _points(joints)
    limbs = [(limb, _MIDDLE) for limb in _MIDDLE_LIMBS] + [(_FACE_LIMB, _FACE)]
    for side, colour in (("left", _LEFT), ("right", _RIGHT)):
        for start, end, first_radius, last_radius, first, last in _SIDE_LIMBS:
            ends = f"{side}_{start}", f"{side}_{end}"
            bones = f"{side}_{first}", f"{side}_{last}"
            limbs.append((_Limb(*ends, first_radius, last_radius, *bones), colour))
    vertices, faces, weights, colours = [], [], [], []
    count = 0
    for limb, colour in limbs:
        thickness = size * limb.start_radius, size * limb.end_radius
        mesh, along, corners = _capsule(points[limb.start], points[limb.end], *thickness)
        held = np.zeros((len(mesh), JOINT_COUNT))
        held[:, JOINT_INDEX[limb.start_bone]] += 1 - along
        held[:, JOINT_INDEX[limb.end_bone]] += along
        vertices.append(mesh)
        faces.append(corners + count)
        weights.append(held)
        colours.append(np.tile(colour, (len(mesh), 1)))
        count += len(mesh)
    bind = np.tile(np.eye(4, dtype=np.float32), (JOINT_COUNT, 1, 1))
    bind[:, :3, 3] = -joints
    return Skin(
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(faces),
        np.concatenate(weights).astype(np.float32),
        bind,
        np.concatenate(colours).astype(np.float32),
    )


def rest_joints(rest: Tensor) -> np.ndarray:
    """(22, 3) float64 joint positions of the offsets of a rest pose."""
    offsets = rest.double().numpy()
    joints = offsets.copy()
    for joint in range(1, JOINT_COUNT):
        joints[joint] = joints[PARENTS[joint]] + offsets[joint]
    return joints


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) float32 unit normals, faces counted by area; +y for vertices without area."""
    first, second, third = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    area = np.cross(second - first, third - first)
    normals = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(normals, faces[:, corner], area)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(length > 1e-12, normals / np.maximum(length, 1e-12), [0.0, 1.0, 0.0])
    return normals.astype(np.float32)


def _points(joints: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
    """Joints by name with the points that no joint gives, and the size of the body."""
    points = {name: joints[index] for index, name in enumerate(JOINT_NAMES)}

    def length(start: str, end: str) -> float:
        return float(np.linalg.norm(points[end] - points[start]))

    leg = (
        sum(length(f"{s}_hip", f"{s}_knee") + length(f"{s}_knee", f"{s}_ankle") for s in ("left", "right"))
        / 2
    )
    size = max(leg / _REFERENCE_LEG, 1e-3)
    points["chest"] = 0.5 * (points["spine3"] + points["neck"]) + size * np.array([0, 0.02, 0.01])
    points["skull"] = points["head"] + size * np.array([0, 0.085, -0.005])
    for side, sign in (("left", 1), ("right", -1)):
        points[f"face_{side}"] = points["skull"] + size * np.array([0.03 * sign, -0.005, 0.095])
        points[f"{side}_hand"] = points[f"{side}_wrist"] + size * np.array([0.1 * sign, 0, 0])
        points[f"{side}_heel"] = points[f"{side}_ankle"] + size * np.array([0, -0.03, -0.035])
        points[f"{side}_toe"] = points[f"{side}_foot"] + size * np.array([0, 0, 0.055])
    return points, size


def _capsule(
    start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tapered capsule: vertices (V, 3), how far along each is (V,) 0 to 1, faces (F, 3)."""
    axis = end - start
    length = float(np.linalg.norm(axis))
    axis = axis / length if length > 1e-9 else np.array([0.0, 1.0, 0.0])
    side = np.eye(3)[np.abs(axis).argmin()]
    side = side - axis * (side @ axis)
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    # Rings between the poles: place along the axis, radius, share of the end's bone.
    rise = np.linspace(-np.pi / 2, 0, _CAP_RINGS + 1)[1:]
    fraction = np.linspace(0, 1, _SIDE_RINGS + 1)[1:-1]
    sine, cosine = np.sin(rise), np.cos(rise)
    place = np.concatenate([start_radius * sine, length * fraction, length - end_radius * sine[::-1]])
    radius = start_radius + (end_radius - start_radius) * fraction
    radius = np.concatenate([start_radius * cosine, radius, end_radius * cosine[::-1]])
    along = np.concatenate([np.zeros(len(rise)), fraction, np.ones(len(rise))])
    turn = 2 * np.pi * np.arange(_AROUND) / _AROUND
    circle = np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * other
    rings = start + place[:, None, None] * axis + radius[:, None, None] * circle
    poles = np.stack([start - start_radius * axis, end + end_radius * axis])
    vertices = np.concatenate([rings.reshape(-1, 3), poles])

    here, ahead = np.arange(_AROUND), (np.arange(_AROUND) + 1) % _AROUND
    first = np.arange(len(rings) - 1)[:, None] * _AROUND
    near, far = first + here, first + ahead
    last, bottom, top = (len(rings) - 1) * _AROUND, len(vertices) - 2, len(vertices) - 1
    faces = np.concatenate(
        [
            np.stack([near, far, near + _AROUND], axis=-1).reshape(-1, 3),
            np.stack([far, far + _AROUND, near + _AROUND], axis=-1).reshape(-1, 3),
            np.stack([ahead, here, np.full(_AROUND, bottom)], axis=-1),
            np.stack([last + here, last + ahead, np.full(_AROUND, top)], axis=-1),
        ]
    )
    return vertices, np.concatenate([np.repeat(along, _AROUND), [0.0, 1.0]]), faces
