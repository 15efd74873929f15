"""``motiongpt3 motion-codes``: a file of codes for each clip, resumable, bad clips counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from motiongpt3.cli.main import main
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from tests import tiny
from tests.data.datasets import CLIPS, write_tiny


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tokenizer"
    tiny.motion_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "data")


def run(tokenizer: Path, data: Path, out: Path, *options: str) -> int:
    return main(["motion-codes", str(tokenizer), "--data", str(data), "--out", str(out), *options])


@pytest.mark.parametrize("batch_size", ["1", "3"])
def test_writes_the_codes_of_every_clip(
    tokenizer: Path, data: Path, tmp_path: Path, batch_size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "codes"
    assert run(tokenizer, data, out, "--batch_size", batch_size, "--device", "cpu") == 0
    assert capsys.readouterr().out == f"{out}: 5 clips written, 0 there already, 0 left out\n"
    model = MotionTokenizer.from_pretrained(tokenizer)
    for name, (_, frames) in CLIPS.items():
        codes = np.load(out / f"{name}.npy")
        assert codes.shape == (1, frames // 4)
        assert codes.dtype == np.int64
        features = torch.from_numpy(np.load(data / "new_joint_vecs" / f"{name}.npy"))[None]
        with torch.no_grad():
            assert codes.tolist() == model.encode(features, torch.tensor([frames])).tolist()
    assert len(np.unique(np.concatenate([np.load(path)[0] for path in out.glob("*.npy")]))) > 2


def test_goes_on_where_it_stopped(
    tokenizer: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "codes"
    assert run(tokenizer, data, out, "--split", "val") == 0
    assert sorted(path.name for path in out.iterdir()) == ["d.npy", "tokenizer.json"]
    np.save(out / "b.npy", np.array([[7]]))
    capsys.readouterr()
    assert run(tokenizer, data, out) == 0
    assert capsys.readouterr().out == f"{out}: 3 clips written, 2 there already, 0 left out\n"
    assert np.load(out / "b.npy").tolist() == [[7]]


def test_bad_clips_are_named_and_the_rest_is_written(
    tokenizer: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = data / "new_joint_vecs"
    np.save(features / "a.npy", np.full((20, 263), np.nan, dtype=np.float32))
    np.save(features / "b.npy", np.zeros((3, 263), dtype=np.float32))
    (features / "c.npy").unlink()
    (features / "e.npy").write_bytes(b"not an array")
    out = tmp_path / "codes"
    assert run(tokenizer, data, out, "--device", "cpu") == 1
    captured = capsys.readouterr()
    assert captured.out == f"{out}: 1 clips written, 0 there already, 4 left out\n"
    for name, reason in (("a", "NaN"), ("b", "3 frames"), ("c", "no"), ("e", "e.npy")):
        line = next(line for line in captured.err.splitlines() if "left out" in line and reason in line)
        assert name in line
    assert (out / "d.npy").is_file()
    assert run(tokenizer, data, out, "--device", "cpu") == 1


def test_codes_of_two_tokenizers_do_not_mix(
    tokenizer: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "codes"
    assert run(tokenizer, data, out, "--split", "val") == 0
    note = json.loads((out / "tokenizer.json").read_text())
    assert note["vocabulary_size"] == 12
    assert note["frames_per_code"] == 4
    tiny.motion_tokenizer(seed=1).save_pretrained(tmp_path / "other")
    assert run(tmp_path / "other", data, out) == 2
    assert "codes of another tokenizer" in capsys.readouterr().err
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "d.npy", np.zeros(3))
    assert run(tokenizer, data, tmp_path / "arrays") == 2
    assert "unknown origin" in capsys.readouterr().err


def test_reads_the_tokenizer_of_a_model(data: Path, tokenizer: Path, tmp_path: Path) -> None:
    backbone = tiny.save_backbone(tmp_path / "backbone")
    tiny.token_model(backbone).save_pretrained(tmp_path / "model")
    assert run(tmp_path / "model", data, tmp_path / "codes", "--split", "val") == 0
    assert run(tokenizer, data, tmp_path / "codes") == 0


def test_what_cannot_be_done_is_said_in_a_line(
    tokenizer: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "test.txt").write_text("")
    tiny.codec().save_pretrained(tmp_path / "codec")
    for arguments, message in (
        ((tokenizer, data, "--split", "test"), "lists no clips in split 'test'"),
        ((tokenizer, data, "--split", "all", "--batch_size", "0"), "batch_size is 0"),
        ((tokenizer, tmp_path / "nowhere"), "no dataset at"),
        ((tmp_path / "codec", data), "not a motion tokenizer"),
        ((tmp_path / "missing", data), "no model"),
    ):
        model, folder, *options = arguments
        assert run(model, folder, tmp_path / "codes", *options) == 2  # type: ignore[arg-type]
        assert message in capsys.readouterr().err
    assert not (tmp_path / "codes").exists()
