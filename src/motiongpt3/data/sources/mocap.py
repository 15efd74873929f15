"""The real motion capture that this project's own models are made of, turned into a dataset.

The source is a folder with

- ``motions_free.npz`` and ``motions_nc.npz``: recordings of the 22 SMPL joints at 20 frames a second, in
  metres, y up (``pos`` (N, 22, 3), ``offsets``, ``ids``, ``joint_names``, ``fps``). Recording k is
  ``pos[offsets[k]:offsets[k + 1]]``;
- ``captions_rich.jsonl``: one object a line for each captioned segment of a recording, with its split;
- ``provenance.csv``: where each recording was published, and under what licence (columns ``id``, ``license``,
  ``source_repo``, ``source_path``).

One segment becomes one clip, because the features of a stretch start at its own origin and heading.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch

from motiongpt3.data.captions import Caption, mirror_words
from motiongpt3.data.humanml3d import check_writable
from motiongpt3.data.layout import SPLITS, ClipMetadata
from motiongpt3.data.sources.clips import PreparedClips, SourceClip, mirror_metadata, write_clips
from motiongpt3.errors import InputError
from motiongpt3.motion.features import FRAMES_PER_SECOND, features_to_joints, joints_to_features
from motiongpt3.motion.skeleton import JOINT_COUNT, JOINT_NAMES, mirror_joints

LicenceGroup = Literal["all", "free", "nc"]
GROUPS: dict[str, tuple[str, ...]] = {"all": ("free", "nc"), "free": ("free",), "nc": ("nc",)}

_CAPTIONS, _PROVENANCE = "captions_rich.jsonl", "provenance.csv"
# A recording brought back to real time is listed under the name it had before.
_RETIMED = "_fixed"
_BATCH = 32

_CMU = (
    "CMU Graphics Lab motion capture database: The data used in this project was obtained from "
    "mocap.cs.cmu.edu. The database was created with funding from NSF EIA-0196217."
)
_BANDAI = "Bandai Namco Research Motiondataset, CC BY-NC 4.0: Kobayashi et al. 2023, arXiv:2306.08861."
# By GitHub repository; each is named in front of its notice.
_NOTICES = {
    "arpspoof/Jump": "MIT, copyright (c) 2021 arpspoof",
    "papagina/Auto_Conditioned_RNN_motion": "MIT, copyright (c) 2018 Yi_Zhou",
    "chaneyddtt/Convolutional-Sequence-to-Sequence-Model-for-Human-Dynamics": (
        "MIT, copyright (c) 2018 Li Chen"
    ),
    "xbpeng/DeepMimic": "MIT",
    "yuki-koyama/bvh11": "MIT",
    "Enekoassets/ReActIdle": "MIT, copyright (c) 2025 [RSAIT]",
    "lsw9021/MASS": "Apache License 2.0",
    "isaac-sim/IsaacGymEnvs": "BSD 3-Clause, copyright (c) 2018-2022, NVIDIA Corporation",
}
_SONY = "Motions copyright Sony Interactive Entertainment 2021, CC BY-NC 4.0, published in xbpeng/DeepMimic."


@dataclass(frozen=True)
class _Segment:
    """A captioned stretch of one recording, as the source lists it."""

    joints: np.ndarray
    captions: list[str]
    split: str
    metadata: ClipMetadata


def prepare_mocap(
    source_dir: str | Path,
    out_dir: str | Path,
    licence_group: LicenceGroup = "all",
    mirror: bool = True,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PreparedClips:
    """Write the motion capture as a dataset in HumanML3D's layout.

    Every segment is fitted to the uniform skeleton and turned into features by itself. Features describe
    steps between frames, so a segment borrows the one frame after its end where the recording has it, and
    is otherwise one row shorter than its number of frames. Mirror images are named ``M`` + name, stay in the
    split of the original, and have left and right swapped in captions and label. Root turns are stored with
    their true sign throughout (``continuous_heading`` of `joints_to_features`).

    Args:
        source_dir: the folder described above.
        out_dir: the dataset to write; appears when complete.
        licence_group: "free" for the recordings that allow any use, "nc" for those that allow
            non-commercial use only, "all" for both.
        mirror: also write the mirror image of every clip.
        overwrite: replace a dataset that is at ``out_dir``.
        progress: called with (clips done, clips in all).

    Raises:
        InputError: if the source is not as described, or ``out_dir`` may not be written.
    """
    source = Path(source_dir)
    if licence_group not in GROUPS:
        raise InputError(f"licence group {licence_group!r} is not one of {', '.join(GROUPS)}")
    check_writable(out_dir, overwrite)
    groups = GROUPS[licence_group]
    provenance = _read_provenance(source / _PROVENANCE)
    segments = _read_segments(source, groups, provenance)

    def clips() -> Iterator[SourceClip]:
        for segment, features, joints in _with_features(segments, mirror):
            captions = [Caption(text) for text in segment.captions]
            metadata = segment.metadata
            yield SourceClip(metadata.id, features, captions, segment.split, metadata, joints)

    attribution = _attribution(segments, groups, mirror)
    return write_clips(
        clips(), out_dir, attribution, overwrite, len(segments) * (2 if mirror else 1), progress
    )


def _with_features(
    segments: Iterable[_Segment], mirror: bool
) -> Iterator[tuple[_Segment, np.ndarray, np.ndarray]]:
    """Each segment (and its mirror image) with its features and their joints; equal lengths in one batch."""
    by_length: dict[int, list[_Segment]] = defaultdict(list)
    for segment in segments:
        by_length[len(segment.joints)].append(segment)
    for _, equal in sorted(by_length.items()):
        for start in range(0, len(equal), _BATCH):
            batch = equal[start : start + _BATCH]
            joints = torch.from_numpy(np.stack([segment.joints for segment in batch])).double()
            if mirror:
                batch = batch + [_mirrored(segment) for segment in batch]
                joints = torch.cat([joints, mirror_joints(joints)])
            features = joints_to_features(joints, continuous_heading=True).float()
            positions = features_to_joints(features)
            yield from zip(batch, features.numpy(), positions.numpy(), strict=True)


def _mirrored(segment: _Segment) -> _Segment:
    """The segment's texts and name mirrored; its joints are mirrored as a batch."""
    return replace(
        segment,
        captions=[mirror_words(text) for text in segment.captions],
        metadata=mirror_metadata(segment.metadata),
    )


def _read_segments(
    source: Path, groups: Iterable[str], provenance: Mapping[str, Mapping[str, str]]
) -> list[_Segment]:
    recordings = {group: _read_recordings(source / f"motions_{group}.npz") for group in groups}
    path = source / _CAPTIONS
    segments = []
    for number, line in enumerate(_read_lines(path), start=1):
        try:
            entry = json.loads(line)
            if entry["group"] in recordings:
                segments.append(_segment(entry, recordings[entry["group"]], provenance))
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}, line {number}: not a captioned segment ({error!r})") from None
    if not segments:
        raise InputError(f"{path} has no segment of licence group {' or '.join(groups)}")
    return segments


def _segment(
    entry: Mapping[str, Any],
    recordings: Mapping[str, np.ndarray],
    provenance: Mapping[str, Mapping[str, str]],
) -> _Segment:
    name, recording = str(entry["id"]), str(entry["source_id"])
    if recording not in recordings:
        raise InputError(f"segment {name} is of recording {recording}, which the motions do not have")
    joints = recordings[recording]
    start, end = int(entry["start"]), int(entry["end"])
    if not 0 <= start < end <= len(joints):
        raise InputError(f"segment {name} is frames {start} to {end} of a recording of {len(joints)} frames")
    # One more frame where there is one: features describe the step to the next frame.
    stretch = joints[start : end + 1]
    if len(stretch) < 2 or not np.isfinite(stretch).all():
        raise InputError(f"segment {name} has a single frame, or NaN or infinite positions")
    captions = [str(text) for text in entry["captions"]]
    human = tuple(bool(flag) for flag in entry.get("human") or [False] * len(captions))
    if not captions or len(human) != len(captions):
        raise InputError(
            f"segment {name} has {len(captions)} captions and {len(human)} marks of who wrote them"
        )
    split = str(entry["split"])
    if split not in SPLITS:
        raise InputError(f"segment {name} is in split {split!r}, which is not one of {', '.join(SPLITS)}")
    origin = provenance.get(recording) or provenance.get(recording.removesuffix(_RETIMED))
    if origin is None:
        raise InputError(
            f"segment {name} is of recording {recording}, whose licence {_PROVENANCE} does not tell"
        )
    metadata = ClipMetadata(
        id=name,
        label=entry.get("label") or None,
        style=entry.get("style") or None,
        group=str(entry["group"]),
        licence=origin["license"],
        source=f"{recording} ({origin['source_repo']}/{origin['source_path']})",
        duplicate_of=entry.get("dup_of") or None,
        human=human,
    )
    return _Segment(stretch, captions, split, metadata)


def _read_recordings(path: Path) -> dict[str, np.ndarray]:
    """All recordings of one file by name, each (T, 22, 3) float32."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            positions, offsets = arrays["pos"], arrays["offsets"]
            names = [str(name) for name in arrays["ids"]]
            joint_names = tuple(str(name) for name in arrays["joint_names"])
            fps = float(arrays["fps"])
    except FileNotFoundError:
        raise InputError(
            f"no such file: {path}; the source folder must hold the recordings of this group"
        ) from None
    except KeyError as error:
        raise InputError(f"{path} is not a file of recordings: {error.args[0]}") from None
    except (OSError, ValueError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise InputError(f"cannot read {path} as recordings: {' '.join(str(error).split())}") from None
    if positions.ndim != 3 or positions.shape[1:] != (JOINT_COUNT, 3) or joint_names != JOINT_NAMES:
        raise InputError(
            f"{path}: expected the {JOINT_COUNT} SMPL joints in their order, found {positions.shape}"
        )
    if fps != FRAMES_PER_SECOND:
        raise InputError(f"{path}: expected {FRAMES_PER_SECOND:g} frames a second, found {fps:g}")
    ends_fit = len(offsets) == len(names) + 1 and offsets[0] == 0 and offsets[-1] == len(positions)
    if not ends_fit or (np.diff(offsets) < 0).any():
        raise InputError(
            f"{path}: the offsets do not divide {len(positions)} frames into {len(names)} recordings"
        )
    positions = positions.astype(np.float32, copy=False)
    return {name: positions[offsets[k] : offsets[k + 1]] for k, name in enumerate(names)}


def _read_provenance(path: Path) -> dict[str, dict[str, str]]:
    rows = csv.DictReader(_read_lines(path))
    missing = {"id", "license", "source_repo", "source_path"} - set(rows.fieldnames or ())
    if missing:
        raise InputError(f"{path}: expected a table with a column {sorted(missing)[0]!r}")
    return {row["id"]: row for row in rows}


def _read_lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except FileNotFoundError:
        raise InputError(f"no such file: {path}; is this the folder of the motion capture?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} as text: {error}") from None


def _attribution(segments: Iterable[_Segment], groups: Iterable[str], mirror: bool) -> str:
    """The text of ``ATTRIBUTION.md``: the notices of what is in the dataset, and of nothing else."""
    kept = list(segments)
    free = {segment.metadata.source or "" for segment in kept if segment.metadata.group == "free"}
    restricted = {segment.metadata.source or "" for segment in kept if segment.metadata.group == "nc"}
    notices = [_CMU] if any("CMU" in (segment.metadata.licence or "") for segment in kept) else []
    notices += [_BANDAI] if any("/BandaiNamcoResearchInc/" in source for source in restricted) else []
    notices += [_SONY] if any("/xbpeng/DeepMimic/" in source for source in restricted) else []
    notices += [
        f"{repository}: {notice}."
        for repository, notice in _NOTICES.items()
        if any(f"/{repository}/" in source for source in free)
    ]
    use = (
        "Contains recordings under CC BY-NC 4.0: no commercial use of the data."
        if "nc" in groups
        else "All recordings allow any use, with the notices below."
    )
    changes = "fitted to one skeleton, cut into segments, captioned" + (", and mirrored" if mirror else "")
    return "\n".join(
        [
            "# Where this motion comes from",
            "",
            f"{use} The recordings were changed: resampled to 20 frames a second, {changes}.",
            "`metadata.jsonl` names the recording and the licence of every clip.",
            "",
            *(f"- {notice}" for notice in notices),
            "",
        ]
    )
