"""What people type, as the model may be given it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motiongpt3.tasks import CAPTION, FRAMES, MOTION_MARKERS, SECONDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def clean(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """One line of text without special tokens of the tokenizer, markers of tasks, or control characters."""
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    special += [*MOTION_MARKERS, CAPTION, FRAMES, SECONDS]
    text = _one_line(text)
    # What is left may be put together into one again.
    while any(token in text for token in special):
        for token in special:
            text = text.replace(token, " ")
        text = _one_line(text)
    return text


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
