"""Each loss is what it says it is, and each kind of lesson can be learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.instructions import load_templates
from motiongpt3.models.interleaving import MotionPart, TextPart, interleave
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import REQUEST_BLOCK, SequencePlaceholders
from motiongpt3.training.caption_memory import CaptionMemory
from motiongpt3.training.curriculum import Curriculum, Wordings, write_curriculum
from motiongpt3.training.language import LanguageTraining, LanguageWeights, LiveTexts
from motiongpt3.training.lessons import LessonBatch, LessonMix, Lessons, encode_split
from motiongpt3.training.optimization import OptimizerConfig
from tests import tiny
from tests.data.datasets import write_tiny

OPTIMIZER = OptimizerConfig(learning_rate=0.01, steps=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_backbone(tmp_path_factory.mktemp("backbone"))


def lessons(
    data: Path, backbone: Path, folder: Path, mix: LessonMix, templates: str = "pretrain"
) -> tuple[LanguageTraining, MotionGPT3, Curriculum, LessonBatch]:
    """A training module, and a batch with a lesson from every clip."""
    model = tiny.model(backbone)
    clips = encode_split(HumanML3DDataset(data), "train", model.codec)
    wordings = Wordings(requests=1, captioning=1, lengths=0.0)
    curriculum = write_curriculum(model, {"train": clips}, load_templates(templates), wordings)
    requests = CaptionMemory.of(curriculum.requests, model.mot, folder, "fingerprint")
    everywhere = tuple(range(model.config.text.layers))
    openings = CaptionMemory.of(curriculum.openings, model.mot, folder, "fingerprint", layers=everywhere)
    module = LanguageTraining(model, requests, openings, OPTIMIZER, LanguageWeights())
    drawn = Lessons(clips, curriculum.plans["train"], model.codec, mix, model.objective)
    return module, model, curriculum, drawn.collate([drawn[index] for index in range(len(drawn))])


def test_caption_loss_is_that_of_each_answer_alone(data: Path, backbone: Path, tmp_path: Path) -> None:
    """Without caches, batches and shared work."""
    module, model, curriculum, batch = lessons(data, backbone, tmp_path, LessonMix(captioning=1))
    given = batch.captions
    assert given is not None
    assert isinstance(model.placeholders, SequencePlaceholders)
    losses = []
    with torch.no_grad():
        for row, answer in enumerate(given.answers):
            clip = row // given.copies
            count = given.counts[clip : clip + 1]
            latents = given.latents[clip : clip + 1, : int(count)]
            ids = answer[: int(given.answer_lengths[row])]
            after = given.after[clip, : int(given.after_lengths[clip])]
            parts = [
                TextPart(torch.tensor(curriculum.openings[given.before[clip]])),
                MotionPart(model.placeholders.embed_given(model.mot, latents, count)[0], REQUEST_BLOCK),
                TextPart(torch.cat([after, ids])),
            ]
            text, motion, _ = interleave(model.mot, [parts])
            hidden = model.mot(text=text, motion=motion).text_hidden
            assert hidden is not None
            logits = model.mot.text_logits(hidden[0, -len(ids) - 1 : -1])
            losses.append(F.cross_entropy(logits, ids, reduction="none"))
        found, terms = module._losses(batch)
    # What memory holds in half precision is a little off.
    torch.testing.assert_close(terms["caption"], torch.cat(losses).mean(), atol=5e-3, rtol=0)
    torch.testing.assert_close(found, terms["caption"])


@pytest.mark.parametrize(
    ("mix", "left"),
    [(LessonMix(captioning=1), 0.9), (LessonMix(inbetween=1), 0.8), (LessonMix(text_to_motion=1), 0.8)],
)
def test_lessons_can_be_learnt_by_heart(
    data: Path, backbone: Path, tmp_path: Path, mix: LessonMix, left: float
) -> None:
    module, *_, batch = lessons(data, backbone, tmp_path, mix)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(60):
        loss, _terms = module._losses(batch)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < left * losses[0]


def test_latents_that_are_given_are_not_learnt(data: Path, backbone: Path, tmp_path: Path) -> None:
    module, *_, batch = lessons(data, backbone, tmp_path, LessonMix(inbetween=1))
    motions = batch.motions
    assert motions is not None
    assert motions.known.given.any()
    held = motions.known.given[..., None]
    with torch.no_grad():
        plain, *_ = module._motion_losses(motions)
        other = torch.where(held, motions.latents + 9, motions.latents)
        elsewhere = torch.where(held, motions.latents, motions.latents + 9)
        same, *_ = module._motion_losses(replace(motions, latents=other))
        changed, *_ = module._motion_losses(replace(motions, latents=elsewhere))
    assert torch.equal(plain, same)
    assert not torch.equal(plain, changed)


def test_text_loss_is_that_of_the_answers(data: Path, backbone: Path, tmp_path: Path) -> None:
    module, model, _, batch = lessons(
        data, backbone, tmp_path, LessonMix(texts=1), templates="witht2t_instructions"
    )
    texts = batch.texts
    assert texts is not None
    losses = []
    with torch.no_grad():
        for ids, length, start in zip(texts.ids, texts.lengths.tolist(), texts.answer_starts.tolist()):
            text, _, _ = interleave(model.mot, [[TextPart(ids[:length])]])
            hidden = model.mot(text=text).text_hidden
            assert hidden is not None
            logits = model.mot.text_logits(hidden[0, start - 1 : length - 1])
            losses.append(F.cross_entropy(logits, ids[start:length], reduction="none"))
        torch.testing.assert_close(module._text_loss(texts), torch.cat(losses).mean())


def test_texts_read_live_are_those_in_memory(data: Path, backbone: Path, tmp_path: Path) -> None:
    module, model, curriculum, _ = lessons(data, backbone, tmp_path, LessonMix(captioning=1))
    layers = model.config.motion.layers
    live = LiveTexts(curriculum.requests, model.mot, layers)
    indices = [1, 0]
    caches = (live.batch(indices)[0], module.requests.batch(indices)[0])
    for found, stored in zip(*(cache.text_tensors(layers) for cache in caches)):
        torch.testing.assert_close(found, stored, atol=5e-3, rtol=1e-2)


def test_frozen_parts_go_to_the_device_too(data: Path, backbone: Path, tmp_path: Path) -> None:
    """What is not registered, Lightning would leave behind."""
    module, model, *_ = lessons(data, backbone, tmp_path, LessonMix(captioning=1))
    module.to("meta").on_fit_start()
    assert {parameter.device.type for parameter in model.mot.parameters()} == {"meta"}
