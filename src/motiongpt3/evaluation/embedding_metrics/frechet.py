"""FID: how far apart two sets of motions are as clouds of points.

Heusel et al. 2017, arXiv:1706.08500: the Fréchet distance of two Gaussians with the sets' means and
covariances, |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½).

Shapes: N clips, E embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from motiongpt3.errors import InputError


def gaussian_of(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (E,) and unbiased covariance (E, E) of embeddings (N, E), float64.

    Raises:
        InputError: for fewer than two clips.
    """
    if len(embeddings) < 2:
        raise InputError(f"FID needs two clips at least, found {len(embeddings)}")
    points = embeddings.double()
    return points.mean(0), torch.cov(points.T)


def frechet_distance(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> float:
    """Fréchet distance of two Gaussians, each a mean (E,) and covariance (E, E).

    The trace of the root is the sum of the roots of the eigenvalues of Σ₁ Σ₂, which are those of the
    symmetric Σ₁^½ Σ₂ Σ₁^½: no matrix root of a non-symmetric product, and nothing to regularise where sets
    have fewer clips than dimensions.
    """
    (mean_1, covariance_1), (mean_2, covariance_2) = first, second
    values, vectors = torch.linalg.eigh(covariance_1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = torch.linalg.eigvalsh(root @ covariance_2 @ root)
    trace = product.clamp(min=0).sqrt().sum()
    distance = (mean_1 - mean_2).square().sum() + covariance_1.trace() + covariance_2.trace() - 2 * trace
    return float(distance)


class FrechetDistance(Metric):
    """FID of generated motions against real ones, from running sums: nothing but E² numbers is kept.

    Args:
        width: E.
    """

    full_state_update = False
    higher_is_better = False
    counts: Tensor
    sums: Tensor
    products: Tensor

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(**options)
        # float64: covariances are differences of large numbers.
        self.add_state("counts", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("sums", torch.zeros(2, width, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("products", torch.zeros(2, width, width, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, embeddings: Tensor, real: bool) -> None:
        """Add embeddings (B, E) of one side.

        Raises:
            InputError: if an embedding is NaN or infinite.
        """
        if not torch.isfinite(embeddings).all():
            raise InputError("an embedding is NaN or infinite: a motion holds NaN")
        points, side = embeddings.double(), int(real)
        self.counts[side] += len(points)
        self.sums[side] += points.sum(0)
        self.products[side] += points.T @ points

    def compute(self) -> Tensor:
        """The distance.

        Raises:
            InputError: if a side has fewer than two clips.
        """
        if float(self.counts.min()) < 2:
            made, real = self.counts.long().tolist()
            raise InputError(f"FID needs two clips at least on both sides, found {made} and {real}")
        means = self.sums / self.counts[:, None]
        centred = self.products - self.counts[:, None, None] * means[:, :, None] * means[:, None]
        covariances = centred / (self.counts - 1)[:, None, None]
        made, real = ((mean, covariance) for mean, covariance in zip(means, covariances))
        return torch.tensor(frechet_distance(made, real), dtype=torch.float64)
