"""Axes, units and rates in the files of other tools. Here y is up and lengths are in metres."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.skeleton import JOINT_INDEX, PARENTS

UpAxis = Literal["y", "z"]
Unit = Literal["m", "cm"]
_METRES: dict[str, float] = {"m": 1.0, "cm": 0.01}

LEG_LENGTH_RANGE = (0.6, 1.1)
"""Hip to knee to ankle of a person, metres: what units are recognised by."""
_RECOGNISED = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "CMU unit": 0.0254 / 0.45}
"""Metres per unit. The CMU recordings measure in inches / 0.45."""
_HALF = 0.5**0.5


def turn_to_y_up() -> Tensor:
    """The quarter turn about x that takes z to y: (x, y, z) becomes (x, z, -y). Float64 (4,) quaternion."""
    return torch.tensor([_HALF, -_HALF, 0.0, 0.0], dtype=torch.float64)


def turn_to_z_up() -> Tensor:
    """The inverse of `turn_to_y_up`: (x, y, z) becomes (x, -z, y)."""
    return torch.tensor([_HALF, _HALF, 0.0, 0.0], dtype=torch.float64)


def points_to_y_up(points: Tensor) -> Tensor:
    """Points (..., 3) of a world with z up, in one with y up."""
    x, y, z = points.unbind(-1)
    return torch.stack([x, z, -y], dim=-1)


def points_to_z_up(points: Tensor) -> Tensor:
    """Points (..., 3) of a world with y up, in one with z up."""
    x, y, z = points.unbind(-1)
    return torch.stack([x, -z, y], dim=-1)


def check_up_axis(up: str | None, where: str) -> None:
    """Refuse what is neither y, z nor None.

    Raises:
        InputError: naming ``where``.
    """
    if up not in (None, "y", "z"):
        raise InputError(f"{where}: unknown up axis {up!r}: use y or z")


def metres_per_unit(unit: str, where: str) -> float:
    """Metres in one "m" or "cm".

    Raises:
        InputError: naming ``where``, for another unit.
    """
    if unit not in _METRES:
        raise InputError(f"{where}: unknown unit {unit!r}: use {' or '.join(_METRES)}")
    return _METRES[unit]


def check_scale(scale: float, where: str) -> float:
    """Refuse a scale that is not a positive number of metres per unit.

    Raises:
        InputError: naming ``where``.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"{where}: the scale must be a positive number of metres per unit, not {scale!r}")
    return scale


def recognised_scale(joints: Tensor, where: str, own: bool = False) -> float:
    """Metres per unit of joints (T, 22, 3) in an unknown unit, by the length of the legs.

    Args:
        joints: positions.
        where: the file, for messages.
        own: a file that this package wrote, which is in metres or centimetres, whatever the size of the body.

    Raises:
        InputError: if no known unit makes these a person's legs.
    """
    shortest, longest = LEG_LENGTH_RANGE
    lower = [JOINT_INDEX[f"{side}_{part}"] for part in ("knee", "ankle") for side in ("left", "right")]
    bones = joints[:, lower] - joints[:, [PARENTS[joint] for joint in lower]]
    leg = float(torch.linalg.vector_norm(bones, dim=-1).sum(-1).median()) / 2
    for name, metres in _RECOGNISED.items():
        if shortest <= leg * metres <= longest and not (own and name not in _METRES):
            return metres
    if own:
        return _METRES["m"]
    raise InputError(
        f"{where}: legs of {leg:.3g} units fit no known unit ({', '.join(_RECOGNISED)}); "
        "give the scale in metres per unit"
    )


def snapped_rate(frame_time: float) -> float:
    """Frames per second; frame times have few digits, so 1 / 0.0333 is meant to be 30. NTSC's 29.97 stays."""
    rate = 1 / frame_time
    nearest = float(round(rate)) if rate < 1e6 else 0.0
    return nearest if nearest and -0.5e-3 < rate / nearest - 1 < 1.1e-3 else rate
