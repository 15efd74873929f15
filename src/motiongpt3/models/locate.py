"""Where a model is: a folder on this machine, or a repository on the Hugging Face hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from motiongpt3.errors import InputError

DEFAULT_MODEL = "models/mini"
MODEL_VARIABLE = "MOTIONGPT3_MODEL"
CONFIG_FILE = "config.json"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def find_model(name: str | None = None) -> Path | str:
    """Resolve the name of a model.

    Args:
        name: a folder; the name of a folder in ``models/`` (``mini``); or a hub id (``owner/name``). By
            default the environment variable MOTIONGPT3_MODEL, else ``models/mini``. Relative folders are
            looked for in the current folder, then in the repository that this package runs from.

    Returns:
        A folder with a ``config.json``, or the hub id if no folder of that name exists.

    Raises:
        InputError: nothing by that name; the message lists where it was looked for.
    """
    wanted = name if name is not None else os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL
    if not wanted.strip():
        raise InputError("the name of a model cannot be empty: give a folder or a hub id")
    candidates = _candidates(Path(wanted).expanduser())
    for candidate in candidates:
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    for candidate in candidates:
        if candidate.is_dir():
            raise InputError(f"{candidate} is not a model: it has no {CONFIG_FILE}")
        if candidate.exists():
            raise InputError(
                f"{candidate} is a file, but a model is a folder; "
                "an official checkpoint is converted with: motiongpt3 import-official"
            )
    if _HUB_ID.fullmatch(wanted) and not wanted.startswith("models/"):
        return wanted
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise InputError(f"no model {wanted!r}: looked for {looked}; give a folder or a hub id (owner/name)")


def _candidates(path: Path) -> list[Path]:
    if path.is_absolute():
        return [path]
    repository = Path(__file__).resolve().parents[3]
    places = [Path(), repository]
    if len(path.parts) == 1 and path.name not in (".", ".."):
        return [root / folder for root in places for folder in (path, Path("models") / path)]
    return [root / path for root in places]
