"""Batches of similar length, each item in its place, all from (seed, epoch); crops; padding."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.data import _set_sampler_epoch
from torch.utils.data import DataLoader

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.loaders import LengthBuckets, MotionBatch, MotionClips, pad_clips
from motiongpt3.errors import ConfigError, InputError
from tests.data.datasets import write_tiny

LENGTHS = np.random.default_rng(0).integers(20, 200, size=103).tolist()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> HumanML3DDataset:
    return HumanML3DDataset(write_tiny(tmp_path_factory.mktemp("data") / "tiny"))


def epoch(number: int, **settings: object) -> list[list[int]]:
    buckets = LengthBuckets(LENGTHS, 8, **settings)  # type: ignore[arg-type]
    buckets.set_epoch(number)
    return list(buckets)


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


def test_lightning_sets_the_epoch(dataset: HumanML3DDataset) -> None:
    clips = MotionClips(dataset, dataset.segments("train"))
    buckets = LengthBuckets(clips.lengths, 2)
    _set_sampler_epoch(DataLoader(clips, batch_sampler=buckets, collate_fn=pad_clips), 7)
    assert buckets.epoch == 7


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
    torch.manual_seed(0)
    cropped = 0
    lengths, firsts, lasts = set(), set(), set()
    for _ in range(60):
        for index in range(len(clips)):
            features = clips[index]
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
    torch.manual_seed(3)
    first = clips[0]
    torch.manual_seed(3)
    assert torch.equal(first, clips[0])


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
