"""Means, intervals, and replications kept on disk."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from motiongpt3.errors import InputError
from motiongpt3.evaluation.protocol.replications import ReplicationFolder, interval, summary
from motiongpt3.evaluation.protocol.setting import Replication


def test_interval_is_students() -> None:
    values = [0.51, 0.49, 0.53, 0.50]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert interval(values) == pytest.approx((high - low) / 2)
    assert interval([1.0]) is None
    assert interval([2.0, 2.0]) == 0


def test_nan_of_a_replication_is_left_out_and_counted() -> None:
    replications = [Replication({"generated": {"FID": value}}) for value in (1.0, math.nan, 3.0)]
    found = summary(replications)["generated"]["FID"]
    assert (found["mean"], found["replications"]) == (2.0, 2)
    assert summary(replications[1:2])["generated"]["FID"]["mean"] is None


def test_replications_come_back_as_they_were(tmp_path: Path) -> None:
    folder = ReplicationFolder(tmp_path, {"seed": 0})
    assert folder.finished(3) is None
    kept = Replication(
        {"real": {"FID": 0.25, "skate": math.nan}}, {"generated": [1.0, 2.5]}, texts={"a": "b"}
    )
    folder.write(3, kept)
    again = ReplicationFolder(tmp_path, {"seed": 0}).finished(3)
    assert again is not None
    assert again.scores["real"]["FID"] == 0.25
    assert math.isnan(again.scores["real"]["skate"])
    assert (again.curves, again.texts) == (kept.curves, kept.texts)
    with pytest.raises(InputError, match="other settings"):
        ReplicationFolder(tmp_path, {"seed": 1})
    (tmp_path / "replications" / "003.json").write_text("{")
    with pytest.raises(InputError, match="delete it"):
        folder.finished(3)
