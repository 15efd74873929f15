"""A language stage ends alike when it was killed and went on, and when several processes share it."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.small_language_run import BATCH, STEPS, VALIDATE_EVERY, prepare, train

ROOT = Path(__file__).parents[2]
SCRIPT = "tests.training.small_language_run"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places")
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def two(places: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs in two processes, as torchrun starts them; they talk to each other by gloo."""
    out = tmp_path_factory.mktemp("two")
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", SCRIPT, "parallel"]
    subprocess.run([sys.executable, "-m", *launch, str(places), str(out)], cwd=ROOT, check=True)
    return out


def checkpoint(out: Path) -> dict[str, Any]:
    return torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def columns(out: Path) -> dict[str, list[tuple[int, float]]]:
    """The numbers of ``metrics.csv`` by name, each with its step."""
    with (out / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        name: [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        for name in rows[0]
        if name != "step"
    }


def test_killed_stage_goes_on_as_if_nothing_had_happened(places: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "parts"
    train(places, whole, batch_size=BATCH // 2)
    killed = subprocess.run(
        [sys.executable, "-m", SCRIPT, "killed", str(places), str(out)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint(out)["global_step"] == VALIDATE_EVERY
    assert not (out / "model").exists()

    train(places, out, batch_size=BATCH // 2)
    found, expected = weights(out), weights(whole)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert (out / "logs" / "metrics.csv").read_text() == (whole / "logs" / "metrics.csv").read_text()
    assert len(columns(out)["train/loss"]) == STEPS
    saved, complete = checkpoint(out), checkpoint(whole)
    assert saved["global_step"] == STEPS
    for name, tensor in complete["state_dict"].items():
        assert torch.equal(saved["state_dict"][name], tensor)


@pytest.mark.parametrize("run", ["instruct-ddp", "finetune-ddp", "finetune-fsdp"])
def test_two_processes_learn_what_one_learns_from_twice_the_batch(
    run: str, places: Path, two: Path, tmp_path: Path
) -> None:
    train(places, tmp_path, run.partition("-")[0])
    expected, found = columns(tmp_path), columns(two / run)
    assert found.keys() == expected.keys()
    assert len(found["train/loss"]) == STEPS
    for name, values in expected.items():
        # Where no process has a lesson of some kind, the number is NaN in both.
        assert [step for step, _ in found[name]] == [step for step, _ in values], name
        assert [value for _, value in found[name]] == pytest.approx(
            [value for _, value in values], rel=2e-4, abs=1e-6, nan_ok=True
        ), name
    one, other = weights(tmp_path), weights(two / run)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=1e-4, rtol=1e-4)
