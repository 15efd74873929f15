"""Each loss is what it says it is, and each kind of lesson can be learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.instructions import load_templates
from motiongpt3.generation.requests import put_in_place
from motiongpt3.models.dialogue import MotionMark
from motiongpt3.models.interleaving import TextPart, interleave
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import LatentPlaceholders
from motiongpt3.models.text_decoding import read_parts
from motiongpt3.models.vae import visible_frames
from motiongpt3.motion.completion import prediction_head
from motiongpt3.training.caption_memory import CaptionMemory
from motiongpt3.training.curriculum import Curriculum, Wordings, write_curriculum
from motiongpt3.training.encoded_clips import encode_split
from motiongpt3.training.language import LanguageTraining, LanguageWeights, LiveTexts
from motiongpt3.training.lesson_batches import LessonBatch
from motiongpt3.training.lessons import LessonMix, Lessons
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
    data: Path,
    backbone: Path,
    folder: Path,
    mix: LessonMix,
    templates: str = "pretrain",
    make: Callable[[Path], MotionGPT3] = tiny.model,
    draws: int = 1,
) -> tuple[LanguageTraining, MotionGPT3, Curriculum, LessonBatch]:
    """A training module, and a batch with a lesson from every clip."""
    model = make(backbone)
    clips = encode_split(HumanML3DDataset(data), "train", model.codec)
    wordings = Wordings(requests=1, captioning=1, lengths=0.0)
    curriculum = write_curriculum(model, {"train": clips}, load_templates(templates), wordings)
    requests = CaptionMemory.of(curriculum.requests, model.mot, folder, "fingerprint")
    everywhere = tuple(range(model.config.text.layers))
    openings = CaptionMemory.of(curriculum.openings, model.mot, folder, "fingerprint", layers=everywhere)
    module = LanguageTraining(model, requests, openings, OPTIMIZER, LanguageWeights())
    drawn = Lessons(clips, curriculum.plans["train"], model.codec, mix, model.objective, draws=draws)
    return module, model, curriculum, drawn.collate([drawn[index] for index in range(len(drawn))])


@pytest.mark.parametrize("make", [tiny.model, tiny.latent_model])
def test_caption_loss_is_that_of_each_answer_alone(
    data: Path, backbone: Path, tmp_path: Path, make: Callable[[Path], MotionGPT3]
) -> None:
    """Without caches, batches and shared work."""
    module, model, curriculum, batch = lessons(data, backbone, tmp_path, LessonMix(captioning=1), make=make)
    given = batch.captions
    assert given is not None
    losses = []
    with torch.no_grad():
        for row, answer in enumerate(given.answers):
            clip = row // given.copies
            count = given.counts[clip : clip + 1]
            latents = given.latents[clip : clip + 1, : int(count)]
            ids = answer[: int(given.answer_lengths[row])]
            after = given.after[clip, : int(given.after_lengths[clip])]
            before = curriculum.openings[given.before[clip]]
            parts = put_in_place(model, [before, MotionMark.GIVEN], [latents[0]])
            parts.append(TextPart(torch.cat([after, ids])))
            assert len(parts) == 3
            assert int(count) == len(latents[0])
            text, motion, _ = interleave(model.mot, [parts])
            hidden = model.mot(text=text, motion=motion).text_hidden
            assert hidden is not None
            logits = model.mot.text_logits(hidden[0, -len(ids) - 1 : -1])
            losses.append(F.cross_entropy(logits, ids, reduction="none"))
        found, terms = module._losses(batch)
    # What memory holds in half precision is a little off.
    torch.testing.assert_close(terms["caption"], torch.cat(losses).mean(), atol=5e-3, rtol=0)
    torch.testing.assert_close(found, terms["caption"])


@pytest.mark.parametrize("make", [tiny.model, tiny.latent_model])
@pytest.mark.parametrize(
    ("mix", "left"),
    [(LessonMix(captioning=1), 0.9), (LessonMix(inbetween=1), 0.8), (LessonMix(text_to_motion=1), 0.8)],
)
def test_lessons_can_be_learnt_by_heart(
    data: Path,
    backbone: Path,
    tmp_path: Path,
    mix: LessonMix,
    left: float,
    make: Callable[[Path], MotionGPT3],
) -> None:
    module, *_, batch = lessons(data, backbone, tmp_path, mix, make=make)
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
    assert motions.known is not None
    assert motions.known.given.any()
    held = motions.known.given[..., None]
    with torch.no_grad():
        plain = module._motion_losses(motions)["head"]
        other = torch.where(held, motions.latents + 9, motions.latents)
        elsewhere = torch.where(held, motions.latents, motions.latents + 9)
        same = module._motion_losses(replace(motions, latents=other))["head"]
        changed = module._motion_losses(replace(motions, latents=elsewhere))["head"]
    assert torch.equal(plain.mean, same.mean)
    assert not torch.equal(plain.mean, changed.mean)


def test_the_head_sees_given_latents_clean(
    data: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, model, _, batch = lessons(data, backbone, tmp_path, LessonMix(inbetween=1))
    motions = batch.motions
    assert motions is not None
    assert motions.known is not None
    seen: list[torch.Tensor] = []
    forward = type(model.head).forward

    def recorded(self: torch.nn.Module, noisy: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(noisy)
        return forward(self, noisy, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(model.head), "forward", recorded)
    with torch.no_grad():
        module._motion_losses(motions)
    (noisy,) = seen
    given = motions.known.given
    assert given.any()
    assert torch.equal(noisy[given], motions.known.latents[given])
    asked = visible_frames(motions.counts, given.shape[1]) & ~given
    mixed = model.objective.noised(motions.latents, motions.draws.noise, motions.draws.times)
    assert torch.equal(noisy[asked], mixed[asked])


@pytest.mark.parametrize("mix", [LessonMix(prediction=1), LessonMix(inbetween=1)])
def test_woven_requests_are_read_as_in_generation(
    data: Path, backbone: Path, tmp_path: Path, mix: LessonMix
) -> None:
    """Each alone, behind a cache, with a head that is asked about every draw in turn."""
    module, model, _, batch = lessons(data, backbone, tmp_path, mix, "all", make=tiny.latent_model, draws=3)
    woven, placeholders = batch.woven, model.placeholders
    assert woven is not None
    assert isinstance(placeholders, LatentPlaceholders)
    counts = torch.ones(1, dtype=torch.long)
    errors = []
    with torch.no_grad():
        for row, (request, given) in enumerate(zip(woven.requests, woven.given)):
            assert len(given) == (1 if mix.prediction else 2)
            read = read_parts(model.mot, [put_in_place(model, request, given)])
            hidden = placeholders.fill(model.mot, read.cache, read.next_positions, counts)
            condition = placeholders.condition(model.head, hidden, counts)
            latent = woven.latents[row : row + 1]
            for draw in range(3 * row, 3 * row + 3):
                noise, time = (part[draw : draw + 1] for part in (woven.draws.noise, woven.draws.times))
                noisy = model.objective.noised(latent, noise, time)
                made = model.head(noisy, model.objective.network_time(time), condition)
                errors.append((made - model.objective.target(latent, noise)).square().mean())
        torch.testing.assert_close(module._woven_loss(woven).mean, torch.stack(errors).mean())


def test_what_is_wanted_of_a_prediction_is_the_rest(data: Path, backbone: Path, tmp_path: Path) -> None:
    _, model, _, batch = lessons(data, backbone, tmp_path, LessonMix(prediction=1), make=tiny.latent_model)
    clips = encode_split(HumanML3DDataset(data), "train", model.codec)
    assert batch.woven is not None
    for clip, wanted, (given,) in zip(clips, batch.woven.latents, batch.woven.given):
        head = prediction_head(len(clip.features))
        for found, part in ((given, clip.features[:head]), (wanted, clip.features[head:])):
            mean, std = model.codec.encode(part[None], torch.tensor([len(part)]))
            assert ((found - mean[0]).abs() < 6 * std[0]).all()


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
        torch.testing.assert_close(module._text_loss(texts).mean, torch.cat(losses).mean())


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
