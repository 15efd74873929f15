"""The length of a motion as people type it: ``6s``, ``2.5s`` or a number of frames."""

from __future__ import annotations

import re
from dataclasses import dataclass

from motiongpt3.errors import InputError

_LENGTH = re.compile(r"(?P<number>\d{1,9}(\.\d{1,9})?)\s*(?P<unit>s|sec|seconds?|f|frames?)?", re.IGNORECASE)


@dataclass(frozen=True)
class Length:
    """A length in frames or in seconds, whichever was typed.

    Attributes:
        value: how many.
        seconds: whether it counts seconds rather than frames.
        text: as it was typed.
    """

    value: float
    seconds: bool
    text: str

    def to_frames(
        self, fps: float, frame_range: tuple[int, int], limited_by: str = "this model makes"
    ) -> int:
        """Frames at a frame rate, to the nearest.

        Args:
            fps: frames per second of the model.
            frame_range: fewest and most frames that there can be.
            limited_by: who says so, for the message.

        Raises:
            InputError: fewer or more than that.
        """
        fewest, most = frame_range
        frames = round(self.value * fps) if self.seconds else int(self.value)
        if not fewest <= frames <= most:
            raise InputError(
                f"length {self.text!r} is {frames} frames; {limited_by} {fewest} to {most} frames "
                f"({fewest / fps:g}s to {most / fps:g}s at {fps:g} frames per second)"
            )
        return frames


def parse_length(text: str) -> Length:
    """Read a length: a whole number of frames (``120``), or seconds (``6s``, ``2.5s``).

    Raises:
        InputError: anything else.
    """
    match = _LENGTH.fullmatch(text.strip())
    if match is None:
        raise InputError(f"length {text!r} is neither seconds (6s, 2.5s) nor a number of frames (120)")
    seconds = (match["unit"] or "f").lower().startswith("s")
    value = float(match["number"])
    if not seconds and not value.is_integer():
        raise InputError(
            f"length {text!r} is not a whole number of frames; for seconds write {match['number']}s"
        )
    return Length(value, seconds, text)
