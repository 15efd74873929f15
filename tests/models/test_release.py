"""Official checkpoints, rebuilt from their published keys: what becomes of them, and what is refused.

One has the official sizes and must meet the official numbers; the others are its like at 1/32 of the width.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from motiongpt3.cli.main import main
from motiongpt3.errors import CheckpointError, ConfigError, InputError, MissingDependencyError
from motiongpt3.models import release
from motiongpt3.models.codec import MotionCodec
from motiongpt3.models.head import MLPHead, MLPHeadConfig
from motiongpt3.models.mld_vae import MLDVAE, MLDVAEConfig
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import LatentPlaceholdersConfig
from motiongpt3.models.release import (
    import_checkpoint,
    official_codec,
    official_model,
    official_motion_tokenizer,
    official_tokenizer,
)
from motiongpt3.models.vq_vae import VQVAE, VQVAEConfig
from motiongpt3.motion.features import Statistics
from motiongpt3.sampling import LatentNoise
from tests.conftest import GOLDEN, TIED_KEYS, golden_state_dict, golden_vq_state_dict, golden_weight
from tests.tokenizers import gpt2_tokenizer

Arrays = dict[str, Tensor]
State = dict[str, Tensor]
LENGTHS = [60, 44]
SEEDS = [7, 8]
NULL_CONDITION = "lm.fake_latent"


def released_state(shrink: int = 1) -> State:
    """Every tensor of a released checkpoint; saved scores, which are to be passed over, are NaN.

    Args:
        shrink: what all widths are divided by.
    """
    state: State = {}
    filled: State = {}
    for line in (GOLDEN / "upstream_keys.txt").read_text().splitlines():
        key, text, _ = line.split("\t")
        shape = [int(size) for size in re.findall(r"\d+", text)]
        shape = [size // shrink if size % 256 == 0 else size for size in shape]
        if key.endswith("time_embed.mlp.0.weight"):
            shape[1] = 256
        if key.startswith(("metrics.", "_losses.")):
            state[key] = torch.full((1,), torch.nan)
        else:
            name = TIED_KEYS.get(key, key)
            if name not in filled:
                filled[name] = golden_weight(name, tuple(shape))
            state[key] = filled[name]
    return state


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    generator = torch.Generator().manual_seed(0)
    return Statistics(torch.randn(263, generator=generator), torch.rand(263, generator=generator) + 0.1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, statistics: Statistics) -> dict[str, Path]:
    """A folder of statistics, and one with GPT-2's tokenizer."""
    root = tmp_path_factory.mktemp("given")
    statistics.save(root / "stats")
    gpt2_tokenizer().save_pretrained(root / "gpt2")
    return {"stats": root / "stats", "tokenizer": root / "gpt2"}


@pytest.fixture(scope="module")
def imported(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[MotionGPT3, str]:
    """The released checkpoint of the official sizes, through the command line and back from its folder."""
    root = tmp_path_factory.mktemp("released")
    content = {"epoch": 3, "state_dict": released_state(), "optimizer_states": [{"state": {}}]}
    try:
        torch.save(content, root / "motiongpt3.ckpt")
        del content
        options = [f"--{name}={folder}" for name, folder in folders.items()]
        code = main(["import-official", str(root / "motiongpt3.ckpt"), *options, f"--out={root / 'model'}"])
        assert code == 0
        names = " ".join(sorted(path.name for path in (root / "model").iterdir()))
        model = MotionGPT3.from_pretrained(root / "model")
    finally:
        # A gigabyte each.
        shutil.rmtree(root)
    return model, names


@pytest.fixture(scope="module")
def vq_state() -> State:
    """A checkpoint of the official VQ-VAE, all zeros."""
    with torch.device("meta"):
        shapes = VQVAE(VQVAEConfig.official()).state_dict()
    return {f"vae.{name}": torch.zeros(1).expand(tensor.shape) for name, tensor in shapes.items()}


@pytest.fixture
def arrays(golden: Callable[[str], dict[str, np.ndarray]]) -> Callable[[str], Arrays]:
    def load(name: str) -> Arrays:
        return {
            key: torch.from_numpy(array) for key, array in golden(name).items() if array.dtype.kind in "fi"
        }

    return load


def test_the_model_is_whole(imported: tuple[MotionGPT3, str]) -> None:
    model, names = imported
    assert names == "config.json model.safetensors tokenizer"
    assert (model.config.guidance, model.config.scheduler, model.config.steps) == (7.5, "ddpm", 100)
    assert model.frame_range == (20, 196)
    # All that a checkpoint holds, tied copies once, but for six unused rows of motion logits.
    keys = released_state(32)
    own = [key for key in keys if key.startswith(("vae.", "lm.")) and key not in TIED_KEYS]
    assert len(list(model.parameters())) == len(own) - 1


@torch.no_grad()
def test_prompts_condition_motion_as_in_the_official_model(
    imported: tuple[MotionGPT3, str], golden: Callable[[str], dict[str, np.ndarray]]
) -> None:
    model, _ = imported
    expected = golden("lm_t2m_latents")
    cache, lengths = model.read_text([model.request_for("t2m", str(text)) for text in expected["texts"]])
    hidden = model.placeholders.fill(model.mot, cache, lengths, torch.ones(2, dtype=torch.long))
    torch.testing.assert_close(hidden, torch.from_numpy(expected["latents"]), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_head_predicts_as_the_official_one(
    imported: tuple[MotionGPT3, str], arrays: Callable[[str], Arrays]
) -> None:
    model, _ = imported
    given = arrays("diffhead")
    torch.testing.assert_close(model.placeholders.null_condition.data, given["fake_latent"])
    condition = model.head.encode_condition(given["c"])
    predicted = model.head(given["x"], given["t"], condition)
    torch.testing.assert_close(predicted, given["net_out"], atol=5e-5, rtol=0)


@torch.no_grad()
def test_vae_reads_and_writes_as_the_official_one(
    imported: tuple[MotionGPT3, str], arrays: Callable[[str], Arrays], statistics: Statistics
) -> None:
    model, _ = imported
    given = arrays("vae")
    raw = statistics.denormalize(given["feats"])
    mean, deviation = model.codec.encode(raw, given["lens"])
    torch.testing.assert_close(mean[:, 0] / 0.8457, given["dist"][0], atol=5e-5, rtol=0)
    expected = (0.5 * given["dist"][1]).exp() * 0.8457
    torch.testing.assert_close(deviation[:, 0], expected, atol=5e-5, rtol=0)
    decoded = statistics.normalize(model.codec.decode(given["z"].transpose(0, 1) * 0.8457, given["lens"]))
    for row, length in enumerate(given["lens"].tolist()):
        torch.testing.assert_close(decoded[row, :length], given["dec"][row, :length], atol=5e-5, rtol=0)


@torch.no_grad()
def test_text_becomes_the_motion_that_the_official_parts_make(
    imported: tuple[MotionGPT3, str],
    golden: Callable[[str], dict[str, np.ndarray]],
    statistics: Statistics,
) -> None:
    """From text to features: against golden conditions, DDPM written out, and parts that are not imported."""
    model, _ = imported
    given = golden("lm_t2m_latents")
    motions = model.generate(
        [str(text) for text in given["texts"]], LENGTHS, SEEDS, guidance=3.0, temperature=0
    )

    head, vae = MLPHead(MLPHeadConfig.official()).eval(), MLDVAE(MLDVAEConfig.official()).eval()
    for module, prefix in ((head, "lm.diffloss.net."), (vae, "vae.")):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in golden_state_dict(prefix).items()})
    condition = head.encode_condition(torch.from_numpy(given["latents"]))
    null = head.encode_condition(golden_state_dict(NULL_CONDITION)[NULL_CONDITION].expand(2, -1, -1))
    latents = ddpm(guided_twice(head, condition, null), LatentNoise(SEEDS, [1, 1], 256).draw())
    expected = statistics.denormalize(vae.decode(latents / 0.8457, torch.tensor(LENGTHS)))
    for motion, features, length in zip(motions, expected, LENGTHS, strict=True):
        assert motion.features is not None
        assert motion.features.shape == (length, 263)
        torch.testing.assert_close(motion.features, features[:length], atol=1e-4, rtol=1e-4)
    assert (expected[0] - expected[1]).abs().max() > 0.01


def guided_twice(
    head: MLPHead, condition: object, null: object, scale: float = 3.0
) -> Callable[[Tensor, Tensor], Tensor]:
    """Guidance in two calls."""

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        unguided = head(noisy, time, null)
        return unguided + scale * (head(noisy, time, condition) - unguided)

    return predict


def ddpm(predict: Callable[[Tensor, Tensor], Tensor], latents: Tensor) -> Tensor:
    """The mean of 100 ancestral steps (Ho et al. 2020, eq. 7) on every 999/99-th of 1000 linear betas."""
    kept = torch.cumprod(1 - torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64), 0)
    times = [round(step * 999 / 99) for step in range(100)]
    for step in reversed(range(100)):
        now = kept[times[step]]
        before = kept[times[step - 1]] if step else torch.ones(()).double()
        noise = predict(latents, torch.full((len(latents),), float(times[step])))
        clean = (latents - (1 - now).sqrt() * noise) / now.sqrt()
        beta = 1 - now / before
        mean = (
            before.sqrt() * beta / (1 - now) * clean + (1 - beta).sqrt() * (1 - before) / (1 - now) * latents
        )
        latents = mean.float()
    return latents


@torch.no_grad()
def test_given_motions_are_projected_in_the_official_order(imported: tuple[MotionGPT3, str]) -> None:
    model, _ = imported
    weight, bias = (
        golden_state_dict("lm.motion_und_head.")[f"lm.motion_und_head.layers.{leaf}"]
        for leaf in ("weight", "bias")
    )
    latents = torch.randn(1, 2, 256)
    embedded = model.placeholders.embed(latents)
    expected = torch.cat(F.linear(latents[0], weight, bias).split(768, dim=-1))
    torch.testing.assert_close(embedded[0], expected)


@pytest.mark.parametrize("prompt", ["<start_of_motion> walks", "a <motion_latent_holder>", "x <|endoftext|>"])
def test_special_tokens_are_refused_in_prompts(imported: tuple[MotionGPT3, str], prompt: str) -> None:
    with pytest.raises(InputError, match="meaning of its own"):
        imported[0].generate([prompt])


def test_prompts_have_the_official_longest_length(imported: tuple[MotionGPT3, str]) -> None:
    model, _ = imported
    around = len(model.prompt_ids(" a")) - 1
    model.validate_prompt(" a" * (186 - around))
    with pytest.raises(InputError, match="187 tokens, at most 186"):
        model.validate_prompt(" a" * (187 - around))


# From here on, small checkpoints.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> State:
    """A checkpoint of 1/32 of the official widths, and a converter that expects such."""
    vae = replace(MLDVAEConfig.official(), width=8, feedforward_width=32)
    head = replace(
        MLPHeadConfig.official(),
        latent_channels=8,
        hidden_width=24,
        width=32,
        condition_feedforward_width=96,
    )
    placeholders = replace(LatentPlaceholdersConfig.official(), width=24, latent_channels=8)
    for config in (vae, head, placeholders):
        monkeypatch.setattr(type(config), "official", lambda config=config: config)
    return released_state(32)


@pytest.fixture(scope="module")
def tokenizer(folders: dict[str, Path]) -> object:
    return official_tokenizer(folders["tokenizer"])


def save_zip(state: State, path: Path) -> None:
    torch.save({"state_dict": {"state_dict": state}, "global_step": 7}, path)


def save_legacy(state: State, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def save_safetensors(state: State, path: Path) -> None:
    save_file({name: tensor.clone() for name, tensor in state.items()}, path)


@pytest.mark.parametrize(
    ("save", "name"),
    [(save_zip, "nested.pth"), (save_legacy, "flat.tar"), (save_safetensors, "flat.safetensors")],
)
def test_files_of_all_kinds_become_the_same_model(
    save: Callable[[State, Path], None],
    name: str,
    small: State,
    folders: dict[str, Path],
    tokenizer: object,
    statistics: Statistics,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(release, "official_tokenizer", lambda folder: tokenizer)
    save(small, tmp_path / name)
    import_checkpoint(tmp_path / name, folders["stats"], tmp_path / "model")
    model = MotionGPT3.from_pretrained(tmp_path / "model")
    expected = official_model(small, statistics, tokenizer).state_dict()  # type: ignore[arg-type]
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in model.state_dict().items())
    assert [motion.joints.shape for motion in model.generate(["a person walks"], 24, steps=2)] == [
        (24, 22, 3)
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "model"])


def test_every_task_runs_from_the_command_line(
    small: State,
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_zip(small, tmp_path / "official.ckpt")
    options = [f"--{name}={folder}" for name, folder in folders.items()]
    monkeypatch.chdir(tmp_path)
    assert main(["import-official", "official.ckpt", *options, "--out=model"]) == 0
    common = ["--model=model", "--format=npy"]
    assert main(["generate", "a person walks", "--length=40", "--out=made", *common]) == 0
    (made,) = Path("made").glob("*.npy")
    given = np.load(made)
    assert given.shape == (40, 22, 3)
    np.save("head.npy", given[:8])
    for command in (["predict", "head.npy", "--length=40"], ["inbetween", str(made)]):
        out = tmp_path / command[0]
        assert main([*command, f"--out={out}", *common]) == 0
        (path,) = out.glob("*.npy")
        completed = np.load(path)
        assert completed.shape == (40, 22, 3)
        np.testing.assert_allclose(completed[:8], given[:8], atol=1e-4)
    capsys.readouterr()
    assert main(["caption", str(made), "--model=model"]) == 0
    assert capsys.readouterr().out.strip()


def test_a_checkpoint_without_a_null_condition_takes_no_guidance(
    small: State, statistics: Statistics, tokenizer: object, tmp_path: Path
) -> None:
    """As after the official stages 2 and 3, whose configs switch guidance off."""
    del small[NULL_CONDITION]
    official_model(small, statistics, tokenizer).save_pretrained(tmp_path)  # type: ignore[arg-type]
    model = MotionGPT3.from_pretrained(tmp_path)
    assert model.config.guidance == 1.0
    assert "placeholders.null_condition" not in model.state_dict()
    assert len(model.generate(["a person walks"], steps=2)[0].joints) == 120
    with pytest.raises(ConfigError, match="guidance 3 needs a null condition"):
        model.generate(["a person walks"], guidance=3.0)


def test_half_precision_is_read_as_single(small: State, statistics: Statistics, tokenizer: object) -> None:
    halved = {name: tensor.half() for name, tensor in small.items()}
    model = official_model(halved, statistics, tokenizer)  # type: ignore[arg-type]
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    expected = small["lm.motion_und_head.layers.weight"].half().float()
    torch.testing.assert_close(model.placeholders.motion_in.weight.data, expected, atol=0, rtol=0)


def remove(state: State, key: str) -> None:
    del state[key]


def reshape(state: State, key: str) -> None:
    state[key] = torch.cat([state[key], state[key][:1]])


def spoil(state: State, key: str) -> None:
    state[key].view(-1)[-1] = torch.nan


def count(state: State, key: str) -> None:
    state[key] = state[key].long()


@pytest.mark.parametrize("change", [remove, reshape, spoil, count])
@pytest.mark.parametrize(
    "key",
    [
        "vae.encoder.middle_block.linear1.bias",
        "lm.diffloss.net.res_blocks.2.in_ln.weight",
        "lm.motion_und_head.layers.bias",
        "lm.language_model.transformer.h.3.ln_1.fn.1.bias",
    ],
)
def test_wrong_tensors_are_refused_by_name(
    change: Callable[[State, str], None],
    key: str,
    small: State,
    statistics: Statistics,
    tokenizer: object,
) -> None:
    change(small, key)
    with pytest.raises(CheckpointError, match=re.escape(key.removeprefix("lm.language_model."))):
        official_model(small, statistics, tokenizer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("lm.norm_layer.weight", "with_hid_norm"),
        ("lm.diffusion_pos_embed_learned", "with_hid_norm"),
        ("lm.diffloss.net.cond_embed.weight", "multi_hidden"),
        ("vae.quantizer.codebook", "unexpected tensor vae.quantizer.codebook"),
        ("lm.adapter.weight", "unexpected tensor lm.adapter.weight"),
        ("vae.adapter.weight", "unexpected tensor vae.adapter.weight"),
        ("lm.language_model.adapter.weight", "unexpected tensor adapter.weight"),
        ("adapter.weight", "unexpected tensor adapter.weight"),
    ],
)
def test_tensors_that_would_be_lost_are_refused(
    key: str, reason: str, small: State, statistics: Statistics, tokenizer: object
) -> None:
    small[key] = torch.zeros(3)
    with pytest.raises(CheckpointError, match=reason):
        official_model(small, statistics, tokenizer)  # type: ignore[arg-type]


@pytest.mark.parametrize(("shape", "reason"), [((50257, 24), "has 50257 rows"), ((24,), "no matrices")])
def test_other_text_embeddings_are_refused(
    shape: tuple[int, ...], reason: str, small: State, statistics: Statistics, tokenizer: object
) -> None:
    small["lm.language_model.transformer.wte.weight"] = torch.zeros(shape)
    with pytest.raises(CheckpointError, match=reason):
        official_model(small, statistics, tokenizer)  # type: ignore[arg-type]


def test_kit_checkpoints_are_named(small: State, statistics: Statistics) -> None:
    small["vae.skel_embedding.weight"] = torch.zeros(8, 251)
    with pytest.raises(CheckpointError, match=r"251 features per frame \(KIT-ML\).*263.*HumanML3D"):
        official_codec(small, statistics)


def test_a_vae_alone_becomes_a_codec(
    small: State, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in MLD's checkpoint, among parts that this project has no use for."""
    state = {name: tensor for name, tensor in small.items() if name.startswith("vae.")}
    torch.save({"state_dict": state | {"denoiser.ids": torch.arange(3)}}, tmp_path / "mld.ckpt")
    out = tmp_path / "codec"
    assert (
        main(["import-official", str(tmp_path / "mld.ckpt"), f"--stats={folders['stats']}", f"--out={out}"])
        == 0
    )
    assert capsys.readouterr().out == f"{out}: a motion VAE\n"
    codec = MotionCodec.from_pretrained(out)
    assert torch.equal(codec.vae.state_dict()["final_layer.bias"], state["vae.final_layer.bias"])
    torch.testing.assert_close(codec.latent_std, torch.full((8,), 1 / 0.8457))
    assert torch.equal(codec.feature_mean, Statistics.load(folders["stats"]).mean)


def test_a_vq_vae_becomes_a_motion_tokenizer(
    folders: dict[str, Path],
    arrays: Callable[[str], Arrays],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As in MotionGPT's checkpoint, beside a language model that this project has no use for."""
    state = golden_vq_state_dict() | {"lm.language_model.shared.weight": torch.zeros(3)}
    torch.save({"state_dict": state}, tmp_path / "motiongpt_s3.tar")
    out = tmp_path / "tokenizer"
    checkpoint = str(tmp_path / "motiongpt_s3.tar")
    for _ in range(2):
        assert main(["import-official", checkpoint, f"--stats={folders['stats']}", f"--out={out}"]) == 0
    assert capsys.readouterr().out.startswith(
        f"{out}: a motion tokenizer (VQ-VAE); try: motiongpt3 motion-codes"
    )
    assert "lm.*" in caplog.text
    tokenizer = MotionTokenizer.from_pretrained(out)
    assert torch.equal(tokenizer.feature_mean, Statistics.load(folders["stats"]).mean)
    golden_codes, x = arrays("vqvae")["codes"], arrays("vqvae")["x"]
    with torch.no_grad():
        features = x * tokenizer.feature_std + tokenizer.feature_mean
        assert torch.equal(tokenizer.encode(features, torch.tensor([64])), golden_codes)
        decoded = tokenizer.decode(golden_codes, torch.tensor([16]))
    normalised = (decoded - tokenizer.feature_mean) / tokenizer.feature_std
    torch.testing.assert_close(normalised, arrays("vqvae")["dec"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("key", "tensor", "reason"),
    [
        ("vae.encoder.model.0.weight", torch.zeros(512, 251, 3), r"251 features per frame \(KIT-ML\)"),
        ("vae.quantizer.codebook", torch.zeros(1024, 512), r"vae.quantizer.codebook \(1024, 512\)"),
        ("vae.decoder.model.6.bias", None, "no tensor vae.decoder.model.6.bias"),
        ("vae.decoder.model.6.bias", torch.full((263,), torch.nan), "vae.decoder.model.6.bias has values"),
        ("vae.quantizer.code_sum", torch.zeros(3), "unexpected tensor vae.quantizer.code_sum"),
        ("vae.quantizer.codebook", torch.zeros(512, 512, dtype=torch.int64), "stored as torch.int64"),
    ],
)
def test_wrong_tensors_of_a_vq_vae_are_refused_by_name(
    key: str, tensor: Tensor | None, reason: str, vq_state: State, statistics: Statistics
) -> None:
    state = {name: value for name, value in {**vq_state, key: tensor}.items() if value is not None}
    with pytest.raises(CheckpointError, match=reason):
        official_motion_tokenizer(state, statistics)


def test_weights_of_something_else_are_refused(statistics: Statistics) -> None:
    with pytest.raises(CheckpointError, match=r"no motion VAE.*'classifier.weight'"):
        official_codec({"classifier.weight": torch.zeros(3)}, statistics)


def test_a_refused_checkpoint_leaves_nothing_behind(
    small: State, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del small["vae.final_layer.bias"]
    torch.save(small, tmp_path / "part.pth")
    options = [f"--{name}={folder}" for name, folder in folders.items()]
    assert main(["import-official", str(tmp_path / "part.pth"), *options, f"--out={tmp_path / 'model'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'part.pth'}: no tensor vae.final_layer.bias")
    assert [path.name for path in tmp_path.iterdir()] == ["part.pth"]


def test_only_models_are_replaced(small: State, folders: dict[str, Path], tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in small.items() if name.startswith("vae.")}
    torch.save(state, tmp_path / "vae.pth")
    out = tmp_path / "out"
    out.mkdir()
    for _ in range(2):
        import_checkpoint(tmp_path / "vae.pth", folders["stats"], out)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "config.json").write_text('{"model": "of the world"}')
    for other in (tmp_path / "thesis", tmp_path / "vae.pth"):
        with pytest.raises(InputError, match="choose another --out"):
            import_checkpoint(tmp_path / "vae.pth", folders["stats"], other)
    torch.save(state, out / "vae.pth")
    with pytest.raises(InputError, match="would be replaced"):
        import_checkpoint(out / "vae.pth", folders["stats"], out)
    assert (out / "vae.pth").is_file()


def test_other_tokenizers_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        official_tokenizer(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"cannot read a tokenizer|not that of GPT-2"):
        official_tokenizer(tmp_path)
    other = gpt2_tokenizer()
    other.add_tokens(["<motion_id_0>"])
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="not that of GPT-2"):
        official_tokenizer(tmp_path / "other")


def test_without_a_tokenizer_the_message_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise MissingDependencyError(f"text backbone {name!r} is not on this machine: run it")

    monkeypatch.setattr(release, "load_text_backbone", absent)
    with pytest.raises(MissingDependencyError, match=r"'gpt2'.*--tokenizer"):
        official_tokenizer()
