"""Real tokenizers for tests, built from files in ``tests/data``: no network, no cache."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

from transformers import GPT2TokenizerFast

MERGES_FILE = Path(__file__).parent / "data" / "gpt2_merges.txt.gz"
END_OF_TEXT = "<|endoftext|>"


@cache
def gpt2_merges() -> tuple[tuple[str, str], ...]:
    """GPT-2's 50 000 byte-pair merges, in order of rank."""
    lines = gzip.decompress(MERGES_FILE.read_bytes()).decode("utf-8").splitlines()
    pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    return tuple((left, right) for left, right in pairs)


def gpt2_vocabulary() -> dict[str, int]:
    """The 50 257 tokens: GPT-2's 256 byte characters, one token per merge, and the end of text.

    Bytes that print keep their own character and come first, in order; every other byte is written as a
    character from 256 on, so that no token holds white space or a control character.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    substitutes = range(256, 256 + 256 - len(printable))
    alphabet = [chr(code) for code in [*printable, *substitutes]]
    tokens = [*alphabet, *(left + right for left, right in gpt2_merges()), END_OF_TEXT]
    return {token: index for index, token in enumerate(tokens)}


def gpt2_tokenizer() -> GPT2TokenizerFast:
    """A new GPT-2 tokenizer, equal to the published one: callers may add tokens to it."""
    return GPT2TokenizerFast(vocab=gpt2_vocabulary(), merges=list(gpt2_merges()))
