"""What commands show: results on stdout, a line each; how far they are, and what went wrong, on stderr."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def say(line: object, console: Console | None = None) -> None:
    """One line as it is, whatever brackets the name of a file may hold; on stdout without a ``console``."""
    (console or Console()).print(str(line), soft_wrap=True, markup=False, highlight=False)


def counting_bar() -> Progress:
    """A bar for things that are counted: how many of how many, and the time that is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def share_bar() -> Progress:
    """A bar for work of uneven parts: the share that is done, and the time that has passed."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"))
    return Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))


def part_of(bar: Progress, task: TaskID, start: float, size: float) -> Callable[[int, int], None]:
    """Tells a bar of (done, all) steps that make up ``size`` of its units from ``start`` on."""
    return lambda done, total: bar.update(task, completed=start + size * done / max(total, 1))
