"""What was said in a conversation, as the text branch reads it: each token once, whole turns forgotten."""

from __future__ import annotations

import torch

from motiongpt3.models.cache import KeyValueCache
from motiongpt3.models.interleaving import TextPart
from motiongpt3.models.mot import MixtureOfTransformers
from motiongpt3.models.text_decoding import Reading, read_parts


class Transcript:
    """The turns so far as token ids: a cache of those that have been read, and the others.

    Args:
        mot: the backbone.
        longest: tokens that may be read and written at once; no more than the text branch has positions.
    """

    def __init__(self, mot: MixtureOfTransformers, longest: int) -> None:
        self._mot = mot
        self._longest = min(longest, mot.text_config.max_positions)
        self._turns: list[list[int]] = []
        self._cache = KeyValueCache()
        self._position = 0
        self._unread: list[int] = []

    def read(self, request: list[int], room: int) -> Reading:
        """Read everything up to the end of a request, which is not remembered until it is added.

        The oldest turns are forgotten until ``room`` more tokens fit behind it.

        Raises:
            InputError: if the request alone reaches beyond the positions of the text branch.
        """
        while self._turns and self._position + len(self._unread) + len(request) + room > self._longest:
            del self._turns[0]
            self._cache, self._position = KeyValueCache(), 0
            self._unread = [token for turn in self._turns for token in turn]
        ids = TextPart(torch.tensor(self._unread + request))
        return read_parts(self._mot, [[ids]], self._cache.copy(), [self._position])

    def add(self, request: list[int], answer: list[int], closing: list[int], reading: Reading | None) -> None:
        """Remember a turn.

        Args:
            request: its tokens, up to the answer.
            answer: the answer's tokens.
            closing: tokens between the answer and the next request.
            reading: what `read` gave for it, if it has been read and answered.
        """
        turn = request + answer + closing
        self._turns.append(turn)
        if reading is None:
            self._unread = self._unread + turn
        else:
            self._cache, self._unread = reading.cache, closing
            self._position = int(reading.next_positions) + len(answer)
