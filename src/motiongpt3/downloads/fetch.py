"""Fetching one publication: resumable, checked before it is put in place, and put in place as a whole.

What has arrived so far lies in ``CACHE/.partial/NAME`` until it is complete; a second attempt goes on there.
The functions that talk to the network are arguments, so that all else can be tested without one.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from motiongpt3.downloads.archives import is_archive, unpack
from motiongpt3.downloads.cache import cache_folder
from motiongpt3.downloads.catalogue import Publication
from motiongpt3.downloads.checks import Report
from motiongpt3.errors import CheckpointError, MissingDependencyError
from motiongpt3.files import atomic_folder


class NotFetched(Exception):
    """It could not be fetched from here; the message is the reason, for a person who may do it by hand."""


class HubFetcher(Protocol):
    """Download files of a hub repository into a folder, going on where an earlier attempt stopped."""

    def __call__(
        self, hub_id: str, files: tuple[str, ...] | None, folder: Path, token: str | None
    ) -> None: ...


class DriveFetcher(Protocol):
    """Download one Google Drive file to a path, going on where an earlier attempt stopped."""

    def __call__(self, drive_id: str, path: Path) -> None: ...


def fetch_from_hub(hub_id: str, files: tuple[str, ...] | None, folder: Path, token: str | None) -> None:
    """Through huggingface_hub, which also reads ``HF_TOKEN``. Raises `NotFetched` with reason and remedy."""
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        # Without a network the next call would be content with what an earlier attempt left in the folder.
        model_info(hub_id, token=token)
        snapshot_download(
            hub_id,
            local_dir=folder,
            allow_patterns=list(files) if files else None,
            ignore_patterns=[".gitattributes"],
            token=token,
        )
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise NotFetched(_access_refused(hub_id)) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise NotFetched(_access_refused(hub_id)) from error
        raise NotFetched(f"the hub answered with status {status}") from error
    # No network shows as one of a dozen errors of three libraries.
    except Exception as error:
        raise NotFetched(f"the hub cannot be reached ({_short(error)})") from error


def fetch_from_drive(drive_id: str, path: Path) -> None:
    """Through gdown, the extra ``drive``. Raises `NotFetched`, or `MissingDependencyError` without gdown."""
    try:
        import gdown
    except ImportError as error:
        raise MissingDependencyError(
            "Google Drive is read through the package gdown: run `pip install 'motiongpt3[drive]'`"
        ) from error
    try:
        arrived = gdown.download(id=drive_id, output=str(path), resume=True, use_cookies=False)
    except Exception as error:
        raise NotFetched(f"Google Drive cannot be reached or refuses ({_short(error)})") from error
    if arrived is None or not path.is_file():
        raise NotFetched("Google Drive did not hand over the file (too many downloads today?)")


def fetch(
    publication: Publication,
    *,
    cache: str | Path | None = None,
    token: str | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda message: None,
    hub: HubFetcher = fetch_from_hub,
    drive: DriveFetcher = fetch_from_drive,
) -> Report:
    """Have a publication in its folder, and report what is there.

    Nothing is fetched if it is there and whole, unless ``force``; the old copy then stays until the new one
    has been checked. An archive that a person has put into the folder is unpacked instead of fetched. A
    publication that only a person may fetch is just checked.

    Raises `NotFetched` when it cannot be had from here, or is not what it should be.
    """
    folder = publication.where(cache)
    report = publication.check(folder)
    if not publication.fetchable or (report.complete and not force):
        return report
    partial = cache_folder(cache) / ".partial" / publication.name
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(partial.with_suffix(".lock"), timeout=0):
            return _fetch_locked(publication, folder, partial, token, force, say, hub, drive)
    except Timeout as error:
        raise NotFetched("another process is fetching it right now") from error


def _fetch_locked(
    publication: Publication,
    folder: Path,
    partial: Path,
    token: str | None,
    force: bool,
    say: Callable[[str], None],
    hub: HubFetcher,
    drive: DriveFetcher,
) -> Report:
    content = partial / "content"
    if force:
        shutil.rmtree(content, ignore_errors=True)
    content.mkdir(exist_ok=True)
    arrived: list[Path] = []
    if publication.hub_id:
        say(f"fetching {publication.title} from the hub ({publication.hub_id})")
        hub(publication.hub_id, publication.hub_files, content, token)
    elif publication.drive_id and publication.drive_file:
        arrived = [_from_drive(publication, folder, partial, content, force, say, drive)]
    report = publication.check(content)
    if not report.complete:
        # A wrong file would be taken for a finished download next time. The hub's client knows its own files.
        for path in arrived:
            path.unlink(missing_ok=True)
        raise NotFetched(f"what arrived is not {publication.title}: {'; '.join(report.problems)}")
    with atomic_folder(folder) as temporary:
        for path in content.iterdir():
            if path.name != ".cache":
                shutil.move(path, temporary / path.name)
    shutil.rmtree(partial, ignore_errors=True)
    return publication.check(folder)


def _from_drive(
    publication: Publication,
    folder: Path,
    partial: Path,
    content: Path,
    force: bool,
    say: Callable[[str], None],
    drive: DriveFetcher,
) -> Path:
    """Have the file's content in ``content``; returns the downloaded file."""
    assert publication.drive_id
    assert publication.drive_file
    packed = is_archive(publication.drive_file)
    downloaded = (partial if packed else content) / publication.drive_file
    if force:
        downloaded.unlink(missing_ok=True)
    by_hand = folder / publication.drive_file
    archive = by_hand if packed and by_hand.is_file() and not force else downloaded
    if archive == downloaded:
        say(f"fetching {publication.title} from Google Drive ({publication.drive_file})")
        drive(publication.drive_id, downloaded)
    if packed:
        say(f"unpacking {archive}")
        shutil.rmtree(content, ignore_errors=True)
        try:
            unpack(archive, content)
        except CheckpointError as error:
            downloaded.unlink(missing_ok=True)
            raise NotFetched(str(error)) from error
    return downloaded


def _access_refused(hub_id: str) -> str:
    page = f"https://huggingface.co/{hub_id}"
    return (
        f"the hub refuses access to {hub_id}: log in and accept the terms on {page}, make a token on "
        "https://huggingface.co/settings/tokens, and give it with --token or in HF_TOKEN"
    )


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return textwrap.shorten(": ".join([type(error).__name__, *lines[:1]]), 100, placeholder=" …")
