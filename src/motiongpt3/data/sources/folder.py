"""Motion files of any format with captions in a table or in text files, as a dataset.

Captions come from a CSV table with the columns ``file`` (path below the folder, its ending may be left out)
and ``caption``, one row for each sentence, and if wanted ``start`` and ``end`` (seconds that the sentence is
about), ``split`` (train, val or test), ``label`` and ``licence``. Without a table, ``NAME.txt`` beside each
motion file has a sentence a line, plain or as HumanML3D writes it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from motiongpt3.data.captions import Caption, parse_caption, parse_captions
from motiongpt3.data.humanml3d import check_writable
from motiongpt3.data.layout import SPLITS, ClipMetadata
from motiongpt3.data.sources.clips import (
    PreparedClips,
    SkippedClip,
    SourceClip,
    assign_splits,
    mirror_metadata,
    skip,
    write_clips,
)
from motiongpt3.errors import InputError
from motiongpt3.motion.formats import FORMATS, read_motion
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.standard import standardise

_ATTRIBUTION = """# Where this motion comes from

Motion files that were given, fitted to one skeleton at 20 frames a second{mirrored}. `metadata.jsonl` names
the file of every clip, and its licence where it was given.
"""


@dataclass
class _Texts:
    """What a table or text file says about one motion."""

    captions: list[Caption] = field(default_factory=list)
    split: str | None = None
    label: str | None = None
    licence: str | None = None


def prepare_folder(
    source: str | Path,
    out: str | Path,
    captions: str | Path | None = None,
    body: str | Path | None = None,
    joint_map: str | Path | None = None,
    mirror: bool = True,
    skip_broken: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PreparedClips:
    """Make a dataset of a folder of motion files (BVH, AMASS, glTF, npy ...).

    A clip is called after the path of its file. Without a column ``split`` clips are divided 80 : 5 : 15,
    each by its name; recordings of one performance can then be in several splits, so give the splits if there
    are such.

    Args:
        source: the folder; it is searched with all folders below it.
        out: the dataset to write; appears when complete.
        captions: the table, or a folder of text files; by default text files beside the motion files.
        body: body model file or folder, for exact joints of AMASS files.
        joint_map: JSON file with the source joint of each SMPL joint, for skeletons of unknown names.
        mirror: also write every clip's mirror image.
        skip_broken: leave out files that cannot be read, or have no captions, rather than refusing.
        overwrite: replace a dataset that is at ``out``.
        progress: called with (clips done, clips in all).

    Raises:
        InputError: naming the file that is missing, broken or without captions.
    """
    check_writable(out, overwrite)
    source = Path(source)
    files = _motion_files(source)
    texts = _captions(source, files, Path(captions) if captions is not None else None)
    splits = assign_splits(files)

    def clips() -> Iterator[SourceClip | SkippedClip]:
        for name, path in files.items():
            try:
                found = texts.get(name)
                if found is None or not found.captions:
                    raise InputError(f"{path}: no captions")
                motion = _read(path, body, joint_map)
                pair = [_clip(name, path, source, motion, found, splits[name])]
                if mirror:
                    pair.append(_mirrored(pair[0], motion))
            except InputError as error:
                if not skip_broken:
                    raise
                yield from skip(name, str(error), mirror)
            else:
                yield from pair

    attribution = _ATTRIBUTION.format(mirrored=", and mirrored" if mirror else "")
    return write_clips(clips(), out, attribution, overwrite, len(files) * (2 if mirror else 1), progress)


def _clip(name: str, path: Path, source: Path, motion: Motion, texts: _Texts, split: str) -> SourceClip:
    features = standardise(motion).features
    assert features is not None
    metadata = ClipMetadata(
        id=name,
        label=texts.label,
        licence=texts.licence,
        source=path.relative_to(source).as_posix(),
    )
    return SourceClip(name, features.numpy(), texts.captions, texts.split or split, metadata)


def _mirrored(clip: SourceClip, motion: Motion) -> SourceClip:
    features = standardise(motion.mirrored()).features
    assert features is not None
    captions = [caption.mirrored() for caption in clip.captions]
    name = f"M{clip.name}"
    return SourceClip(name, features.numpy(), captions, clip.split, mirror_metadata(clip.metadata))


def _read(path: Path, body: str | Path | None, joint_map: str | Path | None) -> Motion:
    archive = path.suffix.lower() == ".npz"
    array = path.suffix.lower() in (".npy", ".csv")
    return read_motion(
        path, body=body if archive else None, joint_map=None if archive or array else joint_map
    )


def _motion_files(folder: Path) -> dict[str, Path]:
    """Motion files by the name of the clip they become."""
    if not folder.is_dir():
        raise InputError(f"no such folder: {folder}")
    suffixes = {format_.suffix for format_ in FORMATS.values() if format_.read is not None} - {".csv"}
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in suffixes or not path.is_file():
            continue
        name = _clip_name(path.relative_to(folder).as_posix())
        if name in files:
            raise InputError(f"{files[name]} and {path} would both be the clip {name!r}; rename one")
        files[name] = path
    if not files:
        raise InputError(f"{folder} has no motion file ({', '.join(sorted(suffixes))})")
    return files


def _clip_name(relative: str) -> str:
    return PurePosixPath(relative).with_suffix("").as_posix().replace("/", "_")


def _captions(folder: Path, files: Mapping[str, Path], given: Path | None) -> dict[str, _Texts]:
    if given is not None and given.is_file():
        return _read_table(given, files)
    if given is not None and not given.is_dir():
        raise InputError(f"no such file or folder: {given}")
    texts = {}
    for name, path in files.items():
        place = path if given is None else given / path.relative_to(folder)
        sentences = place.with_suffix(".txt")
        if sentences.is_file():
            texts[name] = _Texts(_read_sentences(sentences))
    return texts


def _read_sentences(path: Path) -> list[Caption]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} as text: {error}") from None

    def parse(line: str) -> Caption:
        return parse_caption(line) if line.count("#") == 3 else Caption(line.strip())

    return parse_captions(text, str(path), parse)


def _read_table(path: Path, files: Mapping[str, Path]) -> dict[str, _Texts]:
    texts: dict[str, _Texts] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = {"file", "caption"} - set(rows.fieldnames or ())
            if missing:
                raise InputError(f"{path}: expected a table with a column {sorted(missing)[0]!r}")
            for number, row in enumerate(rows, start=2):
                where = f"{path}, line {number}"
                stem = PurePosixPath((row["file"] or "").strip()).as_posix()
                known = (_clip_name(stem), stem.replace("/", "_"))
                name = next((name for name in known if name in files), None)
                if name is None:
                    raise InputError(f"{where}: there is no motion file {stem[:80]!r}")
                _add_row(texts.setdefault(name, _Texts()), row, where)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path} as a table: {error}") from None
    return texts


def _add_row(texts: _Texts, row: Mapping[str, str | None], where: str) -> None:
    cells = {key: (value or "").strip() for key, value in row.items() if isinstance(value, str | None)}
    if not cells["caption"]:
        raise InputError(f"{where}: no caption")
    seconds = []
    for key in ("start", "end"):
        try:
            value = float(cells.get(key) or 0)
        except ValueError:
            value = -1.0
        if not 0 <= value < 1e6:
            raise InputError(f"{where}: {cells[key][:40]!r} is not a number of seconds")
        seconds.append(value)
    if seconds[1] < seconds[0]:
        raise InputError(f"{where}: the caption ends before it starts")
    texts.captions.append(Caption(cells["caption"], (), *seconds))
    split = cells.get("split") or None
    if split is not None and split not in SPLITS:
        raise InputError(f"{where}: split {split[:40]!r} is not one of {', '.join(SPLITS)}")
    if split is not None and texts.split not in (None, split):
        raise InputError(f"{where}: the file is in split {texts.split} already")
    texts.split = split or texts.split
    texts.label = cells.get("label") or texts.label
    texts.licence = cells.get("licence") or texts.licence
