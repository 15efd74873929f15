"""Talking with a model: a request in free form becomes text, a motion, or text and then a motion.

What kind of answer is wanted, the model says itself (`MotionGPT3.answer_wanted`), unless a task is named.
Text is written behind the whole conversation, which is read once and kept in a cache. Motions are made, and
put into words, from the last request alone, as in training; of them the conversation remembers what was said.
So text stays that of the language model: behind a motion, a model that has learnt captions writes captions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from motiongpt3.errors import InputError
from motiongpt3.generation.captions import check_length, spoken, with_marker
from motiongpt3.generation.requests import encode_motions, lay_out
from motiongpt3.generation.transcript import Transcript
from motiongpt3.models.dialogue import text_ids
from motiongpt3.models.placeholders import ANSWERS
from motiongpt3.models.text_decoding import Reading, TextDecoding, decode_text, read_parts
from motiongpt3.motion.completion import inbetween_ends, prediction_head
from motiongpt3.motion.motion import Motion
from motiongpt3.tasks import task_named, without_markers

if TYPE_CHECKING:
    from motiongpt3.models.motiongpt import MotionGPT3

# What the conversation remembers of a motion that was made.
MOTION_MADE = "Here is the motion."

Listener = Callable[[str], bool | None]
"""Called with each new piece of text; returning False ends the text there."""

Maker = Callable[[str, str, Motion | None, int | None, int], Motion]
"""Makes a motion for a task, from a request, what is given, a length in frames (or None), and a seed."""


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


@dataclass(frozen=True)
class Turn:
    """What was said once.

    Attributes:
        request: the user's words.
        given: the motion that went with them, or None.
        reply: the answer.
    """

    request: str
    given: Motion | None
    reply: Reply


@dataclass
class Conversation:
    """A conversation that remembers what was said.

    Args:
        model: a model that can tell what a request wants, unless tasks are named.
        decoding: how text is chosen that is no caption; captions are chosen as the model's config says.
        longest: tokens of the conversation that text is written behind, the new text included; older turns
            are left out. Where the model has fewer positions, those.

    Attributes:
        turns: what was said, oldest first.
    """

    model: MotionGPT3
    decoding: TextDecoding = field(
        default_factory=lambda: TextDecoding(max_new_tokens=160, repetition_penalty=1.1)
    )
    longest: int = 2048
    turns: list[Turn] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.turns.clear()
        self._transcript = Transcript(self.model.mot, self.longest)

    def handed_to(self, model: MotionGPT3) -> Conversation:
        """The same conversation for another model to go on with; motions are brought to its frame rate."""

        def brought(motion: Motion | None) -> Motion | None:
            return None if motion is None else motion.resample(model.fps)

        other = Conversation(model, self.decoding, self.longest)
        for turn in self.turns:
            reply = replace(turn.reply, motion=brought(turn.reply.motion))
            other.turns.append(Turn(turn.request, brought(turn.given), reply))
            written = text_ids(model.tokenizer, reply.text or MOTION_MADE)
            other._transcript.add(other._ids(turn.request), written, other._closing(), None)
        return other

    @property
    def last_motion(self) -> Motion | None:
        """The motion that was made or given last, or None."""
        for turn in reversed(self.turns):
            if turn.reply.motion is not None or turn.given is not None:
                return turn.given if turn.reply.motion is None else turn.reply.motion
        return None

    @torch.inference_mode()
    def reply(
        self,
        text: str,
        motion: Motion | None = None,
        task: str | None = None,
        frames: int | None = None,
        seed: int = 0,
        on_text: Listener | None = None,
        make: Maker | None = None,
    ) -> Reply:
        """Answer a request, and remember both. A reply that fails or is interrupted is not remembered.

        Args:
            text: what the user says.
            motion: a motion that goes with it, at the model's frame rate: to be put into words, continued, or
                filled in its middle. A task that is named and needs one takes `last_motion` by default.
            task: a name of `TASKS`; None lets the model decide.
            frames: length of a motion to make, in frames.
            seed: of what is drawn at random.
            on_text: called with the text as it is written.
            make: makes the motion, if there is one to make; by default the model does, at once.

        Raises:
            InputError: if the request cannot be used.
            ConfigError: if no task is named and the model cannot tell what is wanted.
        """
        request = without_markers(text)
        self.model.validate_prompt(request)
        task, with_text = self._task(request, motion, task)
        known = task_named(task)
        if motion is None and known.motion != "none":
            motion = self.last_motion
        if (motion is None) != (known.motion == "none"):
            needed = "needs a motion" if motion is None else "takes no motion"
            raise InputError(f"task {task} ({known.title}) {needed}")
        if motion is not None and task == "m2t":
            check_length(self.model, motion)
        latents = [] if motion is None else encode_motions(self.model, [motion])
        ids = self._ids(request)
        written = text_ids(self.model.tokenizer, MOTION_MADE)
        words, reading = "", None
        if with_text and latents:
            parts = lay_out(self.model, with_marker(text), latents, "text")
            alone = read_parts(self.model.mot, [parts])
            written = self._write(alone, self.model.config.decoding, seed, on_text)
            words = spoken(self.model, written)
        elif with_text:
            reading = self._transcript.read(ids, self.decoding.max_new_tokens)
            written = self._write(reading, self.decoding, seed, on_text)
            words = str(self.model.tokenizer.decode(written, skip_special_tokens=True)).strip()
        made = None
        if known.answer == "motion":
            made = (make or self._make)(task, request, motion, frames, seed)
        reply = Reply(words, made, task)
        self._transcript.add(ids, written, self._closing(), reading)
        self.turns.append(Turn(request, motion, reply))
        return reply

    def _task(self, request: str, motion: Motion | None, task: str | None) -> tuple[str, bool]:
        """What is to be done, and whether text is to be written."""
        if task is not None:
            return task, task_named(task).answer == "text"
        wanted = ANSWERS[int(self.model.answer_wanted([request])[0].argmax())]
        if motion is None:
            return "t2t" if wanted == "text" else "t2m", wanted != "motion"
        return "m2t" if wanted == "text" else "pred", wanted != "motion"

    def _make(self, task: str, request: str, motion: Motion | None, frames: int | None, seed: int) -> Motion:
        if task == "pred" and motion is not None:
            (made,) = self.model.predict([motion], frames, seeds=[seed])
        elif task == "inbetween" and motion is not None:
            head, tail = ends_of(motion)
            (made,) = self.model.inbetween([head], [tail], len(motion), seeds=[seed])
        else:
            (made,) = self.model.generate([request], frames, seeds=[seed])
        return made

    def _ids(self, request: str) -> list[int]:
        """A request up to the text of its answer."""
        dialogue = self.model.config.dialogue
        said = f"{dialogue.request_prefix}{request}{dialogue.request_suffix}{dialogue.text_prefix}"
        return text_ids(self.model.tokenizer, said)

    def _closing(self) -> list[int]:
        """What stands between an answer in text and the next request."""
        dialogue = self.model.config.dialogue
        behind = dialogue.request_suffix.partition(dialogue.text_end)[2]
        return text_ids(self.model.tokenizer, f"{dialogue.text_end}{behind}")

    def _write(
        self, reading: Reading, decoding: TextDecoding, seed: int, on_text: Listener | None
    ) -> list[int]:
        """Tokens of an answer, told as text while they come."""
        model = self.model
        so_far: list[int] = []
        shown = ""

        def show(tokens: list[int | None]) -> bool | None:
            nonlocal shown
            so_far.extend(token for token in tokens if token is not None)
            text = str(model.tokenizer.decode(so_far, skip_special_tokens=True))
            # Half a character is shown when it is whole.
            if on_text is None or text.endswith("\ufffd"):
                return None
            piece, shown = text[len(shown) :], text
            return on_text(piece) if piece else None

        stop = [model.config.dialogue.text_end_id(model.tokenizer)]
        banned = {*decoding.banned_ids(model.tokenizer), *model.config.decoding.banned_ids(model.tokenizer)}
        (written,) = decode_text(model.mot, *reading, stop, decoding, [seed], show, banned)
        return written


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
