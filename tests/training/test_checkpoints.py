"""Checkpoints: which are written, that none is ever half a file, and those that cannot be used."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from motiongpt3.errors import CheckpointError, ConfigError
from motiongpt3.training import checkpoints
from motiongpt3.training.checkpoints import duplicate, frozen_fingerprint, is_full_disk, read_checkpoint
from motiongpt3.training.generation_check import GenerationCheck
from tests.training.small_run import Small, StopAt, train


class Judged(GenerationCheck):
    """Gives the numbers of a list, one after the other."""

    def __init__(self, numbers: list[float], every: int = 1) -> None:
        left = iter(numbers)
        super().__init__(every, lambda module: {"generation/quality": next(left)})


def best_step(out: Path) -> int:
    return torch.load(out / "checkpoints" / "best.ckpt", weights_only=True)["global_step"]


@pytest.mark.parametrize(("mode", "best"), [("max", 3), ("min", 2)])
def test_best_is_the_first_of_the_best(mode: str, best: int, tmp_path: Path) -> None:
    numbers = [float("nan"), 0.2, 0.7, 0.7, 0.2]
    settings: dict[str, Any] = {"monitor": "generation/quality", "monitor_mode": mode}
    train(tmp_path, callbacks=[Judged(numbers)], steps=5, validate_every=1, **settings)
    assert best_step(tmp_path) == best


def test_best_is_remembered_by_a_run_that_goes_on(tmp_path: Path) -> None:
    numbers = [0.5, 0.2, 0.4, 0.3]
    settings: dict[str, Any] = {"steps": 4, "validate_every": 1, "monitor": "generation/quality"}
    with pytest.raises(RuntimeError):
        train(tmp_path, callbacks=[Judged(numbers), StopAt(3, RuntimeError())], **settings)
    train(tmp_path, callbacks=[Judged(numbers[2:])], **settings)
    assert best_step(tmp_path) == 2


def test_what_is_monitored_must_be_logged(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"monitor: no number is logged as 'val/lost'; there is .*val/loss"):
        train(tmp_path, monitor="val/lost", steps=4)
    # Checks that are not due yet are waited for.
    train(
        tmp_path / "rare",
        callbacks=[Judged([0.5], every=2)],
        steps=3,
        validate_every=1,
        monitor="generation/quality",
    )
    assert best_step(tmp_path / "rare") == 2


def test_full_disk_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    save = torch.save

    def save_to_full_disk(content: Any, file: Any) -> None:
        if content["global_step"] < 3:
            return save(content, file)
        with open("/dev/full", "wb", buffering=0) as full:
            return save(content, full)

    monkeypatch.setattr(checkpoints.torch, "save", save_to_full_disk)  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match=r"No space left on device.*the one before is kept") as raised:
        train(tmp_path, steps=4, validate=False)
    assert "\n" not in str(raised.value)
    monkeypatch.undo()
    (last,) = (tmp_path / "checkpoints").iterdir()
    assert torch.load(last, weights_only=True)["global_step"] == 2
    assert len(train(tmp_path, steps=4, validate=False).losses) == 2


def test_full_disks_are_told_from_other_errors() -> None:
    assert is_full_disk(OSError(errno.ENOSPC, "full"))
    assert not is_full_disk(OSError(errno.EACCES, "forbidden"))


def test_duplicates_do_not_change_with_their_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one.ckpt", tmp_path / "two.ckpt"
    one.write_text("first")
    two.write_text("before")
    duplicate(one, two)
    one.unlink()
    one.write_text("second")
    assert two.read_text() == "first"

    def refuse(*arguments: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    duplicate(one, two)
    assert two.read_text() == "second"
    assert {path.name for path in tmp_path.iterdir()} == {"one.ckpt", "two.ckpt"}


class Wider(Small):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 2)


class Renamed(Small):
    def __init__(self) -> None:
        super().__init__()
        self.tail = self.head
        del self.head


@pytest.mark.parametrize("kind", [Wider, Renamed])
def test_checkpoint_of_another_network_is_refused(kind: type[LightningModule], tmp_path: Path) -> None:
    train(tmp_path, steps=1, validate=False)
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert read_checkpoint(last, Small())["global_step"] == 1
    with pytest.raises(CheckpointError, match="another network") as raised:
        read_checkpoint(last, kind())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"PK\x03\x04 truncated", {}, [1], {"state_dict": {}, "global_step": 3}]
)
def test_damaged_checkpoint_is_refused(content: Any, tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    if isinstance(content, bytes):
        last.write_bytes(content)
    else:
        torch.save(content, last)
    with pytest.raises(CheckpointError, match="delete it") as raised:
        train(tmp_path)
    assert "\n" not in str(raised.value)
    assert last.exists()


def test_hostile_checkpoint_runs_nothing(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    torch.save({"state_dict": {}, "global_step": Hostile()}, last)
    with pytest.raises(CheckpointError):
        train(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_fingerprint_is_of_the_frozen_weights_alone() -> None:
    def changed(name: str, value: Tensor | float = 0.5) -> str:
        module = Small()
        with torch.no_grad():
            module.get_parameter(name).copy_(torch.as_tensor(value))
        return frozen_fingerprint(module)

    same = frozen_fingerprint(Small())
    assert changed("head.weight") == same
    assert changed("frozen.weight") != same
    assert changed("frozen.weight", 0.5) != changed("frozen.weight", 0.25)
