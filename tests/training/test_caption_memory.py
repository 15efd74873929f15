"""Stored keys and values are those of the text branch."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from motiongpt3.errors import InputError
from motiongpt3.models.mot import MixtureOfTransformers
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.training.caption_memory import CaptionMemory
from tests import tiny

CAPTIONS = ["a person walks", "jump", "someone waves", "hops."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MotionGPT3:
    return tiny.model(tiny.save_backbone(tmp_path_factory.mktemp("backbone")))


def remember(
    model: MotionGPT3, folder: Path, captions: list[str] = CAPTIONS, **settings: int
) -> CaptionMemory:
    ids = [model.prompt_ids(caption) for caption in captions]
    return CaptionMemory.of(ids, model.mot, folder, "fingerprint", **settings)


@torch.no_grad()
def test_batch_is_what_the_text_branch_says(model: MotionGPT3, tmp_path: Path) -> None:
    memory = remember(model, tmp_path)
    indices = [2, 0, 1, 0]
    cache, lengths = memory.batch(indices)
    expected, expected_lengths = model.read_text([CAPTIONS[index] for index in indices])
    assert torch.equal(lengths, expected_lengths)
    layers = model.config.motion.layers
    visible = torch.arange(int(lengths.max())) < lengths[:, None]
    for found, wanted in zip(cache.text_tensors(layers), expected.text_tensors(layers)):
        assert found.dtype == torch.float32
        assert found.shape == wanted.shape
        rows = visible[None, :, None, :, None].expand_as(found)
        torch.testing.assert_close(found[rows], wanted[rows], atol=2e-3, rtol=2e-3)
        assert not found[~rows].any()


@torch.no_grad()
def test_motion_reads_the_memory_as_it_reads_the_text(model: MotionGPT3, tmp_path: Path) -> None:
    memory = remember(model, tmp_path)
    counts = torch.tensor([5, 3, 2, 4])

    def hidden(cache_and_lengths: tuple) -> torch.Tensor:
        cache, lengths = cache_and_lengths
        model.placeholders.start(model.mot, cache, lengths)
        return model.placeholders.fill(model.mot, cache, lengths, counts)

    stored, direct = hidden(memory.batch(range(4))), hidden(model.read_text(CAPTIONS))
    for row, count in enumerate(counts.tolist()):
        torch.testing.assert_close(stored[row, :count], direct[row, :count], atol=5e-3, rtol=5e-3)


def test_a_full_disk_is_known_before_reading(
    model: MotionGPT3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(MixtureOfTransformers, "encode_text", None)
    with pytest.raises(InputError, match=r"takes 0\.0 GB, and 0\.0 GB are free.*--remember_text false"):
        remember(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_file_is_written_once(model: MotionGPT3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    ids = [model.prompt_ids(caption) for caption in CAPTIONS]
    first = CaptionMemory.of(
        ids, model.mot, tmp_path, "f", batch_size=1, progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    (file,) = tmp_path.iterdir()

    def refuse(*arguments: object) -> None:
        raise AssertionError("the text branch was asked again")

    monkeypatch.setattr(MixtureOfTransformers, "encode_text", refuse)
    again = CaptionMemory.of(ids, model.mot, tmp_path, "f")
    layers = model.config.motion.layers
    for one, two in zip(
        first.batch([1, 2])[0].text_tensors(layers), again.batch([1, 2])[0].text_tensors(layers)
    ):
        assert torch.equal(one, two)
    assert list(tmp_path.iterdir()) == [file]
    # Other weights or other captions are another file.
    for other, captions in (("g", ids), ("f", ids[:-1])):
        with pytest.raises(AssertionError, match="asked again"):
            CaptionMemory.of(captions, model.mot, tmp_path, other)
    assert list(tmp_path.iterdir()) == [file]


@torch.no_grad()
def test_size_of_the_batches_does_not_matter(model: MotionGPT3, tmp_path: Path) -> None:
    # "jump" and "hops." differ in length, so that a batch of unequal captions would show.
    one = remember(model, tmp_path / "one", [*CAPTIONS, "skip"], batch_size=1)
    all_at_once = remember(model, tmp_path / "all", [*CAPTIONS, "skip"], batch_size=64)
    layers = model.config.motion.layers
    for first, second in zip(
        one.batch([1, 4])[0].text_tensors(layers), all_at_once.batch([1, 4])[0].text_tensors(layers)
    ):
        torch.testing.assert_close(first, second, atol=2e-3, rtol=2e-3)
