"""Motions that clients made or gave: kept for a while under names that cannot be guessed, then forgotten.

Whoever knows a name may read the motion. Files made of it lie in a folder of its own inside the output
folder, and go when it goes.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from motiongpt3.errors import InputError
from motiongpt3.motion.motion import Motion

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A motion and where it came from.

    Attributes:
        id: its name.
        motion: the motion.
        title: for people and file names.
        task: which task made it; "upload" for one that was given.
        model: name of the one that made it, or None.
        prompt: words it was made from.
        seed: of its noise.
        command: that makes it again, if one command does.
        given: frames [start, stop) that were given.
        segments: prompts of a sequence, each with the frame that it ends before.
        expires: when it is forgotten, seconds since the epoch.
    """

    id: str
    motion: Motion
    title: str
    task: str
    model: str | None = None
    prompt: str | None = None
    seed: int | None = None
    command: str | None = None
    given: Sequence[tuple[int, int]] = ()
    segments: Sequence[tuple[str, int]] = ()
    expires: float = 0.0


_MARK = ".motiongpt3-web"
"""Lies in a folder that a store made, which may be emptied."""


class Store:
    """Motions by name.

    Args:
        folder: for files; what an earlier run left there is deleted.
        seconds: that a motion is kept.
        frames: kept in all; the motions used least recently go first.

    Raises:
        InputError: if the folder holds something else, which is not to be deleted.
    """

    def __init__(self, folder: Path, seconds: float = 3600.0, frames: int = 200_000) -> None:
        self.folder = folder
        self.seconds = seconds
        self._most_frames = frames
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._forgotten: dict[str, float] = {}
        self._lock = threading.Lock()
        _empty(folder)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, motion: Motion, title: str, task: str, **about: object) -> Entry:
        """Keep a motion; ``about`` are further fields of its `Entry`."""
        expires = time.time() + self.seconds
        entry = Entry(secrets.token_urlsafe(12), motion, title, task, expires=expires, **about)  # type: ignore[arg-type]
        with self._lock:
            self._entries[entry.id] = entry
        self.expire()
        return entry

    def get(self, name: str) -> Entry:
        """The motion of that name.

        Raises:
            KeyError: if there is none (any more).
        """
        with self._lock:
            entry = self._entries[name]
            self._entries.move_to_end(name)
        if entry.expires < time.time():
            self.remove(name)
            raise KeyError(name)
        return entry

    def remove(self, name: str) -> None:
        """Forget a motion and its files."""
        with self._lock:
            entry = self._entries.pop(name, None)
            if entry is not None:
                self._forgotten[name] = time.time()
        if entry is not None:
            shutil.rmtree(self.folder_of(entry), ignore_errors=True)

    def folder_of(self, entry: Entry) -> Path:
        """Where files of a motion lie."""
        return self.folder / entry.id

    def sweep(self) -> None:
        """Forget what is to be forgotten, and delete files that came after their motion was.

        One that is being written while its motion is deleted comes so.
        """
        self.expire()
        now = time.time()
        with self._lock:
            recent = {name: when for name, when in self._forgotten.items() if when + self.seconds > now}
            forgotten, self._forgotten = self._forgotten, recent
        for path in self.folder.glob("*"):
            if path.name in forgotten:
                shutil.rmtree(path, ignore_errors=True)

    def expire(self) -> None:
        """Forget what is too old, and the least used of what is too much."""
        now = time.time()
        with self._lock:
            gone = [entry.id for entry in self._entries.values() if entry.expires < now]
            frames = sum(len(entry.motion) for entry in self._entries.values())
            for entry in self._entries.values():
                if frames <= self._most_frames:
                    break
                frames -= len(entry.motion)
                gone.append(entry.id)
        for name in gone:
            self.remove(name)
        if gone:
            log.info("forgot %d motions", len(gone))


def _empty(folder: Path) -> None:
    """Make a folder, or delete what an earlier run left in it."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, but motions need a folder")
    mark = folder / _MARK
    if folder.is_dir() and any(folder.iterdir()) and not mark.exists():
        raise InputError(
            f"{folder} has files of something else, and the server empties it: name another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
