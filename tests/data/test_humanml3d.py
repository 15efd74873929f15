from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from motiongpt3.data.captions import Caption
from motiongpt3.data.humanml3d import ClipMetadata, HumanML3DDataset, write_dataset
from motiongpt3.errors import InputError
from motiongpt3.motion.features import Statistics, features_to_joints
from tests.data.datasets import CLIPS, features, write_tiny


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def test_what_is_written_is_read_again(root: Path) -> None:
    dataset = HumanML3DDataset(root)
    assert dataset.splits == ["train", "val", "test"]
    assert dataset.split("train") == ["a", "b", "c"]
    assert dataset.split("all") == list(CLIPS)
    for seed, (name, (_, frames)) in enumerate(CLIPS.items()):
        clip = dataset.clip(name)
        np.testing.assert_array_equal(clip.features, features(frames, seed))
        assert clip.captions[0] == Caption(f"clip {name} moves left")
        assert clip.captions[1].tokens == ("motion/NOUN",)
        expected = features_to_joints(torch.from_numpy(clip.features)).numpy()
        np.testing.assert_array_equal(dataset.joints(name), expected)
        assert dataset.metadata[name].label == f"label-{name}"
        assert dataset.metadata[name].human[0] is True
    assert (root / "ATTRIBUTION.md").read_text() == "by nobody"


def test_statistics_are_of_the_training_split(root: Path) -> None:
    train = [
        features(frames, seed) for seed, (split, frames) in enumerate(CLIPS.values()) if split == "train"
    ]
    expected = Statistics.of(train)
    stored = HumanML3DDataset(root).statistics
    torch.testing.assert_close(stored.mean, expected.mean)
    torch.testing.assert_close(stored.std, expected.std)
    assert np.load(root / "Mean.npy").dtype == np.load(root / "Std.npy").dtype == np.float32


def test_segments_are_whole_clips_and_the_stretches_of_captions(root: Path) -> None:
    dataset = HumanML3DDataset(root)
    whole, half, *others = dataset.segments("train")
    assert (whole.name, whole.clip, whole.start, whole.end, whole.label) == ("a", "a", 0, 60, "label-a")
    assert whole.captions == ["clip a moves left", "motion number 0"]
    assert (half.name, half.clip, half.start, half.end) == ("a_0.000000_1.500000", "a", 0, 30)
    assert half.captions == ["the first half", "again the first half"]
    assert [segment.name for segment in others] == ["b", "c"]
    np.testing.assert_array_equal(dataset.features(half), features(60, 0)[:30])


def test_segments_are_chosen_by_their_length(root: Path) -> None:
    dataset = HumanML3DDataset(root)
    assert [s.name for s in dataset.segments("train", min_frames=31)] == ["a", "b"]
    assert [len(s) for s in dataset.segments("train", max_frames=45)] == [30, 30]
    assert {s.name for s in dataset.segments("train", min_frames=1)} >= {"a_1.000000_1.500000"}


def test_needs_neither_metadata_nor_joints(root: Path) -> None:
    (root / "metadata.jsonl").unlink()
    for path in (root / "new_joints").iterdir():
        path.unlink()
    dataset = HumanML3DDataset(root)
    assert dataset.metadata == {}
    assert dataset.segments("val")[0].label is None


def test_metadata_of_other_programs_may_say_more(root: Path) -> None:
    (root / "metadata.jsonl").write_text(json.dumps({"id": "a", "mood": "good"}) + "\n")
    assert HumanML3DDataset(root).metadata == {"a": ClipMetadata("a")}


def test_clips_without_files_are_left_out_with_a_warning(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "texts" / "b.txt").unlink()
    (root / "new_joint_vecs" / "c.npy").unlink()
    with caplog.at_level(logging.WARNING):
        names = [segment.clip for segment in HumanML3DDataset(root).segments("train")]
    assert set(names) == {"a"}
    assert "2 of 3 clips" in caplog.text


def test_a_split_without_any_file_is_an_error(root: Path) -> None:
    (root / "val.txt").write_text("x\ny\n")
    with pytest.raises(InputError, match="none of the 2 clips"):
        HumanML3DDataset(root).segments("val")


def test_refuses_other_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        HumanML3DDataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match="new_joint_vecs"):
        HumanML3DDataset(tmp_path)


def test_refuses_an_unknown_split_and_names_outside_the_dataset(root: Path) -> None:
    dataset = HumanML3DDataset(root)
    with pytest.raises(InputError, match="no split 'dev'"):
        dataset.split("dev")
    for name in ("../a", "..", "/etc/passwd", "b\\c"):
        (root / "val.txt").write_text(f"{name}\n")
        with pytest.raises(InputError, match="plain file name"):
            dataset.split("val")
        with pytest.raises(InputError, match="plain file name"):
            dataset.clip(name)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((30, 251), np.float32), "KIT-ML"),
        (np.zeros((30, 262), np.float32), r"\(T, 263\)"),
        (np.zeros(263, np.float32), r"\(T, 263\)"),
        (np.full((30, 263), np.nan, np.float32), "NaN or infinite features in frame 0"),
        (np.zeros((30, 263), np.int64), "floating-point"),
        (np.array([{"a": 1}], dtype=object), "cannot read"),
    ],
)
def test_refuses_broken_features(root: Path, array: np.ndarray, message: str) -> None:
    np.save(root / "new_joint_vecs" / "a.npy", array)
    with pytest.raises(InputError, match=message):
        HumanML3DDataset(root).clip("a")


@pytest.mark.parametrize("content", [b"", b"no array", b"PK\x03\x04 no archive", b"\x80\x04K\x01."])
def test_refuses_files_that_are_no_arrays(root: Path, content: bytes) -> None:
    (root / "new_joint_vecs" / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npy"):
        HumanML3DDataset(root).segments("train")


def test_refuses_truncated_features(root: Path) -> None:
    path = root / "new_joint_vecs" / "a.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"cannot read .*a\.npy"):
        HumanML3DDataset(root).clip("a")


def test_refuses_joints_of_another_shape(root: Path) -> None:
    np.save(root / "new_joints" / "a.npy", np.zeros((60, 21, 3), np.float32))
    with pytest.raises(InputError, match="joints of shape"):
        HumanML3DDataset(root).joints("a")


def test_errors_name_the_file_and_the_line(root: Path) -> None:
    (root / "texts" / "a.txt").write_text("fine##0.0#0.0\n\nnot a caption\n")
    with pytest.raises(InputError, match=r"a\.txt, line 3: a caption line needs"):
        HumanML3DDataset(root).clip("a")
    (root / "texts" / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"a\.txt as text"):
        HumanML3DDataset(root).clip("a")
    (root / "texts" / "a.txt").unlink()
    with pytest.raises(InputError, match=r"no such file.*a\.txt"):
        HumanML3DDataset(root).clip("a")


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"label": "walk"}', '{"id": "b", "human": 3}', '{"id": "b", "label": []}']
)
def test_refuses_broken_metadata(root: Path, line: str) -> None:
    (root / "metadata.jsonl").write_text(f'{{"id": "a"}}\n{line}\n')
    with pytest.raises(InputError, match="line 2"):
        _ = HumanML3DDataset(root).metadata


def _write(root: Path, *clips: dict[str, Any]) -> None:
    good = {"id": "x", "features": features(9), "captions": [Caption("a")], "split": "train"}
    with write_dataset(root) as writer:
        for clip in clips:
            writer.add(**(good | clip))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "a/b"}, "plain file name"),
        ({"features": np.zeros((9, 251), np.float32)}, "KIT-ML"),
        ({"features": np.full((9, 263), np.inf, np.float32)}, "infinite"),
        ({"captions": []}, "no caption"),
        ({"captions": [Caption("a#b")]}, "without '#'"),
        ({"split": "dev"}, "not 'dev'"),
        ({"joints": np.zeros((8, 22, 3))}, "9 frames"),
    ],
)
def test_the_writer_refuses_and_leaves_nothing_behind(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        _write(tmp_path / "new", {"id": "first"}, change)
    assert list(tmp_path.iterdir()) == []


def test_the_writer_refuses_a_name_twice_and_a_dataset_without_training_clips(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="already"):
        _write(tmp_path / "new", {}, {"split": "val"})
    with pytest.raises(InputError, match="training split"):
        _write(tmp_path / "new", {"split": "val"})
    assert list(tmp_path.iterdir()) == []


def test_a_clip_may_be_in_no_split(tmp_path: Path) -> None:
    _write(tmp_path / "new", {}, {"id": "y", "split": None})
    dataset = HumanML3DDataset(tmp_path / "new")
    assert (dataset.split("train"), dataset.split("val"), dataset.split("all")) == (["x"], [], ["x", "y"])


def test_replaces_datasets_only_when_told_and_nothing_else_ever(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not empty"), write_dataset(root):
        pass
    with write_dataset(root, overwrite=True) as writer:
        writer.add("x", features(9), [Caption("a")], "train")
    assert HumanML3DDataset(root).split("all") == ["x"]

    (root / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"thesis\.tex"), write_dataset(root, overwrite=True):
        pass
    with pytest.raises(InputError, match="is a file"), write_dataset(root / "thesis.tex", overwrite=True):
        pass
    assert (root / "new_joint_vecs" / "x.npy").is_file()
