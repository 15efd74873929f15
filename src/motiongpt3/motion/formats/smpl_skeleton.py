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

FAMILY: dict[str, int] = {"smplh": 52, "smpl": 24, "smplx": 55}
"""Models by name, with how many joints they have; the one that most recordings are of comes first."""

# Under these names the authors' archives have them; {0} is the model's name, {1} the gender, {2} and
# {3} the same in capitals.
_FILES = (
    "{1}/model.npz",
    "{0}/{1}/model.npz",
    "{2}_{3}.npz",
    "{0}/{2}_{3}.npz",
    "{0}_{1}.npz",
    "{0}/{1}.npz",
    "{1}.npz",
    "{0}.npz",
    "model.npz",
)
_SITES = {
    "smpl": "https://smpl.is.tue.mpg.de",
    "smplh": "https://mano.is.tue.mpg.de",
    "smplx": "https://smpl-x.is.tue.mpg.de",
}


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
    file = find_body_model(path, gender=gender)
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


def find_body_model(path: str | Path, model: str | None = None, gender: str = "neutral") -> Path:
    """The file of a body model.

    Args:
        path: the file itself, or a folder with files named as the authors name them.
        model: smpl, smplh or smplx; by default any of them.
        gender: which file of a folder.

    Raises:
        MissingDependencyError: if there is none, saying where to get it.
    """
    path = Path(path)
    if path.is_file():
        return path
    candidates = [
        path / pattern.format(name, gender, name.upper(), gender.upper())
        for name in ([model] if model else FAMILY)
        for pattern in _FILES
    ]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    pickles = [file for file in sorted(path.glob("**/*.pkl"))[:20] if file.is_file()] if path.is_dir() else []
    hint = f"; {pickles[0]} is a pickle: motiongpt3 convert-smpl converts it" if pickles else ""
    looked = ", ".join(candidate.relative_to(path).as_posix() for candidate in candidates[:3])
    kind = f"{model} body model" if model else "body model"
    raise MissingDependencyError(
        f"no {gender} {kind} in {path} (looked for {looked} and others){hint}; "
        f"get yours, under its own licence, from {_SITES[model or 'smplh']}"
    )
