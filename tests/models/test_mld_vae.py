"""MLD's motion VAE: the official numbers, padding that changes nothing, any number of latents, refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.mld_vae import MLDVAE, MLDVAEConfig
from motiongpt3.models.vae import draw_latents
from tests.conftest import golden_state_dict

TINY = MLDVAEConfig(
    feature_width=6,
    latent_tokens=1,
    width=16,
    layers=3,
    heads=2,
    feedforward_width=24,
    dropout=0.1,
    positions=30,
)


def tiny_vae(**changes: object) -> MLDVAE:
    torch.manual_seed(0)
    return MLDVAE(replace(TINY, **changes)).eval()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def official() -> MLDVAE:
    vae = MLDVAE(MLDVAEConfig.official())
    vae.load_state_dict({key.removeprefix("vae."): value for key, value in golden_state_dict("vae.").items()})
    return vae.eval()


@pytest.mark.parametrize("grad", [False, True])
def test_encodes_as_the_official_vae(
    official: MLDVAE, golden: Callable[[str], dict[str, np.ndarray]], grad: bool
) -> None:
    # Without gradients torch takes a fused path through the encoder layers: both must agree.
    arrays = {name: torch.from_numpy(array) for name, array in golden("vae").items()}
    with torch.set_grad_enabled(grad):
        mean, log_variance = official.encode(arrays["feats"], arrays["lens"])
    assert mean.shape == (3, 1, 256)
    torch.testing.assert_close(mean[:, 0], arrays["dist"][0], atol=2e-5, rtol=0)
    torch.testing.assert_close(log_variance[:, 0], arrays["dist"][1], atol=2e-5, rtol=0)


@torch.no_grad()
def test_decodes_as_the_official_vae(
    official: MLDVAE, golden: Callable[[str], dict[str, np.ndarray]]
) -> None:
    arrays = {name: torch.from_numpy(array) for name, array in golden("vae").items()}
    features = official.decode(arrays["z"].transpose(0, 1), arrays["lens"])
    torch.testing.assert_close(features, arrays["dec"], atol=2e-5, rtol=0)


@torch.no_grad()
def test_padding_changes_nothing() -> None:
    vae = tiny_vae(latent_tokens=2)
    features, lengths = torch.randn(3, 9, 6), torch.tensor([9, 1, 5])
    for row, length in enumerate(lengths.tolist()):
        features[row, length:] = torch.nan
    mean, log_variance = vae.encode(features, lengths)
    decoded = vae.decode(mean, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = vae.encode(features[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(mean[row : row + 1], alone[0])
        torch.testing.assert_close(log_variance[row : row + 1], alone[1])
        decoded_alone = vae.decode(mean[row : row + 1], lengths[row : row + 1])
        torch.testing.assert_close(decoded[row : row + 1, :length], decoded_alone)
        assert not decoded[row, length:].any()


@torch.no_grad()
def test_one_frame_keeps_its_shape() -> None:
    vae = tiny_vae()
    mean, _ = vae.encode(torch.randn(1, 1, 6), torch.tensor([1]))
    assert mean.shape == (1, 1, 16)
    assert vae.decode(mean, torch.tensor([1])).shape == (1, 1, 6)


@torch.no_grad()
def test_several_latents() -> None:
    vae = tiny_vae(latent_tokens=3)
    mean, log_variance = vae.encode(torch.randn(2, 7, 6), torch.tensor([7, 4]))
    assert mean.shape == log_variance.shape == (2, 3, 16)
    assert vae.latent_count(7) == vae.latent_count(4) == 3
    decoded = vae.decode(mean, torch.tensor([7, 4]))
    changed = mean.clone()
    changed[:, 2] += 1
    assert (vae.decode(changed, torch.tensor([7, 4]))[:, :4] - decoded[:, :4]).abs().min() > 0


def test_every_parameter_learns() -> None:
    vae = tiny_vae(dropout=0.0, positions=7)
    features = torch.randn(2, 5, 6)
    reconstruction, mean, log_variance = vae(features, torch.tensor([5, 5]))
    (
        (reconstruction - features).square().mean() + mean.square().mean() + log_variance.exp().mean()
    ).backward()
    still = [name for name, value in vae.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == []


def test_draws_from_the_posterior() -> None:
    mean, log_variance = torch.full((1, 2000, 4), 3.0), torch.full((1, 2000, 4), 2.0).log() * 2
    drawn = draw_latents(mean, log_variance, torch.Generator().manual_seed(0))
    assert drawn.mean() == pytest.approx(3.0, abs=0.1)
    assert drawn.std() == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("frames", [0, 29])
def test_refuses_clips_beyond_its_positions(frames: int) -> None:
    vae = tiny_vae()
    assert vae.config.longest_clip == 28
    with pytest.raises(InputError, match="1 to 28"):
        vae.encode(torch.zeros(1, frames, 6), torch.tensor([frames]))
    with pytest.raises(InputError, match="1 to 28"):
        vae.decode(torch.zeros(1, 1, 16), torch.tensor([frames]))


@pytest.mark.parametrize(
    ("field", "value"), [("layers", 4), ("heads", 3), ("latent_tokens", 0), ("positions", 2)]
)
def test_refuses_contradicting_sizes(field: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"vae.{'positions' if field == 'latent_tokens' else field}"):
        tiny_vae(**{field: value})
