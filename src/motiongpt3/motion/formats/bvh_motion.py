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
import math
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
from motiongpt3.motion.formats.skeleton_maps import OWN_NAMING, JointMap, map_joints
from motiongpt3.motion.formats.space import Unit, UpAxis, check_scale, check_up_axis, points_to_y_up
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import BRANCHES, CHILDREN, bone_lengths, directions, rotations_of_bones, sided
from motiongpt3.motion.rotations import matrix_to_euler, unit_vector
from motiongpt3.motion.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS

MAX_FILE_BYTES = 256 * 2**20
LEG_LENGTH_RANGE = (0.6, 1.1)
"""Hip to knee to ankle of a person, metres: what units are recognised by."""

_logger = logging.getLogger(__name__)

_ORDER = "ZXY"
_POSITION_CHANNELS = ("Xposition", "Yposition", "Zposition")
_ROTATION_CHANNELS = tuple(f"{axis}rotation" for axis in _ORDER)
# Metres that a joint may be off before bones are written with their changes of length.
_LENGTH_TOLERANCE = 9e-4
_RIGID_TOLERANCE = 1e-4

_UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "CMU unit": 0.0254 / 0.45}
"""Metres per unit. The CMU recordings measure in inches / 0.45."""

_REST_DIRECTIONS: dict[str, tuple[float, float, float]] = {
    "hip": (1.0, 0.0, 0.0),
    "spine1": (0.0, 1.0, 0.0),
    "knee": (0.0, -1.0, 0.0),
    "spine2": (0.0, 1.0, 0.0),
    "ankle": (0.0, -1.0, 0.0),
    "spine3": (0.0, 1.0, 0.0),
    "foot": (0.0, -0.45, 0.9),
    "neck": (0.0, 1.0, 0.0),
    "collar": (0.6, 0.8, 0.0),
    "head": (0.0, 0.9, 0.45),
    "shoulder": (0.94, 0.34, 0.0),
    "elbow": (1.0, 0.0, 0.0),
    "wrist": (1.0, 0.0, 0.0),
}
"""Direction from the parent in the T-pose, left side: what a standing person looks like. The children of
pelvis and spine3 take the clip's own directions instead, as long as it has any."""

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


def write_bvh(motion: Motion, path: str | Path, unit: Unit = "m", stretch: bool | None = None) -> None:
    """Write a motion as BVH; what is exact and what is lossy stands at the top of this module.

    Args:
        motion: what to write; joints are named as in `JOINT_NAMES`.
        path: the file.
        unit: "m" plays at the right size in Blender as it is; "cm" is what Maya and MotionBuilder expect.
        stretch: whether bones that change length get position channels, which is exact; None: only if some
            joint would otherwise be more than 1 mm off.
    """
    bvh = motion_to_bvh(motion, unit, bool(stretch))
    if not stretch:
        written = bvh_to_motion(bvh, scale=_UNITS[unit], up="y").joints
        error = float(torch.linalg.vector_norm(written - motion.joints, dim=-1).max())
        if error > _LENGTH_TOLERANCE and stretch is None:
            bvh = motion_to_bvh(motion, unit, stretch=True)
        elif error > _LENGTH_TOLERANCE:
            _logger.info("%s: bone lengths vary; joints are up to %.1f mm off", path, 1000 * error)
    with atomic_file(path) as temporary:
        temporary.write_text(serialise_bvh(bvh), encoding="utf-8", newline="\n")


def motion_to_bvh(motion: Motion, unit: Unit = "m", stretch: bool = False) -> BVH:
    """Make the contents of a BVH file from a motion; arguments as for `write_bvh`."""
    if unit not in ("m", "cm"):
        raise InputError(f"unknown BVH unit {unit!r}: use m or cm")
    joints = motion.joints.double()
    bones = joints[:, 1:] - joints[:, PARENTS[1:]]
    bones = torch.cat([torch.zeros_like(bones[:, :1]), bones], dim=1)
    lengths = bone_lengths(joints)
    rest = _rest_offsets(bones, lengths)
    rotations = rotations_of_bones(bones, rest)

    above = rotations[:, PARENTS[1:]].transpose(-1, -2)
    local_rotations = torch.cat([rotations[:, :1], above @ rotations[:, 1:]], dim=1)
    angles = _continuous_euler(local_rotations).rad2deg()
    places = (above @ bones[:, 1:, :, None])[..., 0]
    if not stretch:
        places = unit_vector(places) * lengths[1:, None]
    places = torch.cat([joints[:, :1], places], dim=1)
    moves = (places - rest).abs().amax(dim=(0, 2)) > _RIGID_TOLERANCE
    moves[0] = True

    per_metre = 1 / _UNITS[unit]
    nodes: list[BVHJoint] = []
    columns: list[Tensor] = []
    for joint, parent in _depth_first():
        offset = (rest[joint] * per_metre).tolist()
        channels: tuple[str, ...] = _ROTATION_CHANNELS
        if moves[joint]:
            channels = _POSITION_CHANNELS + channels
            columns.append(places[:, joint] * per_metre)
        columns.append(angles[:, joint])
        nodes.append(BVHJoint(JOINT_NAMES[joint], parent, (offset[0], offset[1], offset[2]), channels))
        if not CHILDREN[joint]:
            x, y, z = (coordinate * per_metre for coordinate in sided(_END_SITES, JOINT_NAMES[joint]))
            nodes.append(BVHJoint(f"{JOINT_NAMES[joint]}/End", len(nodes) - 1, (x, y, z), is_end_site=True))
    return BVH(tuple(nodes), torch.cat(columns, dim=1), 1 / motion.fps)


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
        scale = _metres_per_unit(joints, where, own)
    joints = joints * scale
    if up == "z" or (up is None and _is_z_up(joints, mapping.weights @ rest_positions(bvh))):
        joints = points_to_y_up(joints)
    return Motion.from_joints(joints, _snapped_rate(bvh.frame_time) if fps is None else fps, name, source)


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


def _rest_offsets(bones: Tensor, lengths: Tensor) -> Tensor:
    """Offsets of the T-pose: (22, 3) from bones (T, 22, 3)."""
    rest = directions(_REST_DIRECTIONS).to(bones)
    for _, left, right, top in BRANCHES:
        # The clip's own geometry, averaged in a frame of the body: x to its left, y up.
        across = unit_vector(bones[:, left] - bones[:, right])
        upward = bones[:, top] - (bones[:, left] + bones[:, right]) / 2
        upward = unit_vector(upward - (upward * across).sum(-1, keepdim=True) * across)
        body = torch.stack([across, upward, torch.linalg.cross(across, upward)], dim=-2)
        for child in (left, right, top):
            mean = (body @ unit_vector(bones[:, child])[..., None])[..., 0].mean(0)
            if torch.linalg.vector_norm(mean) > 0.1:
                rest[child] = mean
    return unit_vector(rest) * lengths[:, None]


def _continuous_euler(rotations: Tensor) -> Tensor:
    """Euler angles (T, J, 3), radians: of all that give a rotation, those nearest to the frame before."""
    angles = matrix_to_euler(rotations, _ORDER)
    first, second, third = angles.unbind(-1)
    other = torch.stack([first + math.pi, math.pi - second, third + math.pi], dim=-1)
    before = angles[0]
    continuous = [before]
    for candidates in torch.stack([angles, other], dim=1)[1:]:
        turns = ((before - candidates) / (2 * math.pi)).round()
        candidates = candidates + 2 * math.pi * turns
        distance = (candidates - before).square().sum(-1)
        before = torch.where((distance[1] < distance[0])[:, None], candidates[1], candidates[0])
        continuous.append(before)
    return torch.stack(continuous)


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


def _metres_per_unit(joints: Tensor, where: str, own: bool) -> float:
    shortest, longest = LEG_LENGTH_RANGE
    lower = [JOINT_INDEX[f"{side}_{part}"] for part in ("knee", "ankle") for side in ("left", "right")]
    bones = joints[:, lower] - joints[:, [PARENTS[joint] for joint in lower]]
    leg = float(torch.linalg.vector_norm(bones, dim=-1).sum(-1).median()) / 2
    for name, metres in _UNITS.items():
        if shortest <= leg * metres <= longest and not (own and name not in ("m", "cm")):
            return metres
    if own:
        # Our own files are in metres unless someone asked otherwise, whatever the size of the body.
        return _UNITS["m"]
    raise InputError(
        f"{where}: legs of {leg:.3g} units fit no known unit ({', '.join(_UNITS)}); "
        "give the scale in metres per unit"
    )


def _is_z_up(joints: Tensor, rest: Tensor) -> bool:
    """Whether people stand along z: joints (T, 22, 3), rest pose (22, 3).

    A rest pose along y overrules the motion, which may be of someone crawling towards z.
    """
    pelvis, head = JOINT_INDEX["pelvis"], JOINT_INDEX["head"]
    moving = unit_vector(joints[:, head] - joints[:, pelvis])[:, 2]
    resting = unit_vector(rest[head] - rest[pelvis])[1]
    return bool(moving[0] > 0.7 and moving.median() > 0.7 and resting.abs() < 0.7)


def _snapped_rate(frame_time: float) -> float:
    """Frames per second; frame times have few digits, so 1 / 0.0333 is meant to be 30. NTSC's 29.97 stays."""
    rate = 1 / frame_time
    nearest = float(round(rate)) if rate < 1e6 else 0.0
    return nearest if nearest and -0.5e-3 < rate / nearest - 1 < 1.1e-3 else rate
