"""The trainable evaluator: what it must not depend on, what it is trained by, its folder."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from motiongpt3.errors import CheckpointError, ConfigError, InputError, MissingDependencyError
from motiongpt3.models import sentence_encoder
from motiongpt3.models.matching_evaluator import (
    MatchingEvaluator,
    MatchingEvaluatorConfig,
    contrastive_loss,
    shared_captions,
)
from motiongpt3.models.sentence_encoder import MINILM, load_sentence_encoder
from motiongpt3.motion.features import Statistics
from tests import tiny
from tests.sentences import save_sentence_encoder


def made(**changes: object) -> MatchingEvaluator:
    sizes = {"width": 8, "layers": 2, "heads": 2, "text_width": 8, "embedding": 6, "longest_frames": 80}
    torch.manual_seed(0)
    statistics = Statistics(torch.randn(263), 0.5 + torch.rand(263))
    model = MatchingEvaluator(MatchingEvaluatorConfig("x", "", 16, **{**sizes, **changes}), statistics)  # type: ignore
    tiny.randomise(model)
    return model.eval()


@torch.no_grad()
def test_a_clip_is_the_same_point_in_every_batch() -> None:
    model = made()
    clips = [torch.randn(frames, 263) for frames in (80, 41, 40)]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=float("nan"))
    together = model.embed_motions(padded, torch.tensor([80, 41, 40]))
    for row, clip in zip(together, clips):
        alone = model.embed_motions(clip[None], torch.tensor([len(clip)]))[0]
        torch.testing.assert_close(row, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(3))
    # The 41st frame does not fill a stretch of four.
    cut = model.embed_motions(clips[1][None, :40], torch.tensor([40]))[0]
    torch.testing.assert_close(together[1], cut, atol=1e-5, rtol=1e-4)
    backwards = model.embed_motions(clips[2].flip(0)[None], torch.tensor([40]))[0]
    assert not torch.allclose(backwards, together[2], atol=1e-3)


def test_loss_is_least_where_pairs_match() -> None:
    points = torch.eye(4)
    none = torch.zeros(4, 4, dtype=torch.bool)
    scale = torch.tensor(10.0)
    matched = float(contrastive_loss(points, points, scale, none))
    assert matched == pytest.approx(math.log(1 + 3 * math.exp(-10)), rel=1e-3)
    assert float(contrastive_loss(points, points.roll(1, 0), scale, none)) == pytest.approx(10 + matched)
    # Two captions that are true of each other's motions are no counter-examples.
    same = torch.eye(4)[[0, 0, 2, 3]]
    shared = shared_captions(["walk", "walk", "jump", "bow"], [frozenset({"walk"})] * 2 + [frozenset()] * 2)
    assert shared.nonzero().tolist() == [[0, 1], [1, 0]]
    expected = (2 * math.log(1 + 2 * math.exp(-10)) + 2 * math.log(1 + 3 * math.exp(-10))) / 4
    assert float(contrastive_loss(same, same, scale, shared)) == pytest.approx(expected, rel=1e-3)


def test_folder_gives_the_same_evaluator(tmp_path: Path) -> None:
    model = made()
    model.save_pretrained(tmp_path)
    again = MatchingEvaluator.from_pretrained(tmp_path)
    features, lengths = torch.randn(1, 40, 263), torch.tensor([40])
    assert torch.equal(again.embed_motions(features, lengths), model.embed_motions(features, lengths))
    model.save_pretrained(tmp_path, torch.float16)
    half = MatchingEvaluator.from_pretrained(tmp_path)
    assert torch.equal(half.feature_std, model.feature_std)
    assert (half.embed_motions(features, lengths) - model.embed_motions(features, lengths)).abs().max() < 0.01
    tiny.codec().save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match="not an evaluator"):
        MatchingEvaluator.from_pretrained(tmp_path / "other")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 heads"):
        made(heads=3)
    with pytest.raises(InputError, match="4 to 80 frames"):
        made().embed_motions(torch.zeros(1, 84, 263), torch.tensor([84]))


def test_sentences_are_two_means_whatever_stands_beside_them(tmp_path: Path) -> None:
    encoder = load_sentence_encoder(save_sentence_encoder(tmp_path / "encoder"))
    short, long = "a person jumps", "the person walks forward again and again to the left"
    together = encoder.encode([long, short, short])
    assert torch.equal(together[1], together[2])
    torch.testing.assert_close(encoder.encode([short])[0], together[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.view(3, 2, -1).norm(dim=-1), torch.ones(3, 2))
    # The order of words is in the first half alone.
    turned = encoder.encode(["jumps person a", short]).view(2, 2, -1)
    torch.testing.assert_close(turned[0, 1], turned[1, 1], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(turned[0, 0], turned[1, 0], atol=1e-2)
    assert encoder.encode([]).shape == (0, encoder.width)
    vectors, lengths = encoder.word_vectors([long, short])
    assert vectors.shape == (2, int(lengths[0]), encoder.width // 2)
    assert lengths.tolist() == [12, 5]


def test_missing_encoders_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_encoder.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=MINILM):
        load_sentence_encoder()
    with pytest.raises(InputError, match="no sentence encoder"):
        load_sentence_encoder(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="not a readable sentence encoder"):
        load_sentence_encoder(tmp_path / "empty")
