from __future__ import annotations

from pathlib import Path

import pytest
import torch

from motiongpt3.errors import InputError
from motiongpt3.motion.motion import Motion
from motiongpt3.web import store as module
from motiongpt3.web.outputs import OUTPUTS, write_output
from motiongpt3.web.store import Store


def motion(frames: int = 10) -> Motion:
    return Motion.from_joints(torch.rand(frames, 22, 3))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_motions_and_their_files_go_after_a_while(tmp_path: Path, clock: Clock) -> None:
    store = Store(tmp_path, seconds=60)
    entry = store.add(motion(), "wave", "t2m", seed=3)
    path = write_output(store, entry, OUTPUTS["joints"])
    assert path.parent == tmp_path / entry.id
    clock.now += 59
    assert store.get(entry.id) is entry
    clock.now += 2
    with pytest.raises(KeyError):
        store.get(entry.id)
    assert not path.exists()
    assert len(store) == 0


def test_sweeping_deletes_what_nobody_asks_for(tmp_path: Path, clock: Clock) -> None:
    store = Store(tmp_path, seconds=60)
    path = write_output(store, store.add(motion(), "wave", "t2m"), OUTPUTS["joints"])
    clock.now += 61
    store.sweep()
    assert len(store) == 0
    assert not path.exists()


def test_a_file_that_comes_after_its_motion_was_deleted_goes_too(tmp_path: Path, clock: Clock) -> None:
    store = Store(tmp_path, seconds=60)
    kept, deleted = (store.add(motion(), name, "t2m") for name in ("kept", "deleted"))
    store.remove(deleted.id)
    paths = [write_output(store, entry, OUTPUTS["joints"]) for entry in (kept, deleted)]
    store.sweep()
    assert [path.exists() for path in paths] == [True, False]


def test_memory_has_an_end(tmp_path: Path) -> None:
    store = Store(tmp_path, frames=25)
    first, second = (store.add(motion(), name, "t2m") for name in ("first", "second"))
    store.get(first.id)
    third = store.add(motion(), "third", "t2m")
    assert store.get(first.id) is first
    assert store.get(third.id) is third
    with pytest.raises(KeyError):
        store.get(second.id)


def test_what_an_earlier_run_left_is_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    path = write_output(store, store.add(motion(), "wave", "t2m"), OUTPUTS["joints"])
    Store(tmp_path / "out")
    assert not path.parent.exists()


def test_what_is_not_its_own_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    with pytest.raises(InputError, match="something else"):
        Store(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="is a file"):
        Store(tmp_path / "notes.txt")
    assert (tmp_path / "thesis").exists()


def test_names_cannot_be_guessed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = {store.add(motion(2), "a", "t2m").id for _ in range(50)}
    assert len(names) == 50
    assert all(len(name) == 16 for name in names)
