"""The benchmark of drawing: that it draws what it says."""

from __future__ import annotations

import json
import sys

import pytest
from benchmarks.rendering import main, walk

from motiongpt3.motion.skeleton import JOINT_INDEX


def test_prints_the_seconds_of_a_film(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["", "--style", "skeleton", "--frames", "3", "--size", "64"])
    assert main() == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["frames"], found["size"], found["style"]) == (3, 64, "skeleton")
    assert found["seconds"] > 0


def test_the_walk_walks() -> None:
    joints = walk(20).joints
    assert joints[-1, 0, 2] - joints[0, 0, 2] == pytest.approx(19 / 20, abs=1e-4)
    ankles = joints[:, [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]], 2] - joints[:, :1, 2]
    assert ankles.amax(0).min() > 0.1
    assert ankles.amin(0).max() < -0.1
