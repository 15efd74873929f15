"""The native VAE: any length, batching changes nothing, every part takes part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from motiongpt3.errors import ConfigError
from motiongpt3.models.temporal_vae import TemporalVAE, TemporalVAEConfig
from tests.tiny import randomise

CONFIG = TemporalVAEConfig(
    feature_width=5,
    patch_frames=2,
    patches_per_latent=3,
    patch_channels=2,
    width=8,
    encoder_dilations=(1, 3),
    decoder_dilations=(3, 1),
    frame_width=4,
)


def make_vae(config: TemporalVAEConfig = CONFIG) -> TemporalVAE:
    torch.manual_seed(0)
    vae = TemporalVAE(config)
    randomise(vae)
    return vae.eval()


def clips(*lengths: int) -> tuple[Tensor, Tensor]:
    """Features (B, T, F), NaN past each length, and the lengths (B,)."""
    torch.manual_seed(1)
    features = torch.randn(len(lengths), max(lengths), CONFIG.feature_width)
    for row, length in zip(features, lengths):
        row[length:] = float("nan")
    return features, torch.tensor(lengths)


@pytest.mark.parametrize(("length", "count"), [(1, 1), (5, 1), (6, 1), (7, 2), (12, 2), (31, 6)])
@torch.no_grad()
def test_takes_and_makes_any_length(length: int, count: int) -> None:
    vae = make_vae()
    features, lengths = clips(length)
    mean, log_variance = vae.encode(features, lengths)
    assert vae.latent_count(length) == count
    assert mean.shape == log_variance.shape == (1, count, vae.latent_channels)
    assert vae.latent_channels == 6
    decoded = vae.decode(mean, lengths)
    assert decoded.shape == (1, length, CONFIG.feature_width)
    assert decoded.isfinite().all()


@torch.no_grad()
def test_clip_is_encoded_and_decoded_alone_as_in_a_batch() -> None:
    vae = make_vae()
    features, lengths = clips(8, 31, 1, 18)
    means, log_variances = vae.encode(features, lengths)
    decoded = vae.decode(means, lengths)
    for row, length in enumerate(lengths.tolist()):
        count = vae.latent_count(length)
        mean, log_variance = vae.encode(features[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(means[row, :count], mean[0])
        torch.testing.assert_close(log_variances[row, :count], log_variance[0])
        torch.testing.assert_close(decoded[row, :length], vae.decode(mean, lengths[row : row + 1])[0])


@torch.no_grad()
def test_nothing_is_left_past_the_end() -> None:
    vae = make_vae()
    features, lengths = clips(7, 20)
    mean, log_variance = vae.encode(features, lengths)
    assert not mean[0, 2:].any()
    assert not log_variance[0, 2:].any()
    assert mean[0, :2].all()
    decoded = vae.decode(torch.randn_like(mean), lengths)
    assert not decoded[0, 7:].any()
    assert decoded[0, :7].all()


@torch.no_grad()
def test_last_frame_stands_in_for_those_missing_from_its_latent() -> None:
    vae = make_vae()
    features, lengths = clips(8)
    held = torch.cat([features, features[:, -1:].expand(-1, 4, -1)], dim=1)
    torch.testing.assert_close(vae.encode(features, lengths)[0], vae.encode(held, torch.tensor([12]))[0])


@torch.no_grad()
def test_latent_belongs_to_its_stretch_of_the_clip() -> None:
    vae = make_vae(replace(CONFIG, encoder_dilations=(), decoder_dilations=()))
    features, lengths = clips(18)
    changed = features.clone()
    changed[:, 6:12] += 1
    (before, _), (after, _) = vae.encode(features, lengths), vae.encode(changed, lengths)
    assert [bool((before[0, k] != after[0, k]).any()) for k in range(3)] == [False, True, False]
    nudged = before.clone()
    nudged[:, 1] += 1
    moved = (vae.decode(before, lengths) != vae.decode(nudged, lengths)).any(dim=-1)[0]
    # The last convolution reaches two frames beyond the latent's own.
    assert moved.nonzero().flatten().tolist() == list(range(4, 14))


@pytest.mark.parametrize(
    "change", [{"width": 0}, {"patch_frames": -1}, {"encoder_dilations": (1, 0)}, {"patches_per_latent": 0}]
)
def test_size_that_is_not_positive_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"vae.{next(iter(change))}: .* is not positive"):
        replace(CONFIG, **change)


def test_gradient_reaches_every_parameter() -> None:
    vae = make_vae()
    features, lengths = clips(13, 30)
    reconstruction, mean, log_variance = vae(features, lengths)
    (reconstruction.square().sum() + mean.square().sum() + log_variance.square().sum()).backward()
    untouched = [name for name, p in vae.named_parameters() if p.grad is None or not p.grad.any()]
    assert untouched == []
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())


@torch.no_grad()
def test_forward_draws_from_the_posterior() -> None:
    vae = make_vae()
    features, lengths = clips(12)
    torch.manual_seed(2)
    reconstruction, mean, log_variance = vae(features, lengths)
    torch.manual_seed(2)
    drawn = mean + torch.randn_like(mean) * (log_variance / 2).exp()
    torch.testing.assert_close(reconstruction, vae.decode(drawn, lengths))


@torch.no_grad()
def test_log_variance_is_bounded() -> None:
    vae = make_vae()
    features, lengths = clips(6)
    _, log_variance = vae.encode(features * 1e6, lengths)
    assert log_variance.max() <= 10
    assert log_variance.min() >= -20
