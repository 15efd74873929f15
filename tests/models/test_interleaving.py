"""Rows of parts as two streams: where each token lands, and that the rest is padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.models.interleaving import MotionPart, TextPart, interleave
from motiongpt3.models.mot import KeyValueCache
from tests.models.test_mot import GPT2, mixture


def text(*ids: int) -> TextPart:
    return TextPart(torch.tensor(ids, dtype=torch.long))


def motion(tokens: int, block: int = -1, seed: int = 0) -> MotionPart:
    generator = torch.Generator().manual_seed(seed)
    return MotionPart(torch.randn(tokens, 16, dtype=torch.float64, generator=generator), block)


@pytest.fixture(scope="module")
def mot():
    return mixture(GPT2, "bidirectional")


ROWS = [
    [text(5, 6), motion(3, block=0), text(7), motion(1, block=1, seed=1), text(8, 9)],
    [motion(2, block=0, seed=2), text(), text(4)],
]


def test_parts_follow_one_another_on_one_time_axis(mot) -> None:
    texts, motions, lengths = interleave(mot, ROWS)
    assert lengths.tolist() == [9, 3]
    assert texts.visible.tolist() == [[True] * 5, [True] + [False] * 4]
    assert texts.positions.tolist() == [[0, 1, 5, 7, 8], [2, 0, 0, 0, 0]]
    assert torch.equal(texts.embeddings[0], mot.embed_text(torch.tensor([5, 6, 7, 8, 9])))
    assert torch.equal(texts.embeddings[1, :1], mot.embed_text(torch.tensor([4])))
    assert motions.visible.tolist() == [[True] * 4, [True] * 2 + [False] * 2]
    assert motions.positions.tolist() == [[2, 3, 4, 6], [0, 1, 0, 0]]
    assert motions.blocks.tolist() == [[0, 0, 0, 1], [0, 0, -1, -1]]
    given = torch.cat([motion(3).embeddings, motion(1, seed=1).embeddings])
    assert torch.equal(motions.embeddings[0], given)


@torch.no_grad()
def test_rows_and_parts_may_be_read_apart(mot) -> None:
    """Alone or beside others, at once or continued: the last token sees the same."""

    def last(rows: list[list[TextPart | MotionPart]], cache: KeyValueCache, starts: list[int]) -> Tensor:
        texts, motions, _ = interleave(mot, rows, starts)
        hidden = mot(texts, motions, cache).text_hidden
        return torch.stack([row[visible][-1] for row, visible in zip(hidden, texts.visible)])

    together = last(ROWS, KeyValueCache(), [0, 0])
    for number, (row, cut) in enumerate(zip(ROWS, (2, 1))):
        alone = last([row], KeyValueCache(), [0])
        cache = KeyValueCache()
        first = interleave(mot, [row[:cut]])
        mot(first[0], first[1], cache)
        continued = last([row[cut:]], cache, first[2].tolist())
        torch.testing.assert_close(alone[0], together[number])
        torch.testing.assert_close(continued[0], together[number])


def test_rows_without_a_modality(mot) -> None:
    texts, motions, lengths = interleave(mot, [[text(1, 2)], [text(3)]], starts=[4, 0])
    assert motions is None
    assert (texts.positions.tolist(), lengths.tolist()) == ([[4, 5], [0, 0]], [6, 1])
    texts, motions, lengths = interleave(mot, [[motion(2)], []])
    assert texts is None
    assert (motions.visible.tolist(), lengths.tolist()) == ([[True, True], [False, False]], [2, 0])
    assert interleave(mot, [[], []])[:2] == (None, None)


def test_gradients_reach_the_motion_given(mot) -> None:
    given = torch.zeros(2, 16, dtype=torch.float64, requires_grad=True)
    texts, motions, _ = interleave(mot, [[text(1), MotionPart(given), text(2)]])
    mot(texts, motions).text_hidden[0, -1].sum().backward()
    assert given.grad.abs().min() > 0


def test_rows_longer_than_the_positions_are_refused(mot) -> None:
    interleave(mot, [[text(*[1] * 30), motion(2)]])
    with pytest.raises(InputError, match="33 tokens to read, but the text branch has 32 positions"):
        interleave(mot, [[text(1)], [text(*[1] * 30), motion(3)]])
