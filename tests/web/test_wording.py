from __future__ import annotations

import pytest

from motiongpt3.web.wording import clean
from tests.tiny import START_OF_TURN, UNUSED_TOKEN, byte_tokenizer


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("  a person\n\twaves ", "a person waves"),
        (f"a{START_OF_TURN}b{UNUSED_TOKEN}c", "a b c"),
        ("jump <Motion_Placeholder_s1> <Frame_Placeholder>", "jump"),
        ("a\x00\x1b[31m\u202eb", "a [31m b"),
        ("wave \U0001f44b ä", "wave \U0001f44b ä"),
        (START_OF_TURN * 3, ""),
    ],
)
def test_words_are_left(typed: str, left: str) -> None:
    assert clean(typed, byte_tokenizer()) == left


def test_nothing_special_comes_together_again() -> None:
    nested = START_OF_TURN[:4] + START_OF_TURN + START_OF_TURN[4:]
    assert START_OF_TURN not in clean(nested, byte_tokenizer())
