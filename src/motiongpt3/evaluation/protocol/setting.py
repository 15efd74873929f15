"""What all tasks of one evaluation share, and what one replication finds.

Shapes: N clips, E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeVar

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
from motiongpt3.evaluation.protocol.clips import EvaluatedClip, EvaluatedSplit
from motiongpt3.evaluation.protocol.processes import gathered, share
from motiongpt3.motion.features import features_to_joints

Item = TypeVar("Item")
Scores = dict[str, float]

CHUNK = 256
"""Clips whose motions are in memory at once."""


@dataclass
class Sample:
    """One answer of the first replication, for people to look at.

    Attributes:
        name: of the clip.
        score: less is better.
        caption: what was asked for, or answered.
        reference: for captions, one that a person wrote.
        features: (T, 263) of the motion.
    """

    name: str
    score: float
    caption: str
    features: Tensor
    reference: str = ""


@dataclass
class Replication:
    """What one replication finds.

    Attributes:
        scores: for each row of the table ("generated", "real", a baseline) its metrics.
        curves: values over time by name, one for each frame.
        samples: of the first replication; not stored with the numbers.
        texts: captions by the name of their clip.
    """

    scores: dict[str, Scores] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


@dataclass
class Setting:
    """One evaluation.

    Attributes:
        split: the clips.
        protocol: the choices.
        answers: the model, or files.
        evaluator: None where no metric needs one.
        progress: told about (what, done, all).
    """

    split: EvaluatedSplit
    protocol: Protocol
    answers: Answers
    evaluator: Evaluator | None
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    _captions: dict[Caption, Tensor] = field(default_factory=dict)
    _kept: dict[str, Tensor] = field(default_factory=dict)
    _kept_physics: dict[str, list[Scores]] = field(default_factory=dict)
    _kept_texts: list[str] | None = None
    _kept_scores: Scores | None = None

    def own_clips(self, replication: int) -> list[EvaluatedClip]:
        """This process's clips, as the replication cuts them."""
        return [self.split.cut(clip, self.protocol, replication) for clip in share(self.split.clips)]

    def the_evaluator(self) -> Evaluator:
        """The evaluator.

        Raises:
            InputError: if there is none.
        """
        if self.evaluator is None:
            raise InputError("this task needs an evaluator: give one (--evaluator)")
        return self.evaluator

    def embed_captions(self, captions: Sequence[Caption]) -> Tensor:
        """(N, E); each caption is embedded once in all replications."""
        new = [caption for caption in dict.fromkeys(captions) if caption not in self._captions]
        if new:
            self._captions.update(zip(new, self.the_evaluator().embed_captions(new)))
        return torch.stack([self._captions[caption] for caption in captions])

    def embed_real(self, clips: Sequence[EvaluatedClip]) -> Tensor:
        """(N, E) of the real motions; computed once where all replications take the same stretches."""
        return self._embedded("real", not self.protocol.random_cuts, clips, self.split.features)

    def embed_fixed(
        self, clips: Sequence[EvaluatedClip], features: Callable[[EvaluatedClip], Tensor]
    ) -> Tensor:
        """(N, E) of answers that are the same in every replication."""
        return self._embedded("answers", True, clips, features)

    def _embedded(
        self,
        name: str,
        keep: bool,
        clips: Sequence[EvaluatedClip],
        features: Callable[[EvaluatedClip], Tensor],
    ) -> Tensor:
        if name in self._kept:
            return self._kept[name]
        parts = [
            self.the_evaluator().embed_motions([features(clip) for clip in part])
            for part in chunks(f"embed {name} motions", clips, self.progress)
        ]
        embeddings = torch.cat(parts)
        if keep:
            self._kept[name] = embeddings
        return embeddings

    def real_physics(self, clips: Sequence[EvaluatedClip]) -> list[Scores]:
        """Physical measures of the real motions, each computed once."""
        return self.fixed_physics("real", clips, self.split.features)

    def fixed_physics(
        self, name: str, clips: Sequence[EvaluatedClip], features: Callable[[EvaluatedClip], Tensor]
    ) -> list[Scores]:
        """Physical measures of motions that are the same in every replication."""
        if name not in self._kept_physics:
            self._kept_physics[name] = [physics(features_to_joints(features(clip))) for clip in clips]
        return self._kept_physics[name]

    def kept_texts(self, make: Callable[[], list[str]]) -> list[str]:
        """This process's captions, written once: the likeliest words are the same in every replication."""
        if self._kept_texts is None:
            self._kept_texts = make()
        return self._kept_texts

    def kept_scores(self, make: Callable[[], Scores]) -> Scores:
        """Scores of those captions, computed once."""
        if self._kept_scores is None:
            self._kept_scores = make()
        return self._kept_scores

    def motion_scores(
        self, clips: Sequence[EvaluatedClip], made: Tensor, real: Tensor, replication: int
    ) -> dict[str, Scores]:
        """FID and diversity of embeddings (N, E)."""
        numbers = torch.tensor([clip.number for clip in clips])
        fid = FrechetDistance(made.shape[1])
        fid.update(made, real=False)
        fid.update(real, real=True)
        found: dict[str, Scores] = {"generated": {"FID": float(fid.compute())}, "real": {}}
        for name, embeddings in (("generated", made), ("real", real)):
            diversity = Diversity(self.protocol.diversity_pairs, seed_of(5, replication))
            diversity.update(numbers, embeddings)
            found[name]["diversity"] = float(diversity.compute())
        return found

    def retrieval_scores(
        self, clips: Sequence[EvaluatedClip], texts: Tensor, motions: Tensor, replication: int
    ) -> Scores:
        """R-precision and matching score of embeddings (N, E)."""
        seed, among_all = seed_of(4, replication), isinstance(self.evaluator, TMREvaluator)
        metric = RetrievalMetric(seed, self.protocol.pool_size, among_all)
        metric.update(torch.tensor([clip.number for clip in clips]), texts, motions)
        return {name: float(value) for name, value in metric.compute().items()}


def physics(joints: Tensor) -> Scores:
    """Physical measures of one clip (T, 22, 3), named with their units."""
    found = measure_physics(joints)
    return {
        "foot skate cm/s": found.foot_skate,
        "floating mm": 1000 * max(found.lowest_foot, 0.0),
        "ground penetration mm": 1000 * max(-found.lowest_foot, 0.0),
        "jerk m/s³": found.jerk,
        "bone drift %": 100 * found.bone_drift,
    }


def means(rows: Sequence[tuple[int, Scores]]) -> Scores:
    """Mean of each measure over the clips of all processes; NaN is left out (a foot that never stands)."""
    every = gathered(rows)
    found = {}
    for name in every[0]:
        values = [row[name] for row in every if not math.isnan(row[name])]
        found[name] = fmean(values) if values else math.nan
    return found


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
