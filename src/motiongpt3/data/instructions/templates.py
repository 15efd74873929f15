"""Instruction templates in the structure of the official release, and how their placeholders are filled.

A file is ``{Task: {subtask: {"class": ..., "input": [...], "output": [...]}}}``. Wordings hold placeholders:
``<Caption_Placeholder>``, ``<Frame_Placeholder>`` and ``<Second_Placeholder>`` become text here; the motion
markers ``<Motion_Placeholder>``, ``_s1`` (the part that is given), ``_s2`` (the part that is asked for) and
``_Masked`` (begin and end, the middle missing) stay for whoever lays out the sequence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch

from motiongpt3.data.instructions.json_text import read_json, require_strings
from motiongpt3.errors import InputError
from motiongpt3.tasks import (
    CAPTION,
    FIRST_MOTION,
    FRAMES,
    MASKED_MOTION,
    MOTION,
    MOTION_MARKERS,
    SECOND_MOTION,
    SECONDS,
)

PLACEHOLDERS = (CAPTION, FRAMES, SECONDS, *MOTION_MARKERS)

# MotionGPT's own file, the first of its kind, spells <Frame_Placeholder> in this way too.
_FRAMES_TOO = "<Framelen_Placeholder>"
_PLACEHOLDER = re.compile("|".join(re.escape(name) for name in (*PLACEHOLDERS, _FRAMES_TOO)))
_OFFICIAL_FPS = 20
_MAX_CHARACTERS = 2_000

_FOLDER = Path(__file__).parent
# What each name consists of. The names are those of the official files, template_NAME.json, and two of ours.
_PACKAGED: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "pretrain": (("pretrain.json", ""),),
        "t2m_pretrain": (("pretrain.json", "Text-to-Motion"),),
        "m2t_pretrain": (("pretrain.json", "Motion-to-Text"),),
        "instructions": (("instructions.json", ""),),
        "witht2t_instructions": (("instructions.json", ""), ("text_to_text.json", "")),
        "text_then_motion": (("text_then_motion.json", ""),),
        "all": (("instructions.json", ""), ("text_to_text.json", ""), ("text_then_motion.json", "")),
    }
)


@dataclass(frozen=True)
class _ClassRule:
    """What a class is for: our task, and the placeholders of which a wording must hold at least one.

    An empty tuple demands nothing. ``motion_in`` and ``motion_out`` say whether a side may hold a motion.
    """

    task: str
    input: tuple[str, ...]
    output: tuple[str, ...]
    motion_in: bool
    motion_out: bool


_RULES: Mapping[str, _ClassRule] = MappingProxyType(
    {
        "t2m": _ClassRule("t2m", (CAPTION,), (MOTION,), False, True),
        "l2m": _ClassRule("random", (FRAMES, SECONDS, _FRAMES_TOO), (MOTION,), False, True),
        "n2m": _ClassRule("random", (), (MOTION,), False, True),
        "m2t": _ClassRule("m2t", (MOTION,), (CAPTION,), True, False),
        "m2l": _ClassRule("m2t", (MOTION,), (FRAMES, SECONDS), True, False),
        "predict": _ClassRule("pred", (FIRST_MOTION,), (SECOND_MOTION,), True, True),
        "pred": _ClassRule("pred", (FIRST_MOTION,), (SECOND_MOTION,), True, True),
        "inbetween": _ClassRule("inbetween", (MASKED_MOTION,), (MOTION,), True, True),
        "inbetweening": _ClassRule("inbetween", (MASKED_MOTION,), (MOTION,), True, True),
        "t2t": _ClassRule("t2t", (), (), False, False),
        "n2t": _ClassRule("t2t", (), (CAPTION,), False, False),
        "t2tm": _ClassRule("t2m", (CAPTION,), (MOTION,), False, True),
    }
)
TASK_OF_CLASS: Mapping[str, str] = MappingProxyType({name: rule.task for name, rule in _RULES.items()})
"""Our task for each class of the official structure; ``t2tm`` (text, then motion) is a class of ours."""


@dataclass(frozen=True)
class Template:
    """The wordings of one subtask.

    Attributes:
        task: heading in the file, such as ``Text-to-Motion``.
        subtask: name under that heading, such as ``caption_framelen``.
        class_name: ``class`` in the file; `TASK_OF_CLASS` says which task of ours it is.
        inputs: wordings of the request.
        outputs: wordings of the answer; any of them fits any of ``inputs``.
    """

    task: str
    subtask: str
    class_name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def model_task(self) -> str:
        """One of ``t2m``, ``m2t``, ``pred``, ``inbetween``, ``t2t`` and ``random``."""
        return TASK_OF_CLASS[self.class_name]

    def sample(self, generator: torch.Generator) -> tuple[str, str]:
        """A wording of the request and one of the answer, drawn independently and evenly.

        Two numbers are drawn from the (CPU) ``generator``, always.
        """
        return _draw(self.inputs, generator), _draw(self.outputs, generator)


def _draw(wordings: tuple[str, ...], generator: torch.Generator) -> str:
    return wordings[int(torch.randint(len(wordings), (), generator=generator))]


def load_templates(path_or_name: str | Path) -> tuple[Template, ...]:
    """Read and check templates, in the order of the file.

    Args:
        path_or_name: a JSON file, or one of the names ``pretrain``, ``t2m_pretrain``, ``m2t_pretrain``,
            ``instructions``, ``witht2t_instructions`` (as the official files are called),
            ``text_then_motion`` and ``all`` (every instruction) for the files that come with this package.

    Raises:
        InputError: if there is no such file or name, or the file is not what it should be; the message names
            the file, task, subtask and index.
    """
    packaged = _PACKAGED.get(str(path_or_name))
    if packaged is None:
        path = Path(path_or_name)
        if not path.exists() and len(path.parts) == 1 and not path.suffix:
            raise InputError(
                f"no instruction templates are called {str(path_or_name)!r}; name a JSON file or one of "
                + ", ".join(_PACKAGED)
            )
        return _read_templates(path, own=False)
    return tuple(
        template
        for name, task in packaged
        for template in _read_templates(_FOLDER / name, own=True)
        if task in ("", template.task)
    )


def _read_templates(path: Path, own: bool) -> tuple[Template, ...]:
    tasks = read_json(path)
    if not isinstance(tasks, dict) or not tasks:
        raise InputError(f"{path} must hold an object {{task: {{subtask: ...}}}}, not {_name_type(tasks)}")
    templates = []
    for task, subtasks in tasks.items():
        if not isinstance(subtasks, dict) or not subtasks:
            raise InputError(
                f"{path}, {task}: must be an object of one subtask or more, not {_name_type(subtasks)}"
            )
        for subtask, fields in subtasks.items():
            templates.append(_parse_template(fields, task, subtask, f"{path}, {task}, {subtask}", own))
    return tuple(templates)


def _parse_template(fields: object, task: str, subtask: str, where: str, own: bool) -> Template:
    if not isinstance(fields, dict) or not {"class", "input", "output"} <= set(fields):
        raise InputError(f"{where}: must be an object with 'class', 'input' and 'output'")
    class_name = fields["class"]
    if not isinstance(class_name, str) or class_name not in _RULES:
        raise InputError(f"{where}: class must be one of {', '.join(_RULES)}, not {class_name!r}")
    rule = _RULES[class_name]
    inputs = require_strings(fields["input"], f"{where}, input", _MAX_CHARACTERS)
    outputs = require_strings(fields["output"], f"{where}, output", _MAX_CHARACTERS)
    for index, wording in enumerate(inputs):
        at = f"{where}, input {index}"
        _check_placeholders(wording, at, rule.motion_in)
        if own and not _holds_any(wording, rule.input):
            raise InputError(f"{at}: {wording!r} needs {' or '.join(rule.input) or 'some text'}")
    # The official files have requests that are empty or lack what their class needs, but only some.
    if not any(_holds_any(wording, rule.input) for wording in inputs):
        raise InputError(f"{where}: no input has {' or '.join(rule.input) or 'any text'}")
    for index, wording in enumerate(outputs):
        at = f"{where}, output {index}"
        _check_placeholders(wording, at, rule.motion_out)
        if not _holds_any(wording, rule.output):
            raise InputError(f"{at}: {wording!r} needs {' or '.join(rule.output) or 'some text'}")
    if own:
        for side, wordings in (("input", inputs), ("output", outputs)):
            _check_unique(wordings, f"{where}, {side}")
    return Template(task, subtask, class_name, inputs, outputs)


def _check_placeholders(wording: str, where: str, may_hold_motion: bool) -> None:
    rest = _PLACEHOLDER.sub("", wording)
    if "Placeholder" in rest or "_placeholder" in rest.lower():
        raise InputError(
            f"{where}: {wording!r} has an unknown placeholder; the known ones are {', '.join(PLACEHOLDERS)}"
        )
    if not may_hold_motion and any(marker in wording for marker in MOTION_MARKERS):
        raise InputError(f"{where}: {wording!r} has a motion where there can be none")


def _holds_any(wording: str, placeholders: tuple[str, ...]) -> bool:
    return any(name in wording for name in placeholders) if placeholders else bool(wording.strip())


def _check_unique(wordings: tuple[str, ...], where: str) -> None:
    seen: dict[str, int] = {}
    for index, wording in enumerate(wordings):
        first = seen.setdefault(" ".join(wording.split()).lower(), index)
        if first != index:
            raise InputError(f"{where} {index}: repeats wording {first}: {wording!r}")


def _name_type(value: object) -> str:
    return "an empty object" if value == {} else type(value).__name__


def fulfil(
    wording: str,
    caption: str | None = None,
    frames: int | None = None,
    fps: float = 20.0,
    quote: bool = False,
    whole_seconds: bool = False,
    punctuate: bool = True,
) -> str:
    """Fill the caption and the length into a wording; the motion markers stay.

    Placeholder-like text inside the caption stays as it is. The defaults are for our own models; the official
    release's own filling is ``whole_seconds=True, punctuate=False`` with ``quote`` drawn at random.

    Args:
        wording: one of a template's inputs or outputs.
        caption: what ``<Caption_Placeholder>`` becomes.
        frames: length of the motion; needed where the wording speaks of frames or seconds.
        fps: frames per second of the motion; seconds are written with one decimal.
        quote: put the caption in double quotes unless it has one, as official training does half the time.
        whole_seconds: round seconds down as the official release does, at 20 frames a second whatever
            ``fps`` is ("4.0" for 99 frames).
        punctuate: fit the caption's full stop to its place: none inside a sentence, one where a new sentence
            follows, and as it is at the end of the wording or in quotes that ``quote`` adds.

    Raises:
        InputError: if the wording needs what is not given, or ``frames`` or ``fps`` is not positive.
    """
    if frames is not None and frames <= 0:
        raise InputError(f"a motion must have at least one frame, not {frames}")
    if not 0 < fps < math.inf:
        raise InputError(f"frames per second must be a positive number, not {fps}")
    values: dict[str, str] = {}
    if frames is not None:
        values[FRAMES] = values[_FRAMES_TOO] = str(frames)
        values[SECONDS] = f"{frames // _OFFICIAL_FPS if whole_seconds else frames / fps:.1f}"

    def replacement(match: re.Match[str]) -> str:
        name = match.group()
        if name in MOTION_MARKERS:
            return name
        if name == CAPTION and caption is not None:
            if quote:
                return caption if '"' in caption else f'"{caption}"'
            return _fit_full_stop(caption, wording[match.end() :]) if punctuate else caption
        if name not in values:
            raise InputError(
                f"{wording!r} needs a {'caption' if name == CAPTION else 'length'}, and none is given"
            )
        return values[name]

    return _PLACEHOLDER.sub(replacement, wording)


_NEW_SENTENCE = re.compile(r"\s+(?:[A-Z]|<Motion_)")


def _fit_full_stop(caption: str, rest: str) -> str:
    if not rest.strip():
        return caption
    bare = caption.rstrip(". ")
    if _NEW_SENTENCE.match(rest) and not bare.endswith(("!", "?")):
        return f"{bare}."
    return bare
