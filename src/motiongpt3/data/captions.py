"""Captions as HumanML3D writes them, one per line, and their mirror images.

A line is ``caption#word/POS word/POS ...#from#to``: the sentence, its part-of-speech tagged words (may be
empty), and the stretch of the clip it describes in seconds; 0 and 0 mean the whole clip.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from motiongpt3.errors import InputError


@dataclass(frozen=True)
class Caption:
    """One sentence about a clip.

    Attributes:
        text: the sentence.
        tokens: its words as ``word/POS``; empty where nobody has tagged it.
        start: seconds from the beginning of the clip.
        end: seconds from the beginning of the clip; ``start == end == 0`` describes the whole clip.
    """

    text: str
    tokens: tuple[str, ...] = ()
    start: float = 0.0
    end: float = 0.0

    @property
    def whole_clip(self) -> bool:
        """Whether the sentence is about all of the clip."""
        return self.start == 0.0 and self.end == 0.0

    def frames(self, length: int, fps: float) -> tuple[int, int]:
        """First frame and the one after the last, rounded down as HumanML3D does and cut at ``length``.

        The second is not above the first where the tags leave nothing.
        """
        if self.whole_clip:
            return 0, length
        return min(int(self.start * fps), length), min(int(self.end * fps), length)

    def mirrored(self) -> Caption:
        """The caption of the mirrored clip; see `mirror_words`.

        Tags stay with their words; where the mirror image has another number of words ("counter clockwise"
        becomes "clockwise"), the tokens are left out.
        """
        words, tags = _split_tags(self.tokens)
        mirrored = mirror_words(" ".join(words)).split(" ")
        tokens: tuple[str, ...] = ()
        if self.tokens and len(mirrored) == len(words):
            tokens = tuple(word + tag for word, tag in zip(mirrored, tags, strict=True))
        return replace(self, text=mirror_words(self.text), tokens=tokens)


def _split_tags(tokens: Sequence[str]) -> tuple[list[str], list[str]]:
    words, tags = [], []
    for token in tokens:
        word, slash, tag = token.rpartition("/")
        words.append(word if slash else token)
        tags.append(slash + tag if slash else "")
    return words, tags


def parse_caption(line: str) -> Caption:
    """Read one line of a ``texts`` file.

    A tag of ``nan`` counts as 0, as in the field's own code.

    Raises:
        InputError: if the line has not four fields, no sentence, or tags that are not times.
    """
    fields = line.strip().rsplit("#", 3)
    if len(fields) != 4:
        raise InputError(f"a caption line needs four fields, caption#tokens#from#to, not {_shorten(line)!r}")
    text, tokens, start, end = fields
    if not text.strip():
        raise InputError(f"a caption line has no sentence before its first '#': {_shorten(line)!r}")
    return Caption(
        text.strip(), tuple(tokens.split()), _parse_seconds(start, line), _parse_seconds(end, line)
    )


def parse_captions(text: str, where: str, parse: Callable[[str], Caption] = parse_caption) -> list[Caption]:
    """All lines of a file of captions but blank ones.

    Args:
        text: of the file.
        where: begins the message of an error.
        parse: reads one line.

    Raises:
        InputError: naming the line that is no caption.
    """
    captions = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                captions.append(parse(line))
            except InputError as error:
                raise InputError(f"{where}, line {number}: {error}") from None
    return captions


def _parse_seconds(field: str, line: str) -> float:
    try:
        seconds = float(field)
    except ValueError:
        seconds = -1.0
    if math.isnan(seconds):
        return 0.0
    if not 0 <= seconds < math.inf:
        raise InputError(f"from and to must be seconds from the clip's beginning, not in {_shorten(line)!r}")
    return seconds


def _shorten(line: str) -> str:
    line = line.strip()
    return line if len(line) <= 60 else line[:57] + "..."


def format_caption(caption: Caption) -> str:
    """The line that `parse_caption` reads back, without a line break.

    Raises:
        InputError: if the sentence is empty or holds a character that the format keeps for itself.
    """
    text = caption.text.strip()
    if not text or "#" in text or len(text.splitlines()) > 1:
        raise InputError(f"a caption must be one line of text without '#', not {_shorten(caption.text)!r}")
    if any(set(token) & set("# \n\r\t") for token in caption.tokens):
        raise InputError(f"a token of the caption {_shorten(text)!r} holds a space or '#'")
    if not (0 <= caption.start < math.inf and 0 <= caption.end < math.inf):
        raise InputError(f"the caption {_shorten(text)!r} has times that are not seconds from the beginning")
    return f"{text}#{' '.join(caption.tokens)}#{caption.start!r}#{caption.end!r}"


_SIDES = {
    "left": "right",
    "lefts": "rights",
    "leftward": "rightward",
    "leftwards": "rightwards",
    "leftmost": "rightmost",
    "lefthand": "righthand",
    "lefthanded": "righthanded",
    "leftside": "rightside",
}
_OPPOSITES = {**_SIDES, **{right: left for left, right in _SIDES.items()}, "clockwise": "counterclockwise"}

# After one of these, "right in front of" is about the right foot or hand, not about exactly in front.
_BEFORE_A_SIDE = ("the", "a", "his", "her", "their", "your", "my", "its", "with", "and", "or", "to")
# Uses of "right" that name no side.
_SIDELESS = (
    r"\ball\s+right\b"
    r"|\bright\s+(?:away|now|here|there)\b"
    r"|\bright[\s-]+(?:angles?|angled|side[\s-]+up)\b|"
    + "".join(rf"(?<!\b{word} )" for word in _BEFORE_A_SIDE)
    + r"\bright\s+(?:in\s+front\s+of|next\s+to)\b"
)
_DIRECTION = re.compile(
    rf"(?P<sideless>{_SIDELESS})"
    rf"|\b(?:(?:counter|anti)[\s-]?clockwise|{'|'.join(sorted(_OPPOSITES, key=len, reverse=True))})\b",
    re.IGNORECASE,
)


def mirror_words(text: str) -> str:
    """The sentence (or label) that describes the mirrored motion.

    Swaps left with right and clockwise with counterclockwise, as whole words and all at once, keeping
    capitals; also "leftwards" and the like, and parts of hyphenated words ("raise-left-hand"). The spellings
    "anticlockwise" and "counter-clockwise" become "clockwise". "right" stays where it names no side:
    "right away", "all right", "at a right angle", "right in front of". Mirroring twice gives the text again,
    up to the spelling of "counterclockwise" and such uses of "right" that began as "left".
    """
    return _DIRECTION.sub(_mirror_match, text)


def _mirror_match(match: re.Match[str]) -> str:
    found = match.group()
    if match.group("sideless"):
        return found
    # Only the counterclockwise spellings are not in the table.
    opposite = _OPPOSITES.get(found.lower(), "clockwise")
    if found.isupper():
        return opposite.upper()
    return opposite.capitalize() if found[0].isupper() else opposite
