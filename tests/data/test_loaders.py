"""Batches of similar length, each item in its place, all from (seed, epoch); crops; padding."""

from __future__ import annotations

import copy
import math
import pickle
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.loaders import (
    Batch,
    BatchStream,
    Draw,
    LengthBuckets,
    MotionBatch,
    MotionClips,
    Shares,
    item_generator,
    pad_clips,
)
from motiongpt3.errors import ConfigError, InputError
from tests.data.datasets import write_tiny

LENGTHS = np.random.default_rng(0).integers(20, 200, size=103).tolist()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> HumanML3DDataset:
    return HumanML3DDataset(write_tiny(tmp_path_factory.mktemp("data") / "tiny"))


def epoch(number: int, **settings: object) -> list[list[int]]:
    return LengthBuckets(LENGTHS, 8, **settings).epoch(number)  # type: ignore[arg-type]


def test_order_follows_from_seed_and_epoch() -> None:
    assert epoch(2, seed=5) == epoch(2, seed=5)
    assert epoch(2, seed=5) != epoch(3, seed=5)
    assert epoch(2, seed=5) != epoch(2, seed=6)
    buckets = LengthBuckets(LENGTHS, 8, seed=5)
    assert list(buckets) == list(buckets) == epoch(0, seed=5)


@pytest.mark.parametrize("pool", [1, 3, 20])
def test_each_item_comes_once(pool: int) -> None:
    batches = epoch(0, pool=pool)
    assert len(batches) == len(LengthBuckets(LENGTHS, 8, pool=pool)) == 12
    assert {len(batch) for batch in batches} == {8}
    items = [item for batch in batches for item in batch]
    assert len(set(items)) == 96
    # What is left over is left over by chance: it comes in another epoch.
    seen = {item for number in range(4) for batch in epoch(number, pool=pool) for item in batch}
    assert seen == set(range(103))


def test_items_of_a_batch_have_similar_lengths() -> None:
    def padding(batches: list[list[int]]) -> float:
        lengths = np.array([[LENGTHS[item] for item in batch] for batch in batches])
        return float(1 - lengths.mean(axis=1).sum() / lengths.max(axis=1).sum())

    assert padding(epoch(0)) < 0.1
    assert padding(epoch(0, pool=1)) > 0.3


def test_long_batches_do_not_come_first_or_last() -> None:
    longest = [max(LENGTHS[item] for item in batch) for batch in epoch(0)]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def test_weights_shift_the_rates() -> None:
    weights = [3.0 if item < 50 else 1.0 for item in range(103)]
    drawn = Counter(
        item for number in range(40) for batch in epoch(number, weights=weights) for item in batch
    )
    total = sum(drawn.values())
    assert total == 40 * 96
    share = sum(count for item, count in drawn.items() if item < 50) / total
    assert share == pytest.approx(150 / 203, abs=0.03)


def test_weight_of_zero_is_never_drawn() -> None:
    weights = [float(item % 2) for item in range(103)]
    assert all(item % 2 for batch in epoch(0, weights=weights) for item in batch)


def test_fewer_items_than_a_batch_make_one() -> None:
    assert sorted(next(iter(LengthBuckets([30, 20, 40], 8)))) == [0, 1, 2]
    assert len(LengthBuckets([30, 20, 40], 8)) == 1


def test_no_items_and_no_batch_are_refused() -> None:
    with pytest.raises(InputError):
        LengthBuckets([], 8)
    with pytest.raises(ConfigError, match="batch_size: 0"):
        LengthBuckets([30], 0)


def test_draws_follow_from_their_place_in_the_run() -> None:
    def noise(number: int) -> dict[int, float]:
        return {
            int(item): float(torch.rand((), generator=item_generator(item)))
            for batch in epoch(number)
            for item in batch
        }

    first = noise(0)
    assert len(set(first.values())) == 96
    assert noise(0) == first
    both = first.keys() & noise(1).keys()
    assert len(both) > 80
    assert all(noise(1)[item] != first[item] for item in both)
    # A plain number is drawn the same every time: validation.
    plain = [float(torch.rand((), generator=item_generator(item))) for item in [3, 4, 3]]
    assert plain[0] == plain[2] != plain[1]


def test_draw_is_the_number_of_an_item() -> None:
    draw = Draw(2, (7, 1, 30))
    assert draw == 2
    assert ["a", "b", "c"][draw] == "c"
    twin = pickle.loads(pickle.dumps(draw))
    assert type(twin) is Draw
    assert (int(twin), twin.place) == (2, (7, 1, 30))
    assert copy.copy(draw).place == draw.place


def test_run_goes_through_the_epochs() -> None:
    buckets = LengthBuckets(LENGTHS, 8, seed=5)
    run = list(buckets.run(0, 30))
    assert run == buckets.epoch(0) + buckets.epoch(1) + buckets.epoch(2)[:6]
    rest = list(buckets.run(17, 30))
    assert rest == run[17:]
    assert [draw.place for batch in rest for draw in batch] == [d.place for b in run[17:] for d in b]
    assert list(buckets.run(30, 30)) == []


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_batches_of_one(processes: int) -> None:
    shares = [
        list(LengthBuckets(LENGTHS, 4, seed=5).run(3, 20, rank, processes)) for rank in range(processes)
    ]
    joint = list(LengthBuckets(LENGTHS, 4 * processes, seed=5).run(3, 20))
    for batch, *parts in zip(joint, *shares, strict=True):
        assert [len(part) for part in parts] == [4] * processes
        together = sorted((draw, draw.place) for part in parts for draw in part)
        assert together == sorted((draw, draw.place) for draw in batch)
    # Shares of a batch are equally long, not first the short and then the long items.
    sums = np.array([[sum(LENGTHS[i] for i in batch) for batch in share] for share in shares])
    assert np.ptp(sums, axis=0).mean() < 0.1 * sums.mean()


def test_few_items_are_shared_equally() -> None:
    lengths = [30, 20, 40, 25, 35]
    shares = [next(LengthBuckets(lengths, 8).run(0, 1, rank, 2)) for rank in range(2)]
    assert [len(share) for share in shares] == [2, 2]
    assert not set(shares[0]) & set(shares[1])
    with pytest.raises(InputError, match="5 clips cannot be shared by 6 processes"):
        next(LengthBuckets(lengths, 8).run(0, 1, 0, 6))


@pytest.mark.parametrize("count", [1, 5, 31, 32, 33, 100])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_validation_is_shared_out(count: int, batch_size: int) -> None:
    assert [i for batch in Shares(count, batch_size) for i in batch] == list(range(count))
    for processes in (1, 2, 3):
        shares = [Shares(count, batch_size).shares(rank, processes) for rank in range(processes)]
        assert len({len(share) for share in shares}) == 1
        assert all(batch for share in shares for batch in share)
        items = [item for share in shares for batch in share for item in batch]
        assert sorted(items) == sorted(range(count)) * (processes if count < processes else 1)
        assert max(len(batch) for share in shares for batch in share) <= batch_size + 1
    assert len(Shares(count, batch_size)) == math.ceil(count / batch_size)


class Noisy(Dataset[Tensor]):
    """An item and noise that is its own."""

    def __len__(self) -> int:
        return len(LENGTHS)

    def __getitem__(self, index: int) -> Tensor:
        return torch.cat([torch.tensor([index]), torch.rand(2, generator=item_generator(index))])


def stream(length: int, workers: int = 0, batch_size: int = 8) -> BatchStream:
    buckets = LengthBuckets(LENGTHS, batch_size, seed=5)
    return BatchStream(DataLoader(Noisy(), batch_sampler=buckets, num_workers=workers), length)


@pytest.mark.parametrize("workers", [0, 2])
def test_stream_goes_on_where_it_was_stopped(workers: int) -> None:
    whole = list(stream(30))
    assert len(whole) == len(stream(30)) == 30
    torch.manual_seed(3)
    first = stream(30, workers)
    batches = iter(first)
    begun = [next(batches) for _ in range(13)]
    state = first.state_dict()
    # Workers have prepared more than was handed out.
    assert state["position"] == 13
    second = stream(30, workers)
    second.load_state_dict(state)
    assert all(torch.equal(one, two) for one, two in zip(whole, [*begun, *second], strict=True))
    assert second.state_dict()["position"] == 30


def test_change_of_the_order_is_told(caplog: pytest.LogCaptureFixture) -> None:
    state = stream(30).state_dict()
    stream(30).load_state_dict(state)
    assert not caplog.records
    stream(30, batch_size=4).load_state_dict(state)
    assert "batch_size changed" in caplog.text


def test_stream_needs_buckets() -> None:
    with pytest.raises(TypeError, match="LengthBuckets"):
        BatchStream(DataLoader(Noisy(), batch_size=2), 3)


def test_clips_are_the_segments_of_the_dataset(dataset: HumanML3DDataset) -> None:
    segments = dataset.segments("train")
    clips = MotionClips(dataset, segments)
    assert clips.lengths == [len(segment) for segment in segments]
    for index, segment in enumerate(segments):
        assert torch.equal(clips[index], torch.from_numpy(dataset.features(segment)))
    with pytest.raises(InputError, match="no clips"):
        MotionClips(dataset, [])


def test_crops_are_stretches_of_their_segment(dataset: HumanML3DDataset) -> None:
    segments = dataset.segments("train")
    whole = MotionClips(dataset, segments)
    clips = MotionClips(dataset, segments, crop=0.5, shortest_crop=25)
    cropped = 0
    lengths, firsts, lasts = set(), set(), set()
    for place in range(60):
        for index in range(len(clips)):
            features = clips[Draw(index, (0, 0, place * len(clips) + index))]
            starts = (whole[index] == features[0]).all(dim=-1).nonzero().flatten().tolist()
            assert any(torch.equal(whole[index][s : s + len(features)], features) for s in starts)
            assert len(features) >= 25
            cropped += len(features) < len(whole[index])
            lengths.add(len(features))
            if len(features) < len(whole[index]):
                firsts.add(starts[0])
                lasts.add(len(whole[index]) - starts[0] - len(features))
    assert 0.35 < cropped / (60 * len(clips)) < 0.6
    assert {25, 60} <= lengths
    assert 0 in firsts
    assert 0 in lasts


def test_segment_that_is_too_short_is_not_cropped(dataset: HumanML3DDataset) -> None:
    clips = MotionClips(dataset, dataset.segments("train"), crop=1.0, shortest_crop=60)
    assert [len(clips[index]) for index in range(len(clips))] == clips.lengths


def test_clips_are_padded_with_zeros() -> None:
    batch = pad_clips([torch.ones(2, 3), torch.full((4, 3), 2.0)])
    assert batch.lengths.tolist() == [2, 4]
    assert batch.features.shape == (2, 4, 3)
    assert batch.features[0].sum(dim=-1).tolist() == [3, 3, 0, 0]
    assert torch.equal(batch.features[1], torch.full((4, 3), 2.0))
    moved = batch.to("meta")
    assert isinstance(moved, MotionBatch)
    assert moved.features.device.type == moved.lengths.device.type == "meta"


@dataclass(frozen=True)
class Mixed(Batch):
    parts: list[list[torch.Tensor]]
    inner: MotionBatch | None
    names: list[str]


def test_a_batch_moves_with_all_that_is_in_it() -> None:
    mixed = Mixed([[torch.ones(1)], []], pad_clips([torch.ones(2, 3)]), ["a"])
    moved = mixed.to("meta")
    assert isinstance(moved, Mixed)
    assert moved.inner is not None
    assert moved.parts[0][0].device.type == moved.inner.lengths.device.type == "meta"
    assert (moved.parts[1], moved.names) == ([], ["a"])
    assert mixed.parts[0][0].device.type == "cpu"
    assert Mixed([], None, []).to("meta").inner is None
