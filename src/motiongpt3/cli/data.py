"""``motiongpt3 data``: make datasets, and look whether one is in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from motiongpt3.data.check import DatasetReport, check_dataset
from motiongpt3.data.humanml3d import SPLITS
from motiongpt3.data.sources.mocap import prepare_mocap
from motiongpt3.motion.features import FRAMES_PER_SECOND

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}
# Clips whose values are read unless all are asked for: some seconds.
_SAMPLE = 5000


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
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("clips", total=None)
        written = prepare_mocap(
            source,
            out,
            licence_group,
            mirror,
            overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    counts = ", ".join(f"{written.clips[split]} {split}" for split in SPLITS)
    hours = written.frames / FRAMES_PER_SECOND / 3600
    Console().print(f"{out}: {sum(written.clips.values())} clips ({counts}), {hours:.1f} h", highlight=False)
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
    "prepare": {"mocap": prepare_mocap_command},
    "check": check_command,
}
