"""What the language stages learn from: clips with captions, turned into requests and their answers.

A *motion lesson* asks for a motion: a sentence and the latents that answer it, for prediction and in-between
with what is known of them. A *caption lesson* gives a motion in the request, and sentences are the answer.
Both are drawn from the clips of a dataset, a batch at a time.

Shapes: B lessons, K latents, C channels per latent, S text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from motiongpt3.data.loaders import item_generator
from motiongpt3.errors import ConfigError
from motiongpt3.models.codec import MotionCodec
from motiongpt3.models.known import GivenFrames, known_latents
from motiongpt3.motion.completion import inbetween_ends, prediction_head
from motiongpt3.sampling import Objective
from motiongpt3.training.encoded_clips import EncodedClip
from motiongpt3.training.lesson_batches import (
    CaptionLessons,
    Decisions,
    Draws,
    LessonBatch,
    MotionLessons,
    TextLessons,
    WovenLessons,
    WovenRequest,
)

T = TypeVar("T")


class Captioning(NamedTuple):
    """A request for words about a motion, and the answers that fit it.

    Attributes:
        opening: number of the text before the motion.
        after: ids of the text behind it, up to the answer.
        answers: ids of each, end token included.
    """

    opening: int
    after: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]


class TextLesson(NamedTuple):
    """Ids of a request, up to the answer, and of the answer, end token included."""

    request: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class LessonPlan:
    """The requests of a stage, as numbers of texts that the text branch has read.

    Attributes:
        text_to_motion: for each clip, requests that it answers, with the kind of answer they want.
        prediction: for each clip, requests to continue it, likewise, or numbers of ``woven``.
        inbetween: for each clip, requests to fill it, likewise.
        captioning: for each clip, requests for words about it.
        decisions: requests that go with no clip, with the kind of answer they want.
        texts: text with text as the answer.
        woven: requests with motions among their words, where motions are completed in this way.
    """

    text_to_motion: list[list[tuple[int, int]]]
    prediction: list[list[tuple[int, int]]]
    inbetween: list[list[tuple[int, int]]]
    captioning: list[list[Captioning]]
    decisions: list[tuple[int, int]]
    texts: list[TextLesson]
    woven: list[WovenRequest]


@dataclass(frozen=True)
class LessonMix:
    """How often a clip becomes a lesson of each kind, relative to one another.

    Args:
        text_to_motion: a sentence to answer with a motion.
        prediction: a motion to continue.
        inbetween: a motion to fill.
        captioning: a motion to put into words.
        decisions: a request, to learn what kind of answer it wants.
        texts: text to answer with text; only where the text branch is trained.
        captions_per_motion: answers to each motion that is put into words; they share what it costs.

    Raises:
        ConfigError: if nothing would ever be drawn.
    """

    text_to_motion: float = 0.0
    prediction: float = 0.0
    inbetween: float = 0.0
    captioning: float = 0.0
    decisions: float = 0.0
    texts: float = 0.0
    captions_per_motion: int = 2

    def __post_init__(self) -> None:
        rates = self.rates.values()
        if min(rates) < 0 or not sum(rates) > 0 or self.captions_per_motion < 1:
            raise ConfigError(f"mix: {self} draws no lessons; give one share at least that is not 0")

    @property
    def rates(self) -> dict[str, float]:
        """By the kind of lesson."""
        return {
            "t2m": self.text_to_motion,
            "pred": self.prediction,
            "inbetween": self.inbetween,
            "m2t": self.captioning,
            "decision": self.decisions,
            "t2t": self.texts,
        }


@dataclass(frozen=True)
class Lesson:
    """One lesson, before it is put into a batch; what does not belong to its kind is empty.

    Attributes:
        kind: one of those of `LessonMix.rates`.
        latents: (K, C).
        prompt: number of the request, or of the text before a given motion.
        wanted: kind of answer that the request wants.
        given: what is known of a motion, told beside the request.
        stretches: (T, F) features of the motions in a woven request; behind them what is wanted, if that is
            not the whole motion.
        spread: standard normal noise (1, C) for the latent of each stretch.
        draws: for the head, of this motion alone.
        after: ids of the text behind a given motion.
        answers: ids of each answer.
        text: of a lesson in text alone.
    """

    kind: str
    latents: Tensor
    prompt: int
    wanted: int = 0
    given: GivenFrames | None = None
    stretches: tuple[Tensor, ...] = ()
    spread: tuple[Tensor, ...] = ()
    draws: Draws | None = None
    after: tuple[int, ...] = ()
    answers: tuple[tuple[int, ...], ...] = ()
    text: TextLesson | None = None


class Lessons(Dataset[Lesson]):
    """A lesson from each clip: which kind, and all else that is random about it, follows from its draw.

    Args:
        clips: what to draw from.
        plan: the requests of the stage.
        codec: encodes what is given of a motion.
        mix: of the kinds.
        objective: what the head learns; says at which times.
        null_rate: how often a sentence is kept from the head, for classifier-free guidance.
        draws: how many times, R, the head is asked about each motion; the branches read it once.
    """

    def __init__(
        self,
        clips: Sequence[EncodedClip],
        plan: LessonPlan,
        codec: MotionCodec,
        mix: LessonMix,
        objective: Objective,
        null_rate: float = 0.0,
        draws: int = 1,
    ) -> None:
        self.clips = clips
        self.plan = plan
        self.objective = objective
        self.null_rate = null_rate
        self.mix = mix
        self.draws = draws
        self._codec = codec

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Lesson:
        clip, generator = self.clips[index], item_generator(index)
        rates = torch.tensor(list(self.mix.rates.values()), dtype=torch.float64)
        kind = list(self.mix.rates)[int(torch.multinomial(rates, 1, generator=generator))]
        if kind == "decision":
            prompt, wanted = _one_of(self.plan.decisions, generator)
            return Lesson(kind, clip.mean, prompt, wanted)
        if kind == "t2t":
            return Lesson(kind, clip.mean, 0, text=_one_of(self.plan.texts, generator))
        latents = clip.drawn(generator)
        if kind == "m2t":
            return self._captioning(index, latents, generator)
        pool = {
            "t2m": self.plan.text_to_motion,
            "pred": self.plan.prediction,
            "inbetween": self.plan.inbetween,
        }[kind][index]
        prompt, wanted = _one_of(pool, generator)
        if kind != "t2m" and self._codec.frames_per_latent is None:
            stretches = _stretches(kind, clip.features)
            spread = tuple(torch.randn(latents.shape, generator=generator) for _ in stretches)
            draws = self._drawn(latents, 0.0, generator)
            return Lesson(kind, latents, prompt, wanted, stretches=stretches, spread=spread, draws=draws)
        given = clip.given(*_given_frames(kind, len(clip.features), generator))
        draws = self._drawn(latents, self.null_rate if kind == "t2m" else 0.0, generator)
        return Lesson(kind, latents, prompt, wanted, given, draws=draws)

    def _drawn(self, latents: Tensor, null_rate: float, generator: torch.Generator) -> Draws:
        return Draws(
            torch.randn(self.draws, *latents.shape, generator=generator),
            self.objective.sample_times(self.draws, generator),
            torch.rand(self.draws, generator=generator) < null_rate,
        )

    def _captioning(self, index: int, latents: Tensor, generator: torch.Generator) -> Lesson:
        opening, after, pool = _one_of(self.plan.captioning[index], generator)
        # Different ones as long as there are any.
        places = torch.randperm(len(pool), generator=generator).tolist()
        answers = tuple(pool[places[copy % len(pool)]] for copy in range(self.mix.captions_per_motion))
        return Lesson("m2t", latents, opening, after=after, answers=answers)

    def collate(self, lessons: Sequence[Lesson]) -> LessonBatch:
        """The lessons of each kind, padded into a batch of their own."""
        captions = [lesson for lesson in lessons if lesson.kind == "m2t"]
        decisions = [lesson for lesson in lessons if lesson.kind == "decision"]
        texts = [lesson.text for lesson in lessons if lesson.text is not None]
        woven = [lesson for lesson in lessons if lesson.stretches]
        motions = [lesson for lesson in lessons if lesson.draws is not None and not lesson.stretches]
        return LessonBatch(
            self._motion_lessons(motions) if motions else None,
            self._woven_lessons(woven) if woven else None,
            self._caption_lessons(captions) if captions else None,
            _decisions(decisions) if decisions else None,
            _text_lessons(texts) if texts else None,
        )

    def _motion_lessons(self, lessons: Sequence[Lesson]) -> MotionLessons:
        latents, counts = _padded([lesson.latents for lesson in lessons])
        given = [lesson.given for lesson in lessons if lesson.given is not None]
        return MotionLessons(
            latents,
            counts,
            _joined_draws(lessons),
            [lesson.prompt for lesson in lessons],
            torch.tensor([lesson.wanted for lesson in lessons]),
            known_latents(self._codec, given) if self._codec.frames_per_latent else None,
            torch.tensor([lesson.kind != "t2m" for lesson in lessons]),
        )

    @torch.no_grad()
    def _woven_lessons(self, lessons: Sequence[Lesson]) -> WovenLessons:
        features, lengths = _padded([one for lesson in lessons for one in lesson.stretches])
        device = self._codec.feature_mean.device
        means, stds = self._codec.encode(features.to(device), lengths.to(device))
        spread = torch.stack([noise for lesson in lessons for noise in lesson.spread])
        encoded = iter(means + stds * spread.to(device))
        given, wanted = [], []
        for lesson in lessons:
            stretches = [next(encoded) for _ in lesson.stretches]
            wanted.append(stretches.pop() if lesson.kind == "pred" else lesson.latents.to(device))
            given.append(stretches)
        requests = [self.plan.woven[lesson.prompt] for lesson in lessons]
        return WovenLessons(torch.stack(wanted), _joined_draws(lessons), requests, given)

    def _caption_lessons(self, lessons: Sequence[Lesson]) -> CaptionLessons:
        answers = [torch.tensor(answer) for lesson in lessons for answer in lesson.answers]
        return CaptionLessons(
            *_padded([lesson.latents for lesson in lessons]),
            [lesson.prompt for lesson in lessons],
            *_padded([torch.tensor(lesson.after) for lesson in lessons]),
            *_padded(answers),
            self.mix.captions_per_motion,
        )


def _given_frames(kind: str, frames: int, generator: torch.Generator) -> tuple[int, int]:
    """How many frames are given at the beginning, and where those given at the end begin.

    Half of the time as the task has it, else as users may: any part of the motion.
    """
    usual = float(torch.rand((), generator=generator)) < 0.5
    if kind == "pred":
        start = prediction_head(frames) if usual else _between(generator, 0.1 * frames, 0.5 * frames)
        return start, frames
    if kind == "inbetween" and usual:
        return inbetween_ends(frames)
    if kind == "inbetween":
        start = _between(generator, 0.1 * frames, 0.4 * frames)
        return start, _between(generator, 0.6 * frames, 0.9 * frames)
    return 0, frames


def _stretches(kind: str, features: Tensor) -> tuple[Tensor, ...]:
    """What is given of a motion, as clips of their own; for prediction also the rest, which is wanted."""
    if kind == "pred":
        head = prediction_head(len(features))
        return features[:head], features[head:]
    start, end = inbetween_ends(len(features))
    return features[:start], features[end:]


def _joined_draws(lessons: Sequence[Lesson]) -> Draws:
    draws = [lesson.draws for lesson in lessons if lesson.draws is not None]
    noise, _ = _padded([one for draw in draws for one in draw.noise])
    return Draws(noise, torch.cat([draw.times for draw in draws]), torch.cat([draw.nulled for draw in draws]))


def _decisions(lessons: Sequence[Lesson]) -> Decisions:
    wanted = torch.tensor([lesson.wanted for lesson in lessons])
    return Decisions([lesson.prompt for lesson in lessons], wanted)


def _text_lessons(lessons: Sequence[TextLesson]) -> TextLessons:
    ids, lengths = _padded([torch.tensor((*lesson.request, *lesson.answer)) for lesson in lessons])
    return TextLessons(ids, lengths, torch.tensor([len(lesson.request) for lesson in lessons]))


def _padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows (N_i, ...) as one tensor (B, N, ...), and their lengths (B,)."""
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True), torch.tensor([len(row) for row in rows])


def _between(generator: torch.Generator, low: float, high: float) -> int:
    """A whole number from ``low`` to ``high``, at least 1."""
    return max(1, int(low + (high - low) * float(torch.rand((), generator=generator))))


def _one_of(pool: Sequence[T], generator: torch.Generator) -> T:
    return pool[int(torch.randint(len(pool), (), generator=generator))]
