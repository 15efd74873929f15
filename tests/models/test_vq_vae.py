"""The VQ-VAE: the official numbers, padding that changes nothing, nearest codes, refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.vq_vae import VQVAE, Codebook, VQVAEConfig
from tests.conftest import golden_vq_state_dict

TINY = VQVAEConfig(
    feature_width=6,
    width=8,
    code_count=12,
    code_width=5,
    halvings=2,
    residual_blocks=2,
    dilation_growth=3,
)


def tiny_vq_vae(**changes: int) -> VQVAE:
    """A VQ-VAE in evaluation mode whose codes are all in use."""
    torch.manual_seed(0)
    made = VQVAE(replace(TINY, **changes)).eval()
    frames = TINY.code_count * made.config.frames_per_code
    with torch.no_grad():
        vectors = made.encode_vectors(torch.randn(1, frames, 6), torch.tensor([frames]))
    made.quantizer.codebook.copy_(vectors[0])
    return made


@pytest.fixture(scope="module")
def official() -> VQVAE:
    vq_vae = VQVAE(VQVAEConfig.official())
    state = golden_vq_state_dict()
    vq_vae.load_state_dict({key.removeprefix("vae."): value for key, value in state.items()})
    return vq_vae.eval()


@torch.no_grad()
def test_encodes_and_decodes_as_the_official_vq_vae(
    official: VQVAE, golden: Callable[[str], dict[str, np.ndarray]]
) -> None:
    arrays = {name: torch.from_numpy(array) for name, array in golden("vqvae").items()}
    assert torch.equal(official.encode(arrays["x"], torch.tensor([64])), arrays["codes"])
    features = official.decode(arrays["codes"], torch.tensor([16]))
    torch.testing.assert_close(features, arrays["dec"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_official_codes_do_not_depend_on_neighbours(
    official: VQVAE, golden: Callable[[str], dict[str, np.ndarray]]
) -> None:
    clip = torch.from_numpy(golden("vqvae")["x"])[0]
    # 29 frames have 7 codes, and one frame too many.
    batch = torch.stack([clip, torch.cat([clip[:29], torch.full((35, 263), torch.nan)])])
    codes = official.encode(batch, torch.tensor([64, 29]))
    alone = official.encode(clip[None, :28], torch.tensor([28]))
    assert torch.equal(codes[1, :7], alone[0])
    assert not codes[1, 7:].any()


@pytest.mark.parametrize("halvings", [1, 2, 3])
@torch.no_grad()
def test_padding_changes_nothing(halvings: int) -> None:
    vq_vae = tiny_vq_vae(halvings=halvings)
    unit = vq_vae.config.frames_per_code
    assert unit == 2**halvings
    lengths = torch.tensor([5 * unit, unit, 3 * unit + 1])
    features = torch.randn(3, 5 * unit + 1, 6)
    for row, length in enumerate(lengths.tolist()):
        features[row, length:] = torch.nan
    codes, vectors = vq_vae.encode(features, lengths), vq_vae.encode_vectors(features, lengths)
    counts = torch.tensor([5, 1, 3])
    decoded = vq_vae.decode(codes, counts)
    assert decoded.shape == (3, 5 * unit, 6)
    assert len(codes.unique()) > 2
    for row, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist())):
        own = features[row : row + 1, :length]
        alone = vq_vae.encode_vectors(own, lengths[row : row + 1])
        torch.testing.assert_close(vectors[row : row + 1, :count], alone)
        assert torch.equal(codes[row, :count], vq_vae.encode(own, lengths[row : row + 1])[0])
        decoded_alone = vq_vae.decode(codes[row : row + 1, :count], counts[row : row + 1])
        torch.testing.assert_close(decoded[row : row + 1, : count * unit], decoded_alone)
        assert not decoded[row, count * unit :].any()


@torch.no_grad()
def test_a_code_hears_of_frames_around_it_only() -> None:
    """The receptive field reaches as far as the convolutions do, and the rate is what it should be."""
    vq_vae = tiny_vq_vae(residual_blocks=1)
    features = torch.randn(1, 64, 6)
    changed = features.clone()
    changed[0, 32] += 1
    before, after = (vq_vae.encode_vectors(clip, torch.tensor([64])) for clip in (features, changed))
    moved = (before != after).any(dim=-1)[0].nonzero().flatten().tolist()
    assert moved == list(range(moved[0], moved[-1] + 1))
    assert moved[0] >= 4
    assert 8 in moved
    assert moved[-1] <= 12


def test_nearest_is_the_nearest() -> None:
    torch.manual_seed(0)
    codebook = Codebook(7, 3)
    vectors = torch.randn(2, 50, 3)
    expected = torch.cdist(vectors, codebook.codebook).argmin(dim=-1)
    assert torch.equal(codebook.nearest(vectors), expected)
    assert torch.equal(codebook.nearest(codebook.codebook), torch.arange(7))
    assert torch.equal(codebook.vectors(expected), codebook.codebook[expected])


def test_every_parameter_learns() -> None:
    vq_vae = tiny_vq_vae()
    vectors = vq_vae.encode_vectors(torch.randn(2, 16, 6), torch.tensor([16, 12]))
    vq_vae.decode_vectors(vectors, torch.tensor([4, 3])).square().sum().backward()
    still = [name for name, value in vq_vae.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == []
    assert [name for name, _ in vq_vae.named_buffers()] == ["quantizer.codebook"]


def test_counts_follow_the_length() -> None:
    vq_vae = tiny_vq_vae()
    assert [vq_vae.code_count(length) for length in (3, 4, 7, 8, 200)] == [0, 1, 1, 2, 50]


def test_too_short_a_clip_is_refused() -> None:
    with pytest.raises(InputError, match="3 frames is too short: a motion code takes 4"):
        tiny_vq_vae().encode(torch.zeros(2, 8, 6), torch.tensor([8, 3]))


@pytest.mark.parametrize("field", ["width", "code_count", "halvings", "residual_blocks", "dilation_growth"])
def test_impossible_sizes_are_refused(field: str) -> None:
    with pytest.raises(ConfigError, match=f"vq_vae.{field}: 0 is not positive"):
        replace(TINY, **{field: 0})
