"""Requests as tokens and marks, in the words of ChatML and of the official release."""

from __future__ import annotations

import pytest

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.dialogue import DialogueConfig, MotionMark, request_parts, text_ids
from motiongpt3.models.folders import config_from_json, config_to_json
from motiongpt3.models.text_decoding import TextDecoding, token_ids
from tests.tokenizers import gpt2_tokenizer

CHAT, OFFICIAL = DialogueConfig.chat_ml(), DialogueConfig.official()
START, END = 50257, 50258
GIVEN, MASKED = MotionMark.GIVEN, MotionMark.MASKED


@pytest.fixture(scope="module")
def tokenizer():
    made = gpt2_tokenizer()
    made.add_tokens(["<start_of_motion>", "<end_of_motion>"], special_tokens=True)
    return made


@pytest.fixture(scope="module")
def chat_tokenizer():
    made = gpt2_tokenizer()
    made.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    return made


def as_text(tokenizer, parts) -> list[object]:
    return [part if isinstance(part, MotionMark) else tokenizer.decode(part) for part in parts]


def test_a_plain_request_is_one_turn(chat_tokenizer) -> None:
    (ids,) = request_parts(chat_tokenizer, CHAT, "a person waves")
    assert ids == chat_tokenizer("<|im_start|>user\na person waves<|im_end|>\n")["input_ids"]


@pytest.mark.parametrize("marker", ["<Motion_Placeholder>", "<Motion_Placeholder_s1>"])
def test_a_given_motion_stands_between_texts(chat_tokenizer, marker: str) -> None:
    parts = request_parts(chat_tokenizer, CHAT, f"What is {marker} about?")
    assert as_text(chat_tokenizer, parts) == [
        "<|im_start|>user\nWhat is ",
        GIVEN,
        " about?<|im_end|>\n",
    ]


def test_the_middle_may_be_masked(chat_tokenizer) -> None:
    parts = request_parts(chat_tokenizer, CHAT, "Fill in <Motion_Placeholder_Masked>")
    assert as_text(chat_tokenizer, parts) == [
        "<|im_start|>user\nFill in ",
        GIVEN,
        MASKED,
        GIVEN,
        "<|im_end|>\n",
    ]


def test_several_motions_have_tokens_between_them_only_if_there_is_text(chat_tokenizer) -> None:
    two = "<Motion_Placeholder><Motion_Placeholder>"
    assert as_text(chat_tokenizer, request_parts(chat_tokenizer, CHAT, two)) == [
        "<|im_start|>user\n",
        GIVEN,
        GIVEN,
        "<|im_end|>\n",
    ]


def test_official_requests_are_those_of_the_release(tokenizer) -> None:
    """Token by token: a doubled separator of four tokens, and motions between their own two."""
    separator = [220, 198, 220, 198]
    words = tokenizer("Generate text: ")["input_ids"]
    assert request_parts(tokenizer, OFFICIAL, "Generate text: <Motion_Placeholder>") == [
        [*words, START],
        GIVEN,
        [END, *separator],
    ]
    assert request_parts(tokenizer, OFFICIAL, "Fill: <Motion_Placeholder_Masked>") == [
        [*tokenizer("Fill: ")["input_ids"], START],
        GIVEN,
        [END],
        MASKED,
        [START],
        GIVEN,
        [END, *separator],
    ]
    (request,) = request_parts(tokenizer, OFFICIAL, "Generate motion: a jump")
    prefix = text_ids(tokenizer, OFFICIAL.motion_prefix)
    whole = tokenizer("Generate motion: a jump \n \n <start_of_motion>")["input_ids"]
    assert (request + prefix, prefix[-1], OFFICIAL.text_end_id(tokenizer)) == (whole, START, 50256)


@pytest.mark.parametrize("rest", ["<Caption_Placeholder>", "<Motion_Placeholder_s2>", "<Frame_Placeholder>"])
def test_placeholders_that_were_not_filled_are_refused(tokenizer, rest: str) -> None:
    with pytest.raises(InputError, match=f"holds {rest}, which nothing"):
        request_parts(tokenizer, OFFICIAL, f"<Motion_Placeholder> is {rest}")


def test_tokens_must_be_in_the_vocabulary(tokenizer) -> None:
    assert token_ids(tokenizer, ["<end_of_motion>", "<|endoftext|>"]) == (END, 50256)
    assert TextDecoding.official().banned_ids(tokenizer) == (START, END)
    with pytest.raises(ConfigError, match=r"no token '<[|]im_end[|]>'"):
        CHAT.text_end_id(tokenizer)


def test_text_must_end_and_configs_survive_json() -> None:
    for config in (CHAT, OFFICIAL):
        assert config_from_json(DialogueConfig, config_to_json(config), "dialogue") == config
    with pytest.raises(ConfigError, match="text_end is empty"):
        DialogueConfig("", "", "", "", "", "", "", "")
