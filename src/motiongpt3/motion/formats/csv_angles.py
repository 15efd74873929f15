"""CSV for robots and spreadsheets: the pose of the root and three angles of each joint, one row a frame.

Axes are those of ROS (REP 103): x forward, y to the left, z up, right-handed; metres, radians, seconds. In
the rest pose, a T-pose facing +x, all angles are 0. Columns:

- ``time``;
- ``root_x``, ``root_y``, ``root_z``: the pelvis in the world;
- ``root_qx``, ``root_qy``, ``root_qz``, ``root_qw``: its orientation;
- ``JOINT_roll``, ``JOINT_pitch``, ``JOINT_yaw`` for the other 21 joints in the order of `JOINT_NAMES`: the
  rotation relative to the parent's is Rz(yaw) Ry(pitch) Rx(roll), as in URDF, without jumps of 360 degrees.

Lines that begin with ``#`` come first: the frame rate, and the offset of each joint from its parent in the
rest pose. A file without them is read too, with the bones of the uniform skeleton. Bone lengths are constant,
so joints of motion whose bones stretch are off.
"""

from __future__ import annotations

import csv
import io
import logging
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file
from motiongpt3.motion.features import FRAMES_PER_SECOND
from motiongpt3.motion.formats.conventions import snapped_rate
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import T_POSE_OFFSETS, BodyPose, continuous_quaternions, pose_to_joints
from motiongpt3.motion.rig import LENGTH_TOLERANCE, continuous_euler, joint_tracks
from motiongpt3.motion.rotations import (
    euler_to_matrix,
    matrix_to_quaternion,
    quaternion_to_matrix,
    unit_vector,
)
from motiongpt3.motion.skeleton import JOINT_INDEX, JOINT_NAMES

MAX_FILE_BYTES = 256 * 2**20
MAX_COLUMNS = 10_000

ROOT_COLUMNS = ("root_x", "root_y", "root_z", "root_qx", "root_qy", "root_qz", "root_qw")
ANGLE_COLUMNS = tuple(f"{joint}_{angle}" for joint in JOINT_NAMES[1:] for angle in ("roll", "pitch", "yaw"))
COLUMNS = ("time", *ROOT_COLUMNS, *ANGLE_COLUMNS)

_MARK = "# motiongpt3 joint angles"
_ORDER = "ZYX"
# Row by row, the robot's x, y and z out of ours: forward, left, up.
_TO_ROBOT = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)

_logger = logging.getLogger(__name__)


def write_csv(motion: Motion, path: str | Path) -> None:
    """Write root pose and joint angles; see the top of this module."""
    tracks = joint_tracks(motion, stretch=False)
    root = motion.joints[:, 0].double()
    made = pose_to_joints(tracks.rotations, root, tracks.rest)
    error = float(torch.linalg.vector_norm(made - motion.joints, dim=-1).max())
    if error > LENGTH_TOLERANCE:
        _logger.info("%s: bones of constant length; joints are up to %.1f mm off", path, 1000 * error)
    rotations = _TO_ROBOT @ quaternion_to_matrix(tracks.rotations) @ _TO_ROBOT.T
    w, x, y, z = continuous_quaternions(matrix_to_quaternion(rotations[:, 0])).unbind(-1)
    yaw, pitch, roll = continuous_euler(rotations[:, 1:], _ORDER).unbind(-1)
    time = torch.arange(len(motion), dtype=torch.float64)[:, None] / motion.fps
    angles = torch.stack([roll, pitch, yaw], dim=-1).flatten(1)
    rows = torch.cat([time, root @ _TO_ROBOT.T, torch.stack([x, y, z, w], dim=-1), angles], dim=1)

    lines = [_MARK, f"# fps {motion.fps!r}"]
    for name, offset in zip(JOINT_NAMES[1:], (tracks.rest[1:] @ _TO_ROBOT.T).tolist(), strict=True):
        lines.append(f"# rest {name} " + " ".join(f"{value:.6f}" for value in offset))
    lines.append(",".join(COLUMNS))
    lines += [",".join(f"{value:.6f}" for value in row) for row in (rows + 0.0).tolist()]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def read_csv(path: str | Path, fps: float | None = None) -> Motion:
    """Read root pose and joint angles; columns may come in any order, and others are ignored.

    Args:
        path: the file.
        fps: frames per second; else what the file says, else what its times say, else 20.

    Raises:
        InputError: naming the line and column, if the file is missing, broken or lacks a column.
    """
    path = Path(path)
    notes, table = _read_table(path)
    missing = [name for name in (*ROOT_COLUMNS, *ANGLE_COLUMNS) if name not in table]
    if missing:
        found = ", ".join(list(table)[:20])
        raise InputError(f"{path}: no column {missing[0]!r} (and {len(missing) - 1} others); it has {found}")
    rest, rate = _read_notes(notes, path)
    values = {name: torch.from_numpy(column) for name, column in table.items()}
    root = torch.stack([values[name] for name in ROOT_COLUMNS[:3]], dim=-1) @ _TO_ROBOT
    x, y, z, w = (values[name] for name in ROOT_COLUMNS[3:])
    orientation = torch.stack([w, x, y, z], dim=-1)
    if (torch.linalg.vector_norm(orientation, dim=-1) < 0.5).any():
        raise InputError(f"{path}: root_qx to root_qw are not the parts of a unit quaternion")
    angles = torch.stack([values[name] for name in ANGLE_COLUMNS], dim=-1).unflatten(-1, (-1, 3))
    turns = euler_to_matrix(angles.flip(-1), _ORDER)
    rotations = torch.cat([quaternion_to_matrix(unit_vector(orientation))[:, None], turns], dim=1)
    quaternions = matrix_to_quaternion(_TO_ROBOT.T @ rotations @ _TO_ROBOT)
    if fps is None:
        fps = rate if rate is not None else _rate_of_times(table.get("time"))
    return Motion.from_pose(BodyPose(quaternions, rest), root, fps, path.stem, str(path))


def _read_table(path: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """The comment lines, and the columns by name."""
    text = _read_text(path)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    notes = [line for _, line in lines if line.lstrip().startswith("#")]
    rows = [(number, line) for number, line in lines if not line.lstrip().startswith("#")]
    if not rows:
        raise InputError(f"{path}: no line with the names of the columns")
    try:
        header, *cells = csv.reader(io.StringIO("\n".join(line for _, line in rows)))
    except csv.Error as error:
        raise InputError(f"{path}: not a table ({error})") from error
    names = [name.strip() for name in header]
    if len(names) > MAX_COLUMNS or len(set(names)) != len(names):
        raise InputError(f"{path}: a column is named twice, or there are more than {MAX_COLUMNS}")
    if len(cells) != len(rows) - 1:
        raise InputError(f"{path}: a quoted cell goes over the end of its line; numbers need no quotes")
    wanted = [index for index, name in enumerate(names) if name in COLUMNS]
    values = np.empty((len(cells), len(wanted)))
    for row, ((number, _), words) in enumerate(zip(rows[1:], cells, strict=True)):
        if len(words) != len(names):
            raise InputError(f"{path}, line {number}: {len(words)} cells for {len(names)} columns")
        for place, index in enumerate(wanted):
            value = _number(words[index])
            if value is None:
                raise InputError(
                    f"{path}, line {number}: {words[index][:40]!r} in {names[index]} is not a finite number"
                )
            values[row, place] = value
    return notes, {names[index]: values[:, place] for place, index in enumerate(wanted)}


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(
                f"{path}: {size / 2**20:.0f} MiB; CSV files are read up to {MAX_FILE_BYTES // 2**20}"
            )
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None


def _read_notes(notes: list[str], path: Path) -> tuple[Tensor, float | None]:
    """Offsets of the rest pose (22, 3), and the frame rate if it is said."""
    rest, rate = T_POSE_OFFSETS.clone(), None
    for line in notes:
        words = line.lstrip("# ").split()
        if len(words) == 2 and words[0] == "fps":
            rate = _number(words[1])
        elif len(words) == 5 and words[0] == "rest" and words[1] in JOINT_INDEX:
            numbers = [_number(word) for word in words[2:]]
            offset = [value for value in numbers if value is not None]
            if len(offset) != 3:
                raise InputError(f"{path}: {line[:80]!r} is not the offset of a joint")
            rest[JOINT_INDEX[words[1]]] = torch.tensor(offset, dtype=torch.float64) @ _TO_ROBOT
    return rest, rate


def _rate_of_times(times: np.ndarray | None) -> float:
    if times is None or len(times) < 2:
        return FRAMES_PER_SECOND
    step = float(np.median(np.diff(times)))
    return snapped_rate(step) if math.isfinite(step) and step > 0 else FRAMES_PER_SECOND
