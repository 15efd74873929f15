"""``motiongpt3 train``: recipes from YAML, end to end, and what is wrong with one in a line."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from motiongpt3.cli.train import train
from motiongpt3.errors import ConfigError, InputError, MotionGPT3Error
from motiongpt3.models.codec import MotionCodec, build_vae
from motiongpt3.models.dialogue import DialogueConfig
from motiongpt3.models.folders import config_from_json, config_to_json
from motiongpt3.models.head import MLPHeadConfig
from motiongpt3.models.mld_vae import MLDVAEConfig
from motiongpt3.models.mot import TextBranchConfig
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from motiongpt3.models.motion_tokens import MotionTokenGPT, MotionTokenGPTConfig
from motiongpt3.models.motiongpt import MotionGPT3, MotionGPT3Config
from motiongpt3.models.placeholders import LatentPlaceholdersConfig
from motiongpt3.models.vq_vae import VQVAE, VQVAEConfig
from motiongpt3.training import evaluator, motion_tokens, stages, vae, vq
from motiongpt3.training.optimization import OptimizerConfig
from motiongpt3.training.runs import RunConfig
from tests import tiny
from tests.data.datasets import write_tiny

pytestmark = pytest.mark.usefixtures("closed_test_split")

CONFIGS = Path(__file__).parents[2] / "configs"
OPTIMIZER = {"learning_rate": 0.01, "steps": 4, "warmup_steps": 1}

SMOLLM2 = TextBranchConfig(
    layers=30,
    width=576,
    heads=9,
    kv_heads=3,
    head_dim=64,
    mlp_width=1536,
    vocabulary_size=49152,
    max_positions=8192,
    positions="rotary",
    rope_theta=100000.0,
    norm="rms",
    norm_epsilon=1e-5,
    mlp="swiglu",
    biases=False,
    tied_embeddings=True,
    dropout=0.0,
)


def recipe(folder: Path, **settings: Any) -> Path:
    path = folder / f"{settings['recipe']}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the recipes' functions would have been called with."""
    given: dict[str, Any] = {}
    recipes = (
        (vae, "train_vae"),
        (stages, "train_language"),
        (vq, "train_vq"),
        (motion_tokens, "train_motion_tokens"),
        (evaluator, "train_evaluator"),
    )
    for module, name in recipes:
        function = getattr(module, name)
        record = functools.wraps(function)(lambda **arguments: given.update(arguments))
        monkeypatch.setattr(module, name, record)
    return given


def refusal(config: Path, *overrides: str) -> str:
    with pytest.raises((ConfigError, InputError)) as raised:
        train(config, list(overrides))
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_both_recipes_make_a_model_that_generates(tmp_path: Path) -> None:
    data = write_tiny(tmp_path / "data")
    vae_config = recipe(tmp_path, recipe="vae", vae=tiny.VAE, optimizer=OPTIMIZER, batch_size=2, device="cpu")
    assert (
        train(vae_config, ["--data", str(data), "--out", str(tmp_path / "vae"), "--validate_every", "2"]) == 0
    )

    text_config = recipe(
        tmp_path,
        recipe="language",
        stage="text-to-motion",
        mix={"text_to_motion": 1.0},
        model=tiny.description(tiny.save_backbone(tmp_path / "backbone")),
        optimizer=OPTIMIZER,
        batch_size=2,
        validate_every=2,
        store="float16",
        device="cpu",
    )
    out = tmp_path / "t2m"
    assert (
        train(
            text_config, ["--data", str(data), "--codec", str(tmp_path / "vae" / "model"), "--out", str(out)]
        )
        == 0
    )
    stored = load_file(out / "model" / "model.safetensors")
    assert {t.dtype for name, t in stored.items() if name.startswith("head.")} == {torch.float16}
    model = MotionGPT3.from_pretrained(out / "model")
    motions = model.generate(["clip a moves left", "motion number 3"], [24, None])
    assert len(motions[0]) == 24
    assert all(motion.joints.isfinite().all() for motion in motions)
    trained = MotionCodec.from_pretrained(tmp_path / "vae" / "model").state_dict()
    assert all(torch.equal(model.codec.state_dict()[name], tensor) for name, tensor in trained.items())


def test_motion_tokens_from_clips_to_motions_and_captions(tmp_path: Path) -> None:
    data = write_tiny(tmp_path / "data")
    common = {"optimizer": OPTIMIZER, "batch_size": 2, "validate_every": 2, "device": "cpu"}
    vq_config = recipe(tmp_path, recipe="vq", vq_vae=tiny.VQ_VAE, least_use=0.1, window=32, **common)
    assert train(vq_config, ["--data", str(data), "--out", str(tmp_path / "vq")]) == 0
    tokens_config = recipe(
        tmp_path,
        recipe="motion-tokens",
        model=tiny.token_description(tiny.save_backbone(tmp_path / "backbone")),
        caption_batch_size=1,
        captions_per_clip=2,
        store="float16",
        **common,
    )
    tokenizer, out = tmp_path / "vq" / "model", tmp_path / "tokens"
    options = ["--data", str(data), "--motion_tokenizer", str(tokenizer), "--out", str(out)]
    assert train(tokens_config, options) == 0
    model = MotionTokenGPT.from_pretrained(out / "model")
    trained = MotionTokenizer.from_pretrained(tokenizer)
    assert model.motion_tokenizer.fingerprint() == trained.fingerprint()
    motions = model.generate(["clip a moves left", "motion number 3"], [24, None])
    assert len(motions[0]) == 24
    assert all(isinstance(text, str) for text in model.caption(motions))


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_recipe_in_the_repository_is_sound(path: Path, called: dict[str, Any], tmp_path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    # What the comment on top tells to type.
    command = next(line for line in path.read_text().splitlines() if line.startswith("# motiongpt3 train"))
    words = command.split()
    assert (CONFIGS.parent / words[3]).resolve() == path.resolve()
    assert train(path, [*words[4:], "--device", "cpu"]) == 0
    assert isinstance(called["optimizer"], OptimizerConfig)
    assert called["optimizer"].steps == values["optimizer"]["steps"]
    assert called["data"] == Path(words[words.index("--data") + 1])
    if called.get("vae"):
        assert build_vae(called["vae"]).config.feature_width == 263
    if called.get("vq_vae"):
        assert called["vq_vae"].feature_width == 263
    if path == CONFIGS / "official" / "vq.yaml":
        assert called["vq_vae"] == VQVAEConfig.official()


def test_mini_fits_together(called: dict[str, Any]) -> None:
    places = ["--data", "d", "--out", "o", "--device", "cpu"]
    train(CONFIGS / "mini" / "vae.yaml", places)
    network = called["vae"]
    train(CONFIGS / "mini" / "text_to_motion.yaml", [*places, "--codec", "c"])
    values = {
        **called["model"],
        "stage": "",
        "text": config_to_json(SMOLLM2),
        "text_fingerprint": "",
        "vae": network,
    }
    config = config_from_json(MotionGPT3Config, values, "mini")
    codec = MotionCodec(build_vae(network))
    with torch.device("meta"):
        model = MotionGPT3(config, codec, tiny.byte_tokenizer())
    # The longest motion that may be asked for can also be predicted.
    assert codec.latent_count(config.longest_frames) <= model.placeholders.config.longest
    parameters = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("mot.text"))
    # Stored in half precision, the codec in single, it stays below 64 MB.
    assert 2 * parameters + 2 * sum(p.numel() for p in codec.parameters()) < 64e6


def test_official_sizes_are_those_of_official_checkpoints(called: dict[str, Any]) -> None:
    places = ["--data", "d", "--out", "o", "--device", "cpu"]
    train(CONFIGS / "official" / "vae.yaml", places)
    vae_sizes = called["vae"]
    train(CONFIGS / "official" / "text_to_motion.yaml", [*places, "--codec", "c"])
    text = dataclasses.replace(
        SMOLLM2,
        layers=12,
        width=768,
        heads=12,
        kv_heads=12,
        mlp_width=3072,
        vocabulary_size=50257,
        max_positions=1024,
        positions="learned",
        norm="layer",
        mlp="gelu_tanh",
        biases=True,
    )
    values = {
        **called["model"],
        "stage": "",
        "text": config_to_json(text),
        "text_fingerprint": "",
        "vae": vae_sizes,
    }
    config = config_from_json(MotionGPT3Config, values, "official")
    codec = MotionCodec(build_vae(vae_sizes))
    with torch.device("meta"):
        model = MotionGPT3(config, codec, tiny.byte_tokenizer())
    assert model.codec.vae.config == MLDVAEConfig.official()
    assert model.placeholders.config == LatentPlaceholdersConfig.official()
    assert model.head.config == MLPHeadConfig.official()
    assert config.motion.layers == tuple(range(12))
    assert config.motion.width == text.width
    assert config.motion.mlp_width == text.mlp_width


def test_mini_motion_tokens_fit_together(called: dict[str, Any]) -> None:
    places = ["--data", "d", "--out", "o", "--device", "cpu"]
    train(CONFIGS / "mini" / "vq.yaml", places)
    sizes = called["vq_vae"]
    train(CONFIGS / "mini" / "motion_tokens.yaml", [*places, "--motion_tokenizer", "c"])
    tokenizer = MotionTokenizer(VQVAE(sizes))
    motion = {"vocabulary_size": sizes.code_count + 2, "attention": "causal", **called["model"]["motion"]}
    values = {
        **called["model"],
        "text": config_to_json(SMOLLM2),
        "text_fingerprint": "",
        "vq_vae": config_to_json(sizes),
        "motion": motion,
    }
    config = config_from_json(MotionTokenGPTConfig, values, "mini")
    with torch.device("meta"):
        MotionTokenGPT(config, tokenizer, tiny.byte_tokenizer())
    assert config.dialogue == DialogueConfig.chat_ml()


def test_overrides_replace_what_the_file_says(called: dict[str, Any], tmp_path: Path) -> None:
    config = recipe(tmp_path, recipe="vae", data="a", out="b", vae=tiny.VAE, optimizer=OPTIMIZER, seed=1)
    train(config, ["--seed", "2", "--optimizer.steps", "9", "--weights.kl", "0.5", "--device", "cpu"])
    assert called["seed"] == 2
    assert called["optimizer"] == OptimizerConfig(learning_rate=0.01, steps=9, warmup_steps=1)
    assert called["weights"].kl == 0.5
    assert called["data"] == Path("a")
    assert "recipe" not in called
    assert "config" not in called


def test_resume_wants_a_run_to_go_on_with(called: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = recipe(tmp_path, recipe="vae", data="a", out=str(out), vae=tiny.VAE, optimizer=OPTIMIZER)
    assert "no checkpoint to go on from" in refusal(config, "--resume", "--device", "cpu")
    assert called == {}
    (out / "checkpoints").mkdir(parents=True)
    (out / "checkpoints" / "last.ckpt").touch()
    assert train(config, ["--resume", "--device", "cpu"]) == 0
    assert called["out"] == out
    assert "resume" not in called


def test_runs_and_rates_of_parts_are_settings_too(called: dict[str, Any], tmp_path: Path) -> None:
    settings = {"data": "a", "out": "b", "stage": "finetune", "mix": {"texts": 1.0}}
    rates = {**OPTIMIZER, "part_rates": {"text": 0.001, "head": 0.02}}
    config = recipe(tmp_path, recipe="language", optimizer=rates, run={"strategy": "fsdp"}, **settings)
    train(config, ["--run.devices", "2", "--device", "cpu"])
    assert called["optimizer"].part_rates == {"text": 0.001, "head": 0.02}
    assert called["run"] == RunConfig(devices=2, strategy="fsdp")
    assert "part_rates: head: -1" in refusal(config, "--optimizer.part_rates.head", "-1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe: [1, 2\nspeed: 3", "not readable as YAML"),
        ("recipe: vae\n\tout: x", "not readable as YAML"),
        ("recipe: fly", "recipe 'fly' is not one of vae, language"),
        ("recipe: [vae]", "recipe ['vae'] is not one of"),
        ("data: x", "recipe None is not one of"),
        ("", "recipe None is not one of"),
        ("- recipe: vae", "recipe None is not one of"),
        ("recipe: vae\nspeed: 3", "speed"),
        ("recipe: vae\noptimizer: {learning_rate: 0.1, steps: 3, speed: 4}", "speed"),
        ("recipe: vae\noptimizer: {learning_rate: 0.1}", "optimizer.steps"),
        ("recipe: vae\noptimizer: {learning_rate: 0.1, steps: 3}", "data"),
        (
            "recipe: vae\ndata: a\nout: b\nbatch_size: large\noptimizer: {learning_rate: 0.1, steps: 3}",
            "value: large",
        ),
        ("recipe: vae\ndata: a\nout: b\noptimizer: {learning_rate: 0.1, steps: 0}", "steps ≥ 1"),
    ],
)
def test_recipe_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    found = refusal(path)
    assert found.startswith(f"{path}: ")
    assert message in found


def test_other_mistakes_are_refused_in_one_line(called: dict[str, Any], tmp_path: Path) -> None:
    config = recipe(tmp_path, recipe="vae", data="a", out="b", vae=tiny.VAE, optimizer=OPTIMIZER)
    assert "no such file; recipes are in configs/" in refusal(tmp_path / "nothing.yaml")
    assert "not readable" in refusal(tmp_path)
    assert "--speed" in refusal(config, "--speed", "3")
    assert "optimizer.steps" in refusal(config, "--optimizer.steps", "many")
    assert "unknown device 'tpu'" in refusal(config, "--device", "tpu")
    (tmp_path / "latin.yaml").write_bytes(b"recipe: v\xe4")
    assert "not readable" in refusal(tmp_path / "latin.yaml")
    assert called == {}


def test_bad_dataset_and_network_are_refused(tmp_path: Path) -> None:
    config = recipe(tmp_path, recipe="vae", vae={**tiny.VAE, "width": 0}, optimizer=OPTIMIZER, device="cpu")
    assert "no dataset at" in refusal(config, "--data", str(tmp_path / "x"), "--out", str(tmp_path / "o"))
    data = write_tiny(tmp_path / "data")
    with pytest.raises(MotionGPT3Error, match="vae"):
        train(config, ["--data", str(data), "--out", str(tmp_path / "o")])
    assert not (tmp_path / "o").exists()
