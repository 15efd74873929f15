from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from motiongpt3.errors import InputError
from motiongpt3.render.video import encode_gif, encode_mp4, video_encoder


def moving_bar(count: int, size: int = 64) -> list[np.ndarray]:
    frames = np.full((count, size, size, 3), 230, dtype=np.uint8)
    for index, frame in enumerate(frames):
        frame[:, index % size : index % size + 4] = (200, 30, 30)
    return list(frames)


@pytest.mark.parametrize("fps", [20.0, 30.0, 12.5])
def test_an_mp4_has_every_frame_at_its_rate(tmp_path, fps):
    path = tmp_path / "film.mp4"
    encode_mp4(moving_bar(25), path, fps, (64, 64))
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert frames == 25
    assert seconds == pytest.approx(25 / fps, abs=0.05)
    reader = imageio_ffmpeg.read_frames(str(path))
    assert next(reader)["fps"] == pytest.approx(fps, abs=0.01)
    first = np.frombuffer(next(reader), np.uint8).reshape(64, 64, 3).astype(int)
    reader.close()
    assert abs(first - moving_bar(1)[0]).mean() < 6


def test_the_same_frames_give_the_same_mp4(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        encode_mp4(moving_bar(10), tmp_path / name, 20.0, (64, 64))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def gif_seconds(path: Path) -> tuple[int, float]:
    with Image.open(path) as image:
        spans = []
        for index in range(image.n_frames):
            image.seek(index)
            spans.append(image.info["duration"])
    return len(spans), sum(spans) / 1000


@pytest.mark.parametrize(("fps", "frames"), [(20.0, 24), (30.0, 24), (120.0, 8)])
def test_a_gif_lasts_as_long_as_its_motion(tmp_path, fps, frames):
    path = tmp_path / "film.gif"
    encode_gif(moving_bar(24), path, fps)
    count, seconds = gif_seconds(path)
    assert count == frames
    assert seconds == pytest.approx(24 / fps, abs=0.011)


def test_other_endings_are_refused():
    with pytest.raises(InputError, match=r"\.mp4, \.gif or \.webp"):
        video_encoder(Path("film.webm"))
