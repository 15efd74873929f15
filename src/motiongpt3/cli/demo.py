"""``motiongpt3 demo``: a file of requests in; a folder of answers out.

Line i of the file (from 0, blank lines not counted) becomes ``i_in.txt`` and, as fits the task, ``i_in.npy``,
``i_out.npy``, ``i_out.txt`` and a film; ``i.json``, written last, says what they were made from. Lines whose
files are there and were made from the same are skipped, so that a run can be taken up again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from motiongpt3.cli.terminal import say
from motiongpt3.data.examples import BadLine, Example, find_motion_file, read_examples
from motiongpt3.errors import InputError, MotionGPT3Error
from motiongpt3.files import atomic_file, sha256_of
from motiongpt3.tasks import MOTION, MOTION_MARKERS, without_markers

if TYPE_CHECKING:
    from motiongpt3.motion.motion import Motion

TASKS = ("t2m", "m2t", "pred", "inbetween", "t2t")
# Which of them make text, and which are given a motion.
_TO_TEXT, _FROM_MOTION = ("m2t", "t2t"), ("m2t", "pred", "inbetween")
MAX_BATCH = 1024
_MAX_SEED = 2**32
# How the example files of MotionGPT and MotionGPT3 write the place of a whole motion.
_WHOLE_MOTION = "<motion>"


@dataclass(frozen=True)
class _Item:
    """One line to answer: its place, seed and given motion, and the record that goes beside its files."""

    index: int
    example: Example
    seed: int
    given: Motion | None
    record: dict[str, Any]


def demo(
    task: str = "t2m",
    example: Path | None = None,
    out: Path = Path("out/demo"),
    model: str | None = None,
    video: bool = False,
    batch: int = 16,
    seed: int = 0,
    device: str = "auto",
) -> int:
    """Answer every line of a file.

    A line is a request, with a motion file where the task is given one: text#path, or text#path#start#end for
    a stretch of it (frames, or fractions of its length such as 0.25). Paths may be relative to the example
    file or to the current folder. Prediction is given the first fifth of a motion and in-between its first
    and last quarter; both make as many frames as the file (or stretch) has. A line that cannot be answered is
    reported and skipped. Asked again, only what is missing or was changed is made anew.

    Args:
        task: t2m (text to motion), m2t (motion to text), pred (continue), inbetween (fill) or t2t (text
            to text).
        example: text file with one request per line.
        out: folder to write to.
        model: folder, name in models/, or hub id (default: MOTIONGPT3_MODEL, else models/mini).
        video: also make films (mp4).
        batch: lines answered together.
        seed: line i (from 0) has seed + i.
        device: auto, cpu, cuda or mps.

    Returns:
        0, or 1 if a line could not be answered.

    Raises:
        InputError: if the file cannot be read, or the request as a whole cannot be done.
    """
    if task not in TASKS:
        raise InputError(f"no task {task!r}: choose from {', '.join(TASKS)}")
    if example is None:
        raise InputError("no example file: name a text file with one request per line (--example)")
    if not 1 <= batch <= MAX_BATCH:
        raise InputError(f"batch is {batch}, but must be from 1 to {MAX_BATCH}")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, but --out is a folder to write to")
    entries = read_examples(example)
    if not 0 <= seed <= _MAX_SEED - len(entries):
        raise InputError(f"seed is {seed}, but must be from 0 to {_MAX_SEED - len(entries)} for these lines")

    from motiongpt3.cli.generate import choose_device, load_model
    from motiongpt3.models.locate import find_model

    where = find_model(model)
    errors = Console(stderr=True)
    with errors.status(f"loading {where}") as status:
        loaded = load_model(where, choose_device(device), status.update)
        writer = _Demo(task, example, out, loaded, str(where), video, errors)
        waiting: list[_Item] = []
        for index, entry in enumerate(entries):
            status.update(f"line {entry.line}, {index + 1} of {len(entries)}")
            waiting += writer.prepare(index, entry, seed + index)
            if len(waiting) == batch:
                writer.answer(waiting)
                waiting = []
        writer.answer(waiting)
    errors.print(
        f"{writer.made} made, {writer.skipped} there already, {writer.failed} failed", highlight=False
    )
    return 1 if writer.failed else 0


class _Demo:
    """One run: what it is about, and how far it is."""

    def __init__(
        self, task: str, source: Path, out: Path, model: Any, model_name: str, video: bool, errors: Console
    ) -> None:
        self.task, self.source, self.out, self.video = task, source, out, video
        self.model, self.model_name = model, model_name
        self.made = self.skipped = self.failed = 0
        self._errors = errors

    def prepare(self, index: int, entry: Example | BadLine, seed: int) -> list[_Item]:
        """The line as an item to answer; nothing if it is done already or cannot be done."""
        from motiongpt3.generation.conversation import cut

        try:
            if isinstance(entry, BadLine):
                raise InputError(entry.reason)
            path = self._given_path(entry)
            record = {
                "task": self.task,
                "text": entry.text,
                "motion": entry.path,
                "motion_sha256": None if path is None else sha256_of(path),
                "start": entry.start,
                "end": entry.end,
                "seed": seed,
                "model": self.model_name,
            }
            if self._is_done(index, record):
                self.skipped += 1
                return []
            given = None
            if path is not None:
                whole = read_given_motion(path, self.model.fps)
                given = cut(whole, *entry.frames(len(whole)))
            return [_Item(index, entry, seed, given, record)]
        except (MotionGPT3Error, OSError) as error:
            self._report(entry.line, error)
            return []

    def answer(self, items: Sequence[_Item]) -> None:
        """Answer items together and write their files; if that fails, one by one, to see what is to blame."""
        if not items:
            return
        if self.task == "t2t" and len(items) > 1:
            for item in items:
                self.answer([item])
            return
        try:
            answers = self._answers(items)
        except MotionGPT3Error as error:
            if len(items) == 1:
                self._report(items[0].example.line, error)
                return
            for item in items:
                self.answer([item])
            return
        for item, answer in zip(items, answers, strict=True):
            self._write(item, answer)
            self.made += 1

    def _answers(self, items: Sequence[_Item]) -> list[Any]:
        from motiongpt3.generation.conversation import ends_of, head_of

        model, seeds = self.model, [item.seed for item in items]
        texts = [item.example.text for item in items]
        given = [item.given for item in items if item.given is not None]
        size = {"batch_size": len(items)}
        if self.task == "t2m":
            return list(model.generate(texts, seeds=seeds, **size))
        if self.task == "t2t":
            return [answer_text(model, text, seed) for text, seed in zip(texts, seeds)]
        requests = [self._request(text) for text in texts]
        if self.task == "m2t":
            return list(model.caption(given, requests, seeds=seeds, **size))
        frames = [len(motion) for motion in given]
        if self.task == "pred":
            heads = [head_of(motion) for motion in given]
            return list(model.predict(heads, frames, requests, seeds=seeds, **size))
        ends = [ends_of(motion) for motion in given]
        heads, tails = [head for head, _ in ends], [tail for _, tail in ends]
        return list(model.inbetween(heads, tails, frames, requests, seeds=seeds, **size))

    def _request(self, text: str) -> str:
        """What the model is told: its own wording where the line has none, with the markers that it wants."""
        own = self.model.request_for(self.task)
        text = text.replace(_WHOLE_MOTION, MOTION)
        words = without_markers(text)
        if not words or words == without_markers(own):
            return own
        if self.task == "m2t":
            # A place for the motion in the midst of a sentence stays there.
            return text
        marked = next((marker for marker in MOTION_MARKERS if marker in own), None)
        if marked is None:
            return words
        return text if marked in text else f"{words} {marked}"

    def _given_path(self, entry: Example) -> Path | None:
        if self.task not in _FROM_MOTION:
            if not without_markers(entry.text.replace(_WHOLE_MOTION, MOTION)):
                raise InputError(f"task {self.task} needs words")
            if entry.path is not None:
                raise InputError(f"task {self.task} is given no motion, but the line names {entry.path}")
            return None
        if entry.path is None:
            raise InputError(f"task {self.task} needs a motion: text#path")
        return find_motion_file(entry.path, self.source.parent)

    def _files(self, index: int) -> dict[str, Path]:
        names = ["in.txt"]
        if self.task in _FROM_MOTION:
            names.append("in.npy")
        names.append("out.txt" if self.task in _TO_TEXT else "out.npy")
        if self.video and self.task != "t2t":
            names.append("in.mp4" if self.task == "m2t" else "out.mp4")
        return {name: self.out / f"{index}_{name}" for name in names}

    def _is_done(self, index: int, record: dict[str, Any]) -> bool:
        """Whether the files of a line are there and made from the same; `InputError` if they are not ours."""
        files, note = self._files(index), self.out / f"{index}.json"
        if not note.is_file():
            foreign = next((path for path in files.values() if path.exists()), None)
            if foreign is not None:
                raise InputError(f"{foreign} was not made by this command: choose another --out")
            return False
        try:
            values = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return values == record and all(path.is_file() for path in files.values())

    def _write(self, item: _Item, answer: Any) -> None:
        from motiongpt3.generation.conversation import head_of
        from motiongpt3.motion.formats import write_motion
        from motiongpt3.render.film import write_video

        note = self.out / f"{item.index}.json"
        # While the files are being replaced nothing says that they belong together.
        _write_text(note, "{}")
        shown: Any
        shown, caption = (item.given, answer) if self.task == "m2t" else (answer, item.example.text)
        given: Any = item.given
        if self.task == "pred":
            given = head_of(given)
        for name, path in self._files(item.index).items():
            if name == "in.txt":
                _write_text(path, item.example.text)
            elif name == "out.txt":
                _write_text(path, answer)
            elif name.endswith("mp4"):
                write_video(shown, path, caption=caption)
            else:
                write_motion(given if name == "in.npy" else answer, path)
            say(path)
        _write_text(note, json.dumps(item.record, indent=2, ensure_ascii=False))

    def _report(self, line: int, error: Exception) -> None:
        self.failed += 1
        message = " ".join(str(error).split())
        say(f"error: {self.source}, line {line}: {message}", self._errors)


def read_given_motion(path: Path, fps: float) -> Motion:
    """A motion file as the model takes it; frames of arrays at the model's rate stay as they are."""
    from motiongpt3.cli.given import read_given

    return read_given(path, fps)


def answer_text(model: Any, text: str, seed: int) -> str:
    """What a model says to one request, without anything said before."""
    from motiongpt3.generation.conversation import Conversation

    return Conversation(model).reply(text, task="t2t", seed=seed).text


def _write_text(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")
