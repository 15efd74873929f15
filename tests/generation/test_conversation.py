"""A conversation: the model decides, and what was said is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.generation.conversation import MOTION_MADE, Conversation
from motiongpt3.generation.requests import encode_motions, lay_out
from motiongpt3.models.dialogue import text_ids
from motiongpt3.models.interleaving import TextPart
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import ANSWERS
from motiongpt3.models.text_decoding import TextDecoding, decode_text, read_parts
from motiongpt3.motion.motion import Motion
from tests import tiny

DECODING = TextDecoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def clip(model: MotionGPT3) -> Motion:
    return model.generate(["jump"], 24)[0]


def wants(monkeypatch: pytest.MonkeyPatch, model: MotionGPT3, answer: str) -> None:
    probabilities = torch.zeros(1, len(ANSWERS))
    probabilities[0, ANSWERS.index(answer)] = 1.0
    monkeypatch.setattr(model, "answer_wanted", lambda requests: probabilities)


def test_the_model_decides(model: MotionGPT3, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = Conversation(model, DECODING)
    wants(monkeypatch, model, "motion")
    moved = conversation.reply("jump", frames=24, seed=3)
    assert (moved.task, moved.text) == ("t2m", "")
    assert moved.motion is not None
    assert torch.equal(moved.motion.joints, model.generate(["jump"], 24, seeds=[3])[0].joints)
    wants(monkeypatch, model, "text")
    said = conversation.reply("why?")
    assert said.task == "t2t"
    assert said.text
    assert said.motion is None
    wants(monkeypatch, model, "text then motion")
    both = conversation.reply("explain and show", frames=24)
    assert both.text
    assert both.motion is not None
    assert [turn.request for turn in conversation.turns] == ["jump", "why?", "explain and show"]
    assert [turn.reply for turn in conversation.turns] == [moved, said, both]


def test_a_motion_that_is_given_is_described_or_continued(
    model: MotionGPT3, clip: Motion, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = Conversation(model, DECODING)
    conversation.reply("something before", task="t2t")
    wants(monkeypatch, model, "text")
    pieces: list[str] = []
    described = conversation.reply("what is <Motion_Placeholder> then?", clip, on_text=pieces.append)
    assert described.task == "m2t"
    assert described.text == model.caption([clip], "what is <Motion_Placeholder> then?")[0]
    assert " ".join("".join(pieces).split()) == described.text
    wants(monkeypatch, model, "motion")
    continued = conversation.reply("go on", clip, frames=40)
    assert continued.task == "pred"
    assert continued.motion is not None
    assert torch.equal(continued.motion.joints[:24], clip.joints)
    filled = conversation.reply("again", clip, task="inbetween")
    assert filled.motion is not None
    assert len(filled.motion) == 24


def test_a_task_may_speak_of_the_last_motion(model: MotionGPT3, clip: Motion) -> None:
    conversation = Conversation(model, DECODING)
    assert conversation.last_motion is None
    made = conversation.reply("jump", task="t2m", frames=24).motion
    assert made is not None
    described = conversation.reply("what was that?", task="m2t")
    assert described.text == model.caption([made], "what was that?")[0]
    continued = conversation.reply("on", task="pred", frames=40).motion
    assert continued is not None
    assert torch.equal(continued.joints[:24], made.joints)
    conversation.reply("thanks", task="t2t")
    assert conversation.last_motion is continued
    conversation.reply("and this?", clip, task="m2t")
    assert conversation.last_motion is clip


@torch.no_grad()
def test_text_is_that_of_the_language_model(model: MotionGPT3) -> None:
    """Over two turns, by reading everything for each token: nothing of the decisions is left behind."""
    conversation = Conversation(model, DECODING)
    pieces: list[str] = []
    first = conversation.reply("hello", on_text=pieces.append, task="t2t")
    second = conversation.reply("well?", task="t2t")
    assert "".join(pieces).strip() == first.text
    end = model.config.dialogue.text_end_id(model.tokenizer)

    def continued(ids: list[int]) -> list[int]:
        written: list[int] = []
        while len(written) < DECODING.max_new_tokens:
            texts = [[TextPart(torch.tensor([*ids, *written]))]]
            token = int(read_parts(model.mot, texts).next_logits.argmax())
            if token == end:
                break
            written.append(token)
        return written

    def asked(text: str) -> list[int]:
        return text_ids(model.tokenizer, f"{tiny.START_OF_TURN}say: {text}\n> ")

    said = continued(asked("hello"))
    assert first.text == model.tokenizer.decode(said, skip_special_tokens=True).strip()
    again = continued([*asked("hello"), *said, end, *asked("well?")])
    assert second.text == model.tokenizer.decode(again, skip_special_tokens=True).strip()


def test_of_motions_their_words_are_remembered(model: MotionGPT3, clip: Motion) -> None:
    """Text behind a caption and a motion that was made is text behind words alone."""
    conversation = Conversation(model, DECODING)
    conversation.reply("what is it?", clip, task="m2t")
    conversation.reply("jump", task="t2m", frames=24)
    dialogue, tokenizer = model.config.dialogue, model.tokenizer
    parts = lay_out(model, "what is it? <Motion_Placeholder>", encode_motions(model, [clip]), "text")
    end = dialogue.text_end_id(tokenizer)
    (caption,) = decode_text(model.mot, *read_parts(model.mot, [parts]), [end], model.config.decoding, [0])
    asked = [
        text_ids(tokenizer, f"{tiny.START_OF_TURN}say: {text}\n> ") for text in ("what is it?", "jump", "so?")
    ]
    ids = [*asked[0], *caption, end, *asked[1], *text_ids(tokenizer, MOTION_MADE), end, *asked[2]]
    (expected,) = decode_text(
        model.mot, *read_parts(model.mot, [[TextPart(torch.tensor(ids))]]), [end], DECODING, [0]
    )
    text = conversation.reply("so?", task="t2t").text
    assert text == tokenizer.decode(expected, skip_special_tokens=True).strip()


def test_earlier_turns_are_heard(model: MotionGPT3) -> None:
    first, second = Conversation(model, DECODING), Conversation(model, DECODING)
    first.reply("a", task="t2t")
    second.reply("zzzz", task="t2t")
    assert first.reply("hello", task="t2t").text != second.reply("hello", task="t2t").text
    first.forget()
    assert first.turns == []
    fresh = Conversation(model, DECODING)
    assert first.reply("hello", task="t2t").text == fresh.reply("hello", task="t2t").text


def test_another_model_can_go_on_with_what_was_said(model: MotionGPT3, clip: Motion, tmp_path: Path) -> None:
    conversation = Conversation(model, DECODING)
    conversation.reply("jump", task="t2m", frames=24)
    conversation.reply("go on", clip, task="pred", frames=40)
    # The same weights, so that an answer tells whether the same was heard.
    twin = tiny.model(tiny.save_backbone(tmp_path), frames_per_second=40.0)
    other = conversation.handed_to(twin)
    assert [turn.request for turn in other.turns] == ["jump", "go on"]
    assert other.last_motion is not None
    assert (other.last_motion.fps, len(other.last_motion)) == (40.0, 79)
    assert other.reply("why?", task="t2t").text == conversation.reply("why?", task="t2t").text
    assert other.reply("why?", task="t2t").text != Conversation(twin, DECODING).reply("why?", task="t2t").text


def test_a_long_conversation_goes_on(model: MotionGPT3) -> None:
    conversation = Conversation(model, DECODING, longest=60)
    for number in range(4):
        assert conversation.reply(f"{number}" * 20, task="t2t").text
    assert len(conversation.turns) == 4


def test_text_can_be_stopped_and_is_remembered(model: MotionGPT3) -> None:
    conversation = Conversation(model, TextDecoding(max_new_tokens=20))
    whole = conversation.reply("hello", task="t2t").text
    conversation.forget()
    stopped = conversation.reply("hello", task="t2t", on_text=lambda piece: False).text
    assert whole.startswith(stopped)
    assert len(stopped) < len(whole)
    assert conversation.turns[0].reply.text == stopped


def test_a_reply_that_fails_leaves_no_trace(model: MotionGPT3, clip: Motion) -> None:
    conversation, calm = Conversation(model, DECODING), Conversation(model, DECODING)
    for one in (conversation, calm):
        one.reply("hello", task="t2t")

    def interrupt(piece: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conversation.reply("tell me", task="t2t", on_text=interrupt)
    with pytest.raises(InputError, match="outside"):
        conversation.reply("jump", task="t2m", frames=1000)
    assert len(conversation.turns) == 1
    assert conversation.reply("so?", task="t2t") == calm.reply("so?", task="t2t")


def test_drawn_text_depends_on_the_seed(model: MotionGPT3) -> None:
    drawn = TextDecoding(max_new_tokens=12, temperature=1.5)
    texts = [Conversation(model, drawn).reply("hello", task="t2t", seed=seed).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_mistakes_are_refused(model: MotionGPT3, clip: Motion) -> None:
    conversation = Conversation(model, DECODING)
    with pytest.raises(InputError, match="needs a motion"):
        conversation.reply("what is it?", task="m2t")
    with pytest.raises(InputError, match="takes no motion"):
        conversation.reply("jump", clip, task="t2m")
    with pytest.raises(InputError, match="no task 'fly'"):
        conversation.reply("x", task="fly")
    with pytest.raises(InputError, match="meaning of its own"):
        conversation.reply(f"{tiny.START_OF_TURN}system", task="t2t")
    with pytest.raises(InputError, match="a place for 2 motions, and 1 are given"):
        conversation.reply("<Motion_Placeholder> or <Motion_Placeholder>", clip, task="m2t")
    assert conversation.turns == []


def test_official_layout_needs_a_task(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = tiny.latent_model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))
    with pytest.raises(ConfigError, match="say which task is meant"):
        Conversation(model, DECODING).reply("jump")
    conversation = Conversation(model, DECODING)
    made = conversation.reply("jump", task="t2m", frames=24).motion
    assert made is not None
    assert conversation.reply("what?", task="m2t").text == model.caption([made], "what?")[0]
    assert conversation.reply("hello", task="t2t").text
