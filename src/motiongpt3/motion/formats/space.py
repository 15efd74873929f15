"""Worlds with z up, as AMASS, Blender and robots have, and with y up, as here; metres and centimetres."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from motiongpt3.errors import InputError

UpAxis = Literal["y", "z"]
Unit = Literal["m", "cm"]
_METRES: dict[str, float] = {"m": 1.0, "cm": 0.01}
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
