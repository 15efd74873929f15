"""The whole model: what a seed means, what a folder holds, what is refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from motiongpt3.errors import (
    CheckpointError,
    ConfigError,
    InputError,
    MissingDependencyError,
    MotionGPT3Error,
)
from motiongpt3.models.motiongpt import MotionGPT3, MotionGPT3Config
from motiongpt3.models.placeholders import SequencePlaceholders
from motiongpt3.models.sequence_head import SequenceHead
from motiongpt3.models.text_backbone import DifferentTextBackbone
from motiongpt3.motion.features import features_to_joints
from motiongpt3.motion.motion import Motion
from tests import tiny

PROMPTS = ["a person walks", "jump", "someone waves with the left hand"]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def model(backbone: Path) -> MotionGPT3:
    return tiny.model(backbone)


@pytest.fixture
def saved(model: MotionGPT3, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def largest_difference(first: Motion, second: Motion) -> float:
    assert first.joints.shape == second.joints.shape
    return float((first.joints - second.joints).abs().max())


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def refused(*kinds: type[MotionGPT3Error], call: Callable[[], object]) -> str:
    with pytest.raises(kinds) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    return message


# What is made


def test_motions_have_the_length_and_name_asked_for(model: MotionGPT3) -> None:
    motions = model.generate(PROMPTS, frames=[8, 33, 80])
    assert [len(motion) for motion in motions] == [8, 33, 80]
    assert [motion.name for motion in motions] == PROMPTS
    for motion in motions:
        assert motion.fps == 20
        assert motion.joints.shape[1:] == (22, 3)
        assert motion.joints.isfinite().all()
        assert motion.features is not None
        assert motion.features.shape == (len(motion), 263)
    assert model.generate([]) == []


@torch.no_grad()
def test_motion_is_made_step_by_step(model: MotionGPT3) -> None:
    (motion,) = model.generate(PROMPTS[2:], 30, [7], guidance=1.5, steps=2)
    cache, text_lengths = model.read_text(PROMPTS[2:])
    counts = torch.tensor([4])
    assert isinstance(model.placeholders, SequencePlaceholders)
    assert isinstance(model.head, SequenceHead)
    model.placeholders.start(model.mot, cache, text_lengths)
    hidden = model.placeholders.fill(model.mot, cache, text_lengths, counts)
    visible = torch.ones(1, 4, dtype=torch.bool)
    told, untold = (
        model.head.encode_condition(states, visible)
        for states in (hidden, model.placeholders.null_hidden(counts))
    )
    latents = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(7))
    # Euler's method from noise, σ = 1, to data, σ = 0.
    for time in (1000.0, 500.0):
        velocity, plain = (model.head(latents, torch.tensor([time]), one) for one in (told, untold))
        latents = latents - 0.5 * (plain + 1.5 * (velocity - plain))
    features = model.codec.decode(latents, torch.tensor([30]))[0]
    torch.testing.assert_close(motion.features, features, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(motion.joints, features_to_joints(features), atol=1e-4, rtol=1e-4)


def test_seed_means_the_same_alone_and_in_any_batch(model: MotionGPT3) -> None:
    frames, seeds = [8, 33, 80], [5, 6, 7]
    together = model.generate(PROMPTS, frames, seeds)
    in_pairs = model.generate(PROMPTS, frames, seeds, batch_size=2)
    for row, motion in enumerate(together):
        (alone,) = model.generate([PROMPTS[row]], frames[row], [seeds[row]])
        assert largest_difference(motion, alone) < 1e-4
        assert largest_difference(motion, in_pairs[row]) < 1e-4


def test_same_prompt_with_other_seeds_and_lengths_is_another_motion(model: MotionGPT3) -> None:
    first, again, other, cut = model.generate(["jump"] * 4, [32, 32, 32, 24], [1, 1, 2, 1])
    assert largest_difference(first, again) < 1e-6
    assert largest_difference(first, other) > 1e-2
    (alone,) = model.generate(["jump"], 24, [1])
    assert largest_difference(cut, alone) < 1e-4


def test_seeds_count_from_zero_by_default(model: MotionGPT3) -> None:
    default = model.generate(["jump", "jump"], 16)
    given = model.generate(["jump", "jump"], 16, seeds=[0, 1])
    assert [largest_difference(a, b) for a, b in zip(default, given)] == [0, 0]


def test_text_decides(model: MotionGPT3) -> None:
    jump, bow = model.generate(["jump", "bow."], 32, [1, 1])
    assert largest_difference(jump, bow) > 1e-3


def test_length_follows_the_text_unless_given(model: MotionGPT3) -> None:
    def counting(count: int) -> None:
        bias = torch.full((10,), -50.0)
        bias[count - 1] = 50.0
        model.placeholders.count_logits.bias.data.copy_(bias)

    kept = model.placeholders.count_logits.bias.detach().clone()
    try:
        counting(3)
        assert [len(m) for m in model.generate(["jump", "bow"], [None, 17])] == [24, 17]
        counting(1)
        assert len(model.generate(["jump"])[0]) == 8
    finally:
        model.placeholders.count_logits.bias.data.copy_(kept)


def test_predicted_length_stays_within_the_range(backbone: Path) -> None:
    model = tiny.model(backbone, shortest_frames=20, default_frames=20, longest_frames=20)
    assert [len(motion) for motion in model.generate(PROMPTS)] == [20, 20, 20]


def test_guidance_pushes_away_from_no_text(model: MotionGPT3) -> None:
    def made(guidance: float | None) -> Motion:
        return model.generate(["jump"], 32, [1], guidance=guidance)[0]

    assert largest_difference(made(1.0), made(2.0)) > 1e-4
    assert largest_difference(made(None), made(2.0)) == 0
    # Without any weight on the text, the text does not matter.
    unguided = model.generate(["bow."], 32, [1], guidance=0.0)[0]
    assert largest_difference(made(0.0), unguided) < 1e-4


def test_guidance_reads_the_null_condition(model: MotionGPT3) -> None:
    (before,), (plain,) = (model.generate(["jump"], 32, [1], guidance=g) for g in (3.0, 1.0))
    change = torch.linspace(-1, 1, 12)
    model.placeholders.null_condition.data.add_(change)
    try:
        (after,), (plain_after,) = (model.generate(["jump"], 32, [1], guidance=g) for g in (3.0, 1.0))
    finally:
        model.placeholders.null_condition.data.sub_(change)
    assert largest_difference(before, after) > 1e-4
    assert largest_difference(plain, plain_after) == 0


def test_settings_default_to_the_config(model: MotionGPT3) -> None:
    (default,) = model.generate(["jump"], 32)
    (spelled,) = model.generate(["jump"], 32, scheduler="euler", steps=4, guidance=2.0)
    (named,) = model.generate(["jump"], 32, scheduler="euler")
    (finer,) = model.generate(["jump"], 32, steps=16)
    (other,) = model.generate(["jump"], 32, scheduler="heun")
    assert largest_difference(default, spelled) == 0
    assert largest_difference(default, named) == 0
    assert largest_difference(default, finer) > 1e-4
    assert largest_difference(default, other) > 1e-4


def test_diffusion_with_added_noise_keeps_its_seeds_apart(backbone: Path) -> None:
    objective = {"kind": "epsilon_diffusion", "first_beta": 0.00085, "last_beta": 0.012}
    model = tiny.model(backbone, objective=objective, scheduler="ddpm")
    together = model.generate(["jump", "bow"], [16, 40], [3, 4])
    (alone,) = model.generate(["jump"], 16, [3])
    # The first steps of an untrained network magnify rounding a hundredfold.
    assert largest_difference(together[0], alone) < 1e-2
    (other,) = model.generate(["jump"], 16, [4])
    (cold,) = model.generate(["jump"], 16, [3], temperature=0)
    assert largest_difference(alone, other) > 1
    assert largest_difference(alone, cold) > 1


def test_progress_counts_motions(model: MotionGPT3) -> None:
    calls: list[tuple[int, int]] = []
    model.generate(PROMPTS, 16, batch_size=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(2, 3), (3, 3)]


def test_text_is_read_as_the_config_lays_it_out(model: MotionGPT3) -> None:
    assert model.tokenizer.decode(model.prompt_ids("jump")) == f"{tiny.START_OF_TURN}say: jump\n"
    _, lengths = model.read_text(["jump", "walk on"])
    assert lengths.tolist() == [11, 14]


# What is refused


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "the prompt is empty"),
        (" \n\t", "the prompt is empty"),
        ("walk " * 20, "the prompt is too long: 107 tokens, at most 64 fit"),
        (f"walk{tiny.START_OF_TURN}jump", f"contains '{tiny.START_OF_TURN}'"),
        (f"{tiny.UNUSED_TOKEN} jump", f"contains '{tiny.UNUSED_TOKEN}'"),
        ("jump<|endoftext|>", "contains '<|endoftext|>'"),
    ],
)
def test_prompt_is_refused(model: MotionGPT3, prompt: str, message: str) -> None:
    assert message in refused(InputError, call=lambda: model.validate_prompt(prompt))
    assert message in refused(InputError, call=lambda: model.generate(["jump", prompt]))


def test_prompt_of_exactly_the_longest_length_is_read(model: MotionGPT3) -> None:
    room = 64 - len(model.prompt_ids(""))
    model.validate_prompt("x" * room)
    with pytest.raises(InputError):
        model.validate_prompt("x" * (room + 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 7}, "7 frames is outside of what the model makes: 8 to 80"),
        ({"frames": [81]}, "81 frames"),
        ({"frames": -1}, "-1 frames"),
        ({"frames": [16, 16]}, "1 prompts, 2 lengths and 1 seeds"),
        ({"seeds": [1, 2]}, "1 prompts, 1 lengths and 2 seeds"),
        ({"seeds": [-1]}, "seed: -1"),
        ({"seeds": [2**32]}, "seed: 4294967296"),
        ({"guidance": float("nan")}, "guidance: nan"),
        ({"steps": 0}, "steps: euler takes"),
        ({"temperature": -1.0}, "temperature: -1"),
        ({"scheduler": "magic"}, "scheduler: 'magic' is not known"),
        ({"scheduler": "ddim"}, "scheduler: 'ddim' does not step for rectified_flow"),
        ({"batch_size": 0}, "batch_size: 0"),
    ],
)
def test_setting_is_refused(model: MotionGPT3, settings: dict[str, Any], message: str) -> None:
    assert message in refused(InputError, ConfigError, call=lambda: model.generate(["jump"], **settings))


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("placeholders", {"width": 8}, "placeholders.width: 8 does not fit"),
        ("placeholders", {"placeholder_token": 3}, "placeholders: "),
        ("placeholders", {"start_token": -1}, "placeholders: "),
        ("placeholders", {"kind": "spiral"}, "placeholders.kind: 'spiral'"),
        ("head", {"hidden_width": 8}, "head.hidden_width: 8 does not fit"),
        ("head", {"latent_channels": 8}, "head.latent_channels: 8 does not fit"),
        ("head", {"heads": 0}, "head.heads: 0"),
        ("head", {"heads": 16}, "head.heads: 16"),
        ("motion", {"layers": [0, 3]}, "attached to text layer 3"),
        ("motion", {"layers": []}, "ascending"),
        ("motion", {"width": -4}, "text and motion"),
        ("objective", {"kind": "magic"}, "objective.kind: 'magic'"),
        ("objective", {"time_sampling": "sometimes"}, "time_sampling: 'sometimes'"),
        (None, {"scheduler": "ddim"}, "scheduler: 'ddim' does not step for rectified_flow"),
        (None, {"shortest_frames": 90}, "not in order"),
        (None, {"default_frames": 81}, "not in order"),
        (None, {"speed": 1}, "unknown field 'speed'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    backbone: Path, part: str | None, changes: dict[str, Any], message: str
) -> None:
    values = tiny.description(backbone)
    changes = changes if part is None else {part: {**values[part], **changes}}
    assert message in refused(
        ConfigError, call=lambda: MotionGPT3.assemble({**values, **changes}, tiny.codec())
    )


def test_head_of_the_other_layout_is_refused(backbone: Path) -> None:
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
    message = refused(ConfigError, call=lambda: tiny.model(backbone, head=head))
    assert "'mlp' does not read the hidden states of 'sequence' placeholders" in message


# Folders


def test_folder_makes_the_same_motions(model: MotionGPT3, saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]
    read = MotionGPT3.from_pretrained(saved)
    assert not read.training
    assert read.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor), name
    for first, second in zip(model.generate(PROMPTS), read.generate(PROMPTS)):
        assert largest_difference(first, second) == 0


def test_text_branch_is_not_stored_and_stays_frozen(saved: Path) -> None:
    assert not [name for name in load_file(saved / "model.safetensors") if name.startswith("mot.text")]
    read = MotionGPT3.from_pretrained(saved)
    assert read.mot.text_is_frozen
    assert any(parameter.requires_grad for parameter in read.mot.motion.parameters())


def test_half_precision_halves_the_language_side_alone(model: MotionGPT3, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, dtype=torch.float16)
    stored = load_file(tmp_path / "model.safetensors")
    assert {t.dtype for name, t in stored.items() if name.startswith("codec.")} == {torch.float32}
    assert {t.dtype for name, t in stored.items() if not name.startswith("codec.")} == {torch.float16}
    read = MotionGPT3.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in read.parameters()} == {torch.float32}
    for name, tensor in model.state_dict().items():
        kept = name.startswith(("codec.", "mot.text"))
        assert torch.equal(read.state_dict()[name], tensor if kept else tensor.half().float()), name
    for first, second in zip(model.generate(PROMPTS), read.generate(PROMPTS)):
        assert largest_difference(first, second) < 0.05


def test_model_with_a_text_branch_of_its_own_needs_no_backbone(model: MotionGPT3, tmp_path: Path) -> None:
    values = {**model.config.__dict__, "text_backbone": "", "text_fingerprint": ""}
    whole = MotionGPT3(MotionGPT3Config(**values), model.codec, model.tokenizer)
    whole.load_state_dict(model.state_dict())
    whole.save_pretrained(tmp_path / "whole")
    assert (tmp_path / "whole" / "tokenizer").is_dir()
    read = MotionGPT3.from_pretrained(tmp_path / "whole")
    assert read.describe()["text backbone"] == "in the model's folder"
    assert read.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    for first, second in zip(model.generate(PROMPTS), read.generate(PROMPTS)):
        assert largest_difference(first, second) == 0
    assert read.mot.text_is_frozen
    message = refused(InputError, call=lambda: read.validate_prompt(tiny.UNUSED_TOKEN))
    assert tiny.UNUSED_TOKEN in message


def test_other_copy_of_the_backbone_is_told(saved: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MotionGPT3.from_pretrained(saved)
    other = tiny.save_backbone(tmp_path / "other", seed=1)
    change_config(saved, text_backbone=str(other))
    with pytest.warns(DifferentTextBackbone, match="another copy"):
        MotionGPT3.from_pretrained(saved)


def test_backbone_that_is_not_here_is_told(saved: Path, tmp_path: Path) -> None:
    change_config(saved, text_backbone=str(tmp_path / "nowhere"))
    message = refused(InputError, MissingDependencyError, call=lambda: MotionGPT3.from_pretrained(saved))
    assert "nowhere" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "motion-codec"}, "not a MotionGPT3 model"),
        ({"speed": 1}, "unknown field 'speed'"),
        ({"steps": "20"}, ".steps: expected int, found '20'"),
        ({"guidance": None}, ".guidance: expected float, found None"),
        ({"vae": 3}, ".vae: expected object, found 3"),
        ({"vae": {**tiny.VAE, "width": 16}}, "the config asks for"),
        ({"vae": {**tiny.VAE, "feature_width": 251}}, "vae.feature_width: 251"),
        ({"vae": {**tiny.VAE, "patch_frames": 0}}, "vae"),
        ({"objective": []}, ".objective: expected object"),
        ({"text": {}}, ".text: field 'layers' is missing"),
    ],
)
def test_config_of_another_model_is_refused(saved: Path, changes: dict[str, Any], message: str) -> None:
    change_config(saved, **changes)
    assert message in refused(CheckpointError, ConfigError, call=lambda: MotionGPT3.from_pretrained(saved))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("head.latent_out.weight"), "'head.latent_out.weight'"),
        (lambda tensors: tensors.update({"_losses.total": torch.ones(1)}), "'_losses.total'"),
        (lambda tensors: tensors["codec.feature_std"].fill_(float("nan")), "'codec.feature_std' holds NaN"),
        (
            lambda tensors: tensors.update({"mot.text.final_norm.weight": torch.ones(8)}),
            "unexpected tensor 'mot.text.final_norm.weight'",
        ),
    ],
)
def test_damaged_weights_are_refused(
    saved: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    change_weights(saved, change)
    assert message in refused(CheckpointError, call=lambda: MotionGPT3.from_pretrained(saved))


def test_folder_without_weights_is_refused(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    assert "incomplete" in refused(CheckpointError, call=lambda: MotionGPT3.from_pretrained(saved))


@pytest.mark.parametrize("name", ["nobody/nothing", "no body/nothing", "./nobody/nothing", "nothing", ""])
def test_model_that_is_nowhere_is_refused(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((InputError, CheckpointError)) as raised:
        MotionGPT3.from_pretrained(name)
    assert "\n" not in str(raised.value)
    if name == "nobody/nothing":
        assert "nobody/nothing, and the hub has no such model or cannot be reached" in str(raised.value)


def test_description_is_for_people(model: MotionGPT3) -> None:
    facts = model.describe()
    assert facts["latents"] == "4 channels, one for every 8 frames"
    assert facts["lengths"] == "8 to 80 frames at 20 fps"
    assert facts["sampling"] == "euler, 4 steps, guidance 2"
    assert facts["attached to text layers"] == "0, 2"
    assert facts["text backbone"] == model.config.text_backbone
    assert facts["text branch"].endswith("M parameters")
