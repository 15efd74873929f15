"""Training over motion tokens: what the losses are, that both learn, and that the text stays as it is."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.loaders import Draw
from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.interleaving import MotionPart, TextPart, interleave
from motiongpt3.models.motion_tokens import MotionTokenGPT
from motiongpt3.training.caption_memory import CaptionMemory
from motiongpt3.training.motion_tokens import (
    CaptionedCodes,
    CodedClip,
    MotionTokenTraining,
    answer_ids,
    collate,
    encode_split,
    some_captions,
    train_motion_tokens,
)
from motiongpt3.training.optimization import OptimizerConfig
from tests import tiny
from tests.data.datasets import write_tiny


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset, a motion tokenizer, and a text backbone."""
    root = tmp_path_factory.mktemp("given")
    tiny.motion_tokenizer().save_pretrained(root / "tokenizer")
    return {
        "data": write_tiny(root / "data"),
        "tokenizer": root / "tokenizer",
        "backbone": tiny.save_backbone(root / "backbone"),
    }


def train(places: dict[str, Path], out: Path, steps: int = 4, **settings: Any) -> MotionTokenGPT:
    if "start_from" not in settings:
        settings = {"motion_tokenizer": places["tokenizer"], **settings}
    settings = {"batch_size": 2, "caption_batch_size": 2, "validate_every": 2, "device": "cpu", **settings}
    optimizer = OptimizerConfig(learning_rate=0.02, steps=steps, warmup_steps=2, average_decay=0.5)
    description = tiny.token_description(places["backbone"])
    return MotionTokenGPT.from_pretrained(
        train_motion_tokens(places["data"], out, description, optimizer, **settings)
    )


def test_the_text_stays_as_it_is(places: dict[str, Path], tmp_path: Path) -> None:
    trained = train(places, tmp_path, caption_weight=0.5)
    rows = list(csv.DictReader((tmp_path / "logs" / "metrics.csv").open()))
    first = next(row for row in rows if row["val/loss"])
    total = float(first["val/motion"]) + 0.5 * float(first["val/caption"])
    assert float(first["val/loss"]) == pytest.approx(total, rel=1e-4)
    fresh = MotionTokenGPT.assemble(tiny.token_description(places["backbone"]), tiny.motion_tokenizer())
    own = trained.state_dict()
    for name, tensor in fresh.state_dict().items():
        if name.startswith(("mot.text", "motion_tokenizer.")):
            assert torch.equal(own[name], tensor), name
    motions = trained.generate(["clip a moves left"], frames=24)
    assert len(trained.caption(motions)) == 1


def lesson(
    places: dict[str, Path], tmp_path: Path, captions: int = 3
) -> tuple[MotionTokenTraining, MotionTokenGPT, Any]:
    model = tiny.token_model(places["backbone"])
    texts = ["one", "two of them", "a third text"]
    codes = [torch.tensor([1, 5, 2, 9]), torch.tensor([3]), torch.tensor([0, 0, 7])]
    memory = CaptionMemory.read([model.prompt_ids(text) for text in texts], model, tmp_path)
    optimizer = OptimizerConfig(learning_rate=0.1, steps=1)
    module = MotionTokenTraining(model, memory, answer_ids(model, texts), optimizer, captions, 0.5)
    return module, model, collate([(row, 2 - place, place) for place, row in enumerate(codes)])


@torch.no_grad()
def test_motion_loss_is_that_of_each_clip_alone(places: dict[str, Path], tmp_path: Path) -> None:
    """Cross-entropy of codes and end behind the request, however clips are padded and cached."""
    module, model, batch = lesson(places, tmp_path)
    texts, losses = ["one", "two of them", "a third text"], []
    for row, count, request in zip(batch.codes, batch.counts.tolist(), batch.requests):
        tokens = model.with_ends(row[:count])
        parts = [
            TextPart(torch.tensor(model.prompt_ids(texts[request]))),
            MotionPart(model.mot.embed_motion(tokens[:-1])),
        ]
        text, motion, _ = interleave(model.mot, [parts])
        hidden = model.mot(text=text, motion=motion).motion_hidden
        assert hidden is not None
        losses.append(F.cross_entropy(model.head(hidden[0]), tokens[1:], reduction="none"))
    # The cached text is rounded to half precision.
    torch.testing.assert_close(module.motion_loss(batch).mean, torch.cat(losses).mean(), atol=2e-3, rtol=1e-3)


@torch.no_grad()
def test_caption_loss_is_that_of_each_answer_alone(places: dict[str, Path], tmp_path: Path) -> None:
    """Cross-entropy of the answer and its end, and of nothing before it; only of the first clips."""
    module, model, batch = lesson(places, tmp_path, captions=2)
    losses = []
    for place, text_of_it in enumerate(["one", "two of them"]):
        codes = batch.codes[place, : batch.counts[place]]
        request = model.caption_request(codes)
        answer = model.tokenizer(text_of_it, add_special_tokens=False)["input_ids"]
        answer = torch.tensor([*answer, model.config.dialogue.text_end_id(model.tokenizer)])
        text, motion, _ = interleave(model.mot, [[*request, TextPart(answer)]])
        hidden = model.mot(text=text, motion=motion).text_hidden
        assert hidden is not None
        logits = model.mot.text_logits(hidden[0, -len(answer) - 1 : -1])
        losses.append(F.cross_entropy(logits, answer, reduction="none"))
    torch.testing.assert_close(module.caption_loss(batch).mean, torch.cat(losses).mean())


def test_gradients_of_captions_reach_the_motion_branch_alone(places: dict[str, Path], tmp_path: Path) -> None:
    module, model, batch = lesson(places, tmp_path)
    module.caption_loss(batch).mean.backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert "mot.motion.token_embedding.weight" in reached
    # The keys of the last layer with motion are the last thing that text sees of it.
    assert "mot.motion.layers.1.query_key_value.weight" in reached
    assert not any(name.startswith(("mot.text", "motion_tokenizer", "head")) for name in reached)


def test_both_directions_learn(places: dict[str, Path], tmp_path: Path) -> None:
    module, _, batch = lesson(places, tmp_path)
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    losses = []
    for _ in range(25):
        motion, caption = module.motion_loss(batch).mean, module.caption_loss(batch).mean
        losses.append((motion.item(), caption.item()))
        optimizer.zero_grad()
        (motion + caption).backward()
        optimizer.step()
    (first_motion, first_caption), (last_motion, last_caption) = losses[0], losses[-1]
    assert last_motion < 0.6 * first_motion
    assert last_caption < 0.9 * first_caption


def test_clips_are_drawn_with_their_own_texts() -> None:
    codes = [torch.tensor([1]), torch.tensor([2, 3])]
    items = CaptionedCodes(codes, [[0, 1], [2]], [[5], [6, 7, 8]])
    drawn = [items[Draw(1, (0, 0, place))] for place in range(40)]
    assert all(torch.equal(row, codes[1]) for row, _, _ in drawn)
    assert {request for _, request, _ in drawn} == {2}
    assert {answer for _, _, answer in drawn} == {6, 7, 8}
    assert items[0][1] in (0, 1)
    assert items[0][1:] == items[0][1:]


def test_captions_can_be_learnt_by_heart(places: dict[str, Path], tmp_path: Path) -> None:
    module, _, batch = lesson(places, tmp_path)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(60):
        loss = module.caption_loss(batch).mean
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


def test_frozen_parts_go_to_the_device_too(places: dict[str, Path], tmp_path: Path) -> None:
    module, model, _ = lesson(places, tmp_path)
    module.to("meta").on_fit_start()
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_some_captions_of_each_clip() -> None:
    clips = [CodedClip(torch.zeros(1), tuple("abcdef"), None), CodedClip(torch.zeros(1), ("g",), None)]
    two = some_captions(clips, 2, seed=0)
    assert [len(texts) for texts in two] == [2, 1]
    assert set(two[0]) <= set("abcdef")
    assert some_captions(clips, 2, seed=0) == two
    assert any(some_captions(clips, 2, seed=seed) != two for seed in range(1, 9))
    assert some_captions(clips, None, seed=0) == [list("abcdef"), ["g"]]


def test_segments_are_coded_each_on_its_own(places: dict[str, Path]) -> None:
    dataset, tokenizer = HumanML3DDataset(places["data"]), tiny.motion_tokenizer()
    segments = dataset.segments("train")
    for coded in (encode_split(dataset, "train", tokenizer, size) for size in (1, 32)):
        assert [clip.captions for clip in coded] == [tuple(segment.captions) for segment in segments]
        for clip, segment in zip(coded, segments):
            features = torch.from_numpy(dataset.features(segment))[None]
            alone = tokenizer.encode(features, torch.tensor([len(segment)]))
            assert torch.equal(clip.codes, alone[0])


def test_a_finished_model_is_trained_further(places: dict[str, Path], tmp_path: Path) -> None:
    first = train(places, tmp_path / "first")
    again = train(
        places, tmp_path / "second", 2, start_from=tmp_path / "first" / "model", caption_batch_size=0
    )
    weight = first.head.weight
    assert 0 < (again.head.weight - weight).abs().max() < 0.1
    header = (tmp_path / "second" / "logs" / "metrics.csv").read_text().splitlines()[0]
    assert "caption" not in header


def test_settings_that_contradict_are_refused(places: dict[str, Path], tmp_path: Path) -> None:
    for settings, message in (
        ({"caption_batch_size": 3}, "3 of 2 clips"),
        ({"motion_tokenizer": None}, "give either"),
        ({"start_from": tmp_path / "x"}, "no model at"),
    ):
        with pytest.raises((ConfigError, InputError), match=message):
            train(places, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()
