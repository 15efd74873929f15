"""Where the numbers of a run are kept."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from motiongpt3.errors import MissingDependencyError


class MetricsFile(CSVLogger):
    """``logs/metrics.csv``, which goes on with its run instead of being written over.

    Args:
        out: folder of the run.
        step: where the run goes on; rows of later steps, which will be done again, are dropped.
    """

    def __init__(self, out: Path, step: int) -> None:
        # Every row at once: what a killed run had logged before its last checkpoint must be there.
        super().__init__(out, name="logs", version="", flush_logs_every_n_steps=1)
        self._rows = _rows_before(out / "logs" / "metrics.csv", step)

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        # Lightning adds an epoch, of which there is but one.
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    @property
    @rank_zero_experiment
    def experiment(self):  # type: ignore[no-untyped-def]
        first = self._experiment is None
        writer = super().experiment
        if first and self._rows:
            writer.metrics = self._rows
            writer.save()
        return writer


def loggers(out: Path, step: int, wandb: str) -> list[Logger]:
    """CSV, TensorBoard, and Weights & Biases if ``wandb`` names a project.

    Raises:
        MissingDependencyError: if the package of the last is not installed.
    """
    found: list[Logger] = [
        MetricsFile(out, step),
        TensorBoardLogger(
            out, name="logs", version="", default_hp_metric=False, purge_step=step if step else None
        ),
    ]
    if wandb:
        if importlib.util.find_spec("wandb") is None:
            raise MissingDependencyError(
                "logging to Weights & Biases needs the package 'wandb': pip install 'motiongpt3[wandb]'"
            )
        # The same folder is the same run.
        number = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:12]
        found.append(WandbLogger(name=out.name, project=wandb, save_dir=out, id=number, resume="allow"))
    return found


def _rows_before(path: Path, step: int) -> list[dict[str, str]]:
    """Rows of a file of metrics that are of the first ``step`` steps (counted from 0)."""
    if not step or not path.exists():
        return []
    with path.open(newline="") as file:
        # A row may be cut short where the run was killed.
        return [
            row
            for row in csv.DictReader(file)
            if (row.get("step") or "").isdigit() and int(row["step"]) < step
        ]
