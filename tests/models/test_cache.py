"""The cache's room for tokens to come: the same as without, and nobody else's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motiongpt3.models.attention import NO_BLOCK, Timeline
from motiongpt3.models.cache import KeyValueCache, StreamCache

LAYERS = (0, 3)


def timeline(tokens: int) -> Timeline:
    positions = torch.arange(tokens).expand(2, -1)
    return Timeline(positions, torch.ones(2, tokens, dtype=torch.bool), torch.full_like(positions, NO_BLOCK))


def extend(stream: StreamCache, tokens: int, seed: int, dtype: torch.dtype = torch.float32) -> None:
    generator = torch.Generator().manual_seed(seed)
    stream.extend(timeline(tokens))
    for layer in LAYERS:
        keys, values = torch.randn(2, 2, 3, tokens, 4, generator=generator).to(dtype)
        stream.append(layer, keys, values)


def held(stream: StreamCache) -> list[Tensor]:
    return [tensors[layer].clone() for layer in LAYERS for tensors in (stream.keys, stream.values)]


def grown(room: int) -> StreamCache:
    stream = StreamCache()
    extend(stream, 5, seed=0)
    if room:
        stream.reserve(room, torch.float32)
    return stream


@pytest.mark.parametrize("room", [1, 2, 3, 10])
def test_room_changes_nothing(room: int) -> None:
    """Whether it suffices, is used up exactly, or runs out in between."""
    plain, roomy = grown(0), grown(room)
    for seed, tokens in enumerate((1, 2, 3), start=1):
        extend(plain, tokens, seed)
        extend(roomy, tokens, seed)
        assert all(torch.equal(*pair) for pair in zip(held(plain), held(roomy), strict=True))


def test_room_saves_moving() -> None:
    stream = grown(2)
    before = stream.keys[0].data_ptr()
    extend(stream, 2, seed=1)
    assert stream.keys[0].data_ptr() == before
    extend(stream, 1, seed=2)
    assert stream.keys[0].data_ptr() != before


def test_a_copy_and_its_original_go_separate_ways() -> None:
    original = KeyValueCache(grown(10))
    extend(original.text, 1, seed=1)
    copy = original.copy()
    at_copying = held(copy.text)
    extend(original.text, 1, seed=2)
    assert all(torch.equal(*pair) for pair in zip(held(copy.text), at_copying, strict=True))
    of_original = held(original.text)
    extend(copy.text, 1, seed=3)
    assert all(torch.equal(*pair) for pair in zip(held(original.text), of_original, strict=True))
    extend(original.text, 1, seed=4)
    expected = grown(0)
    for seed in (1, 3):
        extend(expected, 1, seed)
    assert all(torch.equal(*pair) for pair in zip(held(copy.text), held(expected), strict=True))


def test_stored_halves_are_read_into_the_room_as_singles() -> None:
    stream = StreamCache()
    extend(stream, 5, seed=0, dtype=torch.float16)
    halves = held(stream)
    stream.reserve(4, torch.float32)
    extend(stream, 1, seed=1)
    assert {tensor.dtype for tensor in held(stream)} == {torch.float32}
    assert all(torch.equal(now[:, :, :5], then.float()) for now, then in zip(held(stream), halves))
