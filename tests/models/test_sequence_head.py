"""The native head: padding changes nothing, the condition is reusable, and it starts by predicting zero."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motiongpt3.models.sequence_head import SequenceHead, SequenceHeadConfig, timestep_embedding
from tests.tiny import randomise

CONFIG = SequenceHeadConfig(latent_channels=3, hidden_width=6, width=8, depth=2, heads=2, mlp_ratio=1.5)


def make_head(trained: bool = True) -> SequenceHead:
    torch.manual_seed(0)
    head = SequenceHead(CONFIG)
    if trained:
        randomise(head)
    return head.eval()


def inputs(*counts: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noisy latents, times, hidden states (nonsense past the counts), and which are visible."""
    torch.manual_seed(1)
    longest = max(counts)
    visible = torch.arange(longest) < torch.tensor(counts)[:, None]
    noisy = torch.randn(len(counts), longest, CONFIG.latent_channels)
    hidden = torch.randn(len(counts), longest, CONFIG.hidden_width)
    noisy[~visible], hidden[~visible] = 1e3, -1e3
    return noisy, torch.linspace(0, 1000, len(counts)), hidden, visible


@torch.no_grad()
def test_sample_is_predicted_alone_as_beside_longer_ones() -> None:
    head = make_head()
    noisy, time, hidden, visible = inputs(3, 7, 1)
    together = head(noisy, time, head.encode_condition(hidden, visible))
    assert together.shape == noisy.shape
    for row, count in enumerate((3, 7, 1)):
        one = slice(row, row + 1)
        condition = head.encode_condition(hidden[one, :count], visible[one, :count])
        torch.testing.assert_close(together[row, :count], head(noisy[one, :count], time[one], condition)[0])


@torch.no_grad()
def test_condition_is_computed_once_for_all_steps() -> None:
    head = make_head()
    noisy, _, hidden, visible = inputs(4, 2)
    kept = head.encode_condition(hidden, visible)
    before = kept.hidden.clone()
    for time in (torch.tensor([900.0, 900.0]), torch.tensor([10.0, 500.0])):
        assert torch.equal(head(noisy, time, kept), head(noisy, time, head.encode_condition(hidden, visible)))
    assert torch.equal(kept.hidden, before)


@torch.no_grad()
def test_begins_by_predicting_zero() -> None:
    head = make_head(trained=False)
    noisy, time, hidden, visible = inputs(4, 4)
    assert not head(noisy, time, head.encode_condition(hidden, visible)).any()


@torch.no_grad()
@pytest.mark.parametrize("what", ["noisy", "time", "hidden"])
def test_prediction_depends_on(what: str) -> None:
    head = make_head()
    noisy, time, hidden, visible = inputs(4)
    before = head(noisy, time, head.encode_condition(hidden, visible))
    # One number of one latent changes; attention tells the others.
    changed = {"noisy": noisy, "time": time, "hidden": hidden}[what]
    changed.view(-1)[0] += 1
    after = head(noisy, time, head.encode_condition(hidden, visible))
    assert (before != after).any(dim=-1).all()


@torch.no_grad()
def test_order_of_latents_matters() -> None:
    head = make_head()
    noisy, time, hidden, visible = inputs(5)
    forwards = head(noisy, time, head.encode_condition(hidden, visible))
    backwards = head(noisy.flip(1), time, head.encode_condition(hidden.flip(1), visible)).flip(1)
    assert (forwards - backwards).abs().max() > 1e-3


def test_gradient_reaches_every_parameter() -> None:
    head = make_head()
    noisy, time, hidden, visible = inputs(5, 2)
    prediction = head(noisy, time, head.encode_condition(hidden, visible))
    prediction[visible].square().sum().backward()
    assert [name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []


@torch.no_grad()
def test_conditions_are_joined_and_repeated_in_whole_batches() -> None:
    head = make_head()
    noisy, time, hidden, visible = inputs(3, 5)
    first = head.encode_condition(hidden, visible)
    second = head.encode_condition(hidden + 1, visible)
    alone = [head(noisy, time, condition) for condition in (first, second)]
    joined = head(noisy.repeat(2, 1, 1), time.repeat(2), first.joined_with(second))
    torch.testing.assert_close(joined, torch.cat(alone))
    repeated = head(noisy.repeat(2, 1, 1), time.repeat(2), first.repeated(2))
    torch.testing.assert_close(repeated, torch.cat([alone[0], alone[0]]))


def test_times_are_told_apart() -> None:
    embedded = timestep_embedding(torch.tensor([0.0, 1.0, 999.0, 1000.0]), 16)
    assert embedded.shape == (4, 16)
    torch.testing.assert_close(embedded[0], torch.cat([torch.ones(8), torch.zeros(8)]))
    # The fastest wave has a wavelength of 2π: cos(1), sin(1).
    torch.testing.assert_close(embedded[1, [0, 8]], torch.tensor([0.540302, 0.841471]))
    assert torch.pdist(embedded).min() > 0.1
