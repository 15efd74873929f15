"""Where motion is asked for: what placeholders read, where they stand, which length they predict."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motiongpt3.models.mot import KeyValueCache, MoTOutput, TokenStream
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import (
    LatentPlaceholders,
    LatentPlaceholdersConfig,
    SequencePlaceholders,
    SequencePlaceholdersConfig,
)
from tests import tiny

PROMPTS = ["a person walks", "jump", "someone waves with the left hand"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


def sequence(longest: int = 10) -> SequencePlaceholders:
    torch.manual_seed(0)
    placeholders = SequencePlaceholders(
        SequencePlaceholdersConfig(
            width=6,
            latent_channels=3,
            longest=longest,
            place_features=4,
            start_token=0,
            placeholder_token=1,
            given_token=2,
        )
    )
    tiny.randomise(placeholders)
    return placeholders


def ask(model: MotionGPT3, prompts: list[str], counts: list[int]) -> tuple[Tensor, Tensor]:
    """Hidden states of start token and placeholders."""
    cache, lengths = model.read_text(prompts)
    start = model.placeholders.start(model.mot, cache, lengths)
    assert start is not None
    return start, model.placeholders.fill(model.mot, cache, lengths, torch.tensor(counts))


@torch.no_grad()
def test_clip_is_asked_for_alone_as_in_a_batch(model: MotionGPT3) -> None:
    counts = [3, 7, 1]
    starts, hidden = ask(model, PROMPTS, counts)
    assert starts.shape == (3, 12)
    assert hidden.shape == (3, 7, 12)
    for row, (prompt, count) in enumerate(zip(PROMPTS, counts)):
        start, alone = ask(model, [prompt], [count])
        torch.testing.assert_close(starts[row], start[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(hidden[row, :count], alone[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_start_token_reads_the_text_and_not_the_clip(model: MotionGPT3) -> None:
    short, _ = ask(model, ["jump"], [2])
    long, _ = ask(model, ["jump"], [9])
    other, _ = ask(model, ["bow."], [2])
    torch.testing.assert_close(short, long)
    assert (short - other).abs().max() > 1e-3


@torch.no_grad()
def test_placeholders_read_text_start_and_one_another(model: MotionGPT3) -> None:
    _, hidden = ask(model, ["jump"], [4])
    assert torch.pdist(hidden[0]).min() > 1e-3
    _, other = ask(model, ["bow."], [4])
    assert ((hidden - other).abs().amax(dim=-1) > 1e-4).all()

    def without_start() -> Tensor:
        cache, lengths = model.read_text(["jump"])
        return model.placeholders.fill(model.mot, cache, lengths, torch.tensor([4]))

    assert (without_start() - hidden).abs().max() > 1e-4

    # The first placeholder sees the last, through the second layer that motion is attached to.
    embed = model.mot.motion.token_embedding
    cache, lengths = model.read_text(["jump"])
    model.placeholders.start(model.mot, cache, lengths)
    hook = embed.register_forward_hook(
        lambda module, args, out: out + torch.eye(4)[3][:, None] if out.shape[1] == 4 else out
    )
    try:
        seen = model.placeholders.fill(model.mot, cache, lengths, torch.tensor([4]))
    finally:
        hook.remove()
    assert (seen[0, 0] - hidden[0, 0]).abs().max() > 1e-4


@torch.no_grad()
def test_tokens_stand_one_behind_another(model: MotionGPT3, monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[TokenStream] = []
    forward = model.mot.forward

    def recorded(motion: TokenStream, cache: KeyValueCache) -> MoTOutput:
        streams.append(motion)
        return forward(motion=motion, cache=cache)

    monkeypatch.setattr(model.mot, "forward", recorded)
    ask(model, ["jump", "walk on"], [2, 3])
    start, places = streams
    # The prompts are 11 and 14 tokens long.
    assert start.positions.tolist() == [[11], [14]]
    assert places.positions[0, :2].tolist() == [12, 13]
    assert places.positions[1].tolist() == [15, 16, 17]
    assert places.visible.tolist() == [[True, True, False], [True, True, True]]


@torch.no_grad()
def test_places_tell_the_distance_to_both_ends() -> None:
    placeholders = sequence()
    places = placeholders.places(torch.tensor([5, 3]))
    assert places.shape == (2, 5, 6)
    assert torch.pdist(places[0]).min() > 1e-2
    # A shorter clip starts elsewhere on the way to its end.
    assert (places[0, 0] - places[1, 0]).abs().max() > 1e-2
    torch.testing.assert_close(places[1, :3], placeholders.places(torch.tensor([3]))[0])


@torch.no_grad()
def test_predicted_count_is_the_median() -> None:
    placeholders = sequence(longest=4)
    # Hidden states that are the logits themselves.
    placeholders.count_logits.weight.copy_(torch.eye(4, 6))
    placeholders.count_logits.bias.zero_()
    shares = torch.tensor(
        [
            [0.97, 0.01, 0.01, 0.01],
            [0.40, 0.05, 0.06, 0.49],  # most likely 4, on average 2.64
            [0.30, 0.30, 0.20, 0.20],
            [0.01, 0.01, 0.01, 0.97],
            [0.45, 0.00, 0.00, 0.55],
        ]
    )
    hidden = torch.nn.functional.pad((shares + 1e-9).log(), (0, 2))
    assert placeholders.predicted_counts(hidden).tolist() == [1, 3, 2, 4, 4]


@torch.no_grad()
def test_null_condition_knows_the_place_and_no_text() -> None:
    placeholders = sequence()
    counts = torch.tensor([4, 2])
    null = placeholders.null_hidden(counts)
    assert null.shape == (2, 4, 6)
    torch.testing.assert_close(
        null - placeholders.places(counts), placeholders.null_condition.expand(2, 4, 6)
    )
    assert placeholders.null_condition.any()


@torch.no_grad()
def test_latent_placeholders_follow_the_text_causally(model: MotionGPT3) -> None:
    torch.manual_seed(0)
    placeholders = LatentPlaceholders(
        LatentPlaceholdersConfig(
            width=12,
            placeholders=3,
            placeholder_token=1,
            masked_token=0,
            latent_channels=4,
            null_condition=True,
        )
    )
    tiny.randomise(placeholders)
    cache, lengths = model.read_text(PROMPTS)
    assert placeholders.start(model.mot, cache, lengths) is None
    counts = torch.ones(3, dtype=torch.long)
    hidden = placeholders.fill(model.mot, cache, lengths, counts)
    assert hidden.shape == (3, 3, 12)
    for row, prompt in enumerate(PROMPTS):
        cache, lengths = model.read_text([prompt])
        alone = placeholders.fill(model.mot, cache, lengths, counts[:1])
        torch.testing.assert_close(hidden[row], alone[0], atol=1e-5, rtol=1e-5)
    null = placeholders.null_hidden(counts)
    torch.testing.assert_close(null, placeholders.null_condition.expand(3, 3, 12))
