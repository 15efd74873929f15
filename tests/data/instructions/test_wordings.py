"""The wordings that come with the package: enough of them, different from each other, cleanly written."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pytest

from motiongpt3.data.instructions import Template, load_templates

_ALL = load_templates("all")
_LISTS = {
    f"{template.task}, {template.subtask}, {side}": wordings
    for template in _ALL
    for side, wordings in (("input", template.inputs), ("output", template.outputs))
    if len(wordings) > 1
}
_SENTENCES_OUT = {"count-frame", "count-sec", "caption-to-framelen", "caption-to-seclen", "explain_and_show"}

T2M, M2T, M2M, T2T = "Text-to-Motion", "Motion-to-Text", "Motion-to-Motion", "Text-to-Text"
_INSTRUCTIONS = [
    (T2M, "caption", "t2m"),
    (T2M, "caption_framelen", "t2m"),
    (T2M, "caption_seclen", "t2m"),
    (T2M, "random", "n2m"),
    (M2T, "caption", "m2t"),
    (M2T, "framelen", "m2t"),
    (M2T, "seclen", "m2t"),
    (M2T, "count-frame", "m2l"),
    (M2T, "count-sec", "m2l"),
    (M2M, "motion_prediction", "predict"),
    (M2M, "motion_prediction_caption", "predict"),
    (M2M, "motion_inbetween", "inbetween"),
    (M2M, "motion_inbetween_caption", "inbetween"),
]
_TEXT_TO_TEXT = [
    (T2T, "caption-to-framelen", "t2t"),
    (T2T, "caption-to-seclen", "t2t"),
    (T2T, "framelen-to-caption", "t2t"),
    (T2T, "seclen-to-caption", "t2t"),
    (T2T, "random-caption", "n2t"),
]
_TEXT_THEN_MOTION = [("Text-then-Motion", "explain_and_show", "t2tm")]


@pytest.mark.parametrize(
    ("name", "subtasks"),
    [
        (
            "pretrain",
            [
                (T2M, "t2m", "t2m"),
                (M2T, "m2t", "m2t"),
                (M2M, "pred", "predict"),
                (M2M, "inbetween", "inbetween"),
            ],
        ),
        ("t2m_pretrain", [(T2M, "t2m", "t2m")]),
        ("m2t_pretrain", [(M2T, "m2t", "m2t")]),
        ("instructions", _INSTRUCTIONS),
        ("witht2t_instructions", _INSTRUCTIONS + _TEXT_TO_TEXT),
        ("text_then_motion", _TEXT_THEN_MOTION),
        ("all", _INSTRUCTIONS + _TEXT_TO_TEXT + _TEXT_THEN_MOTION),
    ],
)
def test_the_package_has_these_subtasks(name: str, subtasks: list[tuple[str, str, str]]) -> None:
    assert [(t.task, t.subtask, t.class_name) for t in load_templates(name)] == subtasks


def test_pretraining_uses_the_bare_forms() -> None:
    wordings = {
        template.subtask: (template.inputs, template.outputs) for template in load_templates("pretrain")
    }
    assert wordings == {
        "t2m": (("<Caption_Placeholder>",), ("<Motion_Placeholder>",)),
        "m2t": (("<Motion_Placeholder>",), ("<Caption_Placeholder>",)),
        "pred": (("<Motion_Placeholder_s1>",), ("<Motion_Placeholder_s2>",)),
        "inbetween": (("<Motion_Placeholder_Masked>",), ("<Motion_Placeholder>",)),
    }


@pytest.mark.parametrize("template", _ALL, ids=lambda template: f"{template.task}-{template.subtask}")
def test_every_subtask_has_sixty_wordings_that_ask_for_all_of_it(template: Template) -> None:
    assert len(template.inputs) >= 60
    assert len(template.outputs) >= (60 if template.subtask in _SENTENCES_OUT else 1)
    needed = {
        "caption_framelen": ("<Frame_Placeholder>", ""),
        "caption_seclen": ("<Second_Placeholder>", ""),
        "framelen": ("<Frame_Placeholder>", ""),
        "seclen": ("<Second_Placeholder>", ""),
        "count-frame": ("", "<Frame_Placeholder>"),
        "count-sec": ("", "<Second_Placeholder>"),
        "motion_prediction_caption": ("<Caption_Placeholder>", ""),
        "motion_inbetween_caption": ("<Caption_Placeholder>", ""),
        "caption-to-framelen": ("<Caption_Placeholder>", "<Frame_Placeholder>"),
        "caption-to-seclen": ("<Caption_Placeholder>", "<Second_Placeholder>"),
        "framelen-to-caption": ("<Frame_Placeholder>", "<Caption_Placeholder>"),
        "seclen-to-caption": ("<Second_Placeholder>", "<Caption_Placeholder>"),
        "explain_and_show": ("<Caption_Placeholder>", "<Caption_Placeholder>"),
    }.get(template.subtask, ("", ""))
    assert all(needed[0] in wording for wording in template.inputs)
    assert all(needed[1] in wording for wording in template.outputs)


@pytest.mark.parametrize("template", _ALL, ids=lambda template: f"{template.task}-{template.subtask}")
def test_each_placeholder_stands_once(template: Template) -> None:
    for wording in template.inputs + template.outputs:
        assert max(Counter(re.findall(r"<\w+>", wording)).values(), default=1) == 1


def test_the_explanation_comes_before_the_motion() -> None:
    (template,) = load_templates("text_then_motion")
    for wording in template.outputs:
        assert wording.index("<Caption_Placeholder>") < wording.index("<Motion_Placeholder>")
        assert wording.endswith("<Motion_Placeholder>")


def test_the_documentation_counts_them_rightly() -> None:
    rows = {
        f"| {t.task} | `{t.subtask}` | `{t.class_name}` | {len(t.inputs)} | {len(t.outputs)} |" for t in _ALL
    }
    lines = (Path(__file__).parents[3] / "docs" / "instructions.md").read_text("utf-8").splitlines()
    assert rows <= set(lines)
    assert sum(
        line.startswith(tuple(f"| {task} |" for task in {t.task for t in _ALL})) for line in lines
    ) == len(rows)


def _words(wording: str) -> list[str]:
    return re.findall(r"<\w+>|[a-z0-9']+", wording.lower())


def _variety_faults(wordings: Sequence[str]) -> list[str]:
    """Where a list of wordings is one sentence with its words exchanged.

    Bounds are a little above what the packaged lists have; lists of short answers set them.
    """
    words = [_words(wording) for wording in wordings]
    faults = []
    openings = {tuple(sentence[:2]) for sentence in words}
    if len(openings) < 0.9 * len(words):
        faults.append(f"only {len(openings)} of {len(words)} open differently")
    for length, most in ((5, 2), (4, 6)):
        grams = Counter(
            gram
            for sentence in words
            for gram in {tuple(sentence[i : i + length]) for i in range(len(sentence) - length + 1)}
        )
        faults += [f"{' '.join(gram)!r} is in {count}" for gram, count in grams.items() if count > most]
    overlap = [len({*a} & {*b}) / len({*a} | {*b}) for a, b in itertools.combinations(words, 2)]
    if sum(overlap) / len(overlap) > 0.28:
        faults.append(f"two wordings share {sum(overlap) / len(overlap):.0%} of their words")
    return faults


@pytest.mark.parametrize("name", _LISTS)
def test_wordings_are_not_one_sentence_with_words_exchanged(name: str) -> None:
    assert _variety_faults(_LISTS[name]) == []


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("{verb} a {noun} that lasts <Frame_Placeholder> frames: <Caption_Placeholder>", "lasts"),
        ("please {verb} me the {noun} of <Caption_Placeholder>", "open differently"),
        ("{verb} {noun} of <Caption_Placeholder>", "share"),
    ],
)
def test_exchanged_words_would_be_noticed(pattern: str, fault: str) -> None:
    verbs = ("give", "show", "make", "create", "generate", "produce", "build", "draw", "invent", "render")
    nouns = ("motion", "movement", "gesture", "sequence", "clip", "animation")
    swapped = [pattern.format(verb=verb, noun=noun) for verb in verbs for noun in nouns]
    assert any(fault in found for found in _variety_faults(swapped))


@pytest.mark.parametrize("template", _ALL, ids=lambda template: f"{template.task}-{template.subtask}")
def test_placeholders_stand_in_different_places(template: Template) -> None:
    if template.class_name in ("n2m", "n2t"):
        pytest.skip("these requests are about nothing in particular")
    bare = [wording.rstrip(".?!") for wording in template.inputs]
    first = {wording for wording in bare if re.match(r"<\w+>", wording)}
    last = {wording for wording in bare if re.search(r"<\w+>$", wording)}
    if template.subtask not in ("framelen-to-caption", "seclen-to-caption"):
        assert len(first) >= 4
        assert len(last) >= 4
    assert len(set(bare) - first - last) >= 10


def _own_json() -> list[str]:
    return sorted(
        file.name for file in files("motiongpt3.data.instructions").iterdir() if file.name.endswith(".json")
    )


def test_the_files_of_the_package() -> None:
    assert _own_json() == [
        "conversation.json",
        "instructions.json",
        "pretrain.json",
        "text_then_motion.json",
        "text_to_text.json",
    ]


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [string for item in value for string in _strings(item)]
    return [str(value)]


@pytest.mark.parametrize("name", _own_json())
def test_strings_are_cleanly_written_and_one_a_line(name: str) -> None:
    text = files("motiongpt3.data.instructions").joinpath(name).read_text("utf-8")
    strings = _strings(json.loads(text))
    for string in strings:
        assert string == string.strip()
        assert not re.search(r"  |\t|\s[,;?!.](?:\s|$)", string), string
        assert string.count('"') % 2 == 0, string
        assert string.count("(") == string.count(")"), string
    if name != "conversation.json":
        assert all(len(re.findall(r'"(?:[^"\\]|\\.)*"', line)) <= 2 for line in text.splitlines())
