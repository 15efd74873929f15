"""Training an evaluator: pairs find one another, the test split stays closed, captions are read once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.errors import CheckpointError
from motiongpt3.models.matching_evaluator import MatchingEvaluator
from motiongpt3.models.sentence_encoder import load_sentence_encoder
from motiongpt3.training.evaluator import EvaluatorSizes, sentence_vectors, some, train_evaluator
from motiongpt3.training.optimization import OptimizerConfig
from tests.data.datasets import write_tiny
from tests.sentences import save_sentence_encoder

SIZES = EvaluatorSizes(width=16, layers=1, heads=2, text_width=16, embedding=8, dropout=0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sentence_encoder(tmp_path_factory.mktemp("encoder"))


def optimizer(steps: int) -> OptimizerConfig:
    return OptimizerConfig(learning_rate=0.01, steps=steps, warmup_steps=2, average_decay=0.5)


def train(data: Path, encoder: Path, out: Path, steps: int) -> MatchingEvaluator:
    folder = train_evaluator(
        data,
        out,
        optimizer(steps),
        SIZES,
        str(encoder),
        batch_size=4,
        crop=0.0,
        validate_every=steps,
        device="cpu",
    )
    return MatchingEvaluator.from_pretrained(folder)


def test_pairs_of_the_training_split_find_one_another(
    data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motiongpt3.training.evaluator.POOL_SIZE", 1)
    monkeypatch.setattr(
        "motiongpt3.training.evaluator.hits_in_pools", lambda texts, motions: torch.ones(3, 1)
    )
    opened = []
    split = HumanML3DDataset.split

    def watched(self: HumanML3DDataset, name: str) -> list[str]:
        opened.append(name)
        return split(self, name)

    monkeypatch.setattr(HumanML3DDataset, "split", watched)
    evaluator = train(data, encoder, tmp_path, 40)
    assert set(opened) == {"train", "val"}

    dataset = HumanML3DDataset(data)
    segments = dataset.segments("train")
    sentences = load_sentence_encoder(encoder)
    texts = evaluator.embed_texts(sentences.encode([segment.captions[0] for segment in segments]))
    with torch.no_grad():
        motions = torch.cat(
            [
                evaluator.embed_motions(torch.from_numpy(features)[None], torch.tensor([len(features)]))
                for features in map(dataset.features, segments)
            ]
        )
    assert torch.equal((texts @ motions.T).argmax(1), torch.arange(len(segments)))
    assert evaluator.config.sentence_fingerprint == sentences.fingerprint
    torch.testing.assert_close(evaluator.feature_mean, torch.as_tensor(dataset.statistics.mean))


def test_captions_are_read_once(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = load_sentence_encoder(encoder)
    words = ["the person walks", "a clip"]
    first = sentence_vectors(sentences, words, tmp_path / "kept.pt")
    monkeypatch.setattr(sentences, "encode", lambda _: pytest.fail("read again"))
    assert torch.equal(sentence_vectors(sentences, words, tmp_path / "kept.pt"), first)
    monkeypatch.undo()
    assert len(sentence_vectors(sentences, ["a clip"], tmp_path / "kept.pt")) == 1
    (tmp_path / "kept.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="delete it"):
        sentence_vectors(sentences, words, tmp_path / "kept.pt")


def test_some_are_spread_evenly() -> None:
    assert some("abcdefgh", 4) == ["a", "c", "e", "g"]
    assert some("abc", 0) == some("abc", 3) == some("abc", 9) == ["a", "b", "c"]
