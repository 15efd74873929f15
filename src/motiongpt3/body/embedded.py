"""The body and the mannequin that come with this project: MakeHuman's (CC0), baked by scripts/bake_body.py.

The mesh rests in its own A-pose, where shoulders and fingers look natural; each bone has the matrix that
takes the mesh to the bone's frame in SMPL's T-pose. Identity rotations therefore show the T-pose.

Shapes: V vertices, F faces, B = 22 joints + bones that spread twist.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from motiongpt3.body.model import blend_vertices, joint_transforms, joints_from_offsets
from motiongpt3.body.twist import TWIST_BONES, twist_bone_rotations
from motiongpt3.errors import InputError
from motiongpt3.motion.rotations import unit_vector
from motiongpt3.motion.skeleton import JOINT_COUNT, JOINT_INDEX, JOINT_NAMES, PARENTS

BODY_FILE = Path(__file__).with_name("body.npz")
MANNEQUIN_FILE = Path(__file__).with_name("mannequin.npz")
BONE_NAMES = (*JOINT_NAMES, *(bone.name for bone in TWIST_BONES))
EXTRA_BONES = tuple((bone.name, PARENTS[bone.joint], bone.joint) for bone in TWIST_BONES)
"""Of each bone after the 22 joints: name, the joint it is relative to, and the joint on which it sits."""

Detail = Literal["full", "light"]
BODY_COLOUR = (150, 178, 216)
"""sRGB."""

_BONES_PER_VERTEX = 4
_WEIGHT_STEPS = 255
# Bones whose length stretches the mesh along them, with the joint at their end.
_LIMBS = {
    JOINT_INDEX[f"{side}_{start}"]: JOINT_INDEX[f"{side}_{end}"]
    for side in ("left", "right")
    for start, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
}
_FEET = {JOINT_INDEX[f"{side}_ankle"]: JOINT_INDEX[f"{side}_foot"] for side in ("left", "right")}
# Toes are carried by the foot: where their joint is taken to be must not tear the mesh.
_CARRIERS = {foot: ankle for ankle, foot in _FEET.items()}
_HIPS, _SHOULDERS = (
    [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right")] for part in ("hip", "shoulder")
)
_TRUNK = [
    JOINT_INDEX[name]
    for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head", "left_collar", "right_collar")
]
_FLATTEST_FOOT = 0.6
_LARGEST_STRETCH = 20.0


@dataclass(frozen=True, eq=False)
class EmbeddedBody:
    """A body of this project; see `motiongpt3.body.model.Body` for what it does.

    Attributes:
        name: ``embedded``.
        template: (V, 3) vertices in the pose of the mesh, metres, y up.
        faces: (F, 3) int64.
        joints: (22, 3) in the T-pose.
        bind: (B, 3, 4) from the template to each bone's frame: its joint, with the axes of the T-pose.
        weights: (V, B), rows sum to 1; bones in the order of `BONE_NAMES`.
    """

    name: str
    template: Tensor
    faces: Tensor
    joints: Tensor
    bind: Tensor
    weights: Tensor

    @property
    def vertex_count(self) -> int:
        """V."""
        return len(self.template)

    def vertices(self, rotations: Tensor, translation: Tensor) -> Tensor:
        """Skin the body, see `Body.vertices`."""
        frames = self.bone_transforms(rotations, translation)
        homogeneous = torch.cat(
            [self.bind, self.bind.new_tensor([0, 0, 0, 1]).expand(len(self.bind), 1, 4)], dim=1
        )
        return blend_vertices(frames @ homogeneous, self.weights, self.template)

    def bone_transforms(self, rotations: Tensor, translation: Tensor) -> Tensor:
        """Where each bone's frame comes to, (..., B, 3, 4); arguments as for `Body.vertices`."""
        joints = joint_transforms(rotations, self.joints, translation)
        owners = [bone.joint for bone in TWIST_BONES]
        above = joints[..., [PARENTS[joint] for joint in owners], :, :3]
        turned = above @ twist_bone_rotations(rotations, self.joints)
        extra = torch.cat([turned, joints[..., owners, :, 3:]], dim=-1)
        return torch.cat([joints, extra], dim=-3)

    def with_proportions(self, offsets: Tensor, ankle_height: float | None = None) -> EmbeddedBody:
        """The body with its joints moved apart or together, and the mesh stretched to go with them.

        Limbs are stretched along their bones. Trunk, head, hands and feet keep their shape, scaled by how
        much the trunk grows; only the feet become as high as asked for. Arguments and errors: see `Body`.
        """
        joints = joints_from_offsets(offsets.to(self.joints))
        scales = _bone_scales(self.joints, joints)
        if ankle_height is not None:
            self._stretch_feet(scales, ankle_height)
        bind = scales @ self.bind
        for bone, carrier in _CARRIERS.items():
            # The mesh stays where the carrier puts it; only the point it turns about moves.
            before, after = self.joints[bone] - self.joints[carrier], joints[bone] - joints[carrier]
            bind[bone, :, 3] += scales[carrier] @ before - after
        hips = self.joints[_HIPS].mean(0)
        for bone in _TRUNK:
            # One map for the whole trunk, so that joints at odd places do not bend it.
            bind[bone, :, 3] += scales[bone] @ (self.joints[bone] - hips) - (
                joints[bone] - joints[_HIPS].mean(0)
            )
        return replace(self, joints=joints, bind=bind)

    @property
    def ankle_height(self) -> float:
        """Of the ankles above the soles in the T-pose, metres."""
        ankles = list(_FEET)
        lowest = self.vertices(
            torch.eye(3).expand(JOINT_COUNT, 3, 3).to(self.joints), torch.zeros(3).to(self.joints)
        )
        return float(self.joints[ankles, 1].mean() - lowest[:, 1].min())

    def _stretch_feet(self, scales: Tensor, ankle_height: float) -> None:
        for ankle, foot in _FEET.items():
            factor = ankle_height / (self.ankle_height * float(scales[ankle, 1, 1]))
            scales[ankle, 1] *= min(max(factor, _FLATTEST_FOOT), 1 / _FLATTEST_FOOT)
            scales[foot] = scales[ankle]

    def to(self, device: str | torch.device) -> EmbeddedBody:
        """The same body on another device."""
        return replace(
            self,
            template=self.template.to(device),
            faces=self.faces.to(device),
            joints=self.joints.to(device),
            bind=self.bind.to(device),
            weights=self.weights.to(device),
        )


@lru_cache(maxsize=2)
def embedded_body(detail: Detail = "full") -> EmbeddedBody:
    """Load the body (``full``) or the mannequin with few triangles (``light``).

    Raises:
        InputError: for another detail.
    """
    files = {"full": BODY_FILE, "light": MANNEQUIN_FILE}
    if detail not in files:
        raise InputError(f"unknown detail {detail!r}: use full or light")
    return read_body(files[detail])


def read_body(path: Path) -> EmbeddedBody:
    """Read what `save_body` packed."""
    with np.load(path, allow_pickle=False) as arrays:
        template = torch.from_numpy(arrays["template"])
        indices = torch.from_numpy(arrays["bone_indices"].astype(np.int64))
        shares = torch.from_numpy(arrays["bone_weights"].astype(np.float32)) / _WEIGHT_STEPS
        weights = torch.zeros(len(template), len(BONE_NAMES)).scatter_add_(1, indices, shares)
        return EmbeddedBody(
            "embedded",
            template,
            torch.from_numpy(arrays["faces"].astype(np.int64)),
            torch.from_numpy(arrays["joints"]),
            torch.from_numpy(arrays["bind"]),
            weights / weights.sum(1, keepdim=True),
        )


def save_body(
    path: Path,
    template: np.ndarray,
    faces: np.ndarray,
    joints: np.ndarray,
    bind: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Pack a body: the four largest weights of each vertex, in steps of 1/255.

    Args:
        path: file to write.
        template: (V, 3), V below 65536.
        faces: (F, 3).
        joints: (22, 3).
        bind: (B, 3, 4).
        weights: (V, B).
    """
    bones, shares = strongest_bones(weights)
    arrays: dict[str, Any] = {
        "template": template.astype(np.float32),
        "faces": faces.astype(np.uint16),
        "joints": joints.astype(np.float32),
        "bind": bind.astype(np.float32),
        "bone_indices": bones,
        "bone_weights": shares,
    }
    np.savez_compressed(path, **arrays)


def strongest_bones(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The four bones that move each vertex most, and how much, from all weights (V, B).

    Returns:
        Bones (V, 4) uint8, the strongest first, and their weights (V, 4) uint8 in steps of 1/255.
    """
    bones = np.argsort(-weights, axis=1, kind="stable")[:, :_BONES_PER_VERTEX]
    shares = np.take_along_axis(weights, bones, axis=1)
    shares = np.round(_WEIGHT_STEPS * shares / shares.sum(axis=1, keepdims=True))
    return bones.astype(np.uint8), shares.astype(np.uint8)


def _bone_scales(before: Tensor, after: Tensor) -> Tensor:
    """(B, 3, 3) scale of the mesh in each bone's frame, from joints (22, 3) before and after."""
    old, new = (joints[_SHOULDERS].mean(0) - joints[_HIPS].mean(0) for joints in (before, after))
    ratio = _stretch(old, new, "the trunk")
    identity = torch.eye(3, dtype=before.dtype, device=before.device)
    scales = (ratio * identity).repeat(JOINT_COUNT, 1, 1)
    # Hips stay under hips and shoulders under shoulders.
    scales[_TRUNK] += torch.outer(new - ratio * old, old) / old.square().sum()
    for joint, end in _LIMBS.items():
        old, new = before[end] - before[joint], after[end] - after[joint]
        stretch = _stretch(old, new, f"the bone from {JOINT_NAMES[joint]} to {JOINT_NAMES[end]}")
        along = unit_vector(new)
        scales[joint] = ratio * identity + (stretch - ratio) * torch.outer(along, along)
    return torch.cat([scales, scales[[bone.joint for bone in TWIST_BONES]]])


def _stretch(old: Tensor, new: Tensor, what: str) -> float:
    ratio = float(torch.linalg.vector_norm(new) / torch.linalg.vector_norm(old))
    if not 1 / _LARGEST_STRETCH < ratio < _LARGEST_STRETCH:
        raise InputError(f"{what} would be {ratio:.2g} times as long as the body's: are these metres?")
    return ratio
