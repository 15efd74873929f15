"""Example files of the batch demo: one request a line, with the motion file that goes with it.

A line is ``text``, or ``text#path``, ``text#path#start`` or ``text#path#start#end``. The text may be empty
where a motion says all; it ends at the first ``#``. ``start`` and ``end`` pick a stretch of the motion: whole
numbers are frames (the end is the frame after the last), numbers with a point are fractions of its length.
Either may be left empty, and an end of ``1`` is the whole length, since no motion ends after one frame. Blank
lines are passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from motiongpt3.errors import InputError

_NUMBER = re.compile(r"\d{1,9}|\d{0,9}\.\d{1,9}|\d{1,9}\.")


@dataclass(frozen=True)
class Example:
    """One request.

    Attributes:
        line: its number in the file, from 1.
        text: words, with single spaces; may be empty.
        path: motion file as written, or None.
        start: where the stretch begins, as written, or empty.
        end: where it ends.
    """

    line: int
    text: str
    path: str | None = None
    start: str = ""
    end: str = ""

    def frames(self, length: int) -> tuple[int, int]:
        """First frame of the stretch, and the one after its last, in a motion of ``length`` frames.

        Raises:
            InputError: if the stretch is not within the motion, or has fewer than two frames.
        """
        start = _frame(self.start, length) if self.start else 0
        end = length if self.end in ("", "1") else _frame(self.end, length)
        if end > length or end - start < 2:
            raise InputError(
                f"{self.path}: from {self.start or 0} to {self.end or 'its end'} are frames {start} to {end} "
                f"of {length} frames: a stretch has at least 2, and lies within the motion"
            )
        return start, end


@dataclass(frozen=True)
class BadLine:
    """A line that is no request, and why."""

    line: int
    reason: str


def parse_example(line: str, number: int) -> Example:
    """Read one line that is not blank.

    Raises:
        InputError: if it has neither words nor a motion, or something that cannot be read.
    """
    text, hash_, rest = line.partition("#")
    text = " ".join(text.split())
    if not text.isprintable():
        raise InputError("it has characters that are not text")
    if not hash_:
        if not text:
            raise InputError("it is empty")
        return Example(number, text)
    fields = [field.strip() for field in rest.split("#")]
    bounds: list[str] = []
    # From the right, since a path may hold '#' as well.
    while len(fields) > 1 and len(bounds) < 2 and (not fields[-1] or _NUMBER.fullmatch(fields[-1])):
        bounds.insert(0, fields.pop())
    path = "#".join(fields)
    if not path or not path.isprintable():
        raise InputError("after '#' comes the path of a motion file; there is none")
    for bound in bounds:
        if "." in bound and float(bound) > 1:
            raise InputError(
                f"{bound} is no fraction: with a point numbers are from 0 to 1, without they are frames"
            )
    return Example(number, text, path, *bounds)


def read_examples(path: str | Path) -> list[Example | BadLine]:
    """All lines of a file but blank ones, in order; a line that cannot be read does not stop the others.

    Raises:
        InputError: if the file is missing or no text in UTF-8, or has no lines.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot read examples from {path}: {error.strerror}") from error
    examples: list[Example | BadLine] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            examples.append(parse_example(line, number))
        except InputError as error:
            examples.append(BadLine(number, str(error)))
    if not examples:
        raise InputError(f"{path} has no examples: write one request per line")
    return examples


def find_motion_file(written: str, folder: str | Path) -> Path:
    """A path from an example file: as it is if absolute, else from the example file's folder or from here.

    Raises:
        InputError: if there is no such file.
    """
    candidates = [Path(folder) / written, Path(written)]
    for candidate in candidates:
        try:
            if candidate.is_file():
                return candidate
        except (OSError, ValueError) as error:
            raise InputError(f"{written}: cannot be the path of a file ({error})") from None
    places = " or ".join(dict.fromkeys(map(str, candidates)))
    raise InputError(f"no such file: {places}")


def _frame(written: str, length: int) -> int:
    return int(float(written) * length) if "." in written else int(written)
