from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from motiongpt3.cli.data import check_command
from motiongpt3.data.check import check_dataset
from motiongpt3.errors import InputError
from tests.data.datasets import write_tiny


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def _rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save(path, change(np.load(path)))


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def _with_nan(array: np.ndarray) -> np.ndarray:
    array[3, 7] = np.nan
    return array


def _zero_first(array: np.ndarray) -> np.ndarray:
    array[0] = 0
    return array


def test_a_sound_dataset_is_clean(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = check_dataset(root)
    assert not report.errors
    assert not report.warnings
    found = {finding.what: finding.detail for finding in report.findings}
    assert "3 clips" in found["train"]
    assert "9 captions" in found["train"]
    assert "4 usable segments" in found["train"]
    assert "30 to 60 frames" in found["lengths"]
    assert "13 captions, 5 of them tagged, 3 with times" in found["captions"]
    assert check_command(root, strict=True) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out


ERRORS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "NaN": ("values", "NaN", lambda r: _rewrite(r / "new_joint_vecs/b.npy", _with_nan)),
    "KIT-ML": ("features", "KIT-ML", lambda r: _rewrite(r / "new_joint_vecs/b.npy", lambda a: a[:, :251])),
    "width": (
        "features",
        "with 260 values",
        lambda r: _rewrite(r / "new_joint_vecs/b.npy", lambda a: a[:, :260]),
    ),
    "flat": ("features", "not of shape", lambda r: _rewrite(r / "new_joint_vecs/b.npy", np.ravel)),
    "no frame": (
        "features",
        "without a frame",
        lambda r: _rewrite(r / "new_joint_vecs/b.npy", lambda a: a[:0]),
    ),
    "not an array": ("features", "cannot read", lambda r: (r / "new_joint_vecs/b.npy").write_text("x")),
    "no features": ("lists", "1 clip in val.txt without", lambda r: (r / "new_joint_vecs/d.npy").unlink()),
    "no texts": ("captions", "without a file", lambda r: (r / "texts/b.txt").unlink()),
    "no captions": ("captions", "is empty", lambda r: (r / "texts/b.txt").write_text("\n")),
    "bad caption": ("captions", "line 3", lambda r: _append(r / "texts/b.txt", "no fields\n")),
    "leak": ("lists", "in two splits: a", lambda r: _append(r / "test.txt", "a\n")),
    "hostile list": ("lists", "plain file name", lambda r: _append(r / "test.txt", "../../a\n")),
    "no training list": ("lists", "no split 'train'", lambda r: (r / "train.txt").unlink()),
    "empty training list": ("lists", "train.txt is empty", lambda r: (r / "train.txt").write_text("")),
    "nothing long enough": (
        "val",
        "0 usable",
        lambda r: _rewrite(r / "new_joint_vecs/d.npy", lambda a: a[:19]),
    ),
    "joints' shape": ("joints", "not of shape", lambda r: _rewrite(r / "new_joints/b.npy", lambda a: a[1:])),
    "joints' values": (
        "joints",
        "are not those",
        lambda r: _rewrite(r / "new_joints/b.npy", lambda a: a + 0.01),
    ),
    "joints' NaN": (
        "joints",
        "are not those",
        lambda r: _rewrite(r / "new_joints/b.npy", lambda a: a * np.nan),
    ),
    "no Std": ("Mean and Std", "no statistics", lambda r: (r / "Std.npy").unlink()),
    "zero Std": ("Mean and Std", "must be positive", lambda r: _rewrite(r / "Std.npy", _zero_first)),
    "other Mean": ("Mean and Std", "off", lambda r: _rewrite(r / "Mean.npy", lambda a: a + 5)),
    "other Std": ("Mean and Std", "factor", lambda r: _rewrite(r / "Std.npy", lambda a: a * 5)),
    "Mean of KIT-ML": ("Mean and Std", "251", lambda r: _rewrite(r / "Mean.npy", lambda a: a[:251])),
    "metadata": ("metadata", "line 6", lambda r: _append(r / "metadata.jsonl", "{\n")),
}

WARNINGS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "in no split": ("lists", "in no split: c", lambda r: (r / "train.txt").write_text("a\nb\n")),
    "no test list": ("lists", "no split 'test'", lambda r: (r / "test.txt").unlink()),
    "listed twice": ("lists", "more than once", lambda r: _append(r / "val.txt", "d\n")),
    "stray captions": ("captions", "without features", lambda r: (r / "texts/z.txt").write_text("z##0#0\n")),
    "beyond the end": ("captions", "beyond", lambda r: _append(r / "texts/b.txt", "late##9.0#12.0\n")),
    "no joints": ("joints", "no folder", lambda r: (r / "new_joints").rename(r / "elsewhere")),
    "some joints": ("joints", "1 clip without", lambda r: (r / "new_joints/b.npy").unlink()),
    "slight drift": ("Mean and Std", "factor", lambda r: _rewrite(r / "Std.npy", lambda a: a * 1.2)),
    "stray metadata": (
        "metadata",
        "without features",
        lambda r: _append(r / "metadata.jsonl", '{"id": "z"}\n'),
    ),
    "marks": ("metadata", "one per caption", lambda r: _append(r / "texts/b.txt", "one more##0.0#0.0\n")),
}


@pytest.mark.parametrize("fault", ERRORS)
def test_finds_errors(root: Path, fault: str) -> None:
    what, detail, plant = ERRORS[fault]
    plant(root)
    assert any(finding.what == what and detail in finding.detail for finding in check_dataset(root).errors)
    assert check_command(root) == 1


@pytest.mark.parametrize("fault", WARNINGS)
def test_finds_what_is_unusual(root: Path, fault: str) -> None:
    what, detail, plant = WARNINGS[fault]
    plant(root)
    report = check_dataset(root)
    assert any(finding.what == what and detail in finding.detail for finding in report.warnings)
    assert (report.errors == [] and check_command(root) == 0) or fault == "in no split"
    assert check_command(root, strict=True) == 1


def test_a_mirror_image_in_another_split_is_unusual(root: Path) -> None:
    for folder, suffix in (("new_joint_vecs", "npy"), ("new_joints", "npy"), ("texts", "txt")):
        (root / folder / f"Ma.{suffix}").write_bytes((root / folder / f"a.{suffix}").read_bytes())
    _append(root / "val.txt", "Ma\n")
    assert any("another split" in finding.detail for finding in check_dataset(root).warnings)


def test_many_broken_files_are_summed_up(root: Path) -> None:
    for number in range(20):
        (root / "new_joint_vecs" / f"x{number}.npy").write_text("x")
    errors = [finding.detail for finding in check_dataset(root).errors if finding.what == "features"]
    assert len(errors) == 6
    assert errors[-1] == "15 more like these"


def test_reads_the_values_of_a_sample(root: Path) -> None:
    found = {finding.what: finding.detail for finding in check_dataset(root, sample=4).findings}
    assert "4 clips read (5 in all)" in found["values"]


def test_refuses_what_is_not_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="layout"):
        check_dataset(tmp_path)
    (tmp_path / "new_joint_vecs").mkdir()
    with pytest.raises(InputError, match="no clips"):
        check_dataset(tmp_path)
