"""``motiongpt3 download``: have what others publish on this machine, or say exactly how to get it there."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from motiongpt3.downloads.cache import CACHE_VARIABLE, cache_folder
from motiongpt3.downloads.catalogue import PUBLICATIONS, Publication, publication
from motiongpt3.downloads.checks import Report
from motiongpt3.downloads.fetch import (
    DriveFetcher,
    HubFetcher,
    NotFetched,
    fetch,
    fetch_from_drive,
    fetch_from_hub,
)
from motiongpt3.models.text_backbone import KNOWN_BACKBONES, find_text_backbone

ALL_THERE = 0
SOMETHING_REMAINS = 1


def download(
    what: str | None = None,
    token: str | None = None,
    cache: Path | None = None,
    force: bool = False,
) -> int:
    """Fetch something that others publish into the cache; without a name, list it all and what is here.

    Args:
        what: smollm2, gpt2, official, mld-vae, t2m-evaluators, glove (smpl, amass, humanml3d: checked only).
        token: Hugging Face token, for gated repositories (default: the environment variable HF_TOKEN).
        cache: folder to use instead of the default cache (also: the environment variable MOTIONGPT3_CACHE).
        force: fetch again what is already here.

    Returns:
        0 if it is all there, 1 if something remains for you to do.
    """
    console = Console()
    if what is None:
        return _list_everything(console, cache)
    return _download_one(console, publication(what), token, cache, force, fetch_from_hub, fetch_from_drive)


def _download_one(
    console: Console,
    wanted: Publication,
    token: str | None,
    cache: Path | None,
    force: bool,
    hub: HubFetcher,
    drive: DriveFetcher,
) -> int:
    def say(message: str) -> None:
        console.print(message, soft_wrap=True, markup=False, highlight=False)

    elsewhere = _elsewhere(wanted, cache)
    if elsewhere and not force:
        say(f"{wanted.name}: already here ({elsewhere}); --force fetches the original from the hub as well")
        return ALL_THERE
    try:
        report = fetch(wanted, cache=cache, token=token, force=force, say=say, hub=hub, drive=drive)
    except NotFetched as error:
        say(f"{wanted.name}: not fetched: {error}")
        say(_by_hand(wanted, cache))
        return SOMETHING_REMAINS
    if not report.complete:
        say(f"{wanted.name}: not all here: {'; '.join(report.problems)}")
        say(_by_hand(wanted, cache))
        return SOMETHING_REMAINS
    say(f"{wanted.name}: in {wanted.where(cache)} ({report.found})")
    return ALL_THERE


def _by_hand(wanted: Publication, cache: Path | None) -> str:
    return (
        f"By hand: open {wanted.page}, {wanted.by_hand}; put that into {wanted.where(cache)}, "
        f"then run `motiongpt3 download {wanted.name}` again to check it. Terms: {wanted.terms}."
    )


def _list_everything(console: Console, cache: Path | None) -> int:
    table = Table(title=f"cache: {cache_folder(cache)} (change it with --cache or {CACHE_VARIABLE})")
    for heading in ("name", "what it is", "here?", "folder", "how to get it"):
        table.add_column(heading, overflow="fold")
    remaining = 0
    for item in PUBLICATIONS.values():
        report = item.check(item.where(cache))
        elsewhere = None if report.complete else _elsewhere(item, cache)
        present = report.complete or elsewhere is not None
        remaining += not present
        how = f"motiongpt3 download {item.name}" if item.fetchable else f"by hand: {item.page}"
        table.add_row(
            item.name,
            f"{item.title} ({item.terms})",
            _state(item, cache, report, elsewhere),
            item.folder,
            how,
        )
    console.print(table, markup=False)
    return SOMETHING_REMAINS if remaining else ALL_THERE


def _state(item: Publication, cache: Path | None, report: Report, elsewhere: str | None) -> str:
    if report.complete:
        return f"yes: {report.found}"
    if elsewhere:
        return f"yes: {elsewhere}"
    folder = item.where(cache)
    begun = folder.is_dir() and any(folder.iterdir())
    return f"not whole: {'; '.join(report.problems)}" if begun else "no"


def _elsewhere(item: Publication, cache: Path | None) -> str | None:
    """Where a text backbone is usable from, other than this project's own download of it."""
    if item.name not in KNOWN_BACKBONES or item.check(item.where(cache)).complete:
        return None
    return find_text_backbone(item.name, cache=cache)
