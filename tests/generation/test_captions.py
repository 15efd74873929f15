"""Captions: what the text branch says of a motion in the request."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from motiongpt3.errors import InputError
from motiongpt3.generation.captions import with_marker
from motiongpt3.generation.requests import encode_motions, lay_out, read_requests
from motiongpt3.models.interleaving import MotionPart, TextPart, interleave
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.text_decoding import next_token_logits
from motiongpt3.motion.motion import Motion
from tests import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def latent_model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.latent_model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


@pytest.fixture(scope="module")
def clips(model: MotionGPT3) -> list[Motion]:
    return model.generate(["a person walks", "jump", "wave"], [24, 57, 80])


@pytest.mark.parametrize("kind", ["model", "latent_model"])
def test_words_are_the_likeliest_ones(kind: str, clips: list[Motion], request: pytest.FixtureRequest) -> None:
    """Greedy decoding with the cache takes the tokens that a pass over everything finds likeliest."""
    model: MotionGPT3 = request.getfixturevalue(kind)
    asked = "What is this? <Motion_Placeholder> Say it."
    (caption,) = model.caption(clips[:1], asked)
    latents = encode_motions(model, clips[:1])
    parts = lay_out(model, asked, latents, "text")
    ids: list[int] = []
    for _ in range(model.config.decoding.max_new_tokens):
        row = [*parts, TextPart(torch.tensor(ids, dtype=torch.long))]
        text, motion, _ = interleave(model.mot, [row])
        assert text is not None
        with torch.no_grad():
            hidden = model.mot(text=text, motion=motion).text_hidden
        assert hidden is not None
        token = int(next_token_logits(model.mot, hidden, text.visible).argmax())
        if token == model.config.dialogue.text_end_id(model.tokenizer):
            break
        ids.append(token)
    assert caption == " ".join(str(model.tokenizer.decode(ids, skip_special_tokens=True)).split())


@pytest.mark.parametrize("kind", ["model", "latent_model"])
def test_a_batch_says_the_same(kind: str, clips: list[Motion], request: pytest.FixtureRequest) -> None:
    model: MotionGPT3 = request.getfixturevalue(kind)
    together = model.caption(clips)
    assert together == [model.caption([clip])[0] for clip in clips]
    assert model.caption(clips, batch_size=2) == together


@torch.no_grad()
def test_the_motion_is_heard(model: MotionGPT3, clips: list[Motion]) -> None:
    first, second = (
        read_requests(model, ["<Motion_Placeholder>"], [encode_motions(model, [clip])], "text").next_logits
        for clip in clips[:2]
    )
    assert (first - second).abs().max() > 1e-3


@torch.no_grad()
def test_requests_are_laid_out_in_time_order(model: MotionGPT3, clips: list[Motion]) -> None:
    latents = encode_motions(model, clips[:1])
    before, motion, after = lay_out(model, "look: <Motion_Placeholder>!", latents, "text")
    assert isinstance(before, TextPart)
    assert isinstance(motion, MotionPart)
    assert isinstance(after, TextPart)
    assert model.tokenizer.decode(before.ids) == f"{tiny.START_OF_TURN}say: look: "
    assert len(motion.embeddings) == 3
    assert model.tokenizer.decode(after.ids) == "!\n> "


def test_markers_and_motions_must_pair_up(model: MotionGPT3, clips: list[Motion]) -> None:
    latents = encode_motions(model, clips[:1])
    with pytest.raises(InputError, match="a place for 0 motions, and 1 are given"):
        lay_out(model, "look", latents, "text")
    with pytest.raises(InputError, match="at their own places"):
        lay_out(model, "<Motion_Placeholder_Masked>", [*latents, *latents], "motion")
    assert with_marker("What is it? ") == "What is it? <Motion_Placeholder>"
    assert with_marker("a <Motion_Placeholder> b") == "a <Motion_Placeholder> b"


def test_motions_that_cannot_be_read_are_refused(model: MotionGPT3, clips: list[Motion]) -> None:
    with pytest.raises(InputError, match="resample it first"):
        model.caption([replace(clips[0], fps=30.0, features=None)])
    long = Motion.from_joints(clips[2].joints.repeat(2, 1, 1))
    with pytest.raises(InputError, match=r"160 frames; the model puts 8 to 80 .* cut it"):
        model.caption([long])
    with pytest.raises(InputError, match=r"7 frames; the model puts 8 to 80 .* give more"):
        model.caption([Motion.from_joints(clips[2].joints[:7])])
    with pytest.raises(InputError, match="batch_size"):
        model.caption(clips, batch_size=0)
    with pytest.raises(InputError, match="pair up"):
        model.caption(clips, ["one", "two"])
