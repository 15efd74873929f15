"""A run: it ends alike however often it is stopped, and what it is set up with fits together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from motiongpt3.errors import CheckpointError, ConfigError, MissingDependencyError
from motiongpt3.training.generation_check import GenerationCheck
from motiongpt3.training.optimization import OptimizerConfig
from motiongpt3.training.runs import (
    RunConfig,
    keep_freed_memory,
    make_strategy,
    precision,
    processes,
)
from motiongpt3.training.sharding import FullyShardedStrategy
from tests.training import small_run
from tests.training.small_run import DECAY, STEPS, Small, StopAt, size_of_head, train

ROOT = Path(__file__).parents[2]


def accumulating(out: Path, **settings: Any) -> Small:
    return train(out, callbacks=[GenerationCheck(8, size_of_head)], accumulate=2, **settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Small, Path]:
    """A run that nothing has stopped."""
    out = tmp_path_factory.mktemp("whole")
    return accumulating(out), out


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Lightning lets no second Ctrl+C through while it shuts down: let later tests be interrupted."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def checkpoint(out: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(out / "checkpoints" / f"{name}.ckpt", weights_only=True)


def same(one: Any, two: Any) -> bool:
    """Whether two checkpoints are alike to the bit."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(value, two[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(same(first, second) for first, second in zip(one, two))
    return torch.equal(one, two) if isinstance(one, Tensor) else one == two


def assert_went_on(out: Path, rest: Small, whole: tuple[Small, Path]) -> None:
    module, folder = whole
    assert rest.losses == module.losses[-len(rest.losses) :]
    assert same(rest.state_dict(), module.state_dict())
    # Optimiser, schedule, averages, counters, what was best, position in the data.
    assert same(checkpoint(out), checkpoint(folder))
    assert same(checkpoint(out, "best"), checkpoint(folder, "best"))
    metrics = [(path / "logs" / "metrics.csv").read_text() for path in (out, folder)]
    assert metrics[0] == metrics[1]
    assert len(metrics[0].splitlines()) == 1 + STEPS + 3


def test_run_killed_while_it_wrote_a_checkpoint_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, whole: tuple[Small, Path]
) -> None:
    command = [sys.executable, "-m", "tests.training.small_run", "killed", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        said = next((line for line in process.stdout if line == "writing\n"), None)
        process.kill()
        assert said == "writing\n"
        assert process.wait() == -signal.SIGKILL
    (half,) = (tmp_path / "checkpoints").glob(".last-*.ckpt")
    assert b"half of it" in half.read_bytes()
    assert checkpoint(tmp_path)["global_step"] == 6

    rest = accumulating(tmp_path)
    assert len(rest.losses) == 2 * (STEPS - 6)
    assert_went_on(tmp_path, rest, whole)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}


@pytest.mark.parametrize("step", [4, 7])
def test_run_goes_on_behind_a_validation_and_between_two(
    step: int, tmp_path: Path, whole: tuple[Small, Path]
) -> None:
    class StopBefore(Callback):
        def on_train_batch_start(self, trainer: Any, *arguments: Any) -> None:
            if trainer.global_step == step:
                raise RuntimeError("enough")

    stops = [GenerationCheck(8, size_of_head), StopBefore()]
    with pytest.raises(RuntimeError, match="enough"):
        train(tmp_path, callbacks=stops, accumulate=2)
    assert checkpoint(tmp_path)["global_step"] == step
    assert_went_on(tmp_path, accumulating(tmp_path), whole)


def test_sigterm_leaves_a_checkpoint_of_the_step_it_came_in(
    tmp_path: Path, whole: tuple[Small, Path], interrupts: None
) -> None:
    class Terminate(Callback):
        def on_train_batch_end(
            self, trainer: Any, module: Any, outputs: Any, batch: Any, number: int
        ) -> None:
            if number == 9:
                os.kill(os.getpid(), signal.SIGTERM)

    stops = [GenerationCheck(8, size_of_head), Terminate()]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, callbacks=stops, accumulate=2, save_every=4)
    assert checkpoint(tmp_path)["global_step"] == 5
    assert_went_on(tmp_path, accumulating(tmp_path), whole)


def test_ctrl_c_stays_an_interrupt(tmp_path: Path, interrupts: None) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, callbacks=[StopAt(3, KeyboardInterrupt())])
    assert checkpoint(tmp_path)["global_step"] == 2


def test_neither_workers_nor_validation_change_what_is_learned(
    tmp_path: Path, whole: tuple[Small, Path]
) -> None:
    # The validation draws from the global generators.
    other = train(tmp_path, workers=2, validate_every=3, accumulate=2)
    assert other.losses == whole[0].losses
    assert same(other.state_dict(), whole[0].state_dict())


def test_result_is_the_moving_average_and_frozen_weights_stay(tmp_path: Path) -> None:
    module = train(tmp_path, validate=False, average=["head"])
    assert len(module.weights) == STEPS
    average = module.weights[0]
    for weight in module.weights[1:]:
        average = DECAY * average + (1 - DECAY) * weight
    torch.testing.assert_close(module.head.weight.detach(), average)
    assert not torch.equal(average, module.weights[-1])
    assert torch.equal(module.frozen.weight, Small().frozen.weight)

    saved = checkpoint(tmp_path)
    names = {name for name in module.state_dict() if not name.startswith("frozen")}
    assert saved["state_dict"].keys() == saved["averaged_weights"].keys() == names
    assert float(saved["state_dict"]["count"]) == STEPS
    for name, tensor in saved["averaged_weights"].items():
        assert torch.equal(module.state_dict()[name], tensor)
        averaged = name.startswith("head")
        assert torch.equal(saved["state_dict"][name], tensor) is not averaged


def test_finished_run_is_not_trained_again(tmp_path: Path, whole: tuple[Small, Path]) -> None:
    module, out = whole
    again = accumulating(out)
    assert again.losses == []
    assert same(again.state_dict(), module.state_dict())


def test_run_can_be_made_longer_but_not_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path, steps=3, validate=False)
    assert train(tmp_path, steps=5, validate=False).trainer.global_step == 5

    def faster(**changes: Any) -> OptimizerConfig:
        return OptimizerConfig(learning_rate=0.1, steps=6, warmup_steps=3, average_decay=DECAY)

    monkeypatch.setattr(small_run, "optimizer", faster)
    with pytest.raises(
        ConfigError, match=r"begun with optimizer\.learning_rate 0\.05 and not 0\.1, opt"
    ) as it:
        train(tmp_path, steps=6, validate=False)
    assert "\n" not in str(it.value)


def test_other_frozen_weights_are_refused(tmp_path: Path) -> None:
    train(tmp_path, steps=2, validate=False)
    other = Small()
    with torch.no_grad():
        other.frozen.bias[0] += 1e-3
    with pytest.raises(CheckpointError, match="frozen weights are not those"):
        train(tmp_path, other, steps=3, validate=False)


class Worsening(Small):
    """Its validation loss only ever rises."""

    def validation_step(self, batch: Tensor, batch_index: int) -> None:
        self.log("val/loss", float(len(self.weights)), batch_size=len(batch))


def test_last_is_written_although_validation_gets_worse(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        train(tmp_path, Worsening(), callbacks=[StopAt(9, InterruptedError())], save_every=100)
    steps = {name: checkpoint(tmp_path, name)["global_step"] for name in ("best", "last")}
    assert steps == {"best": 4, "last": 8}


def test_logs_and_checkpoints_are_kept_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    out = tmp_path / "out"
    train(out, steps=9, keep_every=3, save_every=None)
    kept = {path.name for path in (out / "checkpoints").iterdir()}
    assert kept == {"best.ckpt", "last.ckpt", "step-3.ckpt", "step-6.ckpt", "step-9.ckpt"}
    # Not a multiple of anything: the last step is always kept.
    assert checkpoint(out)["global_step"] == 9
    assert checkpoint(out, "step-6")["global_step"] == 6
    assert (out / "logs" / "metrics.csv").is_file()
    assert list((out / "logs").glob("events.out.tfevents*"))
    assert list(elsewhere.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*Torch was not compiled.*")
def test_bfloat16_can_be_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    exact = train(tmp_path / "exact", steps=2, validate=False)
    mixed = train(tmp_path / "mixed", steps=2, validate=False, precision="bf16-mixed")
    assert "bf16-mixed is slow on most CPUs" in caplog.text
    assert mixed.head.weight.dtype == torch.float32
    assert mixed.losses == pytest.approx(exact.losses, rel=0.05)
    assert mixed.losses != exact.losses


def test_precision_suits_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [precision("auto", device) for device in ("cpu", "mps", "cuda")] == ["32-true"] * 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert precision("auto", "auto") == precision("auto", "cuda") == "bf16-mixed"
    assert precision("auto", "cpu") == precision("32-true", "cuda") == "32-true"


def test_strategy_follows_from_the_processes() -> None:
    assert make_strategy("auto", 1) == "auto"
    assert isinstance(make_strategy("auto", 2), DDPStrategy)
    assert isinstance(make_strategy("ddp", 1), DDPStrategy)
    assert isinstance(make_strategy("fsdp", 4), FullyShardedStrategy)


def test_processes_are_those_that_were_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)
    assert processes(RunConfig()) == (1, 1)
    assert processes(RunConfig(devices=4, nodes=2)) == (4, 2)
    slurm = {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}
    with monkeypatch.context() as environment:
        for name, value in slurm.items():
            environment.setenv(name, value)
        assert processes(RunConfig()) == (4, 2)
    torchrun = {"WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "x"}
    for name, value in torchrun.items():
        monkeypatch.setenv(name, value)
    assert processes(RunConfig()) == (2, 3)
    assert processes(RunConfig(devices=1)) == (1, 3)


@pytest.mark.parametrize(
    "change", [{"devices": 0}, {"nodes": -1}, {"accumulate": 0}, {"log_every": 0}, {"keep_every": -1}]
)
def test_numbers_out_of_range_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=rf"run\.{next(iter(change))}"):
        RunConfig(**change)  # type: ignore[arg-type]


def test_settings_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="validate_every: 0"):
        train(tmp_path, validate_every=0)
    check = GenerationCheck(6, size_of_head)
    with pytest.raises(ConfigError, match="every 6 steps is part of the validations, which are every 4"):
        train(tmp_path, callbacks=[check])
    with pytest.raises(ConfigError, match="have validation data"):
        train(tmp_path, callbacks=[GenerationCheck(8, size_of_head)], validate=False)
    assert not (tmp_path / "checkpoints").exists()


def test_missing_logger_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"motiongpt3\[wandb\]"):
        train(tmp_path, wandb="motions")


def test_memory_setting_never_fails() -> None:
    keep_freed_memory()
