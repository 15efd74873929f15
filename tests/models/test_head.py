"""The official head: one call, training loss and 100-step samples as in the official code; conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from motiongpt3.errors import ConfigError
from motiongpt3.models.head import MLPHead, MLPHeadConfig
from motiongpt3.sampling import EpsilonDiffusion, guided, sample_latents
from tests.conftest import golden_state_dict

PREFIX = "lm.diffloss.net."
TINY = MLPHeadConfig(
    latent_channels=3,
    hidden_width=8,
    width=12,
    depth=2,
    condition_heads=2,
    condition_feedforward_width=10,
    condition_dropout=0.1,
    condition_positions=6,
)


def tiny_head() -> MLPHead:
    torch.manual_seed(0)
    return MLPHead(TINY).eval()


@pytest.fixture(scope="module")
def official() -> MLPHead:
    head = MLPHead(MLPHeadConfig.official())
    head.load_state_dict(
        {key.removeprefix(PREFIX): value for key, value in golden_state_dict(PREFIX).items()}
    )
    return head.eval()


@pytest.fixture
def arrays(golden: Callable[[str], dict[str, np.ndarray]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in golden("diffhead").items()}


@torch.no_grad()
def test_predicts_as_the_official_head(official: MLPHead, arrays: dict[str, Tensor]) -> None:
    predicted = official(arrays["x"], arrays["t"], official.encode_condition(arrays["c"]))
    torch.testing.assert_close(predicted, arrays["net_out"], atol=5e-5, rtol=0)


@torch.no_grad()
def test_has_the_official_training_loss(official: MLPHead, arrays: dict[str, Tensor]) -> None:
    objective = EpsilonDiffusion()
    noisy = objective.noised(arrays["x"], arrays["noise"], arrays["t"])
    predicted = official(noisy, objective.network_time(arrays["t"]), official.encode_condition(arrays["c"]))
    for row, expected in enumerate(arrays["train_loss"]):
        own = slice(row, row + 1)
        loss = objective.loss(predicted[own], arrays["x"][own], arrays["noise"][own])
        torch.testing.assert_close(loss, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("expected", "scale"), [("sample_cfg3_temp0", 3.0), ("sample_nocfg_temp0", 1.0)])
@torch.no_grad()
def test_samples_as_the_official_code(
    official: MLPHead, arrays: dict[str, Tensor], expected: str, scale: float
) -> None:
    null = official.encode_condition(arrays["fake_latent"].expand(2, -1, -1))
    predict = guided(official, official.encode_condition(arrays["c"]), null, scale)
    samples = sample_latents(predict, arrays["x_init"], EpsilonDiffusion(), "ddpm", 100, temperature=0)
    # With these random weights the samples reach 1200 in magnitude.
    error = (samples - arrays[expected]).abs().max() / arrays[expected].abs().max()
    assert error < 2e-5


@torch.no_grad()
def test_conditions_join_and_repeat_along_the_batch() -> None:
    head = tiny_head()
    one, two = (head.encode_condition(torch.randn(2, 4, 8)) for _ in range(2))
    noisy, time = torch.randn(4, 2, 3), torch.tensor([1.0, 20.0, 300.0, 999.0])
    apart = torch.cat([head(noisy[:2], time[:2], one), head(noisy[2:], time[2:], two)])
    torch.testing.assert_close(head(noisy, time, one.joined_with(two)), apart)
    repeated = torch.cat([head(noisy[:2], time[:2], one), head(noisy[2:], time[2:], one)])
    torch.testing.assert_close(head(noisy, time, one.repeated(2)), repeated)


@torch.no_grad()
def test_condition_reads_every_placeholder_in_order() -> None:
    head = tiny_head()
    hidden = torch.randn(1, 5, 8)
    embedding = head.encode_condition(hidden).embedding
    assert embedding.shape == (1, 1, 12)
    for place in range(5):
        changed = hidden.clone()
        changed[:, place] += 1
        assert not torch.allclose(head.encode_condition(changed).embedding, embedding)
    assert not torch.allclose(head.encode_condition(hidden.flip(1)).embedding, embedding)


def test_refuses_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="condition_heads: 3"):
        MLPHead(replace(TINY, condition_heads=3))
