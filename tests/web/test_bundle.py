from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from motiongpt3.web.server import STATIC

SOURCES = Path(__file__).parents[2] / "web"


def test_the_bundle_was_built_from_these_sources() -> None:
    names = ["index.html", "docs.html", "package.json", "package-lock.json", "vite.config.mjs"]
    names += _files(SOURCES / "src") + _files(SOURCES / "public")
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0" + (SOURCES / name).read_bytes())
    built = (STATIC / "sources.sha256").read_text().strip()
    assert built == digest.hexdigest(), "the page has changed: make bundle"


def _files(folder: Path) -> list[str]:
    """Names as the build walks them: a folder's entries in order, folders at their place."""
    found: list[str] = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        found += _files(path) if path.is_dir() else [path.relative_to(SOURCES).as_posix()]
    return found


@pytest.mark.parametrize(
    "path", [path for path in STATIC.rglob("*") if path.suffix in (".html", ".js", ".css")], ids=str
)
def test_it_loads_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text()
    loads = re.findall(
        r"""(?:src|href)\s*=\s*["'](https?:)?//|@import|url\(\s*["']?https?:|import\(\s*["']https?:""", text
    )
    assert loads == []


def test_it_is_small_and_says_whose_it_is() -> None:
    script = (STATIC / "assets" / "app.js").read_text()
    assert sum(path.stat().st_size for path in STATIC.rglob("*") if path.is_file()) < 1_200_000
    assert "SPDX-License-Identifier: MIT" in script
