"""Two processes learn what one learns with batches twice as large, whole (DDP) or sharded (FSDP)."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from motiongpt3.training.generation_check import GenerationCheck
from tests.training.small_run import STEPS, Small, size_of_head, train

ROOT = Path(__file__).parents[2]
RUNS = ["ddp", "ddp-parts", "fsdp-parts"]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Small, Path]:
    """A run in this process."""
    out = tmp_path_factory.mktemp("one")
    return train(out, Small(chance=False), callbacks=[GenerationCheck(4, size_of_head)]), out


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs in two processes, as torchrun starts them; they talk to each other by gloo."""
    out = tmp_path_factory.mktemp("two")
    command = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    subprocess.run(
        [sys.executable, "-m", *command, "tests.training.small_run", "parallel", str(out)],
        cwd=ROOT,
        check=True,
    )
    return out


def column(out: Path, name: str) -> list[float]:
    with (out / "logs" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


@pytest.mark.parametrize("run", RUNS)
def test_two_processes_learn_what_one_learns(run: str, one: tuple[Small, Path], two: Path) -> None:
    module, out = one
    # The gradients are added up in another order: single precision.
    tolerance = {"atol": 1e-5, "rtol": 1e-5}
    weights = torch.load(two / f"{run}.pt", weights_only=True)
    assert weights.keys() == module.state_dict().keys()
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, **tolerance)
    for name, count in (("train/loss", STEPS), ("val/loss", 3), ("generation/size", 3)):
        found, expected = column(two / run, name), column(out, name)
        assert len(found) == count
        assert found == pytest.approx(expected, rel=1e-5)
    assert column(two / run, "train/gradient_norm") == pytest.approx(
        column(out, "train/gradient_norm"), rel=1e-4
    )


def test_run_in_two_processes_goes_on_alike(two: Path) -> None:
    whole, parts = (torch.load(two / f"{name}.pt", weights_only=True) for name in ("ddp", "ddp-parts"))
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())
    losses, rest = json.loads((two / "ddp.json").read_text())
    assert rest == losses[-len(rest) :]
    assert len(rest) == STEPS - 6


def test_run_of_two_processes_can_go_on_in_one(one: tuple[Small, Path], two: Path, tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    shutil.copyfile(two / "ddp" / "checkpoints" / "step-6.ckpt", last)
    rest = train(tmp_path, Small(chance=False))
    assert rest.losses == pytest.approx(one[0].losses[6:], rel=1e-5)


@pytest.mark.parametrize("run", RUNS)
def test_checkpoints_do_not_depend_on_the_processes(run: str, one: tuple[Small, Path], two: Path) -> None:
    found, expected = (
        torch.load(out / "checkpoints" / "last.ckpt", weights_only=True) for out in (two / run, one[1])
    )
    for part in ("state_dict", "averaged_weights"):
        assert found[part].keys() == expected[part].keys()
        for name, tensor in expected[part].items():
            torch.testing.assert_close(found[part][name], tensor, atol=1e-5, rtol=1e-5)
