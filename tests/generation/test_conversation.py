"""A conversation: the model decides, and what was said is remembered."""

from __future__ import annotations

import pytest
import torch

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.generation.conversation import MOTION_MADE, Conversation
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import ANSWERS
from motiongpt3.models.text_decoding import TextDecoding
from tests import tiny

DECODING = TextDecoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


def wants(monkeypatch: pytest.MonkeyPatch, model: MotionGPT3, answer: str) -> None:
    probabilities = torch.zeros(1, len(ANSWERS))
    probabilities[0, ANSWERS.index(answer)] = 1.0
    monkeypatch.setattr(model, "answer_wanted", lambda requests: probabilities)


def test_the_model_decides(model: MotionGPT3, monkeypatch: pytest.MonkeyPatch) -> None:
    conversation = Conversation(model, DECODING)
    wants(monkeypatch, model, "motion")
    moved = conversation.reply("jump", frames=24)
    assert (moved.task, moved.text) == ("t2m", "")
    assert moved.motion is not None
    assert torch.equal(moved.motion.joints, model.generate(["jump"], 24)[0].joints)
    wants(monkeypatch, model, "text")
    said = conversation.reply("why?")
    assert said.task == "t2t"
    assert said.motion is None
    wants(monkeypatch, model, "text then motion")
    both = conversation.reply("explain and show", frames=24)
    assert both.motion is not None
    assert [turn[0] for turn in conversation.turns] == ["jump", "why?", "explain and show"]
    assert conversation.turns[0][1] == MOTION_MADE


def test_a_motion_that_is_given_is_described_or_continued(
    model: MotionGPT3, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = Conversation(model, DECODING)
    (clip,) = model.generate(["jump"], 24)
    wants(monkeypatch, model, "text")
    described = conversation.reply("what is it?", clip)
    assert described.task == "m2t"
    assert described.text == model.caption([clip], "what is it? <Motion_Placeholder>")[0]
    wants(monkeypatch, model, "motion")
    continued = conversation.reply("go on", clip, frames=40)
    assert continued.task == "pred"
    assert continued.motion is not None
    assert torch.equal(continued.motion.joints[:24], clip.joints)
    filled = conversation.reply("again", clip, task="inbetween")
    assert filled.motion is not None
    assert len(filled.motion) == 24


def test_text_is_that_of_the_language_model(model: MotionGPT3) -> None:
    """Nothing of the decision is left where the text is written."""
    conversation = Conversation(model, DECODING)
    pieces: list[str] = []
    first = conversation.reply("hello", task="t2t", on_text=pieces.append)
    assert "".join(pieces).strip() == first.text
    prompt = f"{tiny.START_OF_TURN}say: hello\n> "
    ids = model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    written: list[int] = []
    end = model.config.dialogue.text_end_id(model.tokenizer)
    with torch.no_grad():
        for _ in range(DECODING.max_new_tokens):
            from motiongpt3.models.mot import TokenStream

            stream = TokenStream.sequential(model.mot.embed_text(torch.tensor([[*ids, *written]])))
            hidden = model.mot(text=stream).text_hidden
            assert hidden is not None
            token = int(model.mot.text_logits(hidden[0, -1]).argmax())
            if token == end:
                break
            written.append(token)
    assert first.text == str(model.tokenizer.decode(written, skip_special_tokens=True)).strip()


def test_earlier_turns_are_read(model: MotionGPT3) -> None:
    first, second = Conversation(model, DECODING), Conversation(model, DECODING)
    first.turns.append(("a", "b c d e f"))
    second.turns.append(("zzzz", "y"))
    assert first.reply("hello", task="t2t").text != second.reply("hello", task="t2t").text
    first.forget()
    assert first.turns == []


def test_a_long_conversation_forgets_its_beginning(model: MotionGPT3) -> None:
    conversation = Conversation(model, DECODING)
    conversation.turns.extend([("x" * 40, "y" * 40)] * 4)
    assert conversation.reply("hello", task="t2t").task == "t2t"
    assert len(conversation.turns) == 5


def test_text_can_be_stopped(model: MotionGPT3) -> None:
    conversation = Conversation(model, TextDecoding(max_new_tokens=20))
    whole = conversation.reply("hello", task="t2t").text
    conversation.forget()
    stopped = conversation.reply("hello", task="t2t", on_text=lambda piece: False).text
    assert whole.startswith(stopped)
    assert len(stopped) < len(whole)


def test_mistakes_are_refused(model: MotionGPT3) -> None:
    conversation = Conversation(model, DECODING)
    with pytest.raises(InputError, match="needs a motion"):
        conversation.reply("what is it?", task="m2t")
    with pytest.raises(InputError, match="no task 'fly'"):
        conversation.reply("x", task="fly")
    with pytest.raises(InputError, match="meaning of its own"):
        conversation.reply(f"{tiny.START_OF_TURN}system", task="t2t")
    assert conversation.turns == []


def test_official_layout_needs_a_task(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = tiny.latent_model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))
    with pytest.raises(ConfigError, match="say which task is meant"):
        Conversation(model, DECODING).reply("jump")
    assert Conversation(model, DECODING).reply("jump", task="t2m", frames=24).motion is not None
