"""The embedded body as a rig that other tools know: bones, a mesh in the rest pose, weights, and animation.

The body itself is skinned from its A-pose, with bones that stretch. Files such as glTF want rigid bones and a
mesh that rests where the bones do, so here the mesh rests in the T-pose. Posed, vertices are within a
millimetre of the body's own on average, and within 3 cm in the folds of raised shoulders.

Shapes: T frames, V vertices, F faces, B = 22 joints + bones that spread twist.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from motiongpt3.body.embedded import BONE_NAMES, EXTRA_BONES, EmbeddedBody
from motiongpt3.body.fitting import BodyMotion
from motiongpt3.errors import InputError
from motiongpt3.motion.skeleton import JOINT_COUNT, PARENTS

BONE_PARENTS: tuple[int, ...] = (*PARENTS, *(parent for _, parent, _ in EXTRA_BONES))
"""Of each bone in the order of `BONE_NAMES`; -1 for the pelvis."""

WEIGHTS_PER_VERTEX = 4


class Skin(NamedTuple):
    """A rigged mesh, all on the CPU.

    Attributes:
        names: (B,) of the bones.
        parents: (B,) index of each bone's parent, which comes before it; -1 for the pelvis.
        bones: (B, 4, 4) where each bone is in the rest pose, in the world; rigid.
        vertices: (V, 3) in the rest pose, metres, y up, facing +z.
        faces: (F, 3) int64, counter-clockwise from outside.
        bone_indices: (V, 4) int64 bones that move a vertex, the strongest first.
        bone_weights: (V, 4) of those, rows sum to 1; bones that move nothing weigh 0.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    bones: Tensor
    vertices: Tensor
    faces: Tensor
    bone_indices: Tensor
    bone_weights: Tensor


def body_skin(body: EmbeddedBody) -> Skin:
    """The rig of a body with its proportions, in its T-pose."""
    body = body.to("cpu")
    rest, still = torch.eye(3).expand(JOINT_COUNT, 3, 3), torch.zeros(3)
    weights, indices = body.weights.topk(WEIGHTS_PER_VERTEX, dim=1)
    return Skin(
        BONE_NAMES,
        BONE_PARENTS,
        _square(body.bone_transforms(rest, still)),
        body.vertices(rest, still),
        body.faces,
        indices,
        weights / weights.sum(1, keepdim=True),
    )


def bone_animation(fitted: BodyMotion) -> Tensor:
    """Where each bone comes to relative to its parent, (T, B, 4, 4), rigid; the pelvis in the world.

    Raises:
        InputError: if the body is not the embedded one.
    """
    if not isinstance(fitted.body, EmbeddedBody):
        raise InputError(f"a {fitted.body.name} body has no rig here; fit the embedded one")
    world = _square(fitted.body.bone_transforms(fitted.rotations, fitted.translation)).cpu()
    turned = world[:, list(BONE_PARENTS[1:]), :3, :3].transpose(-1, -2)
    place = world[:, 1:, :3, 3:] - world[:, list(BONE_PARENTS[1:]), :3, 3:]
    local = torch.cat([turned @ world[:, 1:, :3, :3], turned @ place], dim=-1)
    return torch.cat([world[:, :1], _square(local)], dim=1)


def _square(transforms: Tensor) -> Tensor:
    """Transforms (..., 3, 4) with the row that makes them (..., 4, 4)."""
    row = transforms.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*transforms.shape[:-2], 1, 4)
    return torch.cat([transforms, row], dim=-2)
