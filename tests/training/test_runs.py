"""A run: its averaged weights, going on after an interruption, checkpoints that cannot be used."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from motiongpt3.data.loaders import LengthBuckets
from motiongpt3.errors import CheckpointError
from motiongpt3.training.optimization import OptimizerConfig, configure_optimizer
from motiongpt3.training.runs import fit, keep_freed_memory

STEPS, VALIDATE_EVERY, DECAY = 8, 2, 0.9


class Line(LightningModule):
    """Fits a line; one of its two layers is frozen. Keeps its weights after each step."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Linear(width, width).requires_grad_(False)
        self.layer = nn.Linear(width, 1)
        self.steps: list[Tensor] = []

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
        return (self.layer(self.frozen(batch)) - batch.sum(dim=1, keepdim=True)).square().mean()

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.steps.append(self.layer.weight.detach().clone())

    def validation_step(self, batch: Tensor, batch_index: int) -> None:
        self.log("val/loss", self.training_step(batch, batch_index), batch_size=len(batch))

    def configure_optimizers(self) -> Any:
        return configure_optimizer(self.parameters(), optimizer())


class StopAt(Callback):
    """Raises an error after a number of steps."""

    def __init__(self, step: int, error: type[BaseException]) -> None:
        self.step, self.error = step, error

    def on_train_batch_end(self, trainer: Any, *arguments: Any) -> None:
        if trainer.global_step == self.step:
            raise self.error("enough")


def optimizer() -> OptimizerConfig:
    return OptimizerConfig(learning_rate=0.1, steps=STEPS, warmup_steps=2, average_decay=DECAY)


def run(out: Path, module: Line | None = None, callbacks: list[Callback] | None = None) -> Line:
    module = module or Line()
    data = torch.linspace(-1, 1, 12).reshape(6, 2).repeat(1, module.frozen.in_features // 2)
    fit(
        module,
        DataLoader(data, batch_sampler=LengthBuckets([1] * 6, 2)),  # type: ignore[arg-type]
        DataLoader(data, batch_size=2),  # type: ignore[arg-type]
        out,
        optimizer(),
        VALIDATE_EVERY,
        "val/loss",
        device="cpu",
        callbacks=callbacks,
    )
    return module


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Lightning lets no second Ctrl+C through while it shuts down: let later tests be interrupted."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def test_result_is_the_moving_average(tmp_path: Path) -> None:
    module = run(tmp_path)
    assert len(module.steps) == STEPS
    average = module.steps[0]
    for weight in module.steps[1:]:
        average = DECAY * average + (1 - DECAY) * weight
    torch.testing.assert_close(module.layer.weight.detach(), average)
    assert not torch.equal(average, module.steps[-1])


def test_frozen_weights_stay_bit_for_bit(tmp_path: Path) -> None:
    before = Line().frozen.state_dict()
    after = run(tmp_path).frozen.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


class Worsening(Line):
    """Its validation loss only ever rises."""

    def validation_step(self, batch: Tensor, batch_index: int) -> None:
        self.log("val/loss", torch.tensor(float(len(self.steps))), batch_size=len(batch))


def test_last_is_written_although_validation_gets_worse(tmp_path: Path) -> None:
    run(tmp_path, Worsening())
    steps = {
        name: torch.load(tmp_path / "checkpoints" / f"{name}.ckpt", weights_only=True)["global_step"]
        for name in ("best", "last")
    }
    assert steps == {"best": VALIDATE_EVERY, "last": STEPS}


def test_logs_and_checkpoints_are_kept_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]
    assert (tmp_path / "out" / "logs" / "metrics.csv").is_file()
    assert list(elsewhere.iterdir()) == []


def test_interrupted_run_goes_on_and_comes_to_the_same_end(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="enough"):
        run(tmp_path / "parts", callbacks=[StopAt(5, RuntimeError)])
    rest = run(tmp_path / "parts")
    # The last checkpoint was of step 4.
    assert len(rest.steps) == STEPS - 4
    assert rest.trainer.global_step == STEPS
    assert torch.equal(rest.layer.weight, whole.layer.weight)
    logs = {path.name for path in (tmp_path / "parts" / "logs").glob("*.csv")}
    assert logs == {"metrics.csv", "metrics-until-4.csv"}


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    again = run(tmp_path)
    assert again.steps == []
    assert torch.equal(again.layer.weight, first.layer.weight)


def test_ctrl_c_stays_an_interrupt(tmp_path: Path, interrupts: None) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, callbacks=[StopAt(3, KeyboardInterrupt)])


def test_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(CheckpointError, match="another network") as raised:
        run(tmp_path, Line(width=4))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 truncated"])
def test_damaged_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    last.write_bytes(content)
    with pytest.raises(CheckpointError, match="delete it") as raised:
        run(tmp_path)
    assert "\n" not in str(raised.value)


def test_hostile_checkpoint_runs_nothing(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    torch.save({"state_dict": {}, "global_step": Hostile()}, last)
    with pytest.raises(CheckpointError):
        run(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_memory_setting_never_fails() -> None:
    keep_freed_memory()
