"""AMASS archives (Mahmood et al. 2019, "AMASS: Archive of Motion Capture as Surface Shapes").

Arrays: ``trans`` (T, 3) metres, z up; ``poses`` (T, 156) axis-angles of SMPL-H in radians, of which the first
66 are the 22 body joints; ``betas`` (16,), ``dmpls`` (T, 8), ``gender``, ``mocap_framerate``. The later
SMPL-X release has 165 values a frame and calls the rate ``mocap_frame_rate``. Both are read; what is written
has both names for the rate.

What survives is that of `smpl_parameters`; hands and soft tissue (dmpls) are dropped, and written as zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from motiongpt3.errors import InputError
from motiongpt3.motion.formats.conventions import UpAxis
from motiongpt3.motion.formats.npz import NpzArchive, write_npz
from motiongpt3.motion.formats.smpl_parameters import (
    BODY_VALUES,
    frame_rate,
    motion_of_parameters,
    parameters_of_motion,
    quaternions_of_axis_angles,
    shape_parameters,
)
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.skeleton import JOINT_COUNT

POSE_VALUES = 156
SHAPE_COUNT = 16
SOFT_TISSUE_COUNT = 8


def read_amass(
    path: str | Path, fps: float | None = None, up: UpAxis | None = None, body: str | Path | None = None
) -> Motion:
    """Read an AMASS archive.

    Args:
        path: the archive.
        fps: frames per second; else the file's, which it must have.
        up: axis that points up; z if not given, as AMASS has it.
        body: body model file, or a folder with one of the recording's gender; see `read_smpl_skeleton`.

    Raises:
        InputError: if an array is missing, broken, or does not fit the others.
        MissingDependencyError: if ``body`` has no model of the recording's gender.
    """
    archive = NpzArchive(path)
    rotations = quaternions_of_axis_angles(archive.numbers("poses"), "poses", archive)
    if rotations.shape[1] < JOINT_COUNT:
        raise InputError(
            f"{path}: poses of {rotations.shape[1]} joints; expected {BODY_VALUES} values a frame or more"
        )
    rate = frame_rate(archive, fps)
    if rate is None:
        raise InputError(f"{path}: no mocap_framerate; give the frames per second with fps")
    trans = archive.numbers("trans")
    return motion_of_parameters(archive, rotations[:, :JOINT_COUNT], trans, rate, up or "z", body)


def write_amass(motion: Motion, path: str | Path, up: UpAxis = "z") -> None:
    """Write an AMASS archive, for SMPL-H.

    Exact if the motion has a pose; otherwise rotations are made from the joints (see `motion.pose`), the
    shape is the mean body's, and a body model puts its pelvis off by a constant (see `smpl_parameters`).
    """
    rotations, trans, pose = parameters_of_motion(motion, up)
    frames = len(rotations)
    poses = np.zeros((frames, POSE_VALUES))
    poses[:, :BODY_VALUES] = rotations
    arrays: Mapping[str, np.ndarray | str | float] = {
        "trans": trans,
        "gender": pose.gender,
        "mocap_framerate": motion.fps,
        "mocap_frame_rate": motion.fps,
        "betas": shape_parameters(pose, SHAPE_COUNT),
        "dmpls": np.zeros((frames, SOFT_TISSUE_COUNT)),
        "poses": poses,
    }
    write_npz(path, arrays)
