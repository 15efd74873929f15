"""FBX, through Blender (see `motiongpt3.blender`), because the format has no open specification.

Writing goes by way of glTF, so that skeleton, skin and animation are those of `gltf_writer`; the file is in
centimetres with y up, as Blender writes it. Reading takes the path of every bone's head as Blender shows it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from motiongpt3.blender import run_in_blender
from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file
from motiongpt3.motion.formats.conventions import (
    UpAxis,
    check_scale,
    check_up_axis,
    points_to_y_up,
    recognised_scale,
)
from motiongpt3.motion.formats.gltf_writer import write_glb
from motiongpt3.motion.formats.joint_names import Naming
from motiongpt3.motion.formats.npz import NpzArchive
from motiongpt3.motion.formats.skeleton_maps import OWN_NAMING, JointMap, map_joints
from motiongpt3.motion.formats.skin import SkinMaker, mannequin_skin
from motiongpt3.motion.motion import Motion

SCRIPT = Path(__file__).with_name("blender_fbx.py")
MAX_FILE_BYTES = 512 * 2**20


def write_fbx(
    motion: Motion,
    path: str | Path,
    naming: Naming = "smpl",
    stretch: bool | None = None,
    skin: SkinMaker = mannequin_skin,
) -> None:
    """Write a motion as binary FBX; arguments as for `write_glb`.

    Raises:
        MissingDependencyError: if Blender is not here.
        InputError: if Blender fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder) / f"{motion.name or 'motion'}.glb".replace("/", "-")
        write_glb(motion, between, naming, stretch, skin)
        with atomic_file(path) as temporary:
            run_in_blender(SCRIPT, ["write", between, temporary, repr(motion.fps)], f"{path}: writing FBX")
            if not temporary.stat().st_size:
                raise InputError(f"{path}: Blender wrote nothing")


def read_fbx(
    path: str | Path,
    joint_map: JointMap | str | Path | None = None,
    scale: float | None = None,
    up: UpAxis | None = None,
) -> Motion:
    """Read the animated skeleton of an FBX file, joints found by name as in BVH.

    Args:
        path: the file.
        joint_map: SMPL joint name to source joint, or a JSON file with such an object; see `map_joints`.
        scale: factor to metres, if the unit that the file declares is wrong; else recognised.
        up: axis that points up in what Blender shows, turned to y; z, which Blender makes of every file, if
            not given.

    Raises:
        MissingDependencyError: if Blender is not here.
        InputError: if the file is missing or broken, or has no animated skeleton of known names.
    """
    path = Path(path)
    check_up_axis(up, str(path))
    if scale is not None:
        check_scale(scale, str(path))
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{path}: FBX files are read up to {MAX_FILE_BYTES // 2**20} MiB")
    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder) / "bones.npz"
        run_in_blender(SCRIPT, ["read", path.resolve(), between], f"{path}: reading FBX")
        archive = NpzArchive(between)
        names, positions = archive.words("names"), torch.from_numpy(archive.numbers("positions"))
        fps = archive.number("fps")
    mapping = map_joints(names, joint_map, str(path))
    joints = mapping.weights @ positions
    joints = joints * (
        recognised_scale(joints, str(path), mapping.name == OWN_NAMING) if scale is None else scale
    )
    return Motion.from_joints(points_to_y_up(joints) if up != "y" else joints, fps, path.stem, str(path))
