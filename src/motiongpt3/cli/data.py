"""``motiongpt3 data``: make datasets, and look whether one is in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from motiongpt3.cli.terminal import counting_bar, say
from motiongpt3.data.check import DatasetReport, check_dataset
from motiongpt3.data.layout import SPLITS
from motiongpt3.data.sources.clips import PreparedClips
from motiongpt3.data.sources.folder import prepare_folder
from motiongpt3.data.sources.humanact12 import prepare_humanact12
from motiongpt3.data.sources.humanml3d import prepare_humanml3d
from motiongpt3.data.sources.mocap import prepare_mocap
from motiongpt3.motion.features import FRAMES_PER_SECOND

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}
# Clips whose values are read unless all are asked for: some seconds.
_SAMPLE = 5000
# Clips left out that are named one by one.
_LISTED = 20


def prepare_mocap_command(
    source: Path,
    out: Path,
    licence_group: Literal["all", "free", "nc"] = "all",
    mirror: bool = True,
    overwrite: bool = False,
) -> int:
    """Write motion capture with captions as a dataset in HumanML3D's layout.

    Args:
        source: folder with motions_free.npz, motions_nc.npz and captions_rich.jsonl.
        out: folder of the new dataset.
        licence_group: which recordings: free (any use), nc (non-commercial only) or all.
        mirror: also write every clip's mirror image.
        overwrite: replace a dataset that is there already.
    """
    with _progress() as progress:
        written = prepare_mocap(source, out, licence_group, mirror, overwrite, progress)
    return _report(out, written)


def prepare_humanml3d_command(
    repository: Path,
    amass: Path,
    bodies: Path,
    out: Path,
    mirror: bool = True,
    allow_missing: bool = False,
    continuous_heading: bool = False,
    overwrite: bool = False,
) -> int:
    """Make HumanML3D from AMASS and its repository, by the published recipe.

    Args:
        repository: copy of github.com/EricGuo5513/HumanML3D, with pose_data/humanact12.zip unpacked.
        amass: folder with the collections of AMASS (SMPL+H G), named as in index.csv.
        bodies: folder of SMPL-H, with male/model.npz and female/model.npz.
        out: folder of the new dataset.
        mirror: also write every clip's mirror image.
        allow_missing: leave out clips whose recording is not there.
        continuous_heading: store turns with their true sign where HumanML3D's formula loses it.
        overwrite: replace a dataset that is there already.
    """
    with _progress() as progress:
        written = prepare_humanml3d(
            repository, amass, bodies, out, mirror, allow_missing, continuous_heading, overwrite, progress
        )
    return _report(out, written)


def prepare_folder_command(
    source: Path,
    out: Path,
    captions: Path | None = None,
    body: Path | None = None,
    joint_map: Path | None = None,
    mirror: bool = True,
    skip_broken: bool = False,
    overwrite: bool = False,
) -> int:
    """Make a dataset of motion files (bvh, npz, glb, npy ...) with captions in a table or in text files.

    Args:
        source: folder of motion files.
        out: folder of the new dataset.
        captions: CSV table (columns file, caption; start, end, split, label, licence if wanted), or folder of
            text files; by default NAME.txt beside each motion file.
        body: your SMPL, SMPL-H or SMPL-X model file, or the folder of them, for AMASS files.
        joint_map: JSON file with the source joint of each SMPL joint, for unknown skeletons.
        mirror: also write every clip's mirror image.
        skip_broken: leave out files that cannot be read or have no captions.
        overwrite: replace a dataset that is there already.
    """
    with _progress() as progress:
        written = prepare_folder(
            source, out, captions, body, joint_map, mirror, skip_broken, overwrite, progress
        )
    return _report(out, written)


def prepare_humanact12_command(source: Path, out: Path, mirror: bool = True, overwrite: bool = False) -> int:
    """Make a dataset of HumanAct12, its action labels as captions.

    Args:
        source: folder with the files of pose_data/humanact12.zip in the HumanML3D repository.
        out: folder of the new dataset.
        mirror: also write every clip's mirror image.
        overwrite: replace a dataset that is there already.
    """
    with _progress() as progress:
        written = prepare_humanact12(source, out, mirror, overwrite, progress)
    return _report(out, written)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    with counting_bar() as bar:
        task = bar.add_task("clips", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _report(out: Path, written: PreparedClips) -> int:
    skipped = written.skipped
    for clip in skipped[:_LISTED]:
        say(f"left out {clip.name}: {clip.reason}", Console(stderr=True))
    if len(skipped) > _LISTED:
        Console(stderr=True).print(f"... and {len(skipped) - _LISTED} others left out", highlight=False)
    counts = ", ".join(f"{written.clips[split]} {split}" for split in SPLITS)
    hours = written.frames / FRAMES_PER_SECOND / 3600
    total = sum(written.clips.values())
    say(f"{out}: {total} clips ({counts}), {hours:.1f} h")
    return 0


def check_command(folder: Path, every_value: bool = False, strict: bool = False) -> int:
    """Check a dataset: counts, shapes, NaN, lengths, captions, lists, Mean and Std.

    Args:
        folder: a dataset in HumanML3D's layout.
        every_value: read the values of all clips, however many, rather than of a sample.
        strict: let warnings count as problems.

    Returns:
        0 if the dataset is in order, 1 if there are problems.
    """
    with Console(stderr=True).status(f"reading {folder}"):
        report = check_dataset(folder, sample=None if every_value else _SAMPLE)
    Console().print(_report_table(report))
    return 1 if report.errors or (strict and report.warnings) else 0


def _report_table(report: DatasetReport) -> Table:
    verdict = f"{len(report.errors)} errors, {len(report.warnings)} warnings"
    table = Table("", "found", "", title=Text(str(report.root)), caption=verdict, title_justify="left")
    for finding in report.findings:
        # Text, because names from files are not to be read as markup.
        status = Text(finding.status, style=_STYLES[finding.status])
        table.add_row(Text(finding.what), Text(finding.detail), status)
    return table


COMMANDS: dict[str, Callable[..., int] | dict[str, Callable[..., int]]] = {
    "prepare": {
        "mocap": prepare_mocap_command,
        "humanml3d": prepare_humanml3d_command,
        "folder": prepare_folder_command,
        "humanact12": prepare_humanact12_command,
    },
    "check": check_command,
}
