"""What all tasks of one evaluation share, and what one replication finds.

Shapes: N clips, E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, TypeVar

import torch
from torch import Tensor

from motiongpt3.data.captions import Caption
from motiongpt3.data.loaders import seed_of
from motiongpt3.errors import InputError
from motiongpt3.evaluation.embedding_metrics.frechet import FrechetDistance
from motiongpt3.evaluation.embedding_metrics.retrieval import RetrievalMetric
from motiongpt3.evaluation.embedding_metrics.variety import Diversity
from motiongpt3.evaluation.evaluators.interface import Evaluator
from motiongpt3.evaluation.evaluators.tmr import TMREvaluator
from motiongpt3.evaluation.physical import measure_physics
from motiongpt3.evaluation.protocol.answers import Answers
from motiongpt3.evaluation.protocol.choices import Protocol
from motiongpt3.evaluation.protocol.clips import EvaluatedClip, EvaluatedSplit, of_similar_length
from motiongpt3.evaluation.protocol.processes import gathered, share
from motiongpt3.evaluation.protocol.samples import Sample
from motiongpt3.motion.features import features_to_joints

Item = TypeVar("Item")
Kept = TypeVar("Kept")
Scores = dict[str, float]

GENERATED, REAL, REAL_HALVES = "generated", "real", "real: half against half"
"""Rows of the tables that every motion task has."""

CHUNK = 128
"""Clips whose motions are in memory at once."""


@dataclass
class Replication:
    """What one replication finds.

    Attributes:
        scores: for each row of the table ("generated", "real", a baseline) its metrics.
        curves: values over time by name, one for each frame.
        samples: the best, the median and the worst answer; not stored with the numbers.
        texts: captions by the name of their clip.
    """

    scores: dict[str, Scores] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    samples: dict[str, Sample] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


@dataclass
class MeasuredMotions:
    """What is known of each of N motions when the motions themselves are forgotten.

    Attributes:
        embeddings: (N, E); (N, 0) without an evaluator.
        physics: of each, see `physics`.
    """

    embeddings: Tensor
    physics: list[Scores]

    @classmethod
    def joined(cls, parts: Sequence[MeasuredMotions]) -> MeasuredMotions:
        """Several as one."""
        return cls(
            torch.cat([part.embeddings for part in parts]), [one for part in parts for one in part.physics]
        )


@dataclass
class Setting:
    """One evaluation.

    Attributes:
        split: the clips.
        protocol: the choices.
        answers: the model, or files.
        evaluator: None where no metric needs one.
        first: number of the first replication; all that is random follows from these numbers.
        progress: told about (what, done, all).
    """

    split: EvaluatedSplit
    protocol: Protocol
    answers: Answers
    evaluator: Evaluator | None
    first: int = 0
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    _captions: dict[Caption, Tensor] = field(default_factory=dict)
    _kept: dict[str, Any] = field(default_factory=dict)

    def own_clips(self, replication: int) -> list[EvaluatedClip]:
        """This process's clips, as the replication cuts them; short ones first."""
        clips = share(of_similar_length(self.split.clips))
        return [self.split.cut(clip, self.protocol, replication) for clip in clips]

    def the_evaluator(self) -> Evaluator:
        """The evaluator.

        Raises:
            InputError: if there is none.
        """
        if self.evaluator is None:
            raise InputError("this task needs an evaluator: give one (--evaluator)")
        return self.evaluator

    def kept(self, name: str, make: Callable[[], Kept], varies: bool = False) -> Kept:
        """What ``make`` gives, made once and kept for all replications; each time anew if it varies."""
        if varies:
            return make()
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def embed_captions(self, captions: Sequence[Caption]) -> Tensor:
        """(N, E); each caption is embedded once in all replications."""
        new = [caption for caption in dict.fromkeys(captions) if caption not in self._captions]
        if new:
            self._captions.update(zip(new, self.the_evaluator().embed_captions(new)))
        return torch.stack([self._captions[caption] for caption in captions])

    def real(self, clips: Sequence[EvaluatedClip]) -> MeasuredMotions:
        """The real motions; measured once where all replications take the same stretches."""
        return self.kept(
            REAL,
            lambda: self.measured(
                "measure real motions", clips, lambda part: list(map(self.split.features, part))
            ),
            varies=self.protocol.random_cuts,
        )

    def measured(
        self, what: str, items: Sequence[Item], motions: Callable[[list[Item]], list[Tensor]]
    ) -> MeasuredMotions:
        """Measure the motions, raw features (T, 263), that a function makes of items, some at a time."""
        return MeasuredMotions.joined(
            [self.measure(motions(part)) for part in chunks(what, items, self.progress)]
        )

    def measure(self, motions: Sequence[Tensor], joints: Sequence[Tensor] | None = None) -> MeasuredMotions:
        """Measure motions, raw features (T, 263); ``joints`` (T, 22, 3) if they are at hand."""
        embeddings = self.evaluator.embed_motions(motions) if self.evaluator else torch.zeros(len(motions), 0)
        found = map(physics, joints or map(features_to_joints, motions))
        return MeasuredMotions(embeddings, list(found))

    def motion_scores(
        self, clips: Sequence[EvaluatedClip], made: MeasuredMotions, replication: int
    ) -> dict[str, Scores]:
        """Physical measures of made and of real motions and, with an evaluator, FID and diversity.

        The FID of one random half of the real clips against the other says what chance alone gives for half
        as many clips.
        """
        numbers, real = [clip.number for clip in clips], self.real(clips)
        found: dict[str, Scores] = {GENERATED: {}, REAL: {}}
        if self.evaluator:
            found[GENERATED]["FID"] = frechet(made.embeddings, real.embeddings)
            if len(self.split.clips) >= 4:
                order = torch.randperm(
                    len(self.split.clips), generator=torch.Generator().manual_seed(seed_of(8, replication))
                )
                first = (order < len(order) // 2)[numbers]
                found[REAL_HALVES] = {"FID": frechet(real.embeddings[first], real.embeddings[~first])}
        for row, motions in ((GENERATED, made), (REAL, real)):
            if self.evaluator:
                diversity = Diversity(self.protocol.diversity_pairs, seed_of(5, replication))
                diversity.update(torch.tensor(numbers), motions.embeddings)
                found[row]["diversity"] = float(diversity.compute())
            found[row] |= means(numbered(clips, motions.physics))
        return found

    def retrieval_scores(
        self, clips: Sequence[EvaluatedClip], texts: Tensor, motions: Tensor, replication: int
    ) -> Scores:
        """R-precision and matching score of embeddings (N, E)."""
        seed, among_all = seed_of(4, replication), isinstance(self.evaluator, TMREvaluator)
        metric = RetrievalMetric(seed, self.protocol.pool_size, among_all)
        metric.update(torch.tensor([clip.number for clip in clips]), texts, motions)
        return {name: float(value) for name, value in metric.compute().items()}


def frechet(made: Tensor, real: Tensor) -> float:
    """FID of the embeddings (N, E) and (M, E) that the processes share."""
    metric = FrechetDistance(made.shape[1])
    metric.update(made, real=False)
    metric.update(real, real=True)
    return float(metric.compute())


def physics(joints: Tensor) -> Scores:
    """Physical measures of one clip (T, 22, 3), named with their units."""
    found = measure_physics(joints)
    return {
        "foot skate cm/s": found.foot_skate,
        "no standing foot %": 100.0 * math.isnan(found.foot_skate),
        "floating mm": 1000 * max(found.lowest_foot, 0.0),
        "ground penetration mm": 1000 * max(-found.lowest_foot, 0.0),
        "jerk m/s³": found.jerk,
        "bone drift %": 100 * found.bone_drift,
    }


def means(rows: Sequence[tuple[int, Scores]]) -> Scores:
    """Mean of each measure over the clips of all processes.

    The foot skate of clips in which no foot ever stands is NaN and left out; ``no standing foot %`` counts
    them.
    """
    every = gathered(rows)
    found = {}
    for name in every[0]:
        values = [row[name] for row in every if not math.isnan(row[name])]
        found[name] = fmean(values) if values else math.nan
    return found


def numbered(clips: Sequence[EvaluatedClip], values: Sequence[Item]) -> list[tuple[int, Item]]:
    """Values of clips with the numbers of these."""
    return [(clip.number, value) for clip, value in zip(clips, values)]


def chunks(
    what: str,
    items: Sequence[Item],
    progress: Callable[[str, int, int], None],
    size: int = CHUNK,
) -> Iterator[list[Item]]:
    """Items in parts of ``size``; ``progress`` hears of each part that is done."""
    for first in range(0, len(items), size):
        yield list(items[first : first + size])
        progress(what, min(first + size, len(items)), len(items))
