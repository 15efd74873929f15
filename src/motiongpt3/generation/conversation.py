"""Talking with a model: a request in free form becomes text, a motion, or text and then a motion.

What kind of answer is wanted, the model says itself (`MotionGPT3.answer_wanted`), unless a task is named.
Text is written behind the whole conversation; a motion is made from the last request alone, as in training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from motiongpt3.errors import InputError
from motiongpt3.generation.captions import with_marker
from motiongpt3.models.dialogue import text_ids
from motiongpt3.models.interleaving import TextPart
from motiongpt3.models.placeholders import ANSWERS
from motiongpt3.models.text_decoding import TextDecoding, decode_text, read_parts
from motiongpt3.motion.completion import inbetween_ends, prediction_head
from motiongpt3.motion.motion import Motion
from motiongpt3.tasks import task_named, without_markers

if TYPE_CHECKING:
    from motiongpt3.models.motiongpt import MotionGPT3

# What the conversation remembers of a motion that was made.
MOTION_MADE = "Here is the motion."


@dataclass(frozen=True)
class Reply:
    """An answer; at least one of both is there.

    Attributes:
        text: words, or empty.
        motion: a motion, or None.
        task: which of `TASKS` it was taken for.
    """

    text: str
    motion: Motion | None
    task: str


@dataclass
class Conversation:
    """A conversation that remembers what was said.

    Args:
        model: a model that can tell what a request wants, unless tasks are named.
        decoding: how replies in text are chosen.
    """

    model: MotionGPT3
    decoding: TextDecoding = field(
        default_factory=lambda: TextDecoding(max_new_tokens=160, repetition_penalty=1.1)
    )
    turns: list[tuple[str, str]] = field(default_factory=list)

    def forget(self) -> None:
        """Begin anew."""
        self.turns.clear()

    def reply(
        self,
        text: str,
        motion: Motion | None = None,
        task: str | None = None,
        frames: int | None = None,
        seed: int = 0,
        on_text: Callable[[str], bool | None] | None = None,
    ) -> Reply:
        """Answer a request, and remember both.

        Args:
            text: what the user says.
            motion: a motion that goes with it, at the model's frame rate: to be put into words, continued, or
                filled in its middle.
            task: a name of `TASKS`; None lets the model decide.
            frames: length of a motion to make, in frames.
            seed: of a motion.
            on_text: called with each new piece of text; returning False ends the text there.

        Raises:
            InputError: if the request cannot be used.
            ConfigError: if no task is named and the model cannot tell what is wanted.
        """
        request = without_markers(text)
        self.model.validate_prompt(request)
        wanted = ""
        if task is None:
            wanted = ANSWERS[int(self.model.answer_wanted([request])[0].argmax())]
            makes_motion = wanted != "text"
            task = ("pred" if makes_motion else "m2t") if motion else ("t2m" if makes_motion else "t2t")
        known = task_named(task)
        if (motion is None) != (known.motion == "none"):
            needed = "needs a motion" if motion is None else "takes no motion"
            raise InputError(f"task {task} ({known.title}) {needed}")
        words, made = "", None
        if task == "m2t":
            (words,) = self.model.caption([motion] if motion else [], [with_marker(request)])
            if on_text:
                on_text(words)
        elif task == "t2t" or wanted == "text then motion":
            words = self._write(request, on_text)
        if known.answer == "motion":
            made = self._make(task, request, motion, frames, seed)
        self.turns.append((request, words or MOTION_MADE))
        return Reply(words, made, task)

    def _make(self, task: str, request: str, motion: Motion | None, frames: int | None, seed: int) -> Motion:
        if task == "pred" and motion is not None:
            (made,) = self.model.predict([motion], frames, seeds=[seed])
        elif task == "inbetween" and motion is not None:
            head, tail = ends_of(motion)
            (made,) = self.model.inbetween([head], [tail], len(motion), seeds=[seed])
        else:
            (made,) = self.model.generate([request], frames, seeds=[seed])
        return made

    def _write(self, request: str, on_text: Callable[[str], bool | None] | None) -> str:
        """Text behind the conversation so far; what no longer fits is left out, oldest first."""
        model, dialogue = self.model, self.model.config.dialogue
        room = model.mot.text_config.max_positions - self.decoding.max_new_tokens
        closing = dialogue.text_end
        if dialogue.request_suffix.startswith(closing):
            closing = dialogue.request_suffix
        turns = list(self.turns)
        while True:
            said = "".join(
                f"{dialogue.request_prefix}{asked}{dialogue.request_suffix}{dialogue.text_prefix}{answered}{closing}"
                for asked, answered in turns
            )
            said += f"{dialogue.request_prefix}{request}{dialogue.request_suffix}{dialogue.text_prefix}"
            ids = text_ids(model.tokenizer, said)
            if len(ids) <= room or not turns:
                break
            turns.pop(0)
        device = model.codec.feature_mean.device
        read = read_parts(model.mot, [[TextPart(torch.tensor(ids, device=device))]])
        written: list[int] = []
        shown = ""

        def show(tokens: list[int | None]) -> bool | None:
            nonlocal shown
            written.extend(token for token in tokens if token is not None)
            text = str(model.tokenizer.decode(written, skip_special_tokens=True))
            # Half a character is shown when it is whole.
            if on_text is None or text.endswith("\ufffd"):
                return None
            piece, shown = text[len(shown) :], text
            return on_text(piece) if piece else None

        stop = [dialogue.text_end_id(model.tokenizer)]
        (tokens,) = decode_text(
            model.mot, read.cache, read.next_positions, read.next_logits, stop, self.decoding, [0], show
        )
        return str(model.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


def head_of(motion: Motion, frames: int | None = None) -> Motion:
    """The first frames of a motion: those that the prediction task gives, or as many as are said."""
    return cut(motion, 0, prediction_head(len(motion)) if frames is None else frames)


def ends_of(motion: Motion) -> tuple[Motion, Motion]:
    """The frames that the in-between task gives: the first and the last quarter of a motion."""
    start, end = inbetween_ends(len(motion))
    return cut(motion, 0, start), cut(motion, end, len(motion))


def cut(motion: Motion, start: int, end: int) -> Motion:
    """The frames from ``start`` up to ``end``, where they were.

    Raises:
        InputError: if fewer than two frames remain.
    """
    features = None if motion.features is None else motion.features[start:end]
    return replace(motion, joints=motion.joints[start:end], features=features, pose=None)
