"""Making motions: from words alone, or completing what is given of them.

Requests are read once per wording; the head's condition is encoded once per sample, not once per step; all
samples of a batch are stepped together. A seed means the same motion in any batch and on any device.

Shapes: B requests, K latents, C channels per latent, T frames, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.generation.requests import (
    check_batches,
    check_rate,
    encode_motions,
    frame_features,
    read_requests,
)
from motiongpt3.models.cache import KeyValueCache
from motiongpt3.models.known import GivenFrames, known_latents
from motiongpt3.models.placeholders import Known, SequencePlaceholders
from motiongpt3.motion.completion import goal_between
from motiongpt3.motion.joining import Stretch, join
from motiongpt3.motion.motion import Motion
from motiongpt3.sampling import LatentNoise, guided, holding, sample_latents

if TYPE_CHECKING:
    from motiongpt3.models.motiongpt import MotionGPT3


Progress = Callable[[int, int], None]
"""Called with (motions done, all motions)."""


@dataclass(frozen=True)
class MotionRequest:
    """One motion to make.

    Attributes:
        prompt: what is said to the model.
        frames: of the whole motion, given frames included; None lets the model choose.
        seed: of its noise.
        head: frames that it begins with.
        tail: frames that it ends with, in the same world as ``head``.
    """

    prompt: str
    frames: int | None
    seed: int
    head: Motion | None = None
    tail: Motion | None = None

    @property
    def given(self) -> list[Motion]:
        """Head and tail, if there are any."""
        return [motion for motion in (self.head, self.tail) if motion is not None]

    @property
    def start(self) -> int:
        """The first frame that is not given."""
        return len(self.head) if self.head else 0


class SamplingSettings(TypedDict, total=False):
    """How motions are sampled; what is left out or None is what the model does by default.

    Keys:
        guidance: scale of classifier-free guidance, 1 for none.
        scheduler: a name from `sampling.schedulers_for`.
        steps: of the scheduler.
        temperature: of the noise that the scheduler adds (ddpm only).
        noise: 0 … 1, scale of the noise that sampling starts from: below 1 the motions of different seeds
            come closer to one another, and to what is likeliest.
        batch_size: motions made together.
    """

    guidance: float | None
    scheduler: str | None
    steps: int | None
    temperature: float | None
    noise: float | None
    batch_size: int | None


@dataclass(frozen=True)
class Sampling:
    """`SamplingSettings` with nothing left out; without ``steps``, as many as suit the scheduler."""

    guidance: float
    scheduler: str
    steps: int | None = None
    temperature: float = 1.0
    batch_size: int = 32
    noise: float = 1.0


def paired(rows: Sequence[Any], **columns: Any) -> list[tuple[Any, ...]]:
    """Columns as rows: one value for all is repeated for each of ``rows``.

    Raises:
        InputError: if a list of values has another length.
    """
    lists = {
        name: list(values)
        if isinstance(values, Sequence) and not isinstance(values, str)
        else [values] * len(rows)
        for name, values in columns.items()
    }
    if {len(values) for values in lists.values()} != {len(rows)}:
        *first, last = (f"{len(values)} {name}" for name, values in lists.items())
        raise InputError(f"{', '.join(first)} and {last} do not pair up")
    return list(zip(*lists.values()))


def counted(seeds: Sequence[int] | None, rows: Sequence[Any]) -> list[int]:
    """Seeds as they are given, or 0, 1, 2, … for as many rows."""
    return list(range(len(rows))) if seeds is None else list(seeds)


@torch.inference_mode()
def make_motions(
    model: MotionGPT3,
    requests: Sequence[MotionRequest],
    sampling: Sampling,
    progress: Progress | None = None,
) -> list[Motion]:
    """One motion for each request; ``progress`` is called with (motions done, all motions).

    Raises:
        InputError: if a request or setting cannot be used.
        ConfigError: if there is no such scheduler, or it does not step for this model.
    """
    check_batches(sampling.batch_size, [request.seed for request in requests])
    if not 0 <= sampling.noise <= 1:
        raise InputError(f"noise: {sampling.noise} is not a number from 0 to 1")
    _check(model, requests)
    motions: list[Motion] = []
    for first in range(0, len(requests), sampling.batch_size):
        part = requests[first : first + sampling.batch_size]
        latents, lengths = _latents(model, part, sampling)
        features = model.codec.decode(latents, lengths).cpu()
        motions.extend(
            _finished(Motion.from_features(clip[:length], model.fps, name=request.prompt), request)
            for clip, length, request in zip(features, lengths.tolist(), part)
        )
        if progress:
            progress(len(motions), len(requests))
    return motions


def _check(model: MotionGPT3, requests: Sequence[MotionRequest]) -> None:
    for prompt in dict.fromkeys(request.prompt for request in requests):
        model.validate_prompt(prompt)
    for request in requests:
        if request.frames is not None:
            model.check_frames(request.frames)
        given = request.given
        for motion in given:
            check_rate(model, motion)
        if given and request.frames is None:
            raise InputError("a motion that is to be completed needs a length")
        if request.frames is not None and sum(map(len, given)) >= request.frames:
            raise InputError(
                f"all {sum(map(len, given))} frames of a motion of {request.frames} are given: none is left"
            )


def _latents(
    model: MotionGPT3, requests: Sequence[MotionRequest], sampling: Sampling
) -> tuple[Tensor, Tensor]:
    """Latents (B, K, C) of what the model makes, and their lengths (B,) in frames."""
    cache, text_lengths = _read(model, requests)
    placeholders = model.placeholders
    start_hidden = placeholders.start(model.mot, cache, text_lengths)
    lengths = _lengths(model, requests, start_hidden).to(text_lengths.device)
    counts = model.codec.latent_counts(lengths)
    known = None
    if isinstance(placeholders, SequencePlaceholders):
        known = _known(model, requests, lengths)
        hidden = placeholders.fill(model.mot, cache, text_lengths, counts, known)
    else:
        hidden = placeholders.fill(model.mot, cache, text_lengths, counts)
    condition = placeholders.condition(model.head, hidden, counts)
    null = None
    if sampling.guidance != 1.0 and placeholders.null_condition is not None:
        null = placeholders.condition(model.head, placeholders.null_hidden(counts), counts)
    noise = LatentNoise([r.seed for r in requests], counts.tolist(), model.codec.latent_channels)
    initial = sampling.noise * noise.draw().to(lengths.device)
    predict = guided(model.head, condition, null, sampling.guidance)
    if known is not None:
        predict = holding(predict, known.latents, known.given)
    latents = sample_latents(
        predict,
        initial,
        model.objective,
        sampling.scheduler,
        sampling.steps,
        sampling.temperature,
        noise,
    )
    if known is not None:
        latents = torch.where(known.given[..., None], known.latents, latents)
    return latents, lengths


def _read(model: MotionGPT3, requests: Sequence[MotionRequest]) -> tuple[KeyValueCache, Tensor]:
    """The cache of the requests, and the positions used (B,); each wording is read once."""
    if not isinstance(model.placeholders, SequencePlaceholders) and any(one.given for one in requests):
        given = [encode_motions(model, one.given) if one.given else [] for one in requests]
        read = read_requests(model, [one.prompt for one in requests], given, "motion")
        return read.cache, read.next_positions
    distinct = list(dict.fromkeys(request.prompt for request in requests))
    cache, text_lengths = model.read_text(distinct)
    numbers = [distinct.index(request.prompt) for request in requests]
    rows = torch.tensor(numbers, device=text_lengths.device)
    return cache.rows(rows), text_lengths[rows]


def _lengths(model: MotionGPT3, requests: Sequence[MotionRequest], start_hidden: Tensor | None) -> Tensor:
    """Frames that the model makes for each request; what is given at a latent of its own is not made."""
    wanted = [request.frames for request in requests]
    if None in wanted:
        predicted = [model.config.default_frames] * len(requests)
        per_latent = model.codec.frames_per_latent
        if start_hidden is not None and per_latent is not None:
            assert isinstance(model.placeholders, SequencePlaceholders)
            predicted = (model.placeholders.predicted_counts(start_hidden) * per_latent).tolist()
        shortest, longest = model.frame_range
        wanted = [min(max(p, shortest), longest) if w is None else w for w, p in zip(wanted, predicted)]
    if not isinstance(model.placeholders, SequencePlaceholders):
        # A clip-level latent continues a motion as a clip of its own.
        wanted = [
            frames - one.start if frames and not one.tail else frames for frames, one in zip(wanted, requests)
        ]
    return torch.tensor(wanted)


def _known(model: MotionGPT3, requests: Sequence[MotionRequest], lengths: Tensor) -> Known | None:
    if all(request.head is None and request.tail is None for request in requests):
        return None
    given = []
    for request, frames in zip(requests, lengths.tolist()):
        nothing = torch.zeros(0, model.codec.feature_mean.shape[0])
        head = nothing if request.head is None else frame_features(request.head)
        tail = nothing if request.tail is None else frame_features(request.tail)
        goal = None
        if request.head is not None and request.tail is not None:
            goal = goal_between(request.head.joints[-1], request.tail.joints[0])
        given.append(GivenFrames(frames, head, tail, goal))
    return known_latents(model.codec, given).to(lengths.device)


def _finished(made: Motion, request: MotionRequest) -> Motion:
    """The motion with what was given of it in place, frame for frame."""
    if not request.given:
        return made
    assert request.frames is not None
    given = []
    if request.head is not None:
        given.append(Stretch(0, request.head.joints))
    if request.tail is not None:
        given.append(Stretch(request.frames - len(request.tail), request.tail.joints))
    joints = join(given, Stretch(request.frames - len(made), made.joints), request.frames, made.fps)
    return Motion.from_joints(joints, made.fps, name=request.prompt)
