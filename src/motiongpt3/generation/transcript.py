"""What was said in a conversation, as the backbone reads it: each token once, whole turns forgotten."""

from __future__ import annotations

from dataclasses import replace

from motiongpt3.generation.requests import Parts
from motiongpt3.models.cache import KeyValueCache
from motiongpt3.models.interleaving import MotionPart, TextPart
from motiongpt3.models.mot import MixtureOfTransformers
from motiongpt3.models.placeholders import REQUEST_BLOCK
from motiongpt3.models.text_decoding import Reading, read_parts


class Transcript:
    """The turns so far as the backbone reads them: a cache of those that it has read, and the others.

    Args:
        mot: the backbone.
        longest: tokens that may be read and written at once; no more than the text branch has positions.
    """

    def __init__(self, mot: MixtureOfTransformers, longest: int) -> None:
        self._mot = mot
        self._longest = min(longest, mot.text_config.max_positions)
        self._turns: list[Parts] = []
        self._cache = KeyValueCache()
        self._position = 0
        self._unread: Parts = []
        self._block = REQUEST_BLOCK

    def read(self, request: Parts, room: int) -> Reading:
        """Read everything up to the end of a request, which is not remembered until it is added.

        The oldest turns are forgotten until ``room`` more tokens fit behind it.

        Raises:
            InputError: if the request alone reaches beyond the positions of the text branch.
        """
        request = self._in_blocks(request)
        while self._turns and self._position + _length([*self._unread, *request]) + room > self._longest:
            del self._turns[0]
            self._cache, self._position = KeyValueCache(), 0
            self._unread = [part for turn in self._turns for part in turn]
        return read_parts(self._mot, [[*self._unread, *request]], self._cache.copy(), [self._position])

    def add(self, request: Parts, answer: TextPart, closing: TextPart, reading: Reading | None) -> None:
        """Remember a turn; ``reading`` is what `read` gave for it, if it has been read and answered."""
        turn = [*self._in_blocks(request), answer, closing]
        self._block += sum(isinstance(part, MotionPart) for part in request)
        self._turns.append(turn)
        if reading is None:
            self._unread += turn
        else:
            self._cache, self._unread = reading.cache, [closing]
            self._position = int(reading.next_positions) + len(answer.ids)

    def _in_blocks(self, request: Parts) -> Parts:
        """Its motions apart from those of other turns."""
        numbers = iter(range(self._block, self._block + len(request)))
        return [
            replace(part, block=next(numbers)) if isinstance(part, MotionPart) else part for part in request
        ]


def _length(parts: Parts) -> int:
    return sum(len(part.ids if isinstance(part, TextPart) else part.embeddings) for part in parts)
