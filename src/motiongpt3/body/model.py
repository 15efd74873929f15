"""What every body is: 22 joint rotations and a place in, joints and vertices out.

Shapes: V vertices, F faces, B bones that move vertices; ... is any leading dimensions, usually frames.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.skeleton import JOINT_COUNT, PARENTS

# Vertices of one pass: bounds memory, changes nothing else.
_CHUNK_NUMBERS = 30_000_000


class Body(Protocol):
    """A skinned body with the 22 joints of SMPL in its T-pose.

    Attributes:
        name: as people say it, e.g. ``embedded`` or ``smplh``.
        faces: (F, 3) int64 corners, counter-clockwise from outside.
        joints: (22, 3) in the T-pose, metres, y up.
    """

    @property
    def name(self) -> str: ...

    @property
    def faces(self) -> Tensor: ...

    @property
    def joints(self) -> Tensor: ...

    @property
    def vertex_count(self) -> int:
        """V."""
        ...

    def vertices(self, rotations: Tensor, translation: Tensor) -> Tensor:
        """Skin the body.

        Args:
            rotations: (..., 22, 3, 3) of each joint relative to its parent; of the pelvis in the world.
            translation: (..., 3) metres. The pelvis comes to ``translation + joints[0]``, as in SMPL.

        Returns:
            (..., V, 3) metres.
        """
        ...

    def with_proportions(self, offsets: Tensor, ankle_height: float | None = None) -> Body:
        """This body with other proportions, as near as it can get.

        Args:
            offsets: (22, 3) of the joints from their parents in the T-pose, metres; the pelvis's is its
                place there.
            ankle_height: of the ankles above the soles when the feet are flat, metres; None: as it comes.

        Raises:
            InputError: for another shape, values that are not finite, or proportions that no body has.
        """
        ...

    def to(self, device: str | torch.device) -> Body:
        """The same body on another device."""
        ...


def joints_from_offsets(offsets: Tensor) -> Tensor:
    """Joints (22, 3) in the T-pose from the offsets from their parents.

    Raises:
        InputError: for another shape, or values that are not finite.
    """
    if offsets.shape != (JOINT_COUNT, 3) or not torch.isfinite(offsets).all():
        found = tuple(offsets.shape)
        raise InputError(f"proportions are finite offsets of shape ({JOINT_COUNT}, 3), found {found}")
    joints = [offsets[0]]
    for joint in range(1, JOINT_COUNT):
        joints.append(joints[PARENTS[joint]] + offsets[joint])
    return torch.stack(joints)


def joint_offsets(joints: Tensor) -> Tensor:
    """Offsets of joints (..., 22, 3) from their parents; of the pelvis, its position."""
    return torch.cat([joints[..., :1, :], joints[..., 1:, :] - joints[..., list(PARENTS[1:]), :]], dim=-2)


def joint_transforms(rotations: Tensor, joints: Tensor, translation: Tensor) -> Tensor:
    """Where the joints come to: forward kinematics.

    Args:
        rotations: (..., 22, 3, 3) relative to the parents.
        joints: (22, 3) in the T-pose.
        translation: (..., 3).

    Returns:
        (..., 22, 3, 4): rotation in the world, and position.

    Raises:
        InputError: for another shape of rotations.
    """
    if rotations.shape[-3:] != (JOINT_COUNT, 3, 3):
        raise InputError(f"expected rotations (..., {JOINT_COUNT}, 3, 3), found {tuple(rotations.shape)}")
    offsets = joint_offsets(joints)
    turned = [rotations[..., 0, :, :]]
    placed = [translation + joints[0]]
    for joint in range(1, JOINT_COUNT):
        parent = PARENTS[joint]
        placed.append(placed[parent] + turned[parent] @ offsets[joint])
        turned.append(turned[parent] @ rotations[..., joint, :, :])
    return torch.cat([torch.stack(turned, dim=-3), torch.stack(placed, dim=-2)[..., None]], dim=-1)


def posed_joints(body: Body, rotations: Tensor, translation: Tensor) -> Tensor:
    """Joint positions (..., 22, 3) of a posed body, metres."""
    return joint_transforms(rotations, body.joints, translation)[..., 3]


def blend_vertices(transforms: Tensor, weights: Tensor, template: Tensor) -> Tensor:
    """Linear blend skinning.

    Args:
        transforms: (..., B, 3, 4) from the template to the world, for each bone.
        weights: (V, B), rows sum to 1.
        template: (V, 3), or (..., V, 3) where it differs from frame to frame.

    Returns:
        (..., V, 3).
    """
    lead = transforms.shape[:-3]
    flat = transforms.reshape(-1, *transforms.shape[-3:])
    templates = template.expand(*lead, *template.shape[-2:]).reshape(-1, *template.shape[-2:])
    frames = max(1, _CHUNK_NUMBERS // (12 * len(weights)))
    parts = []
    for chunk, shape in zip(flat.split(frames), templates.split(frames)):
        # One matrix product for all bones is faster than gathering the few that move each vertex.
        blended = (weights @ chunk.permute(1, 0, 2, 3).reshape(weights.shape[1], -1)).unflatten(
            -1, (-1, 3, 4)
        )
        placed = torch.einsum("vtij,tvj->tvi", blended[..., :3], shape)
        parts.append(placed + blended[..., 3].transpose(0, 1))
    return torch.cat(parts).reshape(*lead, len(weights), 3)
