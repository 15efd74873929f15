from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from motiongpt3.errors import InputError
from motiongpt3.render.strips import render_strip, write_strip
from tests.figures import raising_arm, standing, walking
from tests.render.pixels import figure_pixels, left_pixels, top_row


def test_a_strip_has_its_poses_side_by_side():
    picture = render_strip(raising_arm("left", 20), poses=4, pose_height=120).astype(int)
    columns = figure_pixels(picture).any(axis=0)
    starts = np.flatnonzero(np.diff(columns.astype(int)) == 1)
    assert len(starts) == 4
    # The arm rises from left to right.
    quarters = np.array_split(left_pixels(picture), 4, axis=1)
    tops = [top_row(quarter) for quarter in quarters]
    assert tops[3] < tops[2] < tops[0]


def test_a_strip_of_a_short_clip_shows_every_frame_once():
    picture = render_strip(standing(2), poses=8, pose_height=100).astype(int)
    assert (np.diff(figure_pixels(picture).any(axis=0).astype(int)) == 1).sum() == 2


def test_rows_of_a_strip_share_one_width(tmp_path):
    path = tmp_path / "strip.png"
    write_strip([standing(4), walking(30)], path, ["stands", None], poses=5, pose_height=80)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.height > 160


def test_a_strip_refuses_what_it_cannot_draw(tmp_path):
    with pytest.raises(InputError, match="No motion"):
        render_strip([])
    with pytest.raises(InputError, match="captions"):
        render_strip(standing(2), captions=["a", "b"])
    with pytest.raises(InputError, match="poses"):
        render_strip(standing(2), poses=0)
    with pytest.raises(InputError, match=r"\.png"):
        write_strip(standing(2), tmp_path / "strip.jpg")
    assert not list(tmp_path.iterdir())
