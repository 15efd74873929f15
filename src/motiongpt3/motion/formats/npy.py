"""NumPy arrays: joints (T, 22, 3), the interchange form of this field, and HumanML3D features (T, 263).

Joints are exact both ways. Features read as joints follow the position path and are kept beside them.
No pickle is ever executed: object arrays are refused, and so is a header that promises more than there is.
"""

from __future__ import annotations

import tokenize
import zipfile
from pathlib import Path

import numpy as np
import torch

from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file
from motiongpt3.motion.features import (
    FEATURE_WIDTH,
    FRAMES_PER_SECOND,
    KIT_FEATURE_WIDTH,
    joints_to_features,
)
from motiongpt3.motion.formats.conventions import (
    Unit,
    UpAxis,
    check_scale,
    check_up_axis,
    metres_per_unit,
    points_to_y_up,
    points_to_z_up,
)
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.skeleton import JOINT_COUNT

KIT_JOINT_COUNT = 21

# What numpy.load raises for truncated, foreign and hostile files, depending on where the damage is.
_BROKEN_FILE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    SyntaxError,
    OverflowError,
    MemoryError,
    RecursionError,
    zipfile.BadZipFile,
    tokenize.TokenError,
)


def read_npy(
    path: str | Path, fps: float | None = None, scale: float | None = None, up: UpAxis | None = None
) -> Motion:
    """Read joints or features, told apart by their shape.

    Args:
        path: a ``.npy`` file with joints (T, 22, 3), or features (T, 263), not normalised; either may have a
            leading dimension of 1, as the official demo writes it.
        fps: frames per second; 20 if not given, since the file does not say.
        scale: metres per unit of joints; 1 if not given.
        up: axis of joints that points up; y if not given.

    Raises:
        InputError: if the file is missing, broken, holds objects or another shape, or is not finite.
    """
    path = Path(path)
    array = _load(path)
    if array.shape[:1] == (1,) and (array.ndim == 4 or array.shape[2:] == (FEATURE_WIDTH,)):
        array = array[0]
    rate = FRAMES_PER_SECOND if fps is None else fps
    if array.ndim == 3 and array.shape[1:] == (JOINT_COUNT, 3):
        check_up_axis(up, str(path))
        joints = torch.from_numpy(array) * check_scale(1.0 if scale is None else scale, str(path))
        joints = points_to_y_up(joints) if up == "z" else joints
        return Motion.from_joints(joints, rate, path.stem, str(path))
    if array.ndim == 2 and array.shape[1] == FEATURE_WIDTH:
        if scale is not None or up is not None:
            raise InputError(f"{path}: features are in metres, y up; scale and up apply to joints")
        return Motion.from_features(array, rate, path.stem, str(path))
    raise InputError(f"{path}: {_explain(array.shape)}")


def write_npy(motion: Motion, path: str | Path, unit: Unit = "m", up: UpAxis = "y") -> None:
    """Write the joints as float32 (T, 22, 3). Exact; frame rate and features are not kept."""
    check_up_axis(up, str(path))
    joints = points_to_z_up(motion.joints) if up == "z" else motion.joints
    _save((joints / metres_per_unit(unit, str(path))).numpy(), path)


def write_features(motion: Motion, path: str | Path) -> None:
    """Write HumanML3D features, not normalised, as float32.

    The motion's own (T, 263) if it has them (exact); otherwise they are computed from its joints as
    HumanML3D does, but with a heading that never jumps: (T - 1, 263), on the uniform skeleton, on the floor,
    facing +z (lossy in size and place).

    Raises:
        InputError: if they must be computed and the motion is not at 20 fps, the rate features are made for.
    """
    features = motion.features
    if features is None:
        if motion.fps != FRAMES_PER_SECOND:
            where = motion.source or motion.name
            raise InputError(
                f"{where}: features are defined at {FRAMES_PER_SECOND:g} fps, "
                f"this motion has {motion.fps:g}; resample it first"
            )
        features = joints_to_features(motion.joints.double(), continuous_heading=True).to(torch.float32)
    _save(features.numpy(), path)


def _load(path: Path) -> np.ndarray:
    try:
        # Mapped, not read: a header that promises terabytes fails instead of allocating them.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder, not a motion file") from error
    except _BROKEN_FILE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: not a readable .npy array ({reason}); save it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: an archive of arrays; save the joints alone with numpy.save")
    if array.dtype.kind != "f":
        raise InputError(f"{path}: holds {array.dtype} values; joints are floating-point numbers")
    # A value too large for float32 becomes infinite and is refused with the frame it is in.
    with np.errstate(over="ignore"):
        return np.array(array, dtype=np.float32, order="C")


def _explain(shape: tuple[int, ...]) -> str:
    if shape[-1:] == (KIT_FEATURE_WIDTH,) or shape[-2:] == (KIT_JOINT_COUNT, 3):
        return (
            f"shape {shape} is KIT-ML's 21-joint skeleton, which is not supported; "
            f"use HumanML3D's {JOINT_COUNT} joints or {FEATURE_WIDTH} features"
        )
    if len(shape) > 2 and (shape[-2:] == (JOINT_COUNT, 3) or shape[-1] == FEATURE_WIDTH):
        return f"shape {shape} is not one motion; save each motion of a batch to a file of its own"
    joints, features = f"joints (frames, {JOINT_COUNT}, 3)", f"features (frames, {FEATURE_WIDTH})"
    return f"shape {shape} is neither {joints} nor {features}"


def _save(array: np.ndarray, path: str | Path) -> None:
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(array, dtype=np.float32), allow_pickle=False)
