"""HumanML3D out of AMASS, HumanAct12 and the HumanML3D repository, by the recipe it was made with.

Guo et al. 2022, "Generating Diverse and Natural 3D Human Motions from Text", section 3, in the numbers of the
published notebooks: every int(rate / 20)-th frame is taken and called 20 frames a second; joints are those of
SMPL-H (male, or else female) with ten shape parameters; some recordings lose a T-pose at their beginning;
``index.csv`` says which frames become which clip; every clip is also mirrored, with captions of its own.

What is needed: the repository (``index.csv``, ``HumanML3D/texts`` or ``texts.zip``, the lists of the splits,
and ``pose_data/humanact12``, unpacked), the folders of AMASS named as in ``index.csv``, and SMPL-H.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Protocol

import torch
from torch import Tensor

from motiongpt3.data.captions import Caption, parse_captions
from motiongpt3.data.humanml3d import check_writable
from motiongpt3.data.layout import SPLITS, ClipMetadata
from motiongpt3.data.sources.clips import (
    PreparedClips,
    SkippedClip,
    SourceClip,
    mirror_metadata,
    read_joints,
    skip,
    write_clips,
)
from motiongpt3.errors import InputError
from motiongpt3.motion.features import FRAMES_PER_SECOND, joints_to_features
from motiongpt3.motion.formats.npz import NpzArchive
from motiongpt3.motion.formats.smpl_parameters import quaternions_of_axis_angles
from motiongpt3.motion.formats.smpl_skeleton import read_smpl_skeleton
from motiongpt3.motion.pose import pose_to_joints
from motiongpt3.motion.skeleton import JOINT_COUNT, mirror_joints

HUMANACT12 = "humanact12"
_SHAPE_COUNT = 10
_MAX_TEXT_BYTES = 1_000_000
# Seconds that recordings of a collection begin with before they begin.
_LEAD_IN = {
    "Eyes_Japan_Dataset": 3.0,
    "MPI_HDM05": 3.0,
    "TotalCapture": 1.0,
    "MPI_Limits": 1.0,
    "Transitions_mocap": 0.5,
}
_ATTRIBUTION = """# Where this motion comes from

HumanML3D (Guo et al. 2022, "Generating Diverse and Natural 3D Human Motions from Text"), made here from AMASS
(Mahmood et al. 2019) and HumanAct12 (Guo et al. 2020), whose licences apply. Not to be passed on.
"""


@dataclass(frozen=True)
class _Row:
    """A line of ``index.csv``."""

    source: PurePosixPath
    start: int
    end: int
    name: str

    @property
    def from_humanact12(self) -> bool:
        return HUMANACT12 in self.source.parts


def prepare_humanml3d(
    repository: str | Path,
    amass: str | Path,
    bodies: str | Path,
    out: str | Path,
    mirror: bool = True,
    allow_missing: bool = False,
    continuous_heading: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PreparedClips:
    """Make HumanML3D.

    Clips of fewer than three frames, and those whose features are not finite, are left out, as in the field.
    ``Mean.npy`` and ``Std.npy`` are computed from the training split; HumanML3D's own are of all clips.

    Args:
        repository: a copy of the HumanML3D repository.
        amass: the folder that has ``CMU``, ``KIT`` and the others of AMASS (SMPL+H G).
        bodies: SMPL-H, a folder with ``male/model.npz`` and ``female/model.npz``.
        out: the dataset to write; appears when complete.
        mirror: also write the mirror images.
        allow_missing: leave out clips whose recording is not there, rather than refusing.
        continuous_heading: see `joints_to_features`; False as in HumanML3D's own features.
        overwrite: replace a dataset that is at ``out``.
        progress: called with (clips done, clips in all).

    Raises:
        InputError: if something that is needed is missing or broken; the message names it.
    """
    check_writable(out, overwrite)
    repository, amass = Path(repository), Path(amass)
    rows = _read_index(repository / "index.csv")
    places = {row.name: _place(row, repository, amass) for row in rows}
    missing = [row.name for row in rows if places[row.name] is None]
    if missing and (not allow_missing or len(missing) == len(rows)):
        first = next(row for row in rows if row.name == missing[0])
        folder = repository / "pose_data" / HUMANACT12 if first.from_humanact12 else amass
        raise InputError(
            f"{len(missing)} of {len(rows)} recordings are missing, the first of them {first.source} "
            f"(looked for in {folder}); --allow-missing makes a dataset of the others"
        )
    texts = _open_texts(repository / "HumanML3D")
    splits = _read_splits(repository / "HumanML3D")

    def clips() -> Iterator[SourceClip | SkippedClip]:
        for source, group in groupby(
            sorted(rows, key=lambda row: (row.source, row.name)), lambda row: row.source
        ):
            joints: Tensor | None = None
            for row in group:
                place = places[row.name]
                if place is None:
                    yield from skip(row.name, f"{source} is missing", mirror)
                    continue
                if joints is None:
                    joints = _joints(row, place, bodies)
                yield from _clips(row, joints, texts, splits, mirror, continuous_heading)

    total = len(rows) * (2 if mirror else 1)
    return write_clips(clips(), out, _ATTRIBUTION, overwrite, total, progress)


def _clips(
    row: _Row,
    joints: Tensor,
    texts: _Texts,
    splits: dict[str, str],
    mirror: bool,
    continuous_heading: bool,
) -> Iterator[SourceClip | SkippedClip]:
    cut = joints if row.from_humanact12 else joints[row.start : row.end]
    if len(cut) < 3:
        yield from skip(row.name, f"{len(cut)} frames", mirror)
        return
    both = torch.stack([cut, mirror_joints(cut)]) if mirror else cut[None]
    features = joints_to_features(both.double(), continuous_heading=continuous_heading).float()
    metadata = ClipMetadata(id=row.name, source=str(row.source))
    captions = texts.captions(row.name)
    for values, name in zip(features, (row.name, f"M{row.name}")):
        mirrored = name != row.name
        own = texts.captions(name) if mirrored else captions
        if own is None and captions is not None:
            own = [caption.mirrored() for caption in captions]
        if not torch.isfinite(values).all():
            yield SkippedClip(name, "features that are not finite")
        elif not own:
            yield SkippedClip(name, "no captions")
        else:
            about = mirror_metadata(metadata) if mirrored else metadata
            yield SourceClip(name, values.numpy(), own, splits.get(name), about)


def _joints(row: _Row, place: Path, bodies: str | Path) -> Tensor:
    """(T, 22, 3) of a whole recording at 20 frames a second, y up, without its lead-in."""
    if row.from_humanact12:
        return read_joints(place)
    joints = _smplh_joints(NpzArchive(place), bodies)
    lead_in = next((seconds for name, seconds in _LEAD_IN.items() if name in row.source.parts), 0.0)
    return joints[int(lead_in * FRAMES_PER_SECOND) :]


def _smplh_joints(archive: NpzArchive, bodies: str | Path) -> Tensor:
    rate = archive.number("mocap_framerate" if "mocap_framerate" in archive else "mocap_frame_rate")
    stride = int(rate / FRAMES_PER_SECOND) if 0 < rate < 1e5 else 0
    if not stride:
        raise InputError(f"{archive.path}: {rate:g} frames a second; 20 or more are needed")
    poses, trans = archive.numbers("poses"), archive.numbers("trans")
    if poses.ndim != 2 or poses.shape[1] < 3 * JOINT_COUNT or trans.shape != (len(poses), 3):
        raise InputError(
            f"{archive.path}: poses {poses.shape} and trans {trans.shape} are not those of SMPL-H"
        )
    rotations = quaternions_of_axis_angles(poses[::stride, : 3 * JOINT_COUNT], "poses", archive)
    male = "gender" in archive and archive.word("gender") == "male"
    skeleton = read_smpl_skeleton(bodies, "male" if male else "female")
    rest = skeleton.rest(torch.from_numpy(archive.numbers("betas").reshape(-1)[:_SHAPE_COUNT]))
    joints = pose_to_joints(rotations, torch.from_numpy(trans[::stride]) + rest[0], rest)
    # z up to y up as HumanML3D does it, half a turn from what the formats do; the features do not tell.
    x, y, z = joints.unbind(-1)
    return torch.stack([-x, z, y], dim=-1)


def _read_index(path: Path) -> list[_Row]:
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, entry in enumerate(csv.DictReader(file), start=2):
                try:
                    source = PurePosixPath(entry["source_path"])
                    name = PurePosixPath(entry["new_name"]).stem
                    rows.append(_Row(source, int(entry["start_frame"]), int(entry["end_frame"]), name))
                except (KeyError, TypeError, ValueError) as error:
                    raise InputError(f"{path}, line {number}: not a clip ({error!r})") from None
                if ".." in source.parts or source.is_absolute():
                    raise InputError(f"{path}, line {number}: {source} leaves the folder of the recordings")
    except FileNotFoundError:
        raise InputError(
            f"no such file: {path}; is this a copy of github.com/EricGuo5513/HumanML3D?"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path} as a table: {error}") from None
    if len({row.name for row in rows}) != len(rows) or not rows:
        raise InputError(f"{path}: lists no clip, or one twice")
    return rows


def _place(row: _Row, repository: Path, amass: Path) -> Path | None:
    """Where the recording of a clip is, or None."""
    inside = PurePosixPath(*(part for part in row.source.parts if part != "pose_data"))
    if row.from_humanact12:
        folder = repository / "pose_data"
        candidates = [folder / inside, folder / HUMANACT12 / inside.name]
    else:
        candidates = [amass / inside.with_suffix(".npz")]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _read_splits(folder: Path) -> dict[str, str]:
    splits = {}
    for split in SPLITS:
        path = folder / f"{split}.txt"
        try:
            names = path.read_text(encoding="utf-8-sig").split()
        except FileNotFoundError:
            raise InputError(f"no such file: {path}; the list of the clips of the split") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {path} as text: {error}") from None
        splits.update(dict.fromkeys(names, split))
    return splits


class _Texts(Protocol):
    def captions(self, name: str) -> Sequence[Caption] | None:
        """The captions of a clip; None if there is no file for it."""
        ...


def _open_texts(folder: Path) -> _Texts:
    if (folder / "texts").is_dir():
        return _TextFolder(folder / "texts")
    if (folder / "texts.zip").is_file():
        return _TextArchive(folder / "texts.zip")
    raise InputError(f"no captions: neither {folder / 'texts'} nor {folder / 'texts.zip'} is there")


class _TextFolder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def captions(self, name: str) -> Sequence[Caption] | None:
        path = self._folder / f"{name}.txt"
        if not path.is_file():
            return None
        try:
            return parse_captions(path.read_text(encoding="utf-8-sig"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {path} as text: {error}") from None


class _TextArchive:
    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not a readable archive ({error})") from error
        self._entries = {
            PurePosixPath(entry.filename).stem: entry
            for entry in self._archive.infolist()
            if entry.filename.endswith(".txt") and not PurePosixPath(entry.filename).name.startswith(".")
        }

    def captions(self, name: str) -> Sequence[Caption] | None:
        entry = self._entries.get(name)
        if entry is None:
            return None
        where = f"{self._path}, {entry.filename}"
        if entry.file_size > _MAX_TEXT_BYTES:
            raise InputError(f"{where}: {entry.file_size} bytes are no captions of a clip")
        try:
            return parse_captions(self._archive.read(entry).decode("utf-8-sig"), where)
        except (
            OSError,
            RuntimeError,
            NotImplementedError,
            EOFError,
            ValueError,
            zipfile.BadZipFile,
        ) as error:
            raise InputError(f"{where}: cannot be read ({error})") from error
