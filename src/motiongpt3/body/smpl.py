"""SMPL, SMPL-H and SMPL-X bodies, from the user's own licensed files.

Loper et al. 2015, "SMPL: A Skinned Multi-Person Linear Model"; Romero et al. 2017 (SMPL-H); Pavlakos et al.
2019 (SMPL-X). The template is changed by shape parameters and by the pose, its joints are regressed from the
shaped template, then it is skinned. Only the 22 joints of the body are posed here; hands rest in the model's
mean pose, where it has one; jaw and eyes do not move.

Shapes: V vertices, F faces, J joints of the model, N shape parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motiongpt3.body.model import blend_vertices, joint_offsets, joint_transforms
from motiongpt3.errors import InputError
from motiongpt3.motion.formats.npz import NpzArchive
from motiongpt3.motion.formats.smpl_skeleton import FAMILY, find_body_model
from motiongpt3.motion.rotations import axis_angle_to_matrix, unit_vector
from motiongpt3.motion.skeleton import JOINT_COUNT, PARENTS

# The first joint of the left and of the right hand.
_HANDS = {"smpl": (), "smplh": (22, 37), "smplx": (25, 40)}
_HAND_JOINTS = 15
_SHAPE_PARAMETERS = 10
# What a bone may be off before a shape parameter of one standard deviation is worth it, metres.
_LENGTH_TOLERANCE = 0.005
_ITERATIONS = 15
_PICKLE_SUFFIXES = (".pkl", ".pickle")


@dataclass(frozen=True, eq=False)
class SmplBody:
    """A body of the SMPL family; see `motiongpt3.body.model.Body` for what it does.

    Attributes:
        name: smpl, smplh or smplx.
        gender: of the model.
        faces: (F, 3) int64.
        joints: (22, 3) of the shaped body in its T-pose.
        betas: (N,) shape parameters.
        template: (V, 3) of the mean body.
        shape_directions: (V, 3, N).
        pose_directions: (V, 3, 9 * (J - 1)).
        regressor: (J, V) from vertices to joints.
        weights: (V, J), rows sum to 1.
        parents: of the J joints; -1 for the first.
        hand_rotations: (J - 22, 3, 3) of the joints beyond the body's.
    """

    name: str
    gender: str
    faces: Tensor
    joints: Tensor
    betas: Tensor
    template: Tensor
    shape_directions: Tensor
    pose_directions: Tensor
    regressor: Tensor
    weights: Tensor
    parents: tuple[int, ...]
    hand_rotations: Tensor

    @property
    def vertex_count(self) -> int:
        """V."""
        return len(self.template)

    @property
    def shaped_template(self) -> Tensor:
        """(V, 3) of this shape in the T-pose, before the pose changes it."""
        return self.template + self.shape_directions @ self.betas

    def vertices(self, rotations: Tensor, translation: Tensor) -> Tensor:
        """Skin the body, see `Body.vertices`."""
        shaped = self.shaped_template
        rest = self.regressor @ shaped
        lead = rotations.shape[:-3]
        local = torch.cat([rotations, self.hand_rotations.expand(*lead, *self.hand_rotations.shape)], dim=-3)
        change = (local[..., 1:, :, :] - torch.eye(3).to(local)).flatten(-3)
        posed = shaped + (change @ self.pose_directions.flatten(0, 1).T).unflatten(-1, shaped.shape)
        transforms = joint_transforms(rotations, rest[:JOINT_COUNT], translation)
        turned = list(transforms[..., :3].unbind(-3))
        placed = list(transforms[..., 3].unbind(-2))
        for joint in range(JOINT_COUNT, len(self.parents)):
            parent = self.parents[joint]
            placed.append(placed[parent] + turned[parent] @ (rest[joint] - rest[parent]))
            turned.append(turned[parent] @ local[..., joint, :, :])
        world = torch.stack(turned, dim=-3)
        places = torch.stack(placed, dim=-2)[..., None] - world @ rest[..., None]
        return blend_vertices(torch.cat([world, places], dim=-1), self.weights, posed)

    def with_betas(self, betas: Tensor) -> SmplBody:
        """This body with other shape parameters: as many as given, the others 0."""
        padded = torch.zeros_like(self.betas)
        known = min(len(betas), len(padded))
        padded[:known] = betas[:known].to(padded)
        shaped = self.template + self.shape_directions @ padded
        return replace(self, betas=padded, joints=(self.regressor @ shaped)[:JOINT_COUNT])

    def with_proportions(self, offsets: Tensor, ankle_height: float | None = None) -> SmplBody:
        """The shape whose bones have the most similar lengths, see `Body.with_proportions`.

        Shape parameters are found by Gauss-Newton with their standard normal prior; ``ankle_height`` is up
        to them.
        """
        wanted = torch.linalg.vector_norm(offsets[1:].to(self.joints), dim=-1)
        if offsets.shape != (JOINT_COUNT, 3) or not torch.isfinite(wanted).all():
            raise InputError(f"proportions are finite offsets of shape ({JOINT_COUNT}, 3)")
        regressor = self.regressor[:JOINT_COUNT]
        count = min(_SHAPE_PARAMETERS, len(self.betas))
        start = joint_offsets(regressor @ self.template)[1:]
        moves = torch.einsum("jv,vdn->jdn", regressor, self.shape_directions[..., :count])
        moves = torch.cat([moves[1:] - moves[list(PARENTS[1:])]])
        betas = torch.zeros(count).to(self.betas)
        prior = _LENGTH_TOLERANCE**2 * torch.eye(count).to(self.betas)
        for _ in range(_ITERATIONS):
            bones = start + moves @ betas
            slope = torch.einsum("jd,jdn->jn", unit_vector(bones), moves)
            missing = wanted - torch.linalg.vector_norm(bones, dim=-1)
            betas = torch.linalg.solve(slope.T @ slope + prior, slope.T @ (missing + slope @ betas))
        return self.with_betas(betas)

    def to(self, device: str | torch.device) -> SmplBody:
        """The same body on another device."""
        return replace(
            self,
            faces=self.faces.to(device),
            joints=self.joints.to(device),
            betas=self.betas.to(device),
            template=self.template.to(device),
            shape_directions=self.shape_directions.to(device),
            pose_directions=self.pose_directions.to(device),
            regressor=self.regressor.to(device),
            weights=self.weights.to(device),
            hand_rotations=self.hand_rotations.to(device),
        )


def read_smpl(path: str | Path, model: str | None = None, gender: str = "neutral") -> SmplBody:
    """Read a body model.

    Args:
        path: the ``.npz`` file, or a folder with files named as the authors name them
            (``neutral/model.npz``, ``SMPLX_NEUTRAL.npz``, ``smpl_neutral.npz``).
        model: smpl, smplh or smplx; by default what the number of joints says.
        gender: which file of a folder.

    Raises:
        MissingDependencyError: if there is no such file.
        InputError: if it is not a body model, not the one asked for, or the original pickle, which has to be
            converted once by ``motiongpt3 convert-smpl``.
    """
    file = find_body_model(path, model, gender)
    if file.suffix.lower() in _PICKLE_SUFFIXES:
        raise InputError(f"{file}: a pickle; convert it once: motiongpt3 convert-smpl {file} {file.stem}.npz")
    archive = NpzArchive(file)
    needed = ("v_template", "f", "J_regressor", "weights", "posedirs", "shapedirs", "kintree_table")
    missing = [name for name in needed if name not in archive]
    if missing:
        raise InputError(f"{file}: not a body model of the SMPL family: no array {missing[0]!r}")
    arrays = {name: archive.numbers(name) for name in needed}
    hands = {name: archive.numbers(name) for name in ("hands_meanl", "hands_meanr") if name in archive}
    stem = file.stem.casefold() + file.parent.name.casefold()
    found = next((word for word in ("female", "male", "neutral") if word in stem), gender)
    return smpl_from_arrays(arrays | hands, str(file), model, found)


def smpl_from_arrays(
    arrays: Mapping[str, np.ndarray], where: str, model: str | None = None, gender: str = "neutral"
) -> SmplBody:
    """A body from the arrays of a body model, by the names its authors give them; errors as `read_smpl`."""
    count = _checked_shapes(arrays, where)
    names = {joints: name for name, joints in FAMILY.items()}
    if count not in names:
        raise InputError(f"{where}: {count} joints; SMPL has 24, SMPL-H 52 and SMPL-X 55")
    if model is not None and names[count] != model:
        raise InputError(f"{where}: this is {names[count]}, not {model}")
    parents = arrays["kintree_table"][0].astype(np.int64)
    parents[0] = -1
    if (parents[:JOINT_COUNT] != np.array(PARENTS)).any() or not _is_ordered(parents):
        raise InputError(f"{where}: the joints are not connected as in SMPL")

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(arrays[name], dtype=np.float32))

    shapes = tensor("shapedirs")
    # SMPL-X keeps expressions after 300, or in older files 10, parameters of shape.
    shapes = shapes[..., : 300 if shapes.shape[-1] > 300 else min(16, shapes.shape[-1])]
    if names[count] == "smplx" and shapes.shape[-1] <= 20:
        shapes = shapes[..., :10]
    weights = tensor("weights")
    body = SmplBody(
        name=names[count],
        gender=gender,
        faces=torch.from_numpy(arrays["f"].astype(np.int64)),
        joints=torch.empty(0),
        betas=torch.zeros(shapes.shape[-1]),
        template=tensor("v_template"),
        shape_directions=shapes,
        pose_directions=tensor("posedirs"),
        regressor=tensor("J_regressor"),
        weights=weights / weights.sum(1, keepdim=True).clamp(min=1e-6),
        parents=tuple(parents.tolist()),
        hand_rotations=_hand_rotations(arrays, names[count], count),
    )
    return body.with_betas(body.betas)


def _checked_shapes(arrays: Mapping[str, np.ndarray], where: str) -> int:
    """How many joints the arrays are for, if they fit together."""
    vertices = len(arrays["v_template"])
    joints = arrays["kintree_table"].shape[-1]
    expected: dict[str, tuple[int | None, ...]] = {
        "v_template": (vertices, 3),
        "f": (None, 3),
        "J_regressor": (joints, vertices),
        "weights": (vertices, joints),
        "posedirs": (vertices, 3, 9 * (joints - 1)),
        "shapedirs": (vertices, 3, None),
        "kintree_table": (2, joints),
    }
    for name, shape in expected.items():
        found = arrays[name].shape
        fits = len(found) == len(shape) and all(want in (None, have) for have, want in zip(found, shape))
        if not fits or 0 in found:
            raise InputError(f"{where}: {name} has shape {found}, which does not fit the other arrays")
    if arrays["f"].min() < 0 or arrays["f"].max() >= vertices:
        raise InputError(f"{where}: faces name vertices that there are not")
    return int(joints)


def _is_ordered(parents: np.ndarray) -> bool:
    """Whether every parent comes before its children."""
    return bool(((parents[1:] >= 0) & (parents[1:] < np.arange(1, len(parents)))).all())


def _hand_rotations(arrays: Mapping[str, np.ndarray], model: str, joints: int) -> Tensor:
    rotations = torch.eye(3).repeat(joints - JOINT_COUNT, 1, 1)
    for first, name in zip(_HANDS[model], ("hands_meanl", "hands_meanr")):
        if name in arrays and arrays[name].size == 3 * _HAND_JOINTS:
            mean = torch.from_numpy(arrays[name].reshape(_HAND_JOINTS, 3).astype(np.float32))
            start = first - JOINT_COUNT
            rotations[start : start + _HAND_JOINTS] = axis_angle_to_matrix(mean)
    return rotations
