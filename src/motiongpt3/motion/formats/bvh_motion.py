"""`Motion` to BVH and back: a rest pose and joint rotations from positions, units and up axis from a file.

Writing. Joint positions say where bones point, not how they are twisted about themselves. The file has a
T-pose with the clip's own bone lengths (median over frames), so that animation tools can retarget it; pelvis
and upper spine get the rotation that fits their three children best, every other joint the smallest rotation
from its parent's frame, so twist is none rather than guessed, and head, wrists and feet follow their parents.

What survives: joint positions. The children of pelvis and upper spine get position channels if they are not
rigid to each other (generated motion seldom is). If bones keep their lengths so well that no joint moves by a
millimetre, they are written at their median length, as a rig expects; otherwise all joints get position
channels, which keep them where they were, and a rig that ignores these still plays the rotations. ``stretch``
decides otherwise: False keeps lengths constant whatever it costs.

Units are metres unless asked otherwise, because Blender's importer takes one unit for one metre; Y is up and
the figure faces +z when its heading is 0, which Blender shows upright, facing the front view.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file
from motiongpt3.motion.formats.bvh import (
    BVH,
    BVHJoint,
    joint_positions,
    parse_bvh,
    rest_positions,
    serialise_bvh,
)
from motiongpt3.motion.formats.conventions import (
    Unit,
    UpAxis,
    check_scale,
    check_up_axis,
    metres_per_unit,
    points_to_y_up,
    points_to_z_up,
    recognised_scale,
    snapped_rate,
)
from motiongpt3.motion.formats.joint_names import Naming, names_of
from motiongpt3.motion.formats.skeleton_maps import OWN_NAMING, JointMap, map_joints
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import CHILDREN, sided
from motiongpt3.motion.rig import LENGTH_TOLERANCE, JointTracks, continuous_euler, joint_tracks
from motiongpt3.motion.rotations import quaternion_to_matrix, unit_vector
from motiongpt3.motion.skeleton import JOINT_INDEX, JOINT_NAMES

MAX_FILE_BYTES = 256 * 2**20

_logger = logging.getLogger(__name__)

_ORDER = "ZXY"
_POSITION_CHANNELS = ("Xposition", "Yposition", "Zposition")
_ROTATION_CHANNELS = tuple(f"{axis}rotation" for axis in _ORDER)
_END_SITES: dict[str, tuple[float, float, float]] = {
    "foot": (0.0, 0.0, 0.06),
    "head": (0.0, 0.18, 0.0),
    "wrist": (0.09, 0.0, 0.0),
}
"""Toe tip, crown and knuckles, metres, left side: bones for tools to draw."""


def read_bvh(
    path: str | Path,
    fps: float | None = None,
    joint_map: JointMap | str | Path | None = None,
    scale: float | None = None,
    up: UpAxis | None = None,
) -> Motion:
    """Read a BVH file of any known skeleton.

    Exact for files that `write_bvh` made. For others, joints that the source does not have are interpolated
    (see `skeleton_maps`); the place in the world and the frame rate are kept.

    Args:
        path: the file.
        fps: frames per second; from the file's frame time if not given.
        joint_map: SMPL joint name to source joint, or a JSON file with such an object; see `map_joints`.
        scale: metres per file unit; by default the one of metres, centimetres, millimetres, inches and CMU's
            unit that makes the legs 0.6 to 1.1 m long.
        up: axis that points up. By default y, or z if the line from pelvis to head points along z in the
            first frame and in most frames, and not along y in the rest pose.

    Raises:
        InputError: if the file is missing, broken or of an unknown skeleton, or its unit is not recognised;
            the message names the line, or the joints.
    """
    path = Path(path)
    bvh = parse_bvh(_read_text(path), str(path))
    return bvh_to_motion(bvh, fps, joint_map, scale, up, path.stem, str(path))


def write_bvh(
    motion: Motion,
    path: str | Path,
    unit: Unit = "m",
    stretch: bool | None = None,
    naming: Naming = "smpl",
    up: UpAxis = "y",
) -> None:
    """Write a motion as BVH; what is exact and what is lossy stands at the top of this module.

    Args:
        motion: what to write.
        path: the file.
        unit: "m" plays at the right size in Blender as it is; "cm" is what Maya and MotionBuilder expect.
        stretch: whether bones that change length get position channels, which is exact; None: only if some
            joint would otherwise be more than 1 mm off.
        naming: what the joints are called, see `NAMINGS`.
        up: axis that points up; the rest pose stands along it too.
    """
    tracks = joint_tracks(motion, stretch)
    if tracks.error > LENGTH_TOLERANCE:
        _logger.info("%s: bone lengths vary; joints are up to %.1f mm off", path, 1000 * tracks.error)
    text = serialise_bvh(tracks_to_bvh(tracks, motion.fps, unit, naming, up))
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def tracks_to_bvh(
    tracks: JointTracks, fps: float, unit: Unit = "m", naming: Naming = "smpl", up: UpAxis = "y"
) -> BVH:
    """Make the contents of a BVH file from tracks; arguments as for `write_bvh`."""
    per_metre = 1 / metres_per_unit(unit, "BVH")
    check_up_axis(up, "BVH")
    names = names_of(naming)
    turned = points_to_z_up if up == "z" else lambda points: points
    rotations = quaternion_to_matrix(tracks.rotations)
    if up == "z":
        basis = points_to_z_up(torch.eye(3, dtype=rotations.dtype)).T
        rotations = basis @ rotations @ basis.T
    angles = continuous_euler(rotations, _ORDER).rad2deg()
    rest, places = turned(tracks.rest) * per_metre, turned(tracks.places) * per_metre

    nodes: list[BVHJoint] = []
    columns: list[Tensor] = []
    for joint, parent in _depth_first():
        x, y, z = rest[joint].tolist()
        channels: tuple[str, ...] = _ROTATION_CHANNELS
        if tracks.moves[joint]:
            channels = _POSITION_CHANNELS + channels
            columns.append(places[:, joint])
        columns.append(angles[:, joint])
        name = names[JOINT_NAMES[joint]]
        nodes.append(BVHJoint(name, parent, (x, y, z), channels))
        if not CHILDREN[joint]:
            tip = torch.tensor(sided(_END_SITES, JOINT_NAMES[joint]), dtype=torch.float64)
            x, y, z = (turned(tip) * per_metre).tolist()
            nodes.append(BVHJoint(f"{name}/End", len(nodes) - 1, (x, y, z), is_end_site=True))
    return BVH(tuple(nodes), torch.cat(columns, dim=1), 1 / fps)


def bvh_to_motion(
    bvh: BVH,
    fps: float | None = None,
    joint_map: JointMap | str | Path | None = None,
    scale: float | None = None,
    up: UpAxis | None = None,
    name: str = "motion",
    source: str | None = None,
) -> Motion:
    """Make a motion from the contents of a BVH file; arguments and errors as for `read_bvh`."""
    where = source or name
    check_up_axis(up, where)
    if scale is not None:
        check_scale(scale, where)
    mapping = map_joints([joint.name for joint in bvh.joints], joint_map, where)
    own = mapping.name == OWN_NAMING
    joints = mapping.weights @ joint_positions(bvh)
    if not torch.isfinite(joints).all():
        raise InputError(f"{where}: joint positions overflow; the channel values are absurdly large")
    if scale is None:
        scale = recognised_scale(joints, where, own)
    joints = joints * scale
    if up == "z" or (up is None and _is_z_up(joints, mapping.weights @ rest_positions(bvh))):
        joints = points_to_y_up(joints)
    return Motion.from_joints(joints, snapped_rate(bvh.frame_time) if fps is None else fps, name, source)


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 2**20
            raise InputError(f"{path}: {size / 2**20:.0f} MiB; BVH files are read up to {limit} MiB")
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _depth_first() -> list[tuple[int, int]]:
    """Joints in file order, each with the position of its parent in the file, end sites counted."""
    order: list[tuple[int, int]] = []
    position = 0
    waiting = [(0, -1)]
    while waiting:
        joint, parent = waiting.pop()
        order.append((joint, parent))
        waiting += [(child, position) for child in reversed(CHILDREN[joint])]
        position += 1 if CHILDREN[joint] else 2
    return order


def _is_z_up(joints: Tensor, rest: Tensor) -> bool:
    """Whether people stand along z: joints (T, 22, 3), rest pose (22, 3).

    A rest pose along y overrules the motion, which may be of someone crawling towards z.
    """
    pelvis, head = JOINT_INDEX["pelvis"], JOINT_INDEX["head"]
    moving = unit_vector(joints[:, head] - joints[:, pelvis])[:, 2]
    resting = unit_vector(rest[head] - rest[pelvis])[1]
    return bool(moving[0] > 0.7 and moving.median() > 0.7 and resting.abs() < 0.7)
