from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motiongpt3.data.captions import mirror_words
from motiongpt3.evaluation.caption_reading import ACTION_NAMES, read_caption

SENTENCES = [
    # sentence, actions, hands, directions
    ("A person lifts the left arm straight up.", "raise", "left", ""),
    ("she keeps still and stretches both arms into the air", "raise", "both", ""),
    ("raising their right hand while the other arm hangs down", "raise", "right", ""),
    ("raise your right hand, keeping your left arm down", "raise", "right", ""),
    ("he swings his arms around over his head while waving", "raise wave", "both", ""),
    ("someone waves with the left", "wave", "left", ""),
    ("waves with the left hand and then with the right hand", "wave", "left right", ""),
    ("shaking their left hand in the air", "wave", "left", ""),
    ("a man waved a sword", "swordplay", "", ""),
    ("a person is walking, arms swinging back and forth at their sides", "walk", "", ""),
    ("walk forward, alternating left and right feet", "walk", "", "forward"),
    ("a woman took four steps backwards", "walk", "", "backward"),
    ("he backs away while facing forward", "walk", "", "backward"),
    ("walks ahead, then makes a turn to the right", "walk turn", "", "right forward"),
    ("a quarter circle counter-clockwise at a slow pace", "turn", "", "left"),
    ("runs forward, taking seven strides", "run", "", "forward"),
    ("five running steps in a frail, elderly way", "run", "", ""),
    ("jogging and then veering left", "run turn", "", "left"),
    ("a dancer grooves to the music", "dance", "", ""),
    ("bend your upper body forward, then stand back up", "bow", "", "forward"),
    ("the person stands still, waiting", "stand", "", ""),
    ("he just stands there and kicks a ball with his left foot", "kick", "", ""),
    ("a backflip", "flip", "", ""),
    ("nothing of the kind", "", "", ""),
    ("", "", "", ""),
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@pytest.mark.parametrize(("sentence", "actions", "hands", "directions"), SENTENCES)
def test_sentences_are_read(sentence: str, actions: str, hands: str, directions: str) -> None:
    reading = read_caption(sentence)
    assert reading.actions == _words(actions)
    assert reading.hands == _words(hands)
    assert reading.directions == _words(directions)


@pytest.mark.parametrize("sentence", [row[0] for row in SENTENCES])
def test_in_the_mirror_only_the_sides_change(sentence: str) -> None:
    opposites = {"left": "right", "right": "left"}
    here, there = read_caption(sentence), read_caption(mirror_words(sentence))
    assert there.actions == here.actions
    assert there.hands == {opposites.get(hand, hand) for hand in here.hands}
    assert there.directions == {opposites.get(direction, direction) for direction in here.directions}


@pytest.mark.parametrize("sentence", [row[0] for row in SENTENCES])
def test_capitals_and_spaces_do_not_matter(sentence: str) -> None:
    spaced = "  " + sentence.upper().replace(" ", " \n ")
    assert read_caption(spaced) == read_caption(sentence)


@given(st.text(max_size=80))
def test_any_text_can_be_read(text: str) -> None:
    reading = read_caption(text)
    assert reading.actions <= set(ACTION_NAMES)
    assert reading.hands <= {"left", "right", "both"}
    assert reading.directions <= {"left", "right", "backward", "forward"}


@given(st.lists(st.sampled_from([word for row in SENTENCES for word in row[0].split()]), max_size=30))
def test_any_mixture_of_words_can_be_read(words: list[str]) -> None:
    assert read_caption(" ".join(words)).actions <= set(ACTION_NAMES)
