"""Turns are read once, and forgotten whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.generation import transcript as module
from motiongpt3.generation.transcript import Transcript
from motiongpt3.models.interleaving import TextPart
from motiongpt3.models.mot import MixtureOfTransformers
from motiongpt3.models.text_decoding import TextDecoding, decode_text, read_parts
from tests.models.test_text_decoding import ours_and_reference

REQUESTS = [[20, 30, 31, 32], [21], [22, 30, 31, 32, 33, 34], [23, 7]]
ANSWER, CLOSING = [41, 42], [9]
ROOM = 3


@pytest.fixture(scope="module")
def mot() -> MixtureOfTransformers:
    return ours_and_reference("llama")[0]


def at_once(mot: MixtureOfTransformers, turns: list[list[int]], request: list[int]) -> Tensor:
    ids = [token for turn in turns for token in (*turn, *ANSWER, *CLOSING)]
    return read_parts(mot, [[TextPart(torch.tensor([*ids, *request]))]]).next_logits


def test_turns_are_read_as_one_text(mot: MixtureOfTransformers) -> None:
    transcript = Transcript(mot, 100)
    for number, request in enumerate(REQUESTS):
        expected = at_once(mot, REQUESTS[:number], request)
        found = transcript.read(request, ROOM).next_logits
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        transcript.add(request, ANSWER, CLOSING, None)


def test_what_was_answered_is_not_read_again(
    mot: MixtureOfTransformers, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(mot, rows, cache, starts):
        read.append(len(rows[0][0].ids))
        return read_parts(mot, rows, cache, starts)

    monkeypatch.setattr(module, "read_parts", counted)
    transcript, plain = Transcript(mot, 100), Transcript(mot, 100)
    for request in REQUESTS[:2]:
        reading = transcript.read(request, ROOM)
        decoding = TextDecoding(max_new_tokens=ROOM)
        (answer,) = decode_text(mot, *reading, [], decoding, [0])
        transcript.add(request, answer, CLOSING, reading)
        plain.add(request, answer, CLOSING, None)
    again = transcript.read(REQUESTS[2], ROOM)
    # 4, then 1 and 6, each behind a closing.
    assert read == [4, 2, 7]
    anew = plain.read(REQUESTS[2], ROOM)
    torch.testing.assert_close(again.next_logits, anew.next_logits, atol=1e-4, rtol=1e-4)
    assert torch.equal(again.next_positions, anew.next_positions)


def test_what_is_read_is_not_remembered_until_it_is_added(mot: MixtureOfTransformers) -> None:
    transcript = Transcript(mot, 100)
    transcript.add(REQUESTS[0], ANSWER, CLOSING, None)
    first, second = (transcript.read(REQUESTS[3], ROOM) for _ in range(2))
    assert torch.equal(first.next_logits, second.next_logits)
    assert torch.equal(first.next_positions, second.next_positions)


@pytest.mark.parametrize(
    ("longest", "kept"), [(40, 3), (26, 3), (25, 2), (19, 2), (18, 1), (15, 1), (14, 0), (6, 0), (4, 0)]
)
def test_whole_turns_are_forgotten(mot: MixtureOfTransformers, longest: int, kept: int) -> None:
    """7, 4 and 9 tokens were said, 2 are asked, and 4 are to be written."""
    transcript = Transcript(mot, longest)
    for request in REQUESTS[:3]:
        transcript.add(request, ANSWER, CLOSING, None)
    reading = transcript.read(REQUESTS[3], room=4)
    assert int(reading.next_positions) == sum([7, 4, 9][3 - kept :]) + 2
    expected = at_once(mot, REQUESTS[3 - kept : 3], REQUESTS[3])
    torch.testing.assert_close(reading.next_logits, expected, atol=1e-4, rtol=1e-4)


def test_a_request_that_is_too_long_alone_is_refused(mot: MixtureOfTransformers) -> None:
    with pytest.raises(InputError, match="41 tokens to read, but the text branch has 40"):
        Transcript(mot, 100).read([1] * 41, ROOM)
