"""R-precision and matching score: does a motion find its text among others, and how far is it from it?

Guo et al. 2022, "Generating Diverse and Natural 3D Human Motions from Text", section 6. All pairs of a split
are put into pools of 32 at random, and what does not fill a pool is left out. In each pool a text ranks all
motions by Euclidean distance. Only its own motion counts as found: the motion of another pair with the same
caption is a wrong match, as in all published values.

Shapes: N pairs, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from motiongpt3.errors import InputError

POOL_SIZE = 32
TOP = (1, 2, 3)
SAME_TEXT = 1e-5
"""Distance of the points of two equal texts that were read in different batches, at most."""


def pairwise_distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances (..., N, M) of rows (..., N, E) and (..., M, E), computed in float64.

    The expanded square loses digits where points are close, which float64 makes good.
    """
    return torch.cdist(first.double(), second.double())


def hits_in_pools(
    texts: Tensor, motions: Tensor, pool_size: int = POOL_SIZE, top: Sequence[int] = TOP
) -> Tensor:
    """For each pair in a whole pool: is the text's own motion among the k closest to it?

    Args:
        texts: (N, E); neighbours share a pool, so shuffle first.
        motions: (N, E), row i belonging to text i.
        pool_size: pairs in a pool.
        top: the k.

    Returns:
        (len(top), N // pool_size * pool_size) of 0 or 1, float64. Motions that are equally far can
        stand in any order: then it is the chance of a hit, so that one motion for all scores k in pool_size.

    Raises:
        InputError: if there is not one whole pool.
    """
    distances = _pools(texts, motions, pool_size)
    own = distances.diagonal(dim1=-2, dim2=-1)[..., None]
    closer = (distances < own).sum(-1).flatten().double()
    equal = (distances == own).sum(-1).flatten().double()
    return torch.stack([((k - closer) / equal).clamp(0, 1) for k in top])


def _pools(texts: Tensor, motions: Tensor, pool_size: int) -> Tensor:
    """(pools, pool_size, pool_size) distances of texts (rows) to motions."""
    if texts.shape != motions.shape:
        raise InputError(f"{len(texts)} texts and {len(motions)} motions do not pair up")
    pools = len(texts) // pool_size
    if not pools:
        raise InputError(f"{len(texts)} pairs do not fill one pool of {pool_size}: evaluate a larger split")
    shape = (pools, pool_size, -1)
    kept = pools * pool_size
    rows, columns = (points[:kept].double().reshape(shape) for points in (texts, motions))
    # The expanded square does not promise that equal motions are equally far.
    return torch.cdist(rows, columns, compute_mode="donot_use_mm_for_euclid_dist")


def whole_split_recall(texts: Tensor, motions: Tensor, alike: Tensor | None = None) -> dict[str, float]:
    """TMR's retrieval among all motions of a split, both ways (arXiv:2305.00976, section 4.1).

    Args:
        texts: (N, E).
        motions: (N, E), row i belonging to text i.
        alike: (N, N) true where texts i and j say the same, so that motion j is as right as motion i.

    Returns:
        Recall at 1, 2, 3, 5, 10 in 0 … 1, and the median rank, which begins with 1.
    """
    distances = pairwise_distances(texts, motions)
    right = torch.eye(len(texts), dtype=torch.bool) if alike is None else alike
    found: dict[str, float] = {}
    for name, table, good in (("t2m", distances, right), ("m2t", distances.T, right.T)):
        best = table.masked_fill(~good, torch.inf).amin(1, keepdim=True)
        ranks = (table < best).sum(1)
        found |= {f"{name} recall {k}": float((ranks < k).double().mean()) for k in (1, 2, 3, 5, 10)}
        found[f"{name} median rank"] = float(ranks.double().quantile(0.5)) + 1
    return found


class RetrievalMetric(Metric):
    """R-precision at 1, 2, 3 and the matching score (MM-Dist: mean distance of a pair, over whole pools).

    The result does not depend on the order in which pairs come, nor on how processes share them: each pair
    has a number, by which all are sorted before the pools are drawn.

    Args:
        seed: of the pools.
        pool_size: pairs in a pool.
        whole_split: also find each among all; see `whole_split_recall`. Equal texts are alike.
    """

    full_state_update = False
    higher_is_better = True
    numbers: list[Tensor]
    texts: list[Tensor]
    motions: list[Tensor]

    def __init__(
        self, seed: int = 0, pool_size: int = POOL_SIZE, whole_split: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        self.whole_split = whole_split
        self.seed = seed
        self.pool_size = pool_size
        for name in ("numbers", "texts", "motions"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, numbers: Tensor, texts: Tensor, motions: Tensor) -> None:
        """Add pairs: their numbers (B,), and embeddings (B, E) of both sides."""
        self.numbers.append(numbers)
        self.texts.append(texts)
        self.motions.append(motions)

    def compute(self) -> dict[str, Tensor]:
        """``R-precision 1``, ``2``, ``3`` in 0 … 1, and ``matching score``.

        Raises:
            InputError: if the pairs do not fill one pool.
        """
        texts, motions = in_order(self.numbers, self.texts, self.motions)
        order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(self.seed))
        texts, motions = texts[order], motions[order]
        among_all = {}
        if self.whole_split:
            alike = pairwise_distances(texts, texts) < SAME_TEXT
            recalls = whole_split_recall(texts, motions, alike)
            among_all = {name: torch.tensor(value) for name, value in recalls.items()}
        hits = hits_in_pools(texts, motions, self.pool_size)
        found = {f"R-precision {k}": share for k, share in zip(TOP, hits.mean(1))}
        kept = hits.shape[1]
        distances = torch.linalg.vector_norm((texts[:kept] - motions[:kept]).double(), dim=-1)
        return {**found, "matching score": distances.mean(), **among_all}


def in_order(numbers: list[Tensor] | Tensor, *states: list[Tensor] | Tensor) -> list[Tensor]:
    """States as one tensor each, sorted by the numbers of their items.

    Raises:
        InputError: if there are none.
    """
    # After a sync torchmetrics has made one tensor of each list.
    if isinstance(numbers, list) and not numbers:
        raise InputError("nothing was measured: there are no clips")
    order = dim_zero_cat(numbers).argsort()
    return [dim_zero_cat(state)[order] for state in states]
