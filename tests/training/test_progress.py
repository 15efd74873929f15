"""What is shown of a run: lines with the time that is left, and a bar in a terminal."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from motiongpt3.training.progress import ProgressDisplay, ProgressLines, progress_display
from tests.training.small_run import train


def test_lines_tell_how_far_it_is_and_how_long_it_takes() -> None:
    lines = ProgressLines(10)
    trainer: Any = SimpleNamespace(global_step=300, max_steps=5300, callback_metrics={})
    lines._first = 100
    assert lines.line(trainer, 50.0) == "step 300/5300 (5 %): 4.00 steps/s, 0:20:50 left"
    trainer.callback_metrics = {"train/loss": torch.tensor(0.12345)}
    assert "(5 %): loss 0.1235, 4.00" in lines.line(trainer, 50.0)


def test_output_that_is_no_terminal_gets_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, steps=5, log_every=2, accumulate=2)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(" (")[0] for line in said if "left" in line] == [
        "step 2/5",
        "step 4/5",
        "step 5/5",
    ]
    assert re.fullmatch(r"step 4: val/loss [\d.]+", said[2])
    assert len(said) == 4


def test_terminal_gets_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Console, "is_terminal", True)
    assert isinstance(progress_display(10), ProgressDisplay)
    train(tmp_path, steps=5, accumulate=2)
    said = capsys.readouterr().out
    assert "training" in said
    assert "10/10" in said
    assert "Epoch" not in said
