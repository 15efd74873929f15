"""The motion tokenizer: raw features on both sides of a VQ-VAE, and its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from motiongpt3.errors import CheckpointError, ConfigError
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from motiongpt3.models.vq_vae import VQVAE, VQVAEConfig
from motiongpt3.motion.features import FEATURE_WIDTH
from tests import tiny

LENGTHS = torch.tensor([9, 24])


def clips() -> torch.Tensor:
    torch.manual_seed(1)
    return 0.1 * torch.randn(2, 24, FEATURE_WIDTH)


@torch.no_grad()
def test_features_are_normalised_and_back() -> None:
    tokenizer = tiny.motion_tokenizer()
    features = clips()
    codes = tokenizer.encode(features, LENGTHS)
    normalised = (features - tokenizer.feature_mean) / tokenizer.feature_std
    assert torch.equal(codes, tokenizer.vq_vae.encode(normalised, LENGTHS))
    assert codes.shape == (2, 6)
    assert tokenizer.code_count(9) == 2
    counts = torch.tensor([2, 6])
    decoded = tokenizer.decode(codes, counts)
    inner = tokenizer.vq_vae.decode(codes, counts)
    torch.testing.assert_close((decoded - tokenizer.feature_mean) / tokenizer.feature_std, inner)
    assert decoded.shape == features.shape


@torch.no_grad()
def test_folder_holds_all_of_it(tmp_path: Path) -> None:
    tokenizer = tiny.motion_tokenizer()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    read = MotionTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert not read.training
    assert read.vq_vae.config == tokenizer.vq_vae.config
    assert read.state_dict().keys() == tokenizer.state_dict().keys()
    for name, tensor in tokenizer.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor), name
    assert torch.equal(read.encode(clips(), LENGTHS), tokenizer.encode(clips(), LENGTHS))


def test_fingerprint_tells_tokenizers_apart(tmp_path: Path) -> None:
    tokenizer = tiny.motion_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    fingerprint = tokenizer.fingerprint()
    assert MotionTokenizer.from_pretrained(tmp_path).fingerprint() == fingerprint
    for name in ("vq_vae.quantizer.codebook", "feature_std", "vq_vae.encoder.model.0.bias"):
        other = tiny.motion_tokenizer()
        other.state_dict()[name].view(-1)[-1] += 0.01
        assert other.fingerprint() != fingerprint, name


def test_other_features_are_refused() -> None:
    config = {**tiny.VQ_VAE, "feature_width": 251}
    with pytest.raises(ConfigError, match=r"vq_vae\.feature_width: 251 .* 263"):
        MotionTokenizer(VQVAE(VQVAEConfig(**config)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "motion-codec"}, "not a motion tokenizer"),
        ({"vq_vae": None}, "expected an object"),
        ({"vq_vae": {**tiny.VQ_VAE, "depth": 3}}, "unknown field 'depth'"),
        ({"vq_vae": {**tiny.VQ_VAE, "width": 0}}, "width: 0"),
        ({"vq_vae": {name: size for name, size in tiny.VQ_VAE.items() if name != "width"}}, "'width'"),
        ({"vq_vae": {**tiny.VQ_VAE, "width": 2**60}}, "nothing has these sizes"),
        ({"vq_vae": {**tiny.VQ_VAE, "width": 9}}, "has shape"),
    ],
)
def test_another_kind_of_folder_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    tiny.motion_tokenizer().save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, **change}))
    with pytest.raises((CheckpointError, ConfigError), match=message):
        MotionTokenizer.from_pretrained(tmp_path)


def test_weights_must_fit_the_config(tmp_path: Path) -> None:
    tiny.motion_tokenizer().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["vq_vae.quantizer.codebook"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'vq_vae\.quantizer\.codebook'"):
        MotionTokenizer.from_pretrained(tmp_path)
