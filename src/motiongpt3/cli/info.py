"""``motiongpt3 info``: what a model is."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

CARD = "README.md"


def info(model: str | None = None) -> int:
    """Say what a model is: its parts and sizes, what it was trained on as far as it says so, and its licence.

    The model is loaded and checked on the way.

    Args:
        model: folder, name in models/, or hub id (default: MOTIONGPT3_MODEL, else models/mini).
    """
    from motiongpt3.cli.generate import load_model
    from motiongpt3.models.locate import find_model

    where = find_model(model)
    with Console(stderr=True).status(f"loading {where}"):
        facts = load_model(where, "cpu").describe()
    if isinstance(where, Path):
        facts = facts | folder_facts(where)
    Console().print(_table(str(where), facts))
    return 0


def folder_facts(folder: Path) -> dict[str, str]:
    """Licence (from the front matter of the model card) and file sizes of a model's folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    total = sum(path.stat().st_size for path in files)
    largest = sorted(files, key=lambda path: path.stat().st_size, reverse=True)[:4]
    named = ", ".join(f"{path.relative_to(folder)} {_megabytes(path.stat().st_size)}" for path in largest)
    card = folder / CARD
    return {
        "licence": card_licence(card) or "not stated",
        "card": str(card) if card.is_file() else "none",
        "size on disk": f"{_megabytes(total)} in {len(files)} files ({named})",
    }


def card_licence(card: Path) -> str | None:
    """The licence that the YAML front matter of a model card names, or ``None``."""
    if not card.is_file():
        return None
    text = card.read_text(encoding="utf-8", errors="replace")
    front = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    if front is None:
        return None
    fields = dict(re.findall(r"^(license(?:_name)?):[ \t]*(\S.*)$", front[1], re.MULTILINE))
    licence = fields.get("license_name") or fields.get("license")
    return licence.strip().strip("\"'") if licence else None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _table(title: str, facts: dict[str, str]) -> Table:
    table = Table(title=Text(title), title_justify="left", show_header=False)
    for name, value in facts.items():
        # Text, because what a model says of itself is not to be read as markup.
        table.add_row(Text(name), Text(value))
    return table
