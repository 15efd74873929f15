"""Lessons as a step of training reads them: those of each kind together, padded.

Shapes: B lessons, R draws of each, K latents, C channels per latent, S text tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from motiongpt3.data.loaders import Batch
from motiongpt3.models.dialogue import MotionMark
from motiongpt3.models.placeholders import Known

WovenRequest = list[list[int] | MotionMark]
"""Token ids of a request, and marks where motions stand in it."""


@dataclass(frozen=True)
class Draws(Batch):
    """What the head is asked about each of B motions, R times over; the draws of a motion stand together.

    Attributes:
        noise: (B · R, K, C) that the latents are mixed with.
        times: (B · R,) at which.
        nulled: (B · R,) true where the head gets the null condition.
    """

    noise: Tensor
    times: Tensor
    nulled: Tensor


@dataclass(frozen=True)
class MotionLessons(Batch):
    """Requests in text alone for a motion.

    Attributes:
        latents: (B, K, C) wanted.
        counts: (B,) latents of each.
        draws: for the head.
        prompts: the number of each request among those that were read.
        wanted: (B,) what kind of answer it asks for, among `tasks.ANSWERS`.
        known: what is known of the motions, where that is told beside the request.
        completes: (B,) true where something is known of the motion.
    """

    latents: Tensor
    counts: Tensor
    draws: Draws
    prompts: list[int]
    wanted: Tensor
    known: Known | None
    completes: Tensor


@dataclass(frozen=True)
class WovenLessons(Batch):
    """Requests with motions among their words, answered with a motion.

    So a latent for a whole clip is asked to continue another, or to lie between two.

    Attributes:
        latents: (B, 1, C) wanted.
        draws: for the head.
        requests: token ids, and marks where the motions stand.
        given: latents (1, C) of the motions of each request.
    """

    latents: Tensor
    draws: Draws
    requests: list[WovenRequest]
    given: list[list[Tensor]]


@dataclass(frozen=True)
class CaptionLessons(Batch):
    """Motions given, ``copies`` sentences as the answers to each.

    Attributes:
        latents: (B, K, C) given.
        counts: (B,) latents of each.
        before: number of the text before each motion among those that were read.
        after: (B, S) ids of the text between motion and answer, padded on the right.
        after_lengths: (B,).
        answers: (B · copies, S) ids of the answers, end token included; a motion's answers stand together.
        answer_lengths: (B · copies,).
        copies: answers per motion.
    """

    latents: Tensor
    counts: Tensor
    before: list[int]
    after: Tensor
    after_lengths: Tensor
    answers: Tensor
    answer_lengths: Tensor
    copies: int


@dataclass(frozen=True)
class Decisions(Batch):
    """Requests of which the kind of answer is all there is to learn.

    Attributes:
        prompts: their numbers.
        wanted: (B,) number of the answer among `tasks.ANSWERS`.
    """

    prompts: list[int]
    wanted: Tensor


@dataclass(frozen=True)
class TextLessons(Batch):
    """Text alone, whose end is the answer.

    Attributes:
        ids: (B, S) padded on the right.
        lengths: (B,).
        answer_starts: (B,) place of the first token of the answer.
    """

    ids: Tensor
    lengths: Tensor
    answer_starts: Tensor


@dataclass(frozen=True)
class LessonBatch(Batch):
    """The lessons of one step; any kind may be missing."""

    motions: MotionLessons | None = None
    woven: WovenLessons | None = None
    captions: CaptionLessons | None = None
    decisions: Decisions | None = None
    texts: TextLessons | None = None
