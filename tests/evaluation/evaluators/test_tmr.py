"""TMR from files as they are published: names of weights, padding, what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from motiongpt3.data.captions import Caption
from motiongpt3.errors import InputError
from motiongpt3.evaluation.evaluators import tmr
from motiongpt3.evaluation.evaluators.loading import load_evaluator
from motiongpt3.evaluation.evaluators.tmr import TMREvaluator
from motiongpt3.models.tmr import ActorEncoder
from tests.sentences import save_sentence_encoder

NAMES_OF_ONE_LAYER = {
    *(f"self_attn.{name}" for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")),
    *(f"{layer}.{kind}" for layer in ("linear1", "linear2", "norm1", "norm2") for kind in ("weight", "bias")),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tmr")
    (root / "last_weights").mkdir()
    torch.manual_seed(0)
    for name, width in (("motion_encoder", 263), ("text_encoder", 8)):
        torch.save(ActorEncoder(width).state_dict(), root / "last_weights" / f"{name}.pt")
    torch.save(torch.zeros(263), root / "mean.pt")
    torch.save(torch.full((263,), 2.0), root / "std.pt")
    save_sentence_encoder(root / "distilbert")
    return root


def test_weights_have_the_published_names() -> None:
    names = set(ActorEncoder(263).state_dict())
    layers = {f"seqTransEncoder.layers.{layer}.{name}" for layer in range(6) for name in NAMES_OF_ONE_LAYER}
    assert names == {"tokens", "projection.weight", "projection.bias"} | layers


@torch.no_grad()
def test_an_encoder_is_a_transformer_whose_first_token_answers() -> None:
    torch.manual_seed(0)
    encoder = ActorEncoder(5).eval()
    values = torch.randn(1, 9, 5)
    inputs = torch.cat([encoder.tokens[None], encoder.projection(values)], dim=1)
    for place in range(inputs.shape[1]):
        for pair in range(128):
            angle = place / 10000 ** (2 * pair / 256)
            inputs[0, place, 2 * pair] += torch.tensor(angle).sin()
            inputs[0, place, 2 * pair + 1] += torch.tensor(angle).cos()
    plain: nn.Module = encoder.seqTransEncoder
    expected = plain(inputs)[:, 0]
    torch.testing.assert_close(encoder(values, torch.tensor([9])), expected, atol=1e-4, rtol=1e-4)
    padded = torch.cat([values, torch.full((1, 4, 5), 7.0)], dim=1)
    torch.testing.assert_close(encoder(padded, torch.tensor([9])), expected, atol=1e-4, rtol=1e-4)


def test_published_files_are_read(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tmr, "WORD_WIDTH", 8)
    evaluator = load_evaluator(published)
    assert isinstance(evaluator, TMREvaluator)
    clip = torch.randn(30, 263)
    together = evaluator.embed_motions([torch.randn(60, 263), clip])
    torch.testing.assert_close(together[1:], evaluator.embed_motions([clip]), atol=1e-4, rtol=1e-3)
    expected = evaluator.motion_encoder(clip[None] / 2, torch.tensor([30]))
    torch.testing.assert_close(together[1:], nn.functional.normalize(expected, dim=-1), atol=1e-4, rtol=1e-3)
    captions = [Caption("a person walks forward"), Caption("a clip")]
    texts = evaluator.embed_captions(captions)
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(2))
    assert evaluator.describe()["evaluator"].startswith("TMR")


def test_missing_files_are_named(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tmr, "WORD_WIDTH", 8)
    for missing in ("mean.pt", "distilbert"):
        target = tmp_path / missing
        target.mkdir()
        for path in published.iterdir():
            if path.name != missing:
                (target / path.name).symlink_to(path)
        with pytest.raises(InputError, match="statistics" if missing == "mean.pt" else "distilbert"):
            load_evaluator(target)
