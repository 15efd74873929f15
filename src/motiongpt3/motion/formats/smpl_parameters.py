"""SMPL parameters as the ``smplx`` package names them, in an .npz archive; and what AMASS shares with it.

Arrays: ``global_orient`` (T, 3), ``body_pose`` (T, 69) of SMPL or (T, 63) of SMPL-H and SMPL-X, axis-angles
in radians (rotation matrices are read too); ``transl`` (T, 3) metres; ``betas`` (10,), ``gender``;
and ``fps``, which is ours. The rotations of the 22 body joints survive; those of hands, jaw and eyes do not.

Where the joints are depends on the body. With the user's body files they are the model's own. Without, they
are those of the uniform skeleton in a T-pose (`T_POSE_OFFSETS`): rotations are still exact, bone lengths are
an average adult's, and the whole clip is off by the constant distance of the model's pelvis from its origin
(some 20 cm).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.features import FRAMES_PER_SECOND
from motiongpt3.motion.formats.conventions import UpAxis, turn_to_y_up, turn_to_z_up
from motiongpt3.motion.formats.npz import NpzArchive, write_npz
from motiongpt3.motion.formats.smpl_skeleton import read_smpl_skeleton
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import (
    T_POSE_DIRECTIONS,
    T_POSE_OFFSETS,
    BodyPose,
    median_bone_lengths,
    pose_from_joints,
)
from motiongpt3.motion.rotations import (
    axis_angle_to_quaternion,
    matrix_to_quaternion,
    quaternion_multiply,
    quaternion_rotate,
    quaternion_to_axis_angle,
)
from motiongpt3.motion.skeleton import JOINT_COUNT

BODY_VALUES = JOINT_COUNT * 3
SMPL_BODY_JOINTS = 23
SHAPE_COUNT = 10
GENDERS = ("neutral", "female", "male")
_RATES = ("fps", "mocap_frame_rate", "mocap_framerate")


def read_smpl(
    path: str | Path, fps: float | None = None, up: UpAxis | None = None, body: str | Path | None = None
) -> Motion:
    """Read SMPL parameters.

    Args:
        path: the archive.
        fps: frames per second; else what the file says, else 20.
        up: axis that points up in the file; by default the one along which the body stands most of the time.
        body: body model file, or a folder of them; see `read_smpl_skeleton`.

    Raises:
        InputError: if an array is missing, broken, or does not fit the others.
    """
    archive = NpzArchive(path)
    orientation = _rotations(archive, "global_orient")
    pose = _rotations(archive, "body_pose")
    if orientation.shape[1] != 1 or len(orientation) != len(pose) or pose.shape[1] < JOINT_COUNT - 1:
        raise InputError(
            f"{path}: global_orient has {orientation.shape[:2]} and body_pose {pose.shape[:2]} frames and "
            f"joints; expected (T, 1) and (T, {JOINT_COUNT - 1} or more)"
        )
    rotations = torch.cat([orientation, pose[:, : JOINT_COUNT - 1]], dim=1)
    path_of_root = archive.numbers("transl") if "transl" in archive else np.zeros((len(pose), 3))
    if up is None:
        up = "z" if _stands_along_z(rotations[:, 0]) else "y"
    rate = frame_rate(archive, fps)
    return motion_of_parameters(archive, rotations, path_of_root, rate or FRAMES_PER_SECOND, up, body)


def write_smpl(motion: Motion, path: str | Path, up: UpAxis = "y") -> None:
    """Write SMPL parameters, ``body_pose`` as SMPL's (T, 69) with still hands.

    Exact if the motion has a pose; otherwise rotations are made from the joints (see `motion.pose`).
    """
    rotations, root, pose = parameters_of_motion(motion, up)
    frames = len(rotations)
    body_pose = np.zeros((frames, SMPL_BODY_JOINTS * 3))
    body_pose[:, : BODY_VALUES - 3] = rotations[:, 3:]
    arrays: Mapping[str, np.ndarray | str | float] = {
        "global_orient": rotations[:, :3],
        "body_pose": body_pose,
        "transl": root,
        "betas": shape_parameters(pose, SHAPE_COUNT),
        "gender": pose.gender,
        "fps": motion.fps,
    }
    write_npz(path, arrays)


def frame_rate(archive: NpzArchive, fps: float | None) -> float | None:
    """The rate asked for, else the one in the file, else None."""
    if fps is not None:
        return fps
    return next((archive.number(name) for name in _RATES if name in archive), None)


def motion_of_parameters(
    archive: NpzArchive,
    rotations: Tensor,
    path_of_root: np.ndarray,
    fps: float,
    up: UpAxis,
    body: str | Path | None,
) -> Motion:
    """Put the parameters of a file together.

    Args:
        archive: for the shape, the gender and messages.
        rotations: (T, 22, 4) quaternions relative to the parent; the pelvis' in the file's world.
        path_of_root: (T, 3) the file's translation, metres.
        fps: frames per second.
        up: axis that points up in the file.
        body: body model file or folder, or None.
    """
    where = archive.path
    if path_of_root.shape != (len(rotations), 3):
        raise InputError(f"{where}: {len(rotations)} frames of rotations, translation {path_of_root.shape}")
    betas = _shape(archive)
    gender = (archive.word("gender") if "gender" in archive else None) or "neutral"
    if gender not in GENDERS:
        gender = "neutral"
    # Zero: where the model has its pelvis is not known.
    rest = T_POSE_OFFSETS if body is None else read_smpl_skeleton(body, gender).rest(betas)
    root = torch.from_numpy(path_of_root) + rest[0]
    if up == "z":
        turn = turn_to_y_up().to(rotations)
        rotations = torch.cat([quaternion_multiply(turn, rotations[:, :1]), rotations[:, 1:]], dim=1)
        root = quaternion_rotate(turn, root)
    pose = BodyPose(rotations, rest, betas, gender)
    return Motion.from_pose(pose, root, fps, where.stem, str(where))


def parameters_of_motion(motion: Motion, up: UpAxis) -> tuple[np.ndarray, np.ndarray, BodyPose]:
    """What to write: axis-angles (T, 66), translation (T, 3) metres, and the pose with shape and gender."""
    pose = motion.pose
    joints = motion.joints.double()
    if pose is None:
        rest = T_POSE_DIRECTIONS * median_bone_lengths(joints)[:, None]
        pose = BodyPose(pose_from_joints(joints, rest), rest)
    rotations, root = pose.rotations.double(), joints[:, 0]
    if up == "z":
        turn = turn_to_z_up().to(rotations)
        rotations = torch.cat([quaternion_multiply(turn, rotations[:, :1]), rotations[:, 1:]], dim=1)
        root = quaternion_rotate(turn, root)
    angles = quaternion_to_axis_angle(rotations).flatten(1)
    return angles.numpy(), (root - pose.rest[0]).numpy(), pose


def shape_parameters(pose: BodyPose, count: int) -> np.ndarray:
    """The shape of a pose as (count,) float64, padded with zeros."""
    values = np.zeros(count)
    if pose.betas is not None:
        known = pose.betas[:count].double().numpy()
        values[: len(known)] = known
    return values


def quaternions_of_axis_angles(values: np.ndarray, name: str, archive: NpzArchive) -> Tensor:
    """(T, 3 J) or (T, J, 3) radians as (T, J, 4)."""
    if values.ndim == 2 and values.shape[1] % 3 == 0:
        values = values.reshape(len(values), -1, 3)
    if values.ndim != 3 or values.shape[2] != 3:
        raise InputError(f"{archive.path}: {name!r} has shape {values.shape}, expected (frames, 3 x joints)")
    if np.abs(values).max(initial=0) > 1e3:
        raise InputError(f"{archive.path}: {name!r} has angles above 1000; they are to be in radians")
    return axis_angle_to_quaternion(torch.from_numpy(values))


def _rotations(archive: NpzArchive, name: str) -> Tensor:
    values = archive.numbers(name)
    if values.ndim == 4 and values.shape[2:] == (3, 3):
        matrices = torch.from_numpy(values)
        identity = torch.eye(3, dtype=matrices.dtype)
        if not torch.allclose(matrices @ matrices.transpose(-1, -2), identity, atol=1e-3):
            raise InputError(f"{archive.path}: {name!r} has matrices that are not rotations")
        return matrix_to_quaternion(matrices)
    return quaternions_of_axis_angles(values, name, archive)


def _shape(archive: NpzArchive) -> Tensor | None:
    if "betas" not in archive:
        return None
    betas = archive.numbers("betas")
    # Some files repeat the shape for each frame.
    betas = betas[0] if betas.ndim == 2 and len(betas) else betas
    if betas.ndim != 1 or not 0 < len(betas) <= 400:
        raise InputError(f"{archive.path}: betas of shape {betas.shape}, expected a row of shape parameters")
    return torch.from_numpy(betas.copy())


def _stands_along_z(orientation: Tensor) -> bool:
    upward = quaternion_rotate(orientation, orientation.new_tensor([0.0, 1.0, 0.0]))
    return bool(upward[:, 2].median() > upward[:, 1].median().abs())
