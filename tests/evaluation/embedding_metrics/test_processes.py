"""Two processes that share the clips find what one finds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.multiprocessing

from motiongpt3.errors import InputError
from motiongpt3.evaluation.embedding_metrics.frechet import FrechetDistance
from motiongpt3.evaluation.embedding_metrics.retrieval import RetrievalMetric
from motiongpt3.evaluation.embedding_metrics.variety import Diversity
from motiongpt3.evaluation.protocol.processes import from_first, gathered, joined_processes, share

COUNT, WIDTH = 67, 5


def measured() -> dict[str, float]:
    """All metrics over the share of this process."""
    random = torch.Generator().manual_seed(0)
    texts = torch.randn(COUNT, WIDTH, generator=random)
    motions = texts + torch.randn(COUNT, WIDTH, generator=random)
    own = torch.tensor(share(range(COUNT)))
    retrieval, diversity, fid = RetrievalMetric(1), Diversity(20, 1), FrechetDistance(WIDTH)
    retrieval.update(own, texts[own], motions[own])
    diversity.update(own, motions[own])
    fid.update(motions[own], real=False)
    fid.update(texts[own], real=True)
    values = {**retrieval.compute(), "diversity": diversity.compute(), "FID": fid.compute()}
    names = gathered([(number, f"clip {number}") for number in own.tolist()])
    assert from_first(lambda: "of the first") == "of the first"
    assert names == [f"clip {number}" for number in range(COUNT)]
    return {name: float(value) for name, value in values.items()}


def one_of_two(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(measured(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def stopping_in_one(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    if rank == 1:
        # As a process does that ends with an error: its connections close, and nobody hears from it.
        torch.distributed.destroy_process_group()
        return
    with pytest.raises(InputError, match="another process of this evaluation stopped"), joined_processes():
        gathered([(0, "never answered")])
    Path(folder, "told").touch()


def test_a_process_that_stops_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(stopping_in_one, (str(tmp_path),), nprocs=2)
    assert (tmp_path / "told").exists()


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    alone = measured()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == alone.keys()
        for name, value in alone.items():
            assert abs(found[name] - value) < 1e-9, name
