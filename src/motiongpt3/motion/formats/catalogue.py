"""All formats in one table: how a file is recognised, who reads and writes it, and with which options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from motiongpt3.errors import InputError
from motiongpt3.motion.formats.amass import read_amass, write_amass
from motiongpt3.motion.formats.bvh_motion import read_bvh, write_bvh
from motiongpt3.motion.formats.conventions import Unit, UpAxis
from motiongpt3.motion.formats.csv_angles import read_csv, write_csv
from motiongpt3.motion.formats.fbx import read_fbx, write_fbx
from motiongpt3.motion.formats.gltf_reader import read_glb
from motiongpt3.motion.formats.gltf_writer import write_glb
from motiongpt3.motion.formats.joint_names import Naming
from motiongpt3.motion.formats.npy import read_npy, write_features, write_npy
from motiongpt3.motion.formats.npz import NpzArchive
from motiongpt3.motion.formats.skeleton_maps import JointMap
from motiongpt3.motion.formats.skin import SkinMaker, mannequin_skin
from motiongpt3.motion.formats.smpl_parameters import read_smpl, write_smpl
from motiongpt3.motion.motion import Motion

SkinName = Literal["mannequin", "body", "light", "none"]


@dataclass(frozen=True)
class ReadOptions:
    """What a file does not say itself; ``None`` is what the format's reader does by default.

    Attributes:
        fps: frames per second.
        joint_map: of an unknown skeleton: SMPL joint name to source joint, or a JSON file.
        scale: metres per unit.
        up: axis that points up.
        body: body model file, or a folder of them, of the SMPL family.
        animation: name or number of one of several animations.
    """

    fps: float | None = None
    joint_map: JointMap | str | Path | None = None
    scale: float | None = None
    up: UpAxis | None = None
    body: str | Path | None = None
    animation: str | None = None


@dataclass(frozen=True)
class WriteOptions:
    """How a file is to be; ``None`` is what the format's writer does by default.

    Attributes:
        unit: "m" or "cm".
        up: axis that points up.
        naming: what joints are called, see `joint_names.NAMINGS`.
        stretch: whether bones may change their length; False keeps lengths, True every change of them.
        skin: what the skeleton wears: "mannequin" of capsules, "body", "light" (the body with few triangles)
            or "none".
    """

    unit: Unit | None = None
    up: UpAxis | None = None
    naming: Naming | None = None
    stretch: bool | None = None
    skin: SkinName | None = None


@dataclass(frozen=True)
class Format:
    """A file format for motion.

    Attributes:
        name: short, as typed after ``--to``.
        title: as people say it.
        suffix: file name ending, with the dot.
        magic: how the contents begin, for files with another ending.
        read: reads a motion from a path; None if another format's reader does.
        write: writes a motion to a path; None if it cannot be written.
        read_options: the `ReadOptions` that apply.
        write_options: the `WriteOptions` that apply.
    """

    name: str
    title: str
    suffix: str
    magic: bytes
    read: Callable[[Path, ReadOptions], Motion] | None
    write: Callable[[Motion, Path, WriteOptions], None] | None
    read_options: frozenset[str] = frozenset()
    write_options: frozenset[str] = frozenset()


def _write_glb(motion: Motion, path: Path, options: WriteOptions) -> None:
    skin: SkinMaker | None
    name = options.skin or "mannequin"
    if name in _DETAILS:
        # Bodies read and write files themselves.
        from motiongpt3.body.dress import dressed

        motion, skin = dressed(motion, _DETAILS[name])
    elif name in _SKINS:
        skin = _SKINS[name]
    else:
        raise InputError(f"{path}: unknown skin {name!r}: use {', '.join((*_SKINS, *_DETAILS))}")
    write_glb(motion, path, options.naming or "smpl", options.stretch, skin)


def _write_fbx(motion: Motion, path: Path, options: WriteOptions) -> None:
    write_fbx(motion, path, options.naming or "smpl", options.stretch)


def _read_glb(path: Path, options: ReadOptions) -> Motion:
    return read_glb(path, options.fps, options.joint_map, options.scale, options.up, options.animation)


_SKINS: dict[str, SkinMaker | None] = {"mannequin": mannequin_skin, "none": None}
_DETAILS: dict[str, Literal["full", "light"]] = {"body": "full", "light": "light"}
_GLTF_READ_OPTIONS = frozenset({"fps", "joint_map", "scale", "up", "animation"})
_GLTF_WRITE_OPTIONS = frozenset({"naming", "stretch", "skin"})

_TABLE = (
    Format(
        "joints",
        "NumPy joints",
        ".npy",
        b"\x93NUMPY",
        lambda path, options: read_npy(path, options.fps, options.scale, options.up),
        lambda motion, path, options: write_npy(motion, path, options.unit or "m", options.up or "y"),
        frozenset({"fps", "scale", "up"}),
        frozenset({"unit", "up"}),
    ),
    Format(
        "features",
        "HumanML3D features",
        ".npy",
        b"\x93NUMPY",
        None,
        lambda motion, path, options: write_features(motion, path),
    ),
    Format(
        "bvh",
        "BVH",
        ".bvh",
        b"HIERARCHY",
        lambda path, options: read_bvh(path, options.fps, options.joint_map, options.scale, options.up),
        lambda motion, path, options: write_bvh(
            motion,
            path,
            options.unit or "m",
            options.stretch,
            options.naming or "smpl",
            options.up or "y",
        ),
        frozenset({"fps", "joint_map", "scale", "up"}),
        frozenset({"unit", "up", "naming", "stretch"}),
    ),
    Format(
        "amass",
        "AMASS",
        ".npz",
        b"PK",
        lambda path, options: read_amass(path, options.fps, options.up, options.body),
        lambda motion, path, options: write_amass(motion, path, options.up or "z"),
        frozenset({"fps", "up", "body"}),
        frozenset({"up"}),
    ),
    Format(
        "smpl",
        "SMPL parameters",
        ".npz",
        b"PK",
        lambda path, options: read_smpl(path, options.fps, options.up, options.body),
        lambda motion, path, options: write_smpl(motion, path, options.up or "y"),
        frozenset({"fps", "up", "body"}),
        frozenset({"up"}),
    ),
    Format(
        "csv",
        "CSV of joint angles",
        ".csv",
        b"# motiongpt3 joint angles",
        lambda path, options: read_csv(path, options.fps),
        lambda motion, path, options: write_csv(motion, path),
        frozenset({"fps"}),
    ),
    Format(
        "fbx",
        "FBX",
        ".fbx",
        b"Kaydara FBX Binary",
        lambda path, options: read_fbx(path, options.joint_map, options.scale, options.up),
        _write_fbx,
        frozenset({"joint_map", "scale", "up"}),
        frozenset({"naming", "stretch"}),
    ),
    Format(
        "glb",
        "binary glTF",
        ".glb",
        b"glTF",
        _read_glb,
        _write_glb,
        _GLTF_READ_OPTIONS,
        _GLTF_WRITE_OPTIONS,
    ),
    Format(
        "gltf",
        "glTF",
        ".gltf",
        b"{",
        _read_glb,
        _write_glb,
        _GLTF_READ_OPTIONS,
        _GLTF_WRITE_OPTIONS,
    ),
)
FORMATS: dict[str, Format] = {format_.name: format_ for format_ in _TABLE}
"""Formats by name. Of several with one suffix, the first is what the suffix alone stands for."""


def read_motion(
    path: str | Path,
    fps: float | None = None,
    joint_map: JointMap | str | Path | None = None,
    scale: float | None = None,
    up: UpAxis | None = None,
    body: str | Path | None = None,
    animation: str | None = None,
) -> Motion:
    """Read a motion file, recognised by its suffix, else by its contents.

    Args:
        path: a file in any of `FORMATS`.
        fps: frames per second; from the file if it says, else 20 where the format has no rate.
        joint_map: for a skeleton of unknown names: SMPL joint name to source joint, or a JSON file.
        scale: metres per unit, if it cannot be recognised.
        up: "y" or "z", if it cannot be recognised.
        body: for AMASS and SMPL parameters: the user's body model file, or a folder of them.
        animation: for glTF: name or number of one of several animations.

    Raises:
        InputError: naming the file and what is wrong with it, or an option that its format does not have.
    """
    path = Path(path)
    format_ = recognise(path)
    options = ReadOptions(fps, joint_map, scale, up, body, animation)
    _check_options(options, format_.read_options, f"{path}: {format_.title}")
    assert format_.read is not None
    return format_.read(path, options)


def write_motion(
    motion: Motion, path: str | Path, name: str | None = None, options: WriteOptions | None = None
) -> None:
    """Write a motion; nothing is ever half-written.

    Args:
        motion: what to write.
        path: the file.
        name: one of `FORMATS`; by default the one of the path's suffix.
        options: how the file is to be.

    Raises:
        InputError: for a suffix or name that is not known, or an option that the format does not have.
    """
    path = Path(path)
    format_ = format_of(path, name)
    assert format_.write is not None
    options = options or WriteOptions()
    _check_options(options, format_.write_options, f"{path}: {format_.title}")
    format_.write(motion, path, options)


def format_of(path: Path, name: str | None = None) -> Format:
    """The format to write a file in: by name, else by the path's suffix.

    Raises:
        InputError: if there is none, or it cannot be written.
    """
    if name is not None:
        if name not in FORMATS:
            raise InputError(f"unknown format {name!r}: use {_names()}")
        return FORMATS[name]
    for format_ in _TABLE:
        if format_.suffix == path.suffix.lower():
            return format_
    raise InputError(f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {_suffixes()}")


def recognise(path: Path) -> Format:
    """The format of a file that is there: by its suffix, else by how it begins.

    Raises:
        InputError: if it cannot be told.
    """
    suffix = path.suffix.lower()
    known = [format_ for format_ in _TABLE if format_.suffix == suffix and format_.read is not None]
    if not known:
        start = _first_bytes(path)
        known = [
            format_ for format_ in _TABLE if format_.read is not None and start.startswith(format_.magic)
        ]
    if not known:
        raise InputError(f"{path}: not a motion file that can be read; use {_suffixes()}")
    return _kind_of_archive(path) if len(known) > 1 else known[0]


def _kind_of_archive(path: Path) -> Format:
    archive = NpzArchive(path)
    if "poses" in archive and "trans" in archive:
        return FORMATS["amass"]
    if "global_orient" in archive and "body_pose" in archive:
        return FORMATS["smpl"]
    raise InputError(
        f"{path}: neither AMASS (poses, trans) nor SMPL parameters (global_orient, body_pose); "
        f"the archive has {archive.listing()}"
    )


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _check_options(options: ReadOptions | WriteOptions, allowed: frozenset[str], where: str) -> None:
    for field in fields(options):
        if getattr(options, field.name) is not None and field.name not in allowed:
            known = f"it has {', '.join(sorted(allowed))}" if allowed else "it has none"
            raise InputError(f"{where} has no option {field.name!r}; {known}")


def _suffixes() -> str:
    return " or ".join(dict.fromkeys(format_.suffix for format_ in _TABLE))


def _names() -> str:
    return ", ".join(FORMATS)
