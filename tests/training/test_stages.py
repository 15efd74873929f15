"""The language stages: each learns, frozen text stays as it is, and a stage knows what comes before."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from motiongpt3.errors import ConfigError
from motiongpt3.models.mot import MixtureOfTransformers
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.training import generation_check, stages
from motiongpt3.training.curriculum import Wordings
from motiongpt3.training.generation_check import JudgedPrompts
from motiongpt3.training.language import LanguageTraining
from motiongpt3.training.lessons import LessonMix
from motiongpt3.training.optimization import OptimizerConfig
from motiongpt3.training.stages import LowRank, check_stage, train_language
from tests import tiny
from tests.data.datasets import write_tiny

EVERYTHING = LessonMix(text_to_motion=2, prediction=1, inbetween=1, captioning=2)
TEXT = ("mot.text.", "mot.text_head.")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codec")
    tiny.codec().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pretrained(data: Path, codec: Path, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has been through two stages."""
    first = train(
        data,
        tmp_path_factory.mktemp("first"),
        "text-to-motion",
        LessonMix(text_to_motion=1),
        codec=codec,
        model={key: value for key, value in tiny.description(backbone).items() if key != "stage"},
    )
    return train(data, tmp_path_factory.mktemp("second"), "pretrain", EVERYTHING, start_from=first)


def train(data: Path, out: Path, stage: Any, mix: LessonMix, steps: int = 3, **settings: Any) -> Path:
    optimizer = OptimizerConfig(learning_rate=0.02, steps=steps, warmup_steps=2, average_decay=0.5)
    wordings = Wordings(requests=1, captioning=1, lengths=0.5)
    return train_language(
        data,
        out,
        stage,
        mix,
        optimizer,
        wordings=wordings,
        batch_size=4,
        device="cpu",
        **{"validate_every": steps, **settings},
    )


def text_of(model: MotionGPT3) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name.startswith(TEXT)}


@pytest.mark.parametrize("mix", [EVERYTHING, LessonMix(prediction=1)])
def test_lessons_are_learnt(
    data: Path, pretrained: Path, tmp_path: Path, mix: LessonMix, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []
    step = LanguageTraining.training_step

    def recorded(self: LanguageTraining, batch: Any, batch_index: int) -> Tensor:
        loss = step(self, batch, batch_index)
        losses.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(LanguageTraining, "training_step", recorded)
    train(data, tmp_path, "pretrain", mix, steps=40, start_from=pretrained)
    assert len(losses) == 40
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])


def test_frozen_text_does_not_change(data: Path, pretrained: Path, backbone: Path, tmp_path: Path) -> None:
    """Bit for bit, after three stages; and text alone gets the logits of the language model."""
    mix = LessonMix(text_to_motion=1, captioning=2, decisions=1)
    folder = train(data, tmp_path, "instruct", mix, start_from=pretrained)
    read = MotionGPT3.from_pretrained(folder)
    assert read.config.stage == "instruct"
    original = text_of(tiny.model(backbone))
    assert all(torch.equal(tensor, original[name]) for name, tensor in text_of(read).items())
    before = MotionGPT3.from_pretrained(pretrained).state_dict()
    changed = {name for name, tensor in read.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[0] for name in changed} == {"mot", "placeholders", "head"}
    assert not any(name.startswith(TEXT) for name in changed)


@pytest.mark.parametrize("low_rank", [None, LowRank(rank=2, alpha=4)])
def test_finetuning_trains_the_text(
    data: Path, pretrained: Path, tmp_path: Path, low_rank: LowRank | None
) -> None:
    mix = LessonMix(text_to_motion=1, captioning=1, decisions=1, texts=2)
    instructed = train(data, tmp_path / "instruct", "instruct", EVERYTHING, start_from=pretrained)
    folder = train(data, tmp_path / "out", "finetune", mix, start_from=instructed, low_rank=low_rank)
    read, before = MotionGPT3.from_pretrained(folder), MotionGPT3.from_pretrained(instructed)
    assert read.config.text_backbone == ""
    assert set(text_of(read)) == set(text_of(before))
    changed = [
        name for name, tensor in text_of(read).items() if not torch.equal(tensor, text_of(before)[name])
    ]
    assert any("query_key_value" in name for name in changed)
    # Adapters leave embeddings and norms alone.
    assert any("token_embedding" in name for name in changed) == (low_rank is None)
    (motion,) = read.generate(["clip a moves left"], 24)
    assert motion.joints.isfinite().all()


def test_motions_of_judged_sentences_choose_the_best_checkpoint(
    data: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "prompts.json"
    entry = {"prompt": "a person stands still", "action": "stand", "wording": "seen"}
    path.write_text(json.dumps({"val": [entry]}))
    successes = iter([1.0, 0.5])
    asked: list[tuple[list[str], list[int]]] = []
    evaluate = generation_check.evaluate_prompts

    def recorded(generate: Any, prompts: Any, seeds: Any, **settings: Any) -> Any:
        def listening(texts: list[str], numbers: list[int]) -> Any:
            asked.append((texts, numbers))
            return generate(texts, numbers)

        evaluate(listening, prompts, seeds, **settings)
        return SimpleNamespace(overall=SimpleNamespace(successes=next(successes), count=1, foot_skate=3.0))

    monkeypatch.setattr(generation_check, "evaluate_prompts", recorded)
    judged = JudgedPrompts(path, every=2, seeds=2)
    out = tmp_path / "out"
    train(data, out, "pretrain", EVERYTHING, 4, start_from=pretrained, judged=judged, validate_every=2)
    assert asked == [(["a person stands still"] * 2, [0, 1])] * 2
    assert torch.load(out / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == 2
    assert "generation/success" in (out / "logs" / "metrics.csv").read_text().splitlines()[0]


def test_frozen_text_is_read_once(
    data: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(data, tmp_path, "pretrain", EVERYTHING, steps=2, start_from=pretrained)

    def fails(*_: Any) -> None:
        raise AssertionError("text was read again")

    monkeypatch.setattr(MixtureOfTransformers, "encode_text", fails)
    train(data, tmp_path, "pretrain", EVERYTHING, steps=4, start_from=pretrained)


def test_text_that_is_not_kept_is_read_anew(data: Path, pretrained: Path, tmp_path: Path) -> None:
    kept = train(data, tmp_path / "kept", "pretrain", EVERYTHING, start_from=pretrained)
    anew = train(data, tmp_path / "anew", "pretrain", EVERYTHING, start_from=pretrained, remember_text=False)
    assert (tmp_path / "kept" / "read").exists()
    assert not (tmp_path / "anew" / "read").exists()
    first, second = (MotionGPT3.from_pretrained(folder).state_dict() for folder in (kept, anew))
    for name, tensor in first.items():
        # Half precision on disk is all that differs.
        torch.testing.assert_close(second[name], tensor, atol=0.02, rtol=0)


def test_a_stage_knows_what_comes_before(data: Path, pretrained: Path, codec: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stage instruct goes on from a finished model of stage pretrain"):
        train(data, tmp_path, "instruct", EVERYTHING)
    with pytest.raises(ConfigError, match="has been through stage pretrain; finetune goes on from instruct"):
        train(data, tmp_path, "finetune", EVERYTHING, start_from=pretrained)
    with pytest.raises(ConfigError, match="leave codec out"):
        train(data, tmp_path, "pretrain", EVERYTHING, start_from=pretrained, codec=codec)
    with pytest.raises(ConfigError, match="codec: to begin"):
        train(data, tmp_path, "text-to-motion", EVERYTHING)
    assert not list(tmp_path.iterdir())


def test_a_model_of_unknown_stage_is_let_through(caplog: pytest.LogCaptureFixture) -> None:
    check_stage("", "instruct", "some folder")
    assert "does not say what stage" in caplog.text
    check_stage("pretrain", "pretrain", "some folder")


def test_settings_that_contradict_are_refused(data: Path, pretrained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="low_rank: stage pretrain leaves the text branch"):
        train(data, tmp_path, "pretrain", EVERYTHING, start_from=pretrained, low_rank=LowRank())
    rates = OptimizerConfig(learning_rate=0.1, steps=1, part_rates={"text": 0.1})
    with pytest.raises(ConfigError, match="part_rates: text: no such part; there is motion, placeholders"):
        train_language(data, tmp_path, "pretrain", EVERYTHING, rates, start_from=pretrained)
    with pytest.raises(ConfigError, match=r"mix\.texts"):
        train(data, tmp_path, "pretrain", LessonMix(texts=1), start_from=pretrained)
    with pytest.raises(ConfigError, match=r"mix\.decisions: the templates of stage text-to-motion have no"):
        stages._check_mix(
            LessonMix(decisions=1), stages.LessonPlan([[]], [[]], [[]], [[]], [], [], []), "text-to-motion"
        )
    with pytest.raises(ConfigError, match="draws no lessons"):
        LessonMix()


def test_official_layout_goes_through_the_stages(data: Path, backbone: Path, tmp_path: Path) -> None:
    """A latent for each clip, from a model that does not say what stage it has been through."""
    folder = tmp_path / "model"
    tiny.latent_model(backbone).save_pretrained(folder)
    texts = LessonMix(text_to_motion=1, prediction=1, inbetween=1, captioning=1, texts=1)
    for stage, mix in (
        ("text-to-motion", LessonMix(text_to_motion=1)),
        ("pretrain", EVERYTHING),
        ("instruct", EVERYTHING),
        ("finetune", texts),
    ):
        before = folder
        folder = train(data, tmp_path / stage, stage, mix, start_from=before, draws=2)
        old, new = MotionGPT3.from_pretrained(before), MotionGPT3.from_pretrained(folder)
        assert new.config.stage == stage
        for part in ("motion", "text"):
            pairs = zip(getattr(old.mot, part).parameters(), getattr(new.mot, part).parameters())
            same = all(torch.equal(*pair) for pair in pairs)
            assert same == (part == "text" and stage != "finetune")
    with pytest.raises(ConfigError, match=r"mix\.decisions: this model has no start token"):
        train(data, tmp_path / "out", "finetune", LessonMix(decisions=1), start_from=folder)
