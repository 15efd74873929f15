from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from motiongpt3.data.captions import Caption, mirror_words
from motiongpt3.data.humanml3d import ClipMetadata, HumanML3DDataset, Segment, write_dataset
from motiongpt3.errors import InputError
from motiongpt3.evaluation.captioning import (
    ClipWithFacts,
    check_judge,
    clips_with_facts,
    facts_of,
    judge_caption,
    score_verdicts,
)
from motiongpt3.motion.features import FEATURE_WIDTH

# For each label: a caption that is right, one with a wrong action, one with a wrong side, one without a side.
EXAMPLES = {
    "raise-up-left-hand": (
        "lift your left hand above your head",
        "wave with your left hand",
        "lift your right hand above your head",
        "a person raises a hand",
    ),
    "raise-up-both-hands": ("put your hands up", "clean a window", "raise the left hand", None),
    "wave-right-hand": (
        "raise your right hand and wave it",
        "raise your right hand",
        "wave both hands",
        "someone waves",
    ),
    "wave-both-hands": ("he waves both arms", "he walks, waving both arms", "he waves the left arm", None),
    "walk": ("a person walks forward", "a person walks forward and turns left", None, None),
    "walk-turn-left": (
        "walks ahead and turns left",
        "runs ahead and turns left",
        "walks ahead and turns right",
        "a person walks",
    ),
    "walk-back": ("walk backwards", "jump backwards", "walk forward", "a person walks slowly"),
    "walk-right": ("walking diagonally to the right", "dancing to the right", "walking to the left", None),
    "run": ("she runs ahead", "she runs and jumps", None, None),
    "run/jog, veer left": ("jog in a curve to the left", "walk to the left", "jog to the right", "jog"),
    "idle standing": ("a person stands and waits", "a person stands and bows", None, None),
    "bow": ("he bows at the waist", "he kicks", None, None),
    "Bassai": ("a karate kata", "a ballet routine", None, None),
    "dance - small jetes, pirouette": ("she dances", "she walks about", None, None),
    "call": ("shouting with both hands around their mouth, then raising the left hand", "a bow", None, None),
}


@pytest.mark.parametrize("label", EXAMPLES)
def test_captions_are_judged_by_action_and_side(label: str) -> None:
    facts = facts_of(label)
    assert facts is not None
    right, wrong_action, wrong_side, no_side = EXAMPLES[label]
    verdict = judge_caption(right, facts)
    assert verdict.right
    assert verdict.side == ("right" if facts.has_side else "none")
    assert not judge_caption(wrong_action, facts).action
    if wrong_side is not None:
        verdict = judge_caption(wrong_side, facts)
        assert (verdict.action, verdict.side, verdict.right) == (True, "wrong", False)
    if no_side is not None:
        verdict = judge_caption(no_side, facts)
        assert (verdict.action, verdict.side, verdict.right) == (True, "unnamed", False)


@pytest.mark.parametrize("label", EXAMPLES)
def test_in_the_mirror_all_verdicts_are_the_same(label: str) -> None:
    facts, mirrored = facts_of(label), facts_of(mirror_words(label))
    assert facts is not None
    assert mirrored is not None
    for caption in filter(None, EXAMPLES[label]):
        assert judge_caption(caption, facts) == judge_caption(mirror_words(caption), mirrored)


@pytest.mark.parametrize("label", EXAMPLES)
@pytest.mark.parametrize("caption", ["", "walk run jump dance bow kick", "left left right", "the the the"])
def test_nothing_and_everything_are_wrong(label: str, caption: str) -> None:
    facts = facts_of(label)
    assert facts is not None
    assert not judge_caption(caption, facts).right


@pytest.mark.parametrize(
    ("captions", "hand"),
    [
        (["a person waves", "wave the left hand", "say bye with the left hand"], "left"),
        (["a person waves", "wave the right hand"], "right"),
        (["wave the left hand", "wave the right hand"], None),
        (["wave both hands"], None),
        (["a person waves"], None),
        ([], None),
    ],
)
def test_an_open_hand_is_the_one_that_the_captions_agree_on(captions: list[str], hand: str | None) -> None:
    facts = facts_of("bye", captions)
    assert facts is not None
    assert facts.hand == hand


@pytest.mark.parametrize("label", ["Start Walk Stop", "juggling", "", None])
def test_labels_without_one_action_have_no_facts(label: str | None) -> None:
    assert facts_of(label) is None


def test_scores_count_what_the_verdicts_say() -> None:
    facts = facts_of("wave-left-hand")
    walk = facts_of("walk")
    assert facts is not None
    assert walk is not None
    said = ["wave the left hand", "wave the right hand", "someone waves", "kick with the left hand"]
    verdicts = [judge_caption(text, facts) for text in said] + [judge_caption("walk on", walk)]
    score = score_verdicts(verdicts)
    assert (score.count, score.actions, score.sided, score.sides, score.unnamed, score.right) == (
        5,
        4,
        4,
        2,
        1,
        2,
    )
    assert score.action_rate == 0.8
    assert score.side_rate == 0.5
    values = score.as_dict()
    assert values["action"] == 0.8
    assert values["action_interval"][0] < 0.8 < values["action_interval"][1]
    assert score_verdicts([]).as_dict()["action"] is None


def _dataset(folder: Path, clips: dict[str, tuple[ClipMetadata, list[str]]]) -> HumanML3DDataset:
    features = np.zeros((24, FEATURE_WIDTH), dtype=np.float32)
    with write_dataset(folder) as writer:
        for name, (metadata, captions) in clips.items():
            writer.add(name, features, [Caption(text) for text in captions], "train", metadata)
    return HumanML3DDataset(folder)


def test_clips_of_a_split_come_with_their_facts(tmp_path: Path) -> None:
    dataset = _dataset(
        tmp_path / "data",
        {
            "a": (ClipMetadata("a", label="walk"), ["a person walks"]),
            "Ma": (ClipMetadata("Ma", label="walk", mirrored_from="a"), ["a person walks"]),
            "b": (ClipMetadata("b", label="walk", duplicate_of="a"), ["a person walks"]),
            "c": (ClipMetadata("c", label="juggling"), ["a person juggles"]),
            "d": (ClipMetadata("d", label="bye"), ["wave the left hand"]),
        },
    )
    kept, excluded = clips_with_facts(dataset, "train")
    assert [clip.segment.clip for clip in kept] == ["a", "d"]
    assert kept[1].facts.hand == "left"
    assert excluded == {"juggling": 1}
    kept, _ = clips_with_facts(dataset, "train", mirrored=True)
    assert {clip.segment.clip for clip in kept} == {"a", "Ma", "d"}


def test_a_dataset_without_labels_is_refused(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path / "data", {"a": (ClipMetadata("a"), ["a person walks"])})
    with pytest.raises(InputError, match="no labels"):
        clips_with_facts(dataset, "train")


def test_the_judge_is_checked_on_own_and_other_clips(tmp_path: Path) -> None:
    dataset = _dataset(
        tmp_path / "data",
        {
            "a": (ClipMetadata("a", label="walk"), ["a person walks", "a person jumps"]),
            "b": (ClipMetadata("b", label="wave-left-hand"), ["wave the left hand"]),
            "c": (ClipMetadata("c", label="wave-right-hand"), ["someone waves", "wave the right hand"]),
        },
    )
    clips, _ = clips_with_facts(dataset, "train")
    check = check_judge(clips)
    assert (check.own.count, check.own.actions, check.own.sides, check.own.unnamed) == (5, 4, 2, 1)
    # Of 10 pairs, the three that name a wave are right about the other wave, but for the hand.
    assert check.other_action == pytest.approx(3 / 10)
    assert check.other_right == 0.0
    assert check.table["walk", "walk"] == 0.5
    assert check.table["walk", "wave"] == 0.0


def test_the_judge_agrees_with_the_captions_of_real_clips(local_data: Callable[[str], Path]) -> None:
    lines = (local_data("data/mocap") / "captions_rich.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    clips = [
        ClipWithFacts(Segment(entry["id"], entry["id"], 0, 40, entry["captions"], entry["label"]), facts)
        for entry in entries
        if entry["split"] != "train" and (facts := facts_of(entry["label"], entry["captions"]))
    ]
    check = check_judge(clips)
    assert check.own.action_rate >= 0.99
    assert check.own.side_rate >= 0.98
    assert check.other_right <= 0.01
    unknown = {entry["label"] for entry in entries if facts_of(entry["label"]) is None}
    assert unknown == {"Start Walk Stop", "stretch and cartwheel"}
