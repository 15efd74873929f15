"""Text metrics: by hand, and against values that others published."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from motiongpt3.errors import InputError
from motiongpt3.evaluation.text_metrics import tokenization
from motiongpt3.evaluation.text_metrics.overlap import OVERLAP_METRICS, overlap_scores
from motiongpt3.evaluation.text_metrics.tokenization import (
    lemmatised,
    spacy_available,
    tagged_words,
    whitespace_words,
    words_of,
)

pytest.importorskip("pycocoevalcap")
PUBLISHED_NAMES = dict(zip(("bleu1", "bleu4", "rougeL", "cider"), OVERLAP_METRICS))


def test_scores_of_a_few_captions_by_hand() -> None:
    captions = ["a person walks", "he jumps"]
    references = [["a person walks forward", "the man walks"], ["he jumps"]]
    found = overlap_scores(captions, references)
    # All unigrams match; lengths 3 and 2 against the closest references 4 or 3 (3) and 2: no penalty.
    assert found["BLEU-1"] == pytest.approx(1.0, abs=1e-6)
    # Longest common subsequences: 3 of 3 words and of 4; 2 of 2.
    precision, recall, beta = 1.0, 3 / 4, 1.2
    first = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    assert found["ROUGE-L"] == pytest.approx((first + 1.0) / 2)
    assert overlap_scores(["a b"], [["a b c d"]])["BLEU-1"] == pytest.approx(math.exp(1 - 4 / 2), rel=1e-6)
    assert found["CIDEr"] > overlap_scores(["he jumps", "a person walks"], references)["CIDEr"]


def test_words_are_what_spaces_separate() -> None:
    assert whitespace_words("A person's left-hand,  waves.") == ["A", "person's", "left-hand,", "waves."]
    same = overlap_scores(["a person waves."], [["a person waves"]], lambda text: text.rstrip(".").split())
    assert same["BLEU-1"] == pytest.approx(1.0, abs=1e-6)
    assert overlap_scores(["a person waves."], [["a person waves"]])["BLEU-1"] == pytest.approx(
        2 / 3, rel=1e-6
    )


def test_captions_without_references_are_refused() -> None:
    for captions, references in (([], []), (["a"], []), (["a"], [[]])):
        with pytest.raises(InputError, match="do not pair up"):
            overlap_scores(captions, references)


def test_published_values_are_reproduced(local_data: Callable[[str], Path]) -> None:
    content = json.loads(local_data("data/text_metrics/motiongpt_humanml3d_test.json").read_text())
    captions = [case["prediction"] for case in content["cases"]]
    found = overlap_scores(captions, [case["references"] for case in content["cases"]])
    for theirs, ours in PUBLISHED_NAMES.items():
        assert found[ours] == pytest.approx(content["raw_reference_metrics"][theirs], abs=0.002), ours


@pytest.mark.skipif(not spacy_available(), reason="spaCy and its English model are not installed")
def test_lemmas_follow_the_field() -> None:
    (tokens,) = tagged_words(["The man's left-hand waves 3 times, then he walked to the left."])
    words = words_of(tokens)
    assert "walk" in words
    assert "walked" not in words
    assert "left" in words
    assert not {"3", ",", "-"} & set(words)
    assert {token.rpartition("/")[2] for token in tokens} >= {"NOUN", "VERB", "DET"}
    assert lemmatised(["he walked"] * 2) == ["he walk"] * 2


def test_words_come_without_their_tags() -> None:
    assert words_of(["a/DET", "left/right/ADV", "plain"]) == ["a", "left/right", "plain"]
    assert tokenization.SPACY_MODELS[0] == "en_core_web_sm"
