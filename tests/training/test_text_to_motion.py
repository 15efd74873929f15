"""Training text-to-motion: it learns, the language model stays as it is, nothing is computed twice."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.sampling import RectifiedFlow
from motiongpt3.training import text_to_motion
from motiongpt3.training.optimization import OptimizerConfig
from motiongpt3.training.text_to_motion import (
    CaptionedLatents,
    EncodedClip,
    LatentBatch,
    TextToMotionTraining,
    balanced_rates,
    collate,
    encode_split,
    read_captions,
    train_text_to_motion,
)
from tests import tiny
from tests.data.datasets import write_tiny


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


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of every training step."""
    found: list[float] = []
    step = TextToMotionTraining.training_step

    def recorded(self: TextToMotionTraining, batch: Any, batch_index: int) -> Tensor:
        loss = step(self, batch, batch_index)
        found.append(float(loss))
        return loss

    monkeypatch.setattr(TextToMotionTraining, "training_step", recorded)
    return found


def train(data: Path, codec: Path, backbone: Path, out: Path, steps: int = 4, **settings: Any) -> Path:
    config = OptimizerConfig(learning_rate=0.02, steps=steps, warmup_steps=2, average_decay=0.5)
    return train_text_to_motion(
        data,
        out,
        settings.pop("model", tiny.description(backbone)),
        config,
        codec,
        batch_size=2,
        validate_every=2,
        device="cpu",
        **settings,
    )


def test_overfits_a_tiny_dataset(
    data: Path, codec: Path, backbone: Path, tmp_path: Path, losses: list[float]
) -> None:
    train(data, codec, backbone, tmp_path, 30, noise_draws=8, length_weight=0.5)
    assert len(losses) == 30
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_language_model_is_neither_changed_nor_stored(
    data: Path, codec: Path, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[MotionGPT3] = []
    before: dict[str, Tensor] = {}
    assemble = MotionGPT3.assemble

    def kept(*arguments: Any) -> MotionGPT3:
        model = assemble(*arguments)
        made.append(model)
        before.update({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return model

    monkeypatch.setattr(MotionGPT3, "assemble", kept)
    folder = train(data, codec, backbone, tmp_path)
    after = made[0].state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}
    assert changed
    assert all(name.startswith(("mot.motion.", "placeholders.", "head.")) for name in changed)

    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    for part in ("state_dict", "averaged_weights"):
        assert {name.split(".")[1] for name in saved[part]} == {"motion", "placeholders", "head"}
    read = MotionGPT3.from_pretrained(folder)
    assert all(torch.equal(read.state_dict()[name], tensor) for name, tensor in after.items())
    (motion,) = read.generate(["clip a moves left"], 24)
    assert motion.joints.isfinite().all()


def test_interrupted_training_goes_on(
    data: Path,
    codec: Path,
    backbone: Path,
    tmp_path: Path,
    losses: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded = TextToMotionTraining.training_step

    def fails(self: TextToMotionTraining, batch: Any, batch_index: int) -> Tensor:
        if self.global_step == 3:
            raise RuntimeError("the power fails")
        return recorded(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(TextToMotionTraining, "training_step", fails)
        with pytest.raises(RuntimeError, match="power"):
            train(data, codec, backbone, tmp_path, 6)
    assert not (tmp_path / "model").exists()
    (captions,) = (tmp_path / "captions").iterdir()
    written = captions.stat().st_mtime_ns
    losses.clear()
    train(data, codec, backbone, tmp_path, 6)
    assert len(losses) == 4
    assert captions.stat().st_mtime_ns == written


def make_module(backbone: Path, folder: Path, **settings: float) -> tuple[TextToMotionTraining, LatentBatch]:
    """A training module whose every part has a say, and a batch for it."""
    model = tiny.model(backbone)
    captions = ["jump", "a person walks"]
    values = {"noise_draws": 1, "null_rate": 0.0, "length_weight": 0.0, **settings}
    config = OptimizerConfig(learning_rate=0.1, steps=1)
    module = TextToMotionTraining(model, read_captions(model, captions, folder), config, **values)  # type: ignore
    torch.manual_seed(0)
    return module, collate([(torch.randn(5, 4), 0), (torch.randn(2, 4), 1), (torch.randn(3, 4), 0)])


@pytest.mark.filterwarnings("ignore:You are trying to .self.log")
def test_null_condition_takes_the_place_of_the_text(backbone: Path, tmp_path: Path) -> None:
    def gradients(null_rate: float) -> tuple[bool, bool]:
        module, batch = make_module(backbone, tmp_path, null_rate=null_rate)
        module.training_step(batch, 0).backward()
        model = module.trained
        motion = any(p.grad is not None and p.grad.any() for p in model["motion"].parameters())
        null = model["placeholders"].null_condition.grad
        return motion, null is not None and bool(null.any())

    assert gradients(0.0) == (True, False)
    assert gradients(1.0) == (False, True)
    assert gradients(0.5) == (True, True)


@pytest.mark.filterwarnings("ignore:You are trying to .self.log")
def test_noisy_versions_share_one_pass_of_the_motion_branch(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, batch = make_module(backbone, tmp_path, noise_draws=4)
    seen: dict[str, Any] = {"passes": 0}
    module.trained["head"].register_forward_hook(
        lambda head, inputs, output: seen.update(zip(("noisy", "time", "condition"), inputs))
    )
    module.trained["motion"].final_norm.register_forward_hook(
        lambda *_: seen.update(passes=seen["passes"] + 1)
    )
    module.training_step(batch, 0)
    assert seen["noisy"].shape == (12, 5, 4)
    assert len(set(seen["time"].tolist())) == 12
    # Once for the start tokens, once for the placeholders.
    assert seen["passes"] == 2
    # At time 0 there is no noise: each version stands beside the condition of its clip.
    monkeypatch.setattr(RectifiedFlow, "sample_times", lambda self, count: torch.zeros(count))
    module.training_step(batch, 0)
    torch.testing.assert_close(seen["noisy"], torch.cat([batch.latents] * 4))
    torch.testing.assert_close(seen["condition"].hidden, torch.cat([seen["condition"].hidden[:3]] * 4))
    assert torch.pdist(seen["condition"].hidden[:3].flatten(1)).min() > 1e-3


@pytest.mark.filterwarnings("ignore:You are trying to .self.log")
def test_padding_of_the_latents_does_not_matter(backbone: Path, tmp_path: Path) -> None:
    module, batch = make_module(backbone, tmp_path, length_weight=1.0)

    def loss() -> float:
        torch.manual_seed(3)
        return float(module.training_step(batch, 0).detach())

    before = loss()
    batch.latents[1, 2:] = 1e3
    assert loss() == pytest.approx(before, rel=1e-5)
    batch.latents[1, 1] += 1
    assert loss() != pytest.approx(before, rel=1e-5)


@pytest.mark.filterwarnings("ignore:You are trying to .self.log")
def test_length_is_learned_from_the_start_token(backbone: Path, tmp_path: Path) -> None:
    module, batch = make_module(backbone, tmp_path)
    placeholders = module.trained["placeholders"]
    placeholders.count_logits.weight.data.zero_()
    for logits, better in ((torch.tensor([5.0, 5.0, 5.0]), True), (torch.tensor([-5.0, -5.0, -5.0]), False)):
        placeholders.count_logits.bias.data.zero_()
        # The batch holds clips of 5, 2 and 3 latents.
        placeholders.count_logits.bias.data[[4, 1, 2]] = logits
        module.length_weight = 1.0
        torch.manual_seed(0)
        with_lengths = float(module.training_step(batch, 0).detach())
        module.length_weight = 0.0
        torch.manual_seed(0)
        length_loss = with_lengths - float(module.training_step(batch, 0).detach())
        assert (length_loss < 1.2) is better


def test_copies_share_the_language_model_and_the_captions(backbone: Path, tmp_path: Path) -> None:
    module, _ = make_module(backbone, tmp_path)
    twin = copy.deepcopy(module)
    assert twin._model() is module._model()
    assert twin.memory is module.memory
    assert twin.trained["head"] is not module.trained["head"]
    assert not [name for name, _ in module.named_parameters() if "text" in name]


def test_split_is_encoded_as_each_clip_alone(data: Path) -> None:
    codec, dataset = tiny.codec(), HumanML3DDataset(data)
    segments = dataset.segments("train")
    clips = encode_split(dataset, "train", codec, batch_size=3)
    assert len(clips) == len(segments)
    for clip, segment in zip(clips, segments):
        features = torch.from_numpy(dataset.features(segment))[None]
        with torch.no_grad():
            mean, std = codec.encode(features, torch.tensor([len(segment)]))
        torch.testing.assert_close(clip.mean, mean[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(clip.std, std[0], atol=1e-4, rtol=1e-4)
        assert clip.captions == tuple(segment.captions)
        assert clip.label == f"label-{segment.clip}"


def test_split_without_clips_is_refused(tmp_path: Path) -> None:
    root = write_tiny(tmp_path / "data")
    (root / "val.txt").write_text("")
    with pytest.raises(InputError, match="split 'val' has no clips"):
        encode_split(HumanML3DDataset(root), "val", tiny.codec())


def test_latents_are_drawn_from_the_posterior_with_any_caption() -> None:
    clip = EncodedClip(torch.full((3, 2), 5.0), torch.full((3, 2), 0.1), ("a", "b"), None)
    items = CaptionedLatents([clip], {"a": 0, "b": 7})
    torch.manual_seed(0)
    drawn = [items[0] for _ in range(100)]
    latents = torch.stack([latent for latent, _ in drawn])
    assert float(latents.mean()) == pytest.approx(5.0, abs=0.02)
    assert float(latents.std()) == pytest.approx(0.1, abs=0.01)
    assert {caption for _, caption in drawn} == {0, 7}


def test_validation_draws_the_same_every_time() -> None:
    clips = [EncodedClip(torch.zeros(3, 2), torch.ones(3, 2), ("a", "b"), None)] * 20
    items = CaptionedLatents(clips, {"a": 0, "b": 7}, always_the_same=True)
    first = [items[index] for index in range(20)]
    torch.manual_seed(5)
    again = [items[index] for index in range(20)]
    assert all(torch.equal(one[0], two[0]) and one[1] == two[1] for one, two in zip(first, again))
    assert {caption for _, caption in first} == {0, 7}
    assert len({float(latent.sum()) for latent, _ in first}) == 20


@pytest.mark.filterwarnings("ignore:You are trying to .self.log")
def test_validation_leaves_the_noise_of_training_alone(backbone: Path, tmp_path: Path) -> None:
    module, batch = make_module(backbone, tmp_path)
    logged: list[tuple[str, float]] = []
    module.log = lambda name, value, **_: logged.append((name, float(value)))  # type: ignore
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    module.validation_step(batch, 0)
    assert torch.equal(torch.rand(1), expected)
    module.validation_step(batch, 0)
    assert logged[: len(logged) // 2] == logged[len(logged) // 2 :]


def test_items_are_collated() -> None:
    batch = collate([(torch.ones(2, 3), 4), (torch.ones(1, 3), 9)])
    assert batch.latents.shape == (2, 2, 3)
    assert batch.counts.tolist() == [2, 1]
    assert batch.captions == [4, 9]
    assert not batch.latents[1, 1].any()
    moved = batch.to("meta")
    assert moved.latents.device.type == moved.counts.device.type == "meta"


def test_rates_balance_labels() -> None:
    labels = ["walk"] * 4 + ["kick", None, None]
    assert balanced_rates(labels, 0.0) == [1.0] * 7
    assert balanced_rates(labels, 1.0) == [0.25] * 4 + [1.0, 1.0, 1.0]
    assert balanced_rates(labels, 0.5)[0] == pytest.approx(0.5)


def test_official_layout_is_not_trained_here(data: Path, codec: Path, backbone: Path, tmp_path: Path) -> None:
    latent = {
        "kind": "latent",
        "width": 12,
        "placeholders": 2,
        "placeholder_token": 1,
        "latent_channels": 4,
        "null_condition": True,
    }
    head = {
        "kind": "mlp",
        "latent_channels": 4,
        "hidden_width": 12,
        "width": 8,
        "depth": 1,
        "condition_heads": 2,
        "condition_feedforward_width": 8,
        "condition_dropout": 0.0,
        "condition_positions": 8,
    }
    model = tiny.description(backbone, placeholders=latent, head=head)
    with pytest.raises(ConfigError, match="this recipe trains 'sequence', not 'latent'"):
        train(data, codec, backbone, tmp_path / "out", model=model)
    assert not (tmp_path / "out").exists()


def test_captions_are_laid_out_as_prompts(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model(backbone)
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        text_to_motion.CaptionMemory, "of", lambda ids, *rest, **_: given.update(ids=ids, fingerprint=rest[2])
    )
    read_captions(model, ["jump", "bow"], tmp_path / "captions")
    assert given["ids"] == [model.prompt_ids("jump"), model.prompt_ids("bow")]
    assert given["fingerprint"] == model.config.text_fingerprint


def test_a_finished_model_is_trained_further(data: Path, codec: Path, backbone: Path, tmp_path: Path) -> None:
    first = train(data, codec, backbone, tmp_path / "first")
    same = MotionGPT3.from_pretrained(first)
    # A step this small changes no weight: what comes out is what was started from.
    still = OptimizerConfig(learning_rate=1e-12, steps=1, warmup_steps=1, weight_decay=0.0)
    model = tiny.description(backbone)
    again = train_text_to_motion(
        data, tmp_path / "again", model, still, start_from=first, batch_size=2, validate_every=1, device="cpu"
    )
    for name, tensor in MotionGPT3.from_pretrained(again).state_dict().items():
        torch.testing.assert_close(tensor, same.state_dict()[name], rtol=0, atol=1e-9, msg=name)
    with pytest.raises(ConfigError, match="either codec"):
        train(data, codec, backbone, tmp_path / "both", start_from=first)
