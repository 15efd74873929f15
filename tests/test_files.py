"""Nothing is half-written: files and folders appear whole, or what was there stays."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from motiongpt3.files import atomic_file, atomic_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "motion.npy"
    with atomic_file(path) as temporary:
        assert temporary.suffix == ".npy"
        assert temporary.parent == path.parent
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["motion.npy"]


def test_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
        temporary.write_text(f"hal{1 / 0}")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    with atomic_file(tmp_path / "atomic") as temporary:
        temporary.touch()
    assert stat.S_IMODE((tmp_path / "atomic").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for content in ("first", "second"):
        with atomic_folder(folder) as temporary:
            assert names(temporary) == []
            (temporary / content).touch()
        assert names(folder) == [content]
    assert names(tmp_path) == ["data"]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with atomic_folder(folder) as temporary:
        (temporary / "old").touch()
    with pytest.raises(ZeroDivisionError), atomic_folder(folder) as temporary:
        (temporary / "new").write_text(f"{1 / 0}")
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["data"]


def test_folder_that_cannot_be_put_in_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    with atomic_folder(folder) as temporary:
        (temporary / "old").touch()
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if (self / "new").exists():
            raise OSError("the disk is full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="disk is full"), atomic_folder(folder) as temporary:
        (temporary / "new").touch()
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["data"]
