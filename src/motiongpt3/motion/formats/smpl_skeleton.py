"""Where a body model of the SMPL family has its joints, from the user's own licensed file.

SMPL, SMPL-H and SMPL-X place the joints by a regression from the vertices of the shaped body, so without such
a file the rotations of a recording are known but the lengths of the bones are not. Only the first 22 joints
are read, and no vertex is kept. Files are the ``.npz`` ones that the authors publish (``v_template``,
``shapedirs``, ``J_regressor``); the original pickles are not opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motiongpt3.errors import InputError, MissingDependencyError
from motiongpt3.motion.formats.npz import NpzArchive
from motiongpt3.motion.skeleton import JOINT_COUNT, PARENTS

# Under these names the authors' archives have them; {0} is the gender.
_FILES = ("{0}/model.npz", "SMPLH_{1}.npz", "SMPL_{1}.npz", "SMPLX_{1}.npz", "{0}.npz", "model.npz")


@dataclass(frozen=True, eq=False)
class SmplSkeleton:
    """The joints of a body model as a function of its shape.

    Attributes:
        template: (22, 3) float64 joint positions of the mean body in its T-pose, metres.
        shape_directions: (22, 3, B) float64 how each shape parameter moves them.
        source: the file.
    """

    template: Tensor
    shape_directions: Tensor
    source: str

    def rest(self, betas: Tensor | None = None) -> Tensor:
        """Offsets from the parents of a body: (22, 3) float64 metres; row 0 is where the pelvis is.

        Args:
            betas: shape parameters; as many as file and argument both have are used. None: the mean body.
        """
        joints = self.template
        if betas is not None:
            known = min(len(betas), self.shape_directions.shape[-1])
            joints = joints + self.shape_directions[..., :known] @ betas[:known].to(joints)
        return torch.cat([joints[:1], joints[1:] - joints[PARENTS[1:], :]])


def read_smpl_skeleton(path: str | Path, gender: str = "neutral") -> SmplSkeleton:
    """Read a body model file.

    Args:
        path: the file, or a folder that has ``GENDER/model.npz`` (as SMPL-H is published) or a file named
            like ``SMPLX_NEUTRAL.npz``.
        gender: which file of a folder.

    Raises:
        MissingDependencyError: if there is no such file.
        InputError: if it is not a body model.
    """
    file = _find(Path(path), gender)
    return _read(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=6)
def _read(file: Path, changed: int) -> SmplSkeleton:
    """Read a file once, unless it changed."""
    archive = NpzArchive(file)
    missing = [name for name in ("v_template", "shapedirs", "J_regressor") if name not in archive]
    if missing:
        raise InputError(f"{file}: not a body model of the SMPL family: no array {missing[0]!r}")
    vertices = archive.numbers("v_template")
    shapes = archive.numbers("shapedirs")
    regressor = archive.numbers("J_regressor")
    count = len(vertices) if vertices.ndim == 2 and vertices.shape[1] == 3 else -1
    if (
        shapes.ndim != 3
        or shapes.shape[:2] != (count, 3)
        or regressor.ndim != 2
        or regressor.shape[1] != count
        or len(regressor) < JOINT_COUNT
    ):
        raise InputError(
            f"{file}: not a body model of the SMPL family: v_template {vertices.shape}, shapedirs "
            f"{shapes.shape} and J_regressor {regressor.shape} do not fit together"
        )
    regressor = regressor[:JOINT_COUNT]
    template = torch.from_numpy(regressor @ vertices)
    directions = torch.from_numpy(np.tensordot(regressor, shapes, axes=1))
    return SmplSkeleton(template, directions, str(file))


def _find(path: Path, gender: str) -> Path:
    if path.is_file():
        return path
    candidates = [path / pattern.format(gender, gender.upper()) for pattern in _FILES]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates[:3])
    raise MissingDependencyError(
        f"no {gender} body model in {path} (looked for {looked} and others): download SMPL-H from "
        "https://mano.is.tue.mpg.de under its own licence and give the folder that has it"
    )
