from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from motiongpt3.errors import InputError
from motiongpt3.motion.motion import Motion
from motiongpt3.render.figures import STYLES
from motiongpt3.render.film import render_frames
from motiongpt3.render.stills import render_frame, render_sequence, write_picture
from tests.figures import raising_arm, rest_pose, standing, walking
from tests.render.pixels import empty_floor

SIZE = (200, 120)


@pytest.mark.parametrize("style", STYLES)
def test_every_style_draws_a_figure_in_the_middle(style):
    picture = render_frame(standing(3), size=128, style=style)
    assert picture.shape == (128, 128, 3)
    rows, columns = np.nonzero(~empty_floor(picture))
    assert len(rows) > (60 if style == "skeleton" else 500)
    assert columns.mean() == pytest.approx(64, abs=10)
    assert np.ptp(rows) > 60


@pytest.mark.parametrize("style", STYLES)
def test_a_frame_shows_the_moment_asked_for(style):
    motion = raising_arm("left", 9)
    first, last = (render_frame(motion, at, 128, style=style) for at in (0.0, 1.0))
    tops = [np.nonzero(~empty_floor(picture)[:, 75:])[0].min() for picture in (first, last)]
    assert tops[1] < tops[0]


@pytest.mark.parametrize("style", STYLES)
def test_a_sequence_runs_from_left_to_right_and_fades_in(style):
    motion = walking(40, metres_per_frame=0.1)
    picture = render_sequence(motion, 4, SIZE, style=style).astype(int)
    figure = ~empty_floor(picture)
    left, right = np.array_split(np.ptp(picture, axis=-1) * figure, 2, axis=1)
    assert figure[:, :100].any()
    assert right.max() > 1.3 * left[:, :50].max()


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_the_way_of_a_sequence_runs_to_the_right_whichever_way_it_goes(turn):
    joints = walking(40, metres_per_frame=0.1).joints
    for _ in range(turn):
        joints = torch.stack([joints[..., 2], joints[..., 1], -joints[..., 0]], dim=-1)
    picture = render_sequence(Motion(joints), 3, SIZE).astype(int)
    strong = np.ptp(picture, axis=-1) > 120
    assert np.nonzero(strong)[1].mean() > 100


def test_poses_on_one_spot_are_spread_out():
    picture = render_sequence(standing(20), 4, (320, 120))
    columns = (~empty_floor(picture)).any(axis=0)
    assert columns.sum() > 100
    assert (np.diff(columns.astype(int)) == 1).sum() >= 2


def test_a_caption_is_written_at_the_top():
    bare, titled = (render_frame(standing(2), size=128, caption=text) for text in (None, "stands"))
    assert titled[:16].min() < bare[:16].min() - 60


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_pictures_are_written(tmp_path, suffix):
    picture = render_frame(standing(2), size=64)
    path = tmp_path / f"a{suffix}"
    write_picture(picture, path)
    with Image.open(path) as image:
        assert image.size == (64, 64)
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_drawn_is_refused(tmp_path):
    motion = standing(3)
    for at in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"0 .* to 1"):
            render_frame(motion, at)
    for poses in (0, 65):
        with pytest.raises(InputError, match="poses"):
            render_sequence(motion, poses)
    with pytest.raises(InputError, match="style"):
        render_frame(motion, style="oil")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="camera"):
        render_frames(motion, camera="drone")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Width and height"):
        render_sequence(motion, size=(100, 65))
    with pytest.raises(InputError, match=r"\.png"):
        write_picture(render_frame(motion, size=64), tmp_path / "a.bmp")
    broken = Motion(rest_pose().repeat(2, 1, 1))
    broken.joints[1, 3] = float("nan")
    with pytest.raises(InputError, match="frame 1"):
        render_frame(broken)


def test_a_body_that_lies_is_seen():
    joints = rest_pose()[:, [0, 2, 1]].repeat(3, 1, 1) + torch.tensor([0.0, 0.2, 0.0])
    picture = render_frame(Motion(joints), size=128, style="mesh")
    # The body is of a stronger colour than its shadow.
    figure = np.ptp(picture.astype(int), axis=-1) > 40
    rows, columns = np.nonzero(figure)
    assert len(rows) > 300
    assert not figure[[0, -1]].any()
    assert not figure[:, [0, -1]].any()
    assert columns.min() > 0
