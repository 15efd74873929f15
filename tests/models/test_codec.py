"""The codec: statistics on both sides of a VAE, and its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from motiongpt3.errors import CheckpointError, ConfigError
from motiongpt3.models.codec import MotionCodec, build_vae, vae_to_json
from motiongpt3.motion.features import FEATURE_WIDTH
from tests import tiny

KINDS = pytest.mark.parametrize("kind", [tiny.VAE, tiny.MLD_VAE], ids=["temporal", "mld"])
LENGTHS = torch.tensor([9, 24])


def clips() -> torch.Tensor:
    torch.manual_seed(1)
    return 0.1 * torch.randn(2, 24, FEATURE_WIDTH)


@KINDS
@torch.no_grad()
def test_both_sides_are_scaled(kind: dict[str, Any]) -> None:
    codec = tiny.codec(kind)
    features = clips()
    mean, std = codec.encode(features, LENGTHS)
    inner_mean, inner_log_variance = codec.vae.encode(
        (features - codec.feature_mean) / codec.feature_std, LENGTHS
    )
    torch.testing.assert_close(mean * codec.latent_std + codec.latent_mean, inner_mean)
    torch.testing.assert_close(std * codec.latent_std, (inner_log_variance / 2).exp())
    decoded = codec.decode(mean, LENGTHS)
    inner = codec.vae.decode(inner_mean, LENGTHS)
    torch.testing.assert_close(
        (decoded - codec.feature_mean) / codec.feature_std, inner, atol=1e-4, rtol=1e-4
    )
    assert decoded.shape == features.shape


@torch.no_grad()
def test_counts_follow_the_length() -> None:
    codec = tiny.codec()
    assert codec.latent_counts(torch.tensor([1, 8, 9, 24])).tolist() == [1, 1, 2, 3]
    assert codec.latent_count(25) == 4
    assert codec.frames_per_latent == 8
    assert codec.latent_channels == 4
    whole = tiny.codec(tiny.MLD_VAE)
    assert whole.latent_counts(LENGTHS).tolist() == [1, 1]
    assert whole.frames_per_latent is None


@KINDS
@torch.no_grad()
def test_folder_holds_all_of_it(kind: dict[str, Any], tmp_path: Path) -> None:
    codec = tiny.codec(kind)
    codec.save_pretrained(tmp_path / "codec")
    read = MotionCodec.from_pretrained(tmp_path / "codec")
    assert not read.training
    assert vae_to_json(read.vae) == kind
    assert read.state_dict().keys() == codec.state_dict().keys()
    for name, tensor in codec.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor), name
    latents, _ = codec.encode(clips(), LENGTHS)
    assert torch.equal(read.encode(clips(), LENGTHS)[0], latents)
    assert torch.equal(read.decode(latents, LENGTHS), codec.decode(latents, LENGTHS))


def test_other_features_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"vae\.feature_width: 251 .* 263"):
        MotionCodec(build_vae({**tiny.VAE, "feature_width": 251}))


def test_another_kind_of_folder_is_refused(tmp_path: Path) -> None:
    tiny.codec().save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"model": "motiongpt3"}, "not a motion codec"),
        ({"vae": None}, "vae.kind: None"),
        ({"vae": {**tiny.VAE, "kind": "vq"}}, "vae.kind: 'vq' is not one of temporal, mld"),
        ({"vae": {**tiny.VAE, "depth": 3}}, "unknown field 'depth'"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**values, **change}))
        with pytest.raises((CheckpointError, ConfigError), match=message):
            MotionCodec.from_pretrained(tmp_path)


def test_weights_must_fit_the_config(tmp_path: Path) -> None:
    tiny.codec().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["latent_std"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="'latent_std'"):
        MotionCodec.from_pretrained(tmp_path)
