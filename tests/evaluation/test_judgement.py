from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.evaluation.judgement import (
    Prompt,
    combine,
    evaluate_prompts,
    judge,
    judge_clip,
    read_prompts,
    score_clips,
    wilson_interval,
)
from tests.evaluation import puppet

LEFT = Prompt("a person raises their left hand", "raise_left_hand", "seen")
TURN = Prompt("somebody veers to the left", "turn_left", "paraphrase")


def test_a_clip_with_nan_fails_without_an_error() -> None:
    broken = puppet.raise_hands("left")
    broken[5, 3] = math.nan
    verdict = judge_clip(broken, "raise_left_hand")
    assert not verdict.success
    assert not verdict.finite
    score = score_clips([broken, puppet.raise_hands("left")], "raise_left_hand")
    assert (score.count, score.successes, score.not_finite) == (2, 1, 1)
    assert score.jerk > 0


def test_turns_count_direction_and_amplitude_separately() -> None:
    clips = [puppet.walk(turn_degrees=degrees) for degrees in (90.0, 30.0, -90.0, 170.0)]
    score = score_clips(clips, "turn_left")
    assert score.successes == 3
    assert (score.turns, score.amplitudes) == (4, 1)
    assert score.turn_angles[1] == pytest.approx(60, abs=5)
    right = score_clips(clips, "turn_right")
    assert (right.successes, right.amplitudes) == (1, 1)
    assert math.isnan(score_clips(clips, "walk").amplitude_rate)


def test_floor_tolerance_counts_both_ways() -> None:
    clips = [puppet.stand() + torch.tensor([0.0, height, 0.0]) for height in (0.0, 0.04, 0.06, -0.06)]
    assert score_clips(clips, "stand").on_floor == 2


def test_judge_gives_plain_values() -> None:
    values = judge([puppet.walk(turn_degrees=90.0)], "turn_left")
    assert values["rate"] == 1.0
    assert values["amplitude_rate"] == 1.0
    assert values["variety_m"] is None
    json.dumps(values, allow_nan=False)


def test_evaluate_prompts_asks_for_every_seed_in_batches_and_judges_by_prompt() -> None:
    asked: list[tuple[str, int]] = []
    batches: list[int] = []

    def generate(texts: list[str], seeds: list[int]) -> list[Tensor]:
        asked.extend(zip(texts, seeds))
        batches.append(len(texts))
        # Obeys except for seed 2, which always raises the wrong hand.
        return [
            puppet.raise_hands("right")
            if seed == 2
            else puppet.raise_hands("left")
            if text == LEFT.text
            else puppet.walk(turn_degrees=90.0)
            for text, seed in zip(texts, seeds)
        ]

    done: list[tuple[int, int]] = []
    report = evaluate_prompts(
        generate, [LEFT, TURN], range(3), batch_size=4, progress=lambda *counts: done.append(counts)
    )
    assert asked == [(text, seed) for text in (LEFT.text, TURN.text) for seed in range(3)]
    assert batches == [4, 2]
    assert done == [(4, 6), (6, 6)]
    assert [score.rate for _, score in report.prompts] == pytest.approx([2 / 3, 2 / 3])
    assert report.overall.count == 6
    assert report.paraphrases.successes == 2
    assert report.groups["turn"].amplitude_rate == pytest.approx(2 / 3)
    assert report.actions["raise_left_hand"].successes == 2
    json.dumps(report.as_dict(), allow_nan=False)


def test_a_generator_that_drops_clips_is_found_out() -> None:
    with pytest.raises(InputError, match="asked for 2 clips, got 1"):
        evaluate_prompts(lambda texts, seeds: [puppet.stand()], [LEFT], [0, 1])


def test_combined_scores_weigh_prompts_equally_in_means() -> None:
    slow = score_clips([puppet.walk(slide=0.2)], "walk")
    fast = score_clips([puppet.walk(slide=0.4)] * 3, "walk")
    both = combine([slow, fast])
    assert both.count == 4
    assert both.foot_skate == pytest.approx((slow.foot_skate + fast.foot_skate) / 2)


def test_wilson_interval_meets_published_values() -> None:
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table 1, method 3.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a list 'val'"),
        ('{"val": [{"prompt": "x"}]}', "expected a list 'val'"),
        ('{"val": [{"prompt": "x", "action": "fly", "wording": "seen"}]}', "no action called 'fly'"),
        ('{"val": [{"prompt": "x", "action": "walk", "wording": "odd"}]}', "wording 'odd'"),
        ("{", "expected a list 'val'"),
    ],
)
def test_prompt_files_that_are_not_in_order_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_prompts(path, "val")


def test_a_missing_prompt_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the prompts"):
        read_prompts(tmp_path / "none.json", "val")
