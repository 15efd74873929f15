"""How a codebook learns: means of what is nearest, and a new start for what nothing uses."""

from __future__ import annotations

import pytest
import torch

from motiongpt3.models.vq_vae import Codebook
from motiongpt3.training.codebook import CodebookAverages, perplexity


def clusters(count: int, each: int = 50, spread: float = 0.01) -> torch.Tensor:
    torch.manual_seed(3)
    centres = 10 * torch.randn(count, 1, 4)
    return (centres + spread * torch.randn(count, each, 4)).flatten(0, 1)


def test_starts_on_vectors_of_the_first_batch_only() -> None:
    torch.manual_seed(0)
    codebook, averages = Codebook(6, 4), CodebookAverages(6, 4)
    vectors = clusters(10)
    averages.start(codebook, vectors)
    assert (codebook.codebook[:, None] == vectors).all(dim=-1).any(dim=1).all()
    assert len(codebook.codebook.unique(dim=0)) == 6
    before = codebook.codebook.clone()
    averages.start(codebook, clusters(10) + 1)
    assert torch.equal(codebook.codebook, before)


def test_too_few_vectors_are_copied_with_a_little_noise() -> None:
    torch.manual_seed(0)
    codebook, averages = Codebook(8, 4), CodebookAverages(8, 4)
    vectors = clusters(3, each=1)
    averages.start(codebook, vectors)
    distances = torch.cdist(codebook.codebook, vectors)
    assert distances.amin(dim=1).max() < 0.1
    assert len(codebook.codebook.unique(dim=0)) == 8
    assert distances.argmin(dim=1).bincount().tolist() != [8, 0, 0]


def test_codes_become_means_of_their_vectors() -> None:
    torch.manual_seed(0)
    vectors = clusters(4)
    codebook, averages = Codebook(4, 4), CodebookAverages(4, 4, decay=0.5)
    averages.start(codebook, vectors)
    # One on each cluster, next to it.
    codebook.codebook.copy_(vectors[::50] + 0.1)
    for _ in range(40):
        averages.update(codebook, vectors, codebook.nearest(vectors))
    torch.testing.assert_close(
        codebook.codebook, vectors.unflatten(0, (4, 50)).mean(dim=1), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(averages.uses, torch.full((4,), 50.0), atol=1e-3, rtol=0)


def test_averages_forget_at_their_rate() -> None:
    codebook, averages = Codebook(2, 1), CodebookAverages(2, 1, decay=0.75)
    averages.started.fill_(True)
    averages.uses.copy_(torch.tensor([4.0, 4.0]))
    averages.sums.copy_(torch.tensor([[4.0], [8.0]]))
    averages.update(codebook, torch.tensor([[3.0], [3.0], [7.0], [7.0]]), torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(averages.uses, torch.tensor([3.5, 3.5]))
    expected = torch.tensor([[0.75 * 4 + 0.25 * 6], [0.75 * 8 + 0.25 * 14]]) / 3.5
    torch.testing.assert_close(codebook.codebook, expected)


def test_unused_codes_start_anew_and_all_clusters_are_found() -> None:
    torch.manual_seed(0)
    vectors = clusters(6)
    codebook, averages = Codebook(6, 4), CodebookAverages(6, 4, decay=0.8)
    averages.start(codebook, vectors)
    codebook.codebook.copy_(vectors[:1] + 100 * torch.arange(6)[:, None])
    assert codebook.nearest(vectors).unique().tolist() == [0]
    for _ in range(200):
        averages.update(codebook, vectors, codebook.nearest(vectors))
    assert averages.in_use.all()
    errors = (codebook.vectors(codebook.nearest(vectors)) - vectors).norm(dim=1)
    assert errors.max() < 0.1


@pytest.mark.parametrize(("least_use", "kept"), [(1.0, False), (0.2, True)])
def test_least_use_decides_which_codes_are_kept(least_use: float, kept: bool) -> None:
    torch.manual_seed(0)
    codebook, averages = Codebook(2, 1), CodebookAverages(2, 1, decay=0.9, least_use=least_use)
    averages.started.fill_(True)
    averages.uses.copy_(torch.tensor([5.0, 0.5]))
    averages.sums.copy_(torch.tensor([[5.0], [4.0]]))
    averages.update(codebook, torch.full((5, 1), 1.0), torch.zeros(5, dtype=torch.long))
    assert float(codebook.codebook[1]) == pytest.approx(8.0 if kept else 1.0)


def test_averages_are_part_of_a_checkpoint() -> None:
    assert {name for name, _ in CodebookAverages(2, 1).state_dict().items()} == {"uses", "sums", "started"}


def test_perplexity_counts_codes_used_alike() -> None:
    assert float(perplexity(torch.tensor([3.0, 3.0, 3.0, 3.0]))) == pytest.approx(4)
    assert float(perplexity(torch.tensor([5.0, 0.0, 0.0, 0.0]))) == pytest.approx(1)
    assert 2 < float(perplexity(torch.tensor([4.0, 4.0, 1.0, 0.0]))) < 3
