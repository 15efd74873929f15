"""The best, the median and the worst answer of a replication, for people to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from motiongpt3.evaluation.protocol.processes import gathered


@dataclass
class Sample:
    """One answer.

    Attributes:
        name: of the clip.
        measure: what was measured of it.
        score: the value; less is better.
        caption: what was asked for, or answered.
        features: (T, 263) of the motion.
        reference: for captions, one that a person wrote.
    """

    name: str
    measure: str
    score: float
    caption: str
    features: Tensor
    reference: str = ""


def picked_samples(
    scores: Sequence[tuple[int, float]], sample: Callable[[int, float], Sample]
) -> dict[str, Sample]:
    """The best, the middle and the worst of the answers of all processes.

    Motions are not kept for this: a seed means the same motion again.

    Args:
        scores: number of each clip of this process, and what its answer scores; less is better.
        sample: what a clip's answer was, by the place of the clip in ``scores``, and its score.
    """
    ranked = sorted(gathered([(number, (score, number)) for number, score in scores]))
    chosen = {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}
    places = {number: place for place, (number, _) in enumerate(scores)}
    own = [
        (order, (name, sample(places[number], score)))
        for order, (name, (score, number)) in enumerate(chosen.items())
        if number in places
    ]
    return dict(gathered(own))
