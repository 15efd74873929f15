"""HumanAct12 with its action labels as captions, as a dataset.

Guo et al. 2020, "Action2Motion". The files are those that the HumanML3D repository has in
``pose_data/humanact12.zip``: ``P01G01R01F0001T0064A0101.npy``, joints (T, 24, 3) with y up, of which the
first 22 are ours. The two digits after A say what is done. They are taken for 20 frames a second, as
HumanML3D does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from motiongpt3.data.captions import Caption
from motiongpt3.data.humanml3d import check_writable
from motiongpt3.data.layout import ClipMetadata
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
from motiongpt3.motion.features import joints_to_features
from motiongpt3.motion.skeleton import mirror_joints

ACTIONS: dict[int, tuple[str, str]] = {
    1: ("warm_up", "a person warms up"),
    2: ("walk", "a person walks"),
    3: ("run", "a person runs"),
    4: ("jump", "a person jumps"),
    5: ("drink", "a person drinks"),
    6: ("lift_dumbbell", "a person lifts a dumbbell"),
    7: ("sit", "a person sits"),
    8: ("eat", "a person eats"),
    9: ("turn_steering_wheel", "a person turns a steering wheel"),
    10: ("phone", "a person uses a phone"),
    11: ("boxing", "a person boxes"),
    12: ("throw", "a person throws something"),
}
"""Label and caption by the number of the action."""

_NAME = re.compile(r"P(\d\d)G\d\dR\d\dF\d{4}T\d{4}A(\d\d)\d\d")
# Of the twelve people, so that nobody is in two splits.
_VAL, _TEST = {11}, {12}
_ATTRIBUTION = """# Where this motion comes from

HumanAct12 (Guo et al. 2020, "Action2Motion: Conditioned Generation of 3D Human Motions"), whose licence
applies.
"""


def prepare_humanact12(
    source: str | Path,
    out: str | Path,
    mirror: bool = True,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PreparedClips:
    """Make a dataset of HumanAct12: people 1 to 10 for training, 11 for validation, 12 for testing.

    Args:
        source: folder with the files; it is searched with all folders below it.
        out: the dataset to write; appears when complete.
        mirror: also write every clip's mirror image.
        overwrite: replace a dataset that is at ``out``.
        progress: called with (clips done, clips in all).

    Raises:
        InputError: if there are no such files, or one is broken.
    """
    check_writable(out, overwrite)
    files = {path.stem: path for path in sorted(Path(source).rglob("*.npy")) if _NAME.fullmatch(path.stem)}
    if not files:
        raise InputError(f"{source} has no file named as in HumanAct12 (P01G01R01F0001T0064A0101.npy)")

    def clips() -> Iterator[SourceClip | SkippedClip]:
        for name, path in files.items():
            yield from _clips(name, path, mirror)

    return write_clips(clips(), out, _ATTRIBUTION, overwrite, len(files) * (2 if mirror else 1), progress)


def _clips(name: str, path: Path, mirror: bool) -> Iterator[SourceClip | SkippedClip]:
    match = _NAME.fullmatch(path.stem)
    assert match is not None
    person, action = int(match[1]), int(match[2])
    if action not in ACTIONS:
        raise InputError(f"{path}: HumanAct12 has no action {action}")
    joints = read_joints(path)
    if len(joints) < 3 or not torch.isfinite(joints).all():
        reason = f"{len(joints)} frames" if len(joints) < 3 else "positions that are not finite"
        yield from skip(name, reason, mirror)
        return
    both = torch.stack([joints, mirror_joints(joints)]) if mirror else joints[None]
    features = joints_to_features(both, continuous_heading=True).float().numpy()
    label, caption = ACTIONS[action]
    split = "val" if person in _VAL else "test" if person in _TEST else "train"
    metadata = ClipMetadata(id=name, label=label, source=path.name)
    yield SourceClip(name, features[0], [Caption(caption)], split, metadata)
    if mirror:
        yield SourceClip(f"M{name}", features[1], [Caption(caption)], split, mirror_metadata(metadata))
