"""Turns are read once, forgotten whole, and motions keep to their own blocks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.generation.requests import Parts
from motiongpt3.generation.transcript import Transcript
from motiongpt3.models.interleaving import MotionPart, TextPart
from motiongpt3.models.mot import MixtureOfTransformers
from motiongpt3.models.text_decoding import TextDecoding, decode_text, read_parts
from tests.models.test_text_decoding import ours_and_reference

CLOSING = TextPart(torch.tensor([9]))
ROOM = 3


@pytest.fixture(scope="module")
def mot() -> MixtureOfTransformers:
    return ours_and_reference("llama", "bidirectional")[0]


def request(number: int, motion: int = 0) -> Parts:
    embeddings = torch.randn(motion, 12, generator=torch.Generator().manual_seed(number))
    before = TextPart(torch.tensor([20 + number, 30]))
    return [before, *([MotionPart(embeddings, 1)] if motion else []), TextPart(torch.tensor([31]))]


ANSWER = TextPart(torch.tensor([41, 42]))
# 6, 3 and 8 tokens, and 3 more of answer and closing.
TURNS = [request(0, motion=3), request(1), request(2, motion=5)]


def in_blocks(parts: Parts, first: int = 1) -> Parts:
    """Every motion in a block of its own."""
    numbers = iter(range(first, first + len(parts)))
    return [
        MotionPart(part.embeddings, next(numbers)) if isinstance(part, MotionPart) else part for part in parts
    ]


def at_once(mot: MixtureOfTransformers, turns: list[Parts], asked: Parts) -> Tensor:
    parts = [part for turn in turns for part in (*turn, ANSWER, CLOSING)]
    return read_parts(mot, [in_blocks([*parts, *asked])]).next_logits


def test_turns_are_read_as_one_row(mot: MixtureOfTransformers) -> None:
    transcript = Transcript(mot, 100)
    for number, turn in enumerate(TURNS):
        expected = at_once(mot, TURNS[:number], turn)
        torch.testing.assert_close(transcript.read(turn, ROOM).next_logits, expected, atol=1e-4, rtol=1e-4)
        transcript.add(turn, ANSWER, CLOSING, None)


def test_what_was_answered_is_not_read_again(mot: MixtureOfTransformers) -> None:
    transcript, plain = Transcript(mot, 100), Transcript(mot, 100)
    for turn in TURNS[:2]:
        reading = transcript.read(turn, ROOM)
        decoding = TextDecoding(max_new_tokens=ROOM)
        (written,) = decode_text(mot, *reading, [], decoding, [0])
        answer = TextPart(torch.tensor(written))
        transcript.add(turn, answer, CLOSING, reading)
        plain.add(turn, answer, CLOSING, None)
    again, anew = transcript.read(TURNS[2], ROOM), plain.read(TURNS[2], ROOM)
    torch.testing.assert_close(again.next_logits, anew.next_logits, atol=1e-4, rtol=1e-4)
    assert torch.equal(again.next_positions, anew.next_positions)


@pytest.mark.parametrize(
    ("longest", "kept"), [(40, 3), (35, 3), (34, 2), (26, 2), (25, 1), (20, 1), (19, 0), (8, 0)]
)
def test_whole_turns_are_forgotten(mot: MixtureOfTransformers, longest: int, kept: int) -> None:
    """9, 6 and 11 tokens were said, 5 are asked, and 4 are to be written."""
    transcript = Transcript(mot, longest)
    for turn in TURNS:
        transcript.add(turn, ANSWER, CLOSING, None)
    asked = request(3, motion=2)
    lengths = [sum(len(getattr(p, "ids", getattr(p, "embeddings", ""))) for p in turn) + 3 for turn in TURNS]
    assert lengths == [9, 6, 11]
    reading = transcript.read(asked, room=4)
    assert int(reading.next_positions) == sum(lengths[3 - kept :]) + 5
    expected = at_once(mot, TURNS[3 - kept :], asked)
    torch.testing.assert_close(reading.next_logits, expected, atol=1e-4, rtol=1e-4)


def test_a_request_that_is_too_long_alone_is_refused(mot: MixtureOfTransformers) -> None:
    with pytest.raises(InputError, match="43 tokens to read, but the text branch has 40"):
        Transcript(mot, 100).read(request(0, motion=40), ROOM)
