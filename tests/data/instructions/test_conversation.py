from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from motiongpt3.data.instructions import Conversation, Turn, load_conversation
from motiongpt3.errors import InputError

_TRAIN, _HELD_OUT = load_conversation(), load_conversation("held_out")


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower()))


def test_there_are_enough_requests_of_each_kind() -> None:
    assert len(_TRAIN.text) + len(_HELD_OUT.text) >= 300
    assert len(_TRAIN.motion) + len(_HELD_OUT.motion) >= 150
    assert len(_TRAIN.dialogues) + len(_HELD_OUT.dialogues) >= 60


@pytest.mark.parametrize("kind", ["text", "motion", "dialogues"])
def test_about_a_fifth_is_held_out(kind: str) -> None:
    held_out, train = len(getattr(_HELD_OUT, kind)), len(getattr(_TRAIN, kind))
    assert 0.17 <= held_out / (held_out + train) <= 0.23


@pytest.mark.parametrize("kind", ["text", "motion"])
def test_training_never_sees_what_is_held_out(kind: str) -> None:
    seen = [set(_words(request)) for request in (*_TRAIN.text, *_TRAIN.motion)]
    seen += [set(_words(turn.text)) for dialogue in _TRAIN.dialogues for turn in dialogue[:1]]
    for request in getattr(_HELD_OUT, kind):
        words = set(_words(request))
        assert max(len(words & other) / len(words | other) for other in seen) < 0.75, request


def test_no_request_is_there_twice() -> None:
    requests = [_words(request) for c in (_TRAIN, _HELD_OUT) for request in (*c.text, *c.motion)]
    assert len(requests) == len(set(requests))
    dialogues = [
        tuple(turn.text for turn in dialogue) for c in (_TRAIN, _HELD_OUT) for dialogue in c.dialogues
    ]
    assert len(dialogues) == len(set(dialogues))


_MOVEMENT = re.compile(
    r"\b(?:walk|run|jump|danc|kick|throw|wav|step|stand|swim|sprint|jog|crawl|bow|fall|fell|hop|motion|animat|"
    r"stretch|leap|squat|climb|box|ballet|yoga|muscle|joint)\w*",
    re.IGNORECASE,
)


@pytest.mark.parametrize("part", [_TRAIN, _HELD_OUT])
def test_movement_alone_does_not_give_the_answer_away(part: Conversation) -> None:
    near_misses = sum(bool(_MOVEMENT.search(request)) for request in part.text)
    assert near_misses >= 0.2 * len(part.text)
    # Nor does the form: questions and commands are on both sides.
    for requests in (part.text, part.motion):
        questions = sum(request.rstrip().endswith("?") for request in requests)
        assert 0.1 < questions / len(requests) < 0.8


def test_motions_are_asked_for_without_placeholders() -> None:
    for part in (_TRAIN, _HELD_OUT):
        turns = [turn.text for dialogue in part.dialogues for turn in dialogue]
        assert not any("Placeholder" in text for text in (*part.text, *part.motion, *turns))


@pytest.mark.parametrize("part", [_TRAIN, _HELD_OUT])
def test_dialogues_go_from_words_to_motion_and_back(part: Conversation) -> None:
    assert all(2 <= len(dialogue) <= 5 for dialogue in part.dialogues)
    changes = {
        (before.wants, after.wants)
        for dialogue in part.dialogues
        for before, after in itertools.pairwise(dialogue)
    }
    assert {("text", "motion"), ("motion", "text"), ("motion", "motion"), ("text", "text")} <= changes
    assert any(turn.wants == "text then motion" for dialogue in part.dialogues for turn in dialogue)
    for dialogue in part.dialogues:
        for turn in dialogue:
            assert bool(turn.caption) == (turn.wants != "text")


def _content(**changes: Any) -> dict[str, Any]:
    return {"train": {"text": ["hi"], "motion": ["walk"], "dialogues": []} | changes}


def _write(folder: Path, content: object) -> Path:
    path = folder / "conversation.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_reads_a_file_of_ones_own(tmp_path: Path) -> None:
    turns = [{"user": "hi", "wants": "text"}, {"user": "walk", "wants": "motion", "caption": "a man walks"}]
    path = _write(tmp_path, _content(dialogues=[turns]))
    assert load_conversation(path=path) == Conversation(
        ("hi",), ("walk",), ((Turn("hi", "text"), Turn("walk", "motion", "a man walks")),)
    )
    with pytest.raises(InputError, match="held_out"):
        load_conversation("held_out", path)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ([], "train: must be an object"),
        ({"train": {"text": ["hi"]}}, "'text', 'motion' and 'dialogues'"),
        (_content(text=[]), "text: must be a list with at least one"),
        (_content(motion=["walk", 1]), "motion 1: must be a string"),
        (_content(motion=["walk", " "]), "motion 1: is empty"),
        (_content(dialogues={}), "dialogues: must be a list"),
        (_content(dialogues=[[]]), "dialogue 0: must be a list with at least one turn"),
        (_content(dialogues=[["hi"]]), "dialogue 0, turn 0: must be an object"),
        (_content(dialogues=[[{"user": "hi", "wants": "song"}]]), "'song'"),
        (_content(dialogues=[[{"user": "hi", "wants": ["text"]}]]), "wants must be one of"),
        (_content(dialogues=[[{"user": 1, "wants": "text"}]]), "user: must be a string"),
        (_content(dialogues=[[{"user": "", "wants": "text"}]]), "user: is empty"),
        (_content(dialogues=[[{"user": "hi", "wants": "motion"}]]), "a caption is needed"),
        (_content(dialogues=[[{"user": "hi", "wants": "text", "caption": "a"}]]), "a caption is needed"),
        (_content(dialogues=[[{"user": "hi", "wants": "text", "mood": "good"}]]), "must be an object"),
    ],
)
def test_refuses_what_is_no_conversation(tmp_path: Path, content: object, part: str) -> None:
    path = _write(tmp_path, content)
    with pytest.raises(InputError, match=part) as error:
        load_conversation(path=path)
    assert str(path) in str(error.value)
