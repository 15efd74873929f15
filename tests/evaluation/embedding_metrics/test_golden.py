"""The field's metrics on random embeddings, as the official code computes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch

from motiongpt3.errors import InputError
from motiongpt3.evaluation.embedding_metrics.frechet import FrechetDistance, frechet_distance, gaussian_of
from motiongpt3.evaluation.embedding_metrics.retrieval import (
    RetrievalMetric,
    hits_in_pools,
    pairwise_distances,
    whole_split_recall,
)
from motiongpt3.evaluation.embedding_metrics.variety import Diversity, Multimodality

Golden = Callable[[str], dict[str, np.ndarray]]


def embeddings(golden: Golden) -> tuple[torch.Tensor, torch.Tensor, dict[str, np.ndarray]]:
    arrays = golden("metrics")
    return torch.from_numpy(arrays["a"]), torch.from_numpy(arrays["b"]), arrays


def test_distances_retrieval_and_matching_are_the_official_ones(golden: Golden) -> None:
    texts, motions, arrays = embeddings(golden)
    found = pairwise_distances(texts[:32], motions[:32])
    np.testing.assert_allclose(found, arrays["dist"], rtol=2e-4, atol=2e-4)
    assert hits_in_pools(texts[:32], motions[:32]).sum(1).tolist() == arrays["topk"].tolist()
    metric = RetrievalMetric()
    metric.update(torch.arange(32), texts[:32], motions[:32])
    assert float(metric.compute()["matching score"]) * 32 == pytest.approx(
        float(arrays["matching"]), rel=1e-4
    )


def test_fid_is_the_official_one(golden: Golden) -> None:
    first, second, arrays = embeddings(golden)
    expected = pytest.approx(float(arrays["fid"]), rel=1e-6)
    assert frechet_distance(gaussian_of(first), gaussian_of(second)) == expected
    metric = FrechetDistance(first.shape[1])
    for part in first.split(100):
        metric.update(part, real=False)
    metric.update(second, real=True)
    assert float(metric.compute()) == expected


def test_fid_of_fewer_clips_than_dimensions_is_that_of_the_matrix_root() -> None:
    random = torch.Generator().manual_seed(0)
    first, second = torch.randn(12, 20, generator=random), 0.5 + torch.randn(15, 20, generator=random)
    (mean, covariance), (other_mean, other_covariance) = (
        tuple(part.numpy() for part in gaussian_of(points)) for points in (first, second)
    )
    root = scipy.linalg.sqrtm(covariance @ other_covariance).real
    expected = ((mean - other_mean) ** 2).sum() + np.trace(covariance + other_covariance - 2 * root)
    assert frechet_distance(gaussian_of(first), gaussian_of(second)) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(gaussian_of(first), gaussian_of(first)) == pytest.approx(0, abs=1e-6)


def test_a_motion_is_ranked_by_those_that_are_closer() -> None:
    texts = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    motions = torch.tensor([[0.0], [1.4], [0.9], [10.0]])
    # Text 1 finds motion 2 closer than its own; text 2 finds motion 1 closer.
    assert hits_in_pools(texts, motions, 4, (1, 2)).tolist() == [[1, 0, 0, 1], [1, 1, 1, 1]]
    assert hits_in_pools(texts.repeat(3, 1)[:11], motions.repeat(3, 1)[:11], 4).shape == (3, 8)


def test_motions_that_cannot_be_told_apart_are_found_by_chance() -> None:
    texts = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    hits = hits_in_pools(texts, torch.full((64, 8), 0.3), 32)
    torch.testing.assert_close(hits.mean(1), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) / 32)
    # Two of four tie for the second place.
    motions = torch.tensor([[1.0], [1.0], [0.5], [5.0]])
    assert hits_in_pools(torch.zeros(4, 1), motions, 4)[:, 0].tolist() == [0, 0.5, 1]


def test_the_motion_of_an_equal_caption_is_a_wrong_match() -> None:
    texts = torch.tensor([[0.0], [0.0], [5.0], [9.0]])
    motions = torch.tensor([[0.1], [0.2], [5.0], [9.0]])
    assert hits_in_pools(texts, motions, 4, (1,)).tolist() == [[1, 0, 1, 1]]


def test_whole_split_counts_what_says_the_same() -> None:
    texts = torch.tensor([[0.0], [0.0], [2.0], [9.0]])
    motions = torch.tensor([[1.0], [0.1], [2.1], [3.0]])
    alone = whole_split_recall(texts, motions)
    assert alone["t2m recall 1"] == 0.75
    assert alone["t2m median rank"] == 1.0
    alike = pairwise_distances(texts, texts) < 1e-3
    together = whole_split_recall(texts, motions, alike)
    assert together["t2m recall 1"] == 1.0
    assert together["m2t recall 1"] == 0.75
    assert together["m2t median rank"] == 1.0


def test_result_does_not_depend_on_order() -> None:
    random = torch.Generator().manual_seed(0)
    texts = torch.randn(70, 6, generator=random)
    motions = texts + torch.randn(70, 6, generator=random)
    found = []
    for order in (torch.arange(70), torch.randperm(70, generator=random)):
        retrieval, diversity = RetrievalMetric(seed=3), Diversity(pairs=20, seed=3)
        for part in order.split(16):
            retrieval.update(part, texts[part], motions[part])
            diversity.update(part, motions[part])
        found.append({**retrieval.compute(), "diversity": diversity.compute()})
    assert found[0] == found[1]
    assert 0.1 < float(found[0]["R-precision 1"]) < float(found[0]["R-precision 3"]) < 1


def test_diversity_and_multimodality_are_mean_distances() -> None:
    motions = torch.randn(400, 8, generator=torch.Generator().manual_seed(1))
    expected = pairwise_distances(motions, motions).mean()
    metric = Diversity(pairs=300, seed=0)
    metric.update(torch.arange(400), motions)
    assert float(metric.compute()) == pytest.approx(float(expected), rel=0.03)
    repeated = torch.zeros(5, 30, 8)
    repeated[:, :15] = 1.0
    several = Multimodality(pairs=10, seed=2)
    several.update(torch.arange(5), repeated)
    # Every pair is 0 or √8 apart, and the same pairs are drawn for all sentences.
    share = float(several.compute()) / 8**0.5
    assert share * 10 == pytest.approx(round(share * 10))
    assert 0 < share < 1
    same = Multimodality(pairs=10)
    same.update(torch.arange(5), torch.ones(5, 30, 8))
    assert float(same.compute()) == 0


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match="do not fill one pool of 32"):
        hits_in_pools(torch.zeros(31, 2), torch.zeros(31, 2))
    with pytest.raises(InputError, match="do not pair up"):
        hits_in_pools(torch.zeros(32, 2), torch.zeros(33, 2))
    with pytest.raises(InputError, match="no clips"):
        RetrievalMetric().compute()
    metric = FrechetDistance(2)
    with pytest.raises(InputError, match="NaN"):
        metric.update(torch.tensor([[0.0, float("nan")]]), real=True)
    metric.update(torch.zeros(3, 2), real=True)
    with pytest.raises(InputError, match="0 and 3"):
        metric.compute()
    several = Multimodality(pairs=10)
    several.update(torch.arange(1), torch.ones(1, 9, 2))
    with pytest.raises(InputError, match="10 pairs cannot be drawn from 9"):
        several.compute()
