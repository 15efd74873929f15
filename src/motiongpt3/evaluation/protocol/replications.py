"""Replications on disk: each is written when it is finished, so that an evaluation goes on where it
stopped."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

from motiongpt3.errors import InputError
from motiongpt3.evaluation.protocol.setting import Replication
from motiongpt3.files import atomic_file

FOLDER = "replications"
SETTINGS = "settings.json"


def interval(values: Sequence[float]) -> float | None:
    """Half of the 95 % interval of the mean of replications (Student's t); None for fewer than two.

    The field quotes 1.96 σ / √n with the deviation of the sample itself, which for 20 replications is 9 %
    less. It says how much the number changes from replication to replication, not how it would from split to
    split.
    """
    if len(values) < 2:
        return None
    return float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))


def summary(replications: Iterable[Replication]) -> dict[str, dict[str, dict[str, Any]]]:
    """Mean and interval of each metric in each row; NaN of a replication is left out and counted."""
    rows: dict[str, dict[str, list[float]]] = {}
    for replication in replications:
        for row, scores in replication.scores.items():
            for name, value in scores.items():
                rows.setdefault(row, {}).setdefault(name, []).append(value)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row, metrics in rows.items():
        found[row] = {}
        for name, values in metrics.items():
            numbers = [value for value in values if not math.isnan(value)]
            found[row][name] = {
                "mean": fmean(numbers) if numbers else None,
                "interval": interval(numbers),
                "replications": len(numbers),
            }
    return found


class ReplicationFolder:
    """The finished replications of one evaluation.

    Args:
        out: the evaluation's folder.
        settings: all that the numbers depend on.

    Raises:
        InputError: if the folder holds replications of other settings.
    """

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self._folder = out / FOLDER
        self._mark = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
        known = self._folder / SETTINGS
        if known.is_file() and self._read(known).get("settings") != self._mark:
            raise InputError(
                f"{out} holds an evaluation with other settings, model or data: choose another --out, or "
                f"delete {self._folder}"
            )

    def finished(self, number: int) -> Replication | None:
        """A replication, if it is finished; without its samples."""
        path = self._folder / f"{number:03d}.json"
        if not path.is_file():
            return None
        read = self._read(path)
        scores = {
            row: {name: math.nan if value is None else value for name, value in metrics.items()}
            for row, metrics in read["scores"].items()
        }
        return Replication(scores, read["curves"], texts=read["texts"])

    def write(self, number: int, replication: Replication) -> None:
        """Keep a finished replication, and note the settings."""
        self._write(self._folder / SETTINGS, {"settings": self._mark})
        scores = {
            row: {name: None if math.isnan(value) else value for name, value in metrics.items()}
            for row, metrics in replication.scores.items()
        }
        values = {"scores": scores, "curves": replication.curves, "texts": replication.texts}
        self._write(self._folder / f"{number:03d}.json", values)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not readable ({error}); delete it to compute it again") from None
        return read if isinstance(read, dict) else {}

    def _write(self, path: Path, values: dict[str, Any]) -> None:
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
