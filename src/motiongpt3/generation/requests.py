"""Requests as sequences: text and given motions in time order, read into a cache up to the answer.

Shapes: B requests, K latents, C channels per latent, D width of the motion branch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.models.dialogue import MotionMark, request_parts
from motiongpt3.models.interleaving import MotionPart, TextPart
from motiongpt3.models.placeholders import REQUEST_BLOCK, SequencePlaceholders
from motiongpt3.models.text_decoding import Reading, read_parts
from motiongpt3.motion.completion import stretch_features
from motiongpt3.motion.motion import Motion
from motiongpt3.sampling import sample_seeds

if TYPE_CHECKING:
    from motiongpt3.models.motion_tokens import MotionTokenGPT
    from motiongpt3.models.motiongpt import MotionGPT3

Parts = list[TextPart | MotionPart]


def encode_motions(model: MotionGPT3, motions: Sequence[Motion]) -> list[Tensor]:
    """Latents (K, C) of each motion, on the model's device.

    Raises:
        InputError: if a motion has another frame rate, or is too long for the model.
    """
    longest = model.frame_range[1]
    for motion in motions:
        name = motion.source or motion.name
        check_rate(model, motion)
        if len(motion) > longest:
            raise InputError(
                f"{name}: {len(motion)} frames; the model reads up to {longest} at once "
                f"({longest / model.fps:g} s): cut it into shorter clips"
            )
    device = model.codec.feature_mean.device
    features = [frame_features(motion) for motion in motions]
    lengths = torch.tensor([len(one) for one in features], device=device)
    padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True).to(device)
    means, _ = model.codec.encode(padded, lengths)
    return [mean[:count] for mean, count in zip(means, model.codec.latent_counts(lengths).tolist())]


def check_rate(model: MotionGPT3 | MotionTokenGPT, motion: Motion) -> None:
    """Refuse a motion of another frame rate than the model's."""
    if motion.fps != model.fps:
        raise InputError(
            f"{motion.source or motion.name}: {motion.fps:g} frames a second; the model works at "
            f"{model.fps:g}: resample it first"
        )


def check_batches(batch_size: int, seeds: Sequence[int]) -> None:
    """Refuse batches of nothing, and numbers that are no seeds."""
    if batch_size < 1:
        raise InputError(f"batch_size: {batch_size} motions cannot be worked on together")
    for seed in seeds:
        sample_seeds(seed, 1)


def frame_features(motion: Motion) -> Tensor:
    """Features (T, F) of a motion: its own, if it was made from any."""
    return stretch_features(motion.joints) if motion.features is None else motion.features


def read_requests(
    model: MotionGPT3,
    requests: Sequence[str],
    given: Sequence[Sequence[Tensor]],
    answer: Literal["text", "motion"],
) -> Reading:
    """Let both branches read requests with the motions that are given in them.

    Args:
        model: whose dialogue and placeholders say how.
        requests: with a marker for each given motion, see `dialogue`.
        given: for each request the latents (K, C) of its motions, in order.
        answer: what is to follow; decides what is written behind the request.

    Raises:
        InputError: if markers and motions do not pair up, or a request is too long.
    """
    rows = [
        lay_out(model, request, latents, answer) for request, latents in zip(requests, given, strict=True)
    ]
    return read_parts(model.mot, rows)


def lay_out(
    model: MotionGPT3, request: str, latents: Sequence[Tensor], answer: Literal["text", "motion"]
) -> Parts:
    """One request as parts in time order, up to the first token of the answer."""
    dialogue = model.config.dialogue
    opening = dialogue.text_prefix if answer == "text" else dialogue.motion_prefix
    dialogue = dataclasses.replace(dialogue, request_suffix=dialogue.request_suffix + opening)
    described = request_parts(model.tokenizer, dialogue, request)
    wanted = sum(part is MotionMark.GIVEN for part in described)
    if wanted != len(latents):
        raise InputError(
            f"the request has a place for {wanted} motions, and {len(latents)} are given: "
            "<Motion_Placeholder> stands for one"
        )
    return put_in_place(model, described, latents)


def put_in_place(
    model: MotionGPT3, described: Sequence[Sequence[int] | MotionMark], latents: Sequence[Tensor]
) -> Parts:
    """A request of token ids and marks, with motions of latents (K, C) in place of the marks."""
    device = model.codec.feature_mean.device
    motions = _embedded(model, latents)
    parts: Parts = []
    for part in described:
        if part is MotionMark.GIVEN:
            parts.append(next(motions))
        elif part is MotionMark.MASKED:
            parts.append(_masked(model))
        else:
            parts.append(TextPart(torch.tensor(part, device=device)))
    return parts


def _embedded(model: MotionGPT3, latents: Sequence[Tensor]) -> Iterator[MotionPart]:
    """The given motions of one request as the motion branch reads them."""
    placeholders = model.placeholders
    if isinstance(placeholders, SequencePlaceholders):
        for block, one in enumerate(latents, start=REQUEST_BLOCK):
            counts = torch.tensor([len(one)], device=one.device)
            yield MotionPart(placeholders.embed_given(model.mot, one[None], counts)[0], block)
    elif latents:
        # Together: the official order goes across the motions.
        yield from map(MotionPart, placeholders.embed(torch.cat(list(latents))[None])[0].chunk(len(latents)))


def _masked(model: MotionGPT3) -> MotionPart:
    if isinstance(model.placeholders, SequencePlaceholders):
        raise InputError(
            "this model fills motions at their own places: leave the masked motion out of the request"
        )
    return MotionPart(model.placeholders.embed_masked(model.mot))
