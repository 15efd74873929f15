"""``motiongpt3 convert``: motion files of one format into another, one by one or a whole folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from motiongpt3.cli.main import SUCCESS, USER_ERROR
from motiongpt3.cli.terminal import counting_bar, say
from motiongpt3.errors import InputError, MotionGPT3Error
from motiongpt3.motion.clean_up import CleanUp
from motiongpt3.motion.formats import FORMATS, ReadOptions, WriteOptions, format_of, read_motion, write_motion
from motiongpt3.motion.standard import standardise


@dataclass(frozen=True)
class _Conversion:
    """What is done to every file."""

    to: str | None
    fps: float | None
    standard: bool
    clean: CleanUp | None
    read: ReadOptions
    write: WriteOptions

    def __call__(self, source: Path, target: Path) -> None:
        motion = read_motion(source, **vars(self.read))
        if self.standard:
            motion = standardise(motion)
        if self.clean is not None:
            motion = self.clean(motion)
        if self.fps is not None:
            motion = motion.resample(self.fps)
        write_motion(motion, target, self.to, self.write)


def convert(
    source: Path,
    out: Path,
    to: str | None = None,
    fps: float | None = None,
    standard: bool = False,
    clean: str | None = None,
    unit: Literal["m", "cm"] | None = None,
    up: Literal["y", "z"] | None = None,
    naming: Literal["smpl", "mixamo", "unreal", "vrm"] | None = None,
    stretch: bool | None = None,
    skin: Literal["mannequin", "body", "light", "none"] | None = None,
    input_fps: float | None = None,
    input_scale: float | None = None,
    input_up: Literal["y", "z"] | None = None,
    joint_map: Path | None = None,
    body: Path | None = None,
    animation: str | None = None,
    overwrite: bool = False,
) -> int:
    """Convert motion files; docs/formats.md says what each format keeps.

    Args:
        source: a motion file, or a folder, whose motion files are all converted.
        out: the file to write, or for a folder the folder to write to.
        to: joints, features, bvh, amass, smpl, glb, gltf, fbx or csv; by default what the ending of OUT says.
        fps: frames per second to resample to.
        standard: bring the motion to 20 frames a second, the models' body, the floor and the heading +z.
        clean: repairs, separated by commas: smooth, feet (that stand do not slide), floor; all for these; or
            loop, a part that can be played in a circle.
        unit: unit of the file to write, for formats that have none of their own: m or cm.
        up: axis that points up in the file to write: y or z.
        naming: what joints are called: smpl, mixamo, unreal or vrm.
        stretch: whether bones may change their length: false never, true wherever they do; by default where
            joints would be more than a millimetre off.
        skin: what the skeleton in a glTF file wears: mannequin (of capsules), body, light (the body with few
            triangles) or none.
        input_fps: frames per second of the source, if it does not say, or wrongly.
        input_scale: metres per unit of the source, if it is not recognised.
        input_up: axis that points up in the source, if it is not recognised: y or z.
        joint_map: JSON file with the source joint of each SMPL joint, for unknown skeletons.
        body: your SMPL, SMPL-H or SMPL-X model file, or the folder of them, for exact joints of AMASS files.
        animation: name or number (from 0) of the animation in a glTF file with several.
        overwrite: replace files that are there already.

    Returns:
        0; 2 if some file of a folder could not be converted, which is said for each.

    Raises:
        InputError: anything that cannot be done.
    """
    read = ReadOptions(input_fps, joint_map, input_scale, input_up, body, animation)
    write = WriteOptions(unit, up, naming, stretch, skin)
    repairs = None if clean is None else CleanUp.parse(clean)
    conversion = _Conversion(to, fps, standard, repairs, read, write)
    if not source.is_dir():
        _check_target(source, out, to, overwrite)
        conversion(source, out)
        say(out)
        return SUCCESS
    pairs = _pairs(source, out, to, overwrite)
    failures = 0
    with counting_bar() as bar:
        task = bar.add_task("files", total=len(pairs))
        for error in _convert_all(pairs, conversion, lambda: bar.advance(task)):
            failures += 1
            say(f"error: {error}", bar.console)
    written = len(pairs) - failures
    say(f"{out}: {written} of {len(pairs)} files")
    return USER_ERROR if failures else SUCCESS


def _convert_all(
    pairs: list[tuple[Path, Path]], conversion: _Conversion, done: Callable[[], None]
) -> Iterator[MotionGPT3Error]:
    for source, target in pairs:
        try:
            conversion(source, target)
        except MotionGPT3Error as error:
            yield error
        done()


def _check_target(source: Path, target: Path, to: str | None, overwrite: bool) -> None:
    format_of(target, to)
    if target.is_dir():
        raise InputError(f"{target} is a folder; name the file to write")
    if target.exists() and target.resolve() == source.resolve():
        raise InputError(f"{target} is the source itself; give another name")
    if target.exists() and not overwrite:
        raise InputError(f"{target} is there already; --overwrite replaces it")


def _pairs(folder: Path, out: Path, to: str | None, overwrite: bool) -> list[tuple[Path, Path]]:
    """Each motion file of a folder with the file to write."""
    if to is None:
        raise InputError(f"{folder} is a folder: say with --to what to convert to ({', '.join(FORMATS)})")
    suffix = format_of(out, to).suffix
    known = {format_.suffix for format_ in FORMATS.values() if format_.read is not None}
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; for a folder of motions it must be a folder")
    targets: dict[Path, Path] = {}
    for source in sorted(folder.rglob("*")):
        if source.suffix.lower() not in known or not source.is_file():
            continue
        if out.resolve() != folder.resolve() and out.resolve() in source.resolve().parents:
            continue
        target = out / source.relative_to(folder).with_suffix(suffix)
        if target in targets:
            raise InputError(f"{targets[target]} and {source} would both become {target}; rename one")
        _check_target(source, target, to, overwrite)
        targets[target] = source
    if not targets:
        raise InputError(f"{folder} has no motion file ({', '.join(sorted(known))})")
    return [(source, target) for target, source in targets.items()]
