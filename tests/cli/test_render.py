from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from motiongpt3.cli.main import main
from motiongpt3.cli.render import parse_size
from motiongpt3.errors import InputError
from tests.figures import raising_arm, standing


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clips" / "wave.npy"
    path.parent.mkdir()
    np.save(path, raising_arm("left", 5).joints.numpy())
    return path


@pytest.mark.parametrize(
    ("words", "name", "size"),
    [
        (["--style", "skeleton", "--format", "gif", "--size", "96"], "wave.gif", (96, 96)),
        (["--mode", "sequence", "--size", "160x96"], "wave_sequence.png", (160, 96)),
        (["--mode", "frame", "--at", "1", "--size", "96", "--format", "jpg"], "wave_frame.jpg", (96, 96)),
    ],
)
def test_pictures_are_made(clip, tmp_path, capsys, words, name, size):
    assert main(["render", str(clip), "--out", str(tmp_path), "--caption", "a wave", *words]) == 0
    with Image.open(tmp_path / name) as image:
        assert image.size == size
    assert str(tmp_path / name) in capsys.readouterr().out


def test_a_folder_becomes_films(clip, tmp_path):
    np.save(clip.with_name("stand.npy"), standing(4).joints.numpy())
    words = ["--style", "cylinders", "--size", "64", "--camera", "fixed"]
    assert main(["render", str(clip.parent), "--out", str(tmp_path), *words]) == 0
    assert (tmp_path / "wave.mp4").stat().st_size > 500
    assert (tmp_path / "stand.mp4").stat().st_size > 500


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "png"], "mp4, gif, webp"),
        (["--mode", "frame", "--format", "mp4"], "png, webp, jpg"),
        (["--size", "huge"], "512x640"),
        (["--size", "65"], "Width and height"),
        (["--mode", "sequence", "--poses", "0"], "poses"),
        (["--style", "oil"], "--style"),
    ],
)
def test_what_cannot_be_done_is_one_line(clip, tmp_path, capsys, words, message):
    assert main(["render", str(clip), "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_sizes_are_read():
    assert parse_size("512x640") == (512, 640)
    assert parse_size(" 300 ") == (300, 300)
    for text in ("", "x", "12x", "-3", "1e3", "123456"):
        with pytest.raises(InputError):
            parse_size(text)
