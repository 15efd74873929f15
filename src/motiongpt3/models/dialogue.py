"""What stands around requests and answers: a text backbone's own way of telling who speaks, as strings.

A *request* is text in which a marker stands wherever a motion is given; an *answer* is text, a motion, or
text and then a motion::

    request_prefix  make it longer: given_prefix (motion) given_suffix  request_suffix
    text_prefix  it is a jump  text_end          motion_prefix (motion) motion_suffix

The strings are tokenised together with the text they touch. This module makes token ids and marks; whoever
lays out sequences puts motions in place of the marks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.text_decoding import token_ids
from motiongpt3.tasks import FIRST_MOTION, MASKED_MOTION, MOTION

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARKERS = re.compile("|".join(map(re.escape, (MOTION, FIRST_MOTION, MASKED_MOTION))))
_ANY_MARKER = re.compile(r"<\w+_Placeholder\w*>")


class MotionMark(Enum):
    """A place among the tokens of a request that text does not fill."""

    GIVEN = "given"  # the next one of the motions given
    MASKED = "masked"  # the motion that is asked for, between two that are given


@dataclass(frozen=True)
class DialogueConfig:
    """The strings around requests and answers; all but ``text_end`` may be empty.

    Args:
        request_prefix: before a request.
        request_suffix: behind it.
        text_prefix: before the text of an answer.
        text_end: the one token that ends the text of an answer.
        motion_prefix: before the placeholders of a motion in an answer.
        motion_suffix: behind them; nothing here reads it, as an answer ends with its motion.
        given_prefix: before a motion given in a request.
        given_suffix: behind it.
    """

    request_prefix: str
    request_suffix: str
    text_prefix: str
    text_end: str
    motion_prefix: str
    motion_suffix: str
    given_prefix: str
    given_suffix: str

    def __post_init__(self) -> None:
        if not self.text_end:
            raise ConfigError("dialogue: text_end is empty: name the token that ends the text of an answer")

    @classmethod
    def chat_ml(cls) -> DialogueConfig:
        """User turn and assistant turn of backbones that speak ChatML, such as SmolLM2."""
        return cls(
            "<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\n", "<|im_end|>", "", "", "", ""
        )

    @classmethod
    def official(cls) -> DialogueConfig:
        """As the official release puts sequences together, with its doubled separator."""
        start, end = "<start_of_motion>", "<end_of_motion>"
        return cls("", " \n \n", "", "<|endoftext|>", f" {start}", end, start, end)

    def text_end_id(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """Id of the token that ends text; `ConfigError` if the tokenizer has no such token."""
        return token_ids(tokenizer, [self.text_end])[0]


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of ``text`` alone, without any that a tokenizer would add around it."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def request_parts(
    tokenizer: PreTrainedTokenizerBase, dialogue: DialogueConfig, request: str
) -> list[list[int] | MotionMark]:
    """A request, with what stands around it, as token ids and the motions between them.

    Args:
        tokenizer: of the text branch.
        dialogue: what stands around requests.
        request: may hold ``<Motion_Placeholder>`` or ``<Motion_Placeholder_s1>`` for a motion that is given,
            and ``<Motion_Placeholder_Masked>`` for one with its middle masked: given, masked, given.

    Raises:
        InputError: if the request holds another placeholder, which should have been filled before.
    """
    parts: list[list[int] | MotionMark] = []
    text = dialogue.request_prefix
    end = 0
    for marker in _MARKERS.finditer(request):
        text += _plain(request[end : marker.start()])
        end = marker.end()
        masked = marker.group() == MASKED_MOTION
        for mark in (
            (MotionMark.GIVEN, MotionMark.MASKED, MotionMark.GIVEN) if masked else (MotionMark.GIVEN,)
        ):
            given = mark is MotionMark.GIVEN
            before = text + dialogue.given_prefix if given else text
            if before:
                parts.append(text_ids(tokenizer, before))
            parts.append(mark)
            text = dialogue.given_suffix if given else ""
    text += _plain(request[end:]) + dialogue.request_suffix
    if text:
        parts.append(text_ids(tokenizer, text))
    return parts


def _plain(text: str) -> str:
    """``text``, which must not hold placeholders."""
    other = _ANY_MARKER.search(text)
    if other:
        raise InputError(
            f"the request holds {other.group()}, which nothing has been put in place of; "
            f"a motion that is given is {MOTION}"
        )
    return text
