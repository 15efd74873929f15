from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motiongpt3.data.instructions import TASK_OF_CLASS, Template, fulfil, load_templates
from motiongpt3.data.instructions.templates import MOTION_MARKERS, PLACEHOLDERS
from motiongpt3.errors import InputError

CAPTION, MOTION = "<Caption_Placeholder>", "<Motion_Placeholder>"


def _write(folder: Path, content: object) -> Path:
    path = folder / "template.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _one(class_name: str, inputs: Any, outputs: Any) -> dict[str, Any]:
    return {"Task": {"sub": {"class": class_name, "input": inputs, "output": outputs}}}


def test_reads_the_official_structure(tmp_path: Path) -> None:
    content = _one("t2m", [f"act: {CAPTION}"], [MOTION])
    assert load_templates(_write(tmp_path, content)) == (
        Template("Task", "sub", "t2m", (f"act: {CAPTION}",), (MOTION,)),
    )


def test_official_files_load_with_their_quirks(tmp_path: Path) -> None:
    content = {
        "Text-to-Motion": {
            "caption": {
                "class": "t2m",
                "input": [f"Dance  Input: {CAPTION}", f"Dance  Input: {CAPTION}", " Input: "],
                "output": [MOTION],
                "note": "fields nobody reads",
            },
            "framelen": {
                "class": "l2m",
                "input": ["<Framelen_Placeholder> frames", "or less, with some range"],
                "output": [MOTION],
            },
        },
        "Text-to-Text": {
            "framelen-to-caption": {
                "class": "t2t",
                "input": ["", "<Frame_Placeholder>?"],
                "output": [CAPTION],
            },
        },
        "A task of somebody's own": {
            "x": {
                "class": "inbetween",
                "input": ["<Motion_Placeholder_Masked>"],
                "output": [MOTION, MOTION],
            },
        },
    }
    templates = load_templates(_write(tmp_path, content))
    assert [template.subtask for template in templates] == ["caption", "framelen", "framelen-to-caption", "x"]
    assert [template.model_task for template in templates] == ["t2m", "random", "t2t", "inbetween"]
    for template in templates:
        fields = content[template.task][template.subtask]
        assert [list(template.inputs), list(template.outputs)] == [fields["input"], fields["output"]]
    assert fulfil(templates[1].inputs[0], frames=40) == "40 frames"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ([], ["{task: {subtask", "list"]),
        ({}, ["empty"]),
        ({"Task": []}, ["Task", "object of one subtask"]),
        ({"Task": {}}, ["Task", "empty"]),
        ({"Task": {"sub": []}}, ["Task, sub", "'class', 'input' and 'output'"]),
        ({"Task": {"sub": {"class": "t2m", "input": [CAPTION]}}}, ["Task, sub", "output"]),
        (_one("t2x", [CAPTION], [MOTION]), ["Task, sub", "'t2x'", "t2m"]),
        (_one(["t2m"], [CAPTION], [MOTION]), ["Task, sub", "class"]),
        (_one("t2m", CAPTION, [MOTION]), ["Task, sub, input", "list"]),
        (_one("t2m", [], [MOTION]), ["Task, sub, input", "at least one"]),
        (_one("t2m", [CAPTION, 3], [MOTION]), ["Task, sub, input 1", "int"]),
        (_one("t2m", [CAPTION], [None]), ["Task, sub, output 0", "NoneType"]),
        (_one("t2m", [CAPTION, "x" * 2001], [MOTION]), ["Task, sub, input 1", "2001"]),
        (_one("t2m", [CAPTION, "the <Captoin_Placeholder>"], [MOTION]), ["input 1", "unknown placeholder"]),
        (_one("t2m", ["<caption_placeholder>"], [MOTION]), ["input 0", "unknown placeholder"]),
        (_one("t2m", [f"{CAPTION} Placeholder"], [MOTION]), ["input 0", "unknown placeholder"]),
        (_one("t2m", ["", "move"], [MOTION]), ["Task, sub", CAPTION]),
        (_one("t2m", [CAPTION], [MOTION, ""]), ["output 1", MOTION]),
        (_one("t2m", [CAPTION], ["<Motion_Placeholder_s2>"]), ["output 0", MOTION]),
        (_one("t2m", [CAPTION, f"{CAPTION} {MOTION}"], [MOTION]), ["input 1", "motion where"]),
        (_one("m2t", [MOTION], [CAPTION, MOTION]), ["output 1", "motion where"]),
        (_one("m2t", ["describe"], [CAPTION]), ["sub", MOTION]),
        (_one("m2l", [MOTION], [CAPTION]), ["output 0", "<Frame_Placeholder> or <Second_Placeholder>"]),
        (_one("predict", [MOTION], ["<Motion_Placeholder_s2>"]), ["sub", "<Motion_Placeholder_s1>"]),
        (_one("inbetween", ["<Motion_Placeholder_s1>"], [MOTION]), ["sub", "<Motion_Placeholder_Masked>"]),
        (_one("t2t", ["hello"], [MOTION]), ["output 0", "motion where"]),
        (_one("t2t", ["", " "], ["hello"]), ["sub", "any text"]),
        (_one("n2t", ["say"], ["something"]), ["output 0", CAPTION]),
    ],
)
def test_refuses_what_is_no_template_file(tmp_path: Path, content: object, parts: list[str]) -> None:
    path = _write(tmp_path, content)
    with pytest.raises(InputError) as error:
        load_templates(path)
    for part in [str(path), *parts]:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "line 1: not JSON"),
        (b'{"Task": {\n"sub": ', "line 2: not JSON"),
        (b'{"Task": {"sub": "\xff"}}', "UTF-8"),
        (b'{"Task": {}, "Task": {}}', "'Task' twice"),
        (b"[" * 100_000, "nested"),
        (b" " * 5_000_001, "larger than 5 MB"),
    ],
)
def test_refuses_what_is_no_json(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "template.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=part):
        load_templates(path)


def test_refuses_missing_files_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        load_templates(tmp_path / "absent.json")
    with pytest.raises(InputError, match="cannot read"):
        load_templates(tmp_path)
    with pytest.raises(InputError, match="witht2t_instructions"):
        load_templates("pretrian")


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "template.json"
    path.write_text(json.dumps(_one("t2m", [CAPTION], [MOTION])), encoding="utf-8-sig")
    assert len(load_templates(path)) == 1


def test_our_own_files_are_held_to_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motiongpt3.data.instructions.templates._FOLDER", tmp_path)
    path = tmp_path / "pretrain.json"
    for inputs, part in [
        ([f"act {CAPTION}", f"Act  {CAPTION}"], "input 1: repeats wording 0"),
        ([CAPTION, ""], f"input 1: '' needs {CAPTION}"),
        ([CAPTION, "move"], f"input 1: 'move' needs {CAPTION}"),
    ]:
        path.write_text(json.dumps(_one("t2m", inputs, [MOTION])))
        with pytest.raises(InputError, match=part):
            load_templates("pretrain")
        assert load_templates(path)


def test_drawing_depends_on_the_seed_alone_and_reaches_everything() -> None:
    template = Template("Task", "sub", "t2t", ("a", "b", "c"), ("x", "y"))

    def draw(seed: int) -> list[tuple[str, str]]:
        generator = torch.Generator().manual_seed(seed)
        return [template.sample(generator) for _ in range(200)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    pairs = draw(3)
    assert set(pairs) == {(request, answer) for request in "abc" for answer in "xy"}
    assert all(pairs.count(pair) > 15 for pair in set(pairs))


@pytest.mark.parametrize(
    ("wording", "options", "filled"),
    [
        ("do <Caption_Placeholder>", {}, "do a man walks."),
        ("<Frame_Placeholder> or <Second_Placeholder>", {}, "99 or 5.0"),
        ("<Second_Placeholder>", {"frames": 93}, "4.7"),
        ("<Second_Placeholder>", {"fps": 30.0}, "3.3"),
        ("<Second_Placeholder>", {"whole_seconds": True}, "4.0"),
        ("<Second_Placeholder>", {"whole_seconds": True, "fps": 30.0}, "4.0"),
        ("do <Caption_Placeholder>", {"quote": True}, 'do "a man walks."'),
        ("do <Caption_Placeholder>", {"quote": True, "caption": 'he says "a"'}, 'do he says "a"'),
        ("<Caption_Placeholder>", {"caption": "<Frame_Placeholder>"}, "<Frame_Placeholder>"),
        (" Input: <Caption_Placeholder>", {}, " Input: a man walks."),
        ("<Caption_Placeholder>, <Frame_Placeholder> frames", {}, "a man walks, 99 frames"),
        ('act "<Caption_Placeholder>" out', {}, 'act "a man walks" out'),
        ("<Caption_Placeholder>. Do it.", {}, "a man walks. Do it."),
        ("<Caption_Placeholder> Do it.", {}, "a man walks. Do it."),
        ("<Caption_Placeholder> Do it.", {"caption": "a man walks"}, "a man walks. Do it."),
        ("<Caption_Placeholder> Do it.", {"caption": "a man walks!"}, "a man walks! Do it."),
        ("<Caption_Placeholder>\nmotion:", {}, "a man walks\nmotion:"),
        ("<Caption_Placeholder> <Motion_Placeholder>", {}, "a man walks. <Motion_Placeholder>"),
        ("<Caption_Placeholder>, then", {"punctuate": False}, "a man walks., then"),
        ("<Motion_Placeholder_s1>?", {"caption": None, "frames": None}, "<Motion_Placeholder_s1>?"),
    ],
)
def test_fills_placeholders(wording: str, options: dict[str, Any], filled: str) -> None:
    assert fulfil(wording, **{"caption": "a man walks.", "frames": 99} | options) == filled


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: fulfil(CAPTION, frames=20), "needs a caption"),
        (lambda: fulfil("<Second_Placeholder>", caption="a"), "needs a length"),
        (lambda: fulfil("<Frame_Placeholder>", caption="a"), "needs a length"),
        (lambda: fulfil("x", frames=0), "at least one frame"),
        (lambda: fulfil("x", frames=20, fps=0.0), "positive"),
        (lambda: fulfil("x", frames=20, fps=float("nan")), "positive"),
    ],
)
def test_refuses_to_fill_what_is_missing(call: Callable[[], str], part: str) -> None:
    with pytest.raises(InputError, match=part):
        call()


_WORDINGS = sorted(
    {wording for template in load_templates("all") for wording in template.inputs + template.outputs}
)


def _markers(text: str) -> list[str]:
    return re.findall("|".join(MOTION_MARKERS), text)


@given(
    wording=st.sampled_from(_WORDINGS),
    caption=st.text(min_size=1).filter(lambda text: text.strip(". ") and "Placeholder" not in text),
    frames=st.integers(1, 100_000),
    quote=st.booleans(),
    whole_seconds=st.booleans(),
    punctuate=st.booleans(),
)
def test_filling_leaves_the_motions_and_nothing_else(
    wording: str, caption: str, frames: int, quote: bool, whole_seconds: bool, punctuate: bool
) -> None:
    filled = fulfil(wording, caption, frames, 20.0, quote, whole_seconds, punctuate)
    assert _markers(filled) == _markers(wording)
    rest = filled
    for marker in MOTION_MARKERS:
        rest = rest.replace(marker, "")
    assert "Placeholder" not in rest
    if CAPTION in wording:
        assert caption.rstrip(". ") in filled
    if "<Frame_Placeholder>" in wording:
        assert str(frames) in filled
    if "<Second_Placeholder>" in wording:
        seconds = frames // 20 if whole_seconds else frames / 20
        assert f"{seconds:.1f}" in filled
    if not any(name in wording for name in PLACEHOLDERS):
        assert filled == wording


def test_every_class_leads_to_a_task() -> None:
    assert set(TASK_OF_CLASS.values()) == {"t2m", "m2t", "pred", "inbetween", "t2t", "random"}
