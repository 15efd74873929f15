"""The file of metrics goes on with its run."""

from __future__ import annotations

from pathlib import Path

import pytest

from motiongpt3.training.logs import MetricsFile

OLD = "step,train/loss,val/loss\n0,3.5,\n1,2.5,\n1,,4.0\n2,2.25,\n3,9.0"


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_rows_of_steps_that_are_done_again_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "metrics.csv"
    path.parent.mkdir()
    path.write_text(OLD)
    log = MetricsFile(tmp_path, step=3)
    log.log_metrics({"train/loss": 2.0, "epoch": 0}, step=3)
    log.log_metrics({"train/new": 1.0}, step=4)
    lines = path.read_text().splitlines()
    assert lines[0] == "step,train/loss,train/new,val/loss"
    assert lines[1:] == ["0,3.5,,", "1,2.5,,", "1,,,4.0", "2,2.25,,", "3,2.0,,", "4,,1.0,"]


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_new_run_begins_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "metrics.csv"
    path.parent.mkdir()
    path.write_text(OLD)
    MetricsFile(tmp_path, step=0).log_metrics({"train/loss": 2.0}, step=0)
    assert path.read_text().splitlines() == ["step,train/loss", "0,2.0"]
