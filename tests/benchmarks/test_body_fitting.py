"""The benchmark of fitting: what it measures of a tiny dataset."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import body_fitting
from tests.data.datasets import write_tiny


def test_prints_errors_flips_and_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_tiny(tmp_path / "data")
    monkeypatch.setattr(body_fitting, "SPEED_FRAMES", 20)
    monkeypatch.setattr(sys, "argv", ["", "--data", str(data), "--split", "train"])
    assert body_fitting.main() == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["clips"] == len(body_fitting.clips(body_fitting.HumanML3DDataset(data), "train")) > 0
    assert 0 < found["mean_error_mm"] <= found["worst_clip_mm"]
    assert len(found["first_flips"]) == min(found["flips"], 10)
    assert found["frames_per_processor_second"] > 0


def test_what_cannot_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["", "--data", str(tmp_path / "nowhere")])
    assert body_fitting.main() == 2
    assert "nowhere" in capsys.readouterr().err
