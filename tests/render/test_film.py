from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from motiongpt3.errors import InputError
from motiongpt3.motion.motion import Motion
from motiongpt3.render.film import render_frames, write_video
from tests.figures import raising_arm, rest_pose, standing, walking
from tests.render.pixels import empty_floor, figure_pixels, left_pixels, middle_column, right_pixels, top_row

SIZE = 128


def draw(motion: Motion, **options: object) -> np.ndarray:
    return np.stack(list(render_frames(motion, **({"size": SIZE} | options)))).astype(int)


def test_every_frame_becomes_a_picture_of_the_size_asked_for():
    frames = list(render_frames(standing(5), size=(96, 64)))
    assert len(frames) == 5
    assert all(frame.shape == (64, 96, 3) and frame.dtype == np.uint8 for frame in frames)


def test_left_limbs_are_orange_and_right_limbs_blue():
    # Seen from the front, the body's left is on the right of the picture.
    picture = draw(standing(2))[0]
    assert left_pixels(picture).sum() > 100
    assert right_pixels(picture).sum() > 100
    assert middle_column(left_pixels(picture)) > middle_column(right_pixels(picture)) + 5


@pytest.mark.parametrize(
    ("side", "own", "other"), [("left", left_pixels, right_pixels), ("right", right_pixels, left_pixels)]
)
def test_a_raised_arm_shows_in_the_colour_of_its_side(side, own, other):
    last = draw(raising_arm(side))[-1]
    assert top_row(own(last)) < top_row(other(last)) - 10


def test_a_figure_that_moves_to_its_left_appears_further_right():
    joints = rest_pose().repeat(41, 1, 1)
    joints[20, :, 0] += 0.4
    frames = draw(Motion(joints))
    assert middle_column(figure_pixels(frames[20])) > middle_column(figure_pixels(frames[0])) + 8


def test_the_camera_stands_before_the_body_whichever_way_it_faces():
    turned = rest_pose() * torch.tensor([-1.0, 1.0, -1.0])
    frames = draw(Motion(turned.repeat(2, 1, 1)))
    # Up to the tiles, which do not turn with the body, the picture is that of a body facing +z.
    assert (figure_pixels(frames[0]) == figure_pixels(draw(standing(2))[0])).mean() > 0.999


def test_the_camera_follows_a_walk_and_a_trail_shows_it():
    frames = draw(walking(40))
    columns = [middle_column(figure_pixels(frame)) for frame in frames]
    assert max(columns) - min(columns) < 0.05 * SIZE
    red, green, blue = np.moveaxis(frames, -1, 0)
    trail = ((red - green > 40) & (blue > green)).sum(axis=(1, 2))
    assert trail[0] == 0
    assert trail[-1] > 20


def test_the_figure_throws_a_shadow():
    low = rest_pose().repeat(2, 1, 1)
    high = low.clone()
    high[1, :, 1] += 2.0
    darkest_low = draw(Motion(low))[1].sum(axis=-1)[-40:].min()
    lifted = draw(Motion(high))
    darkest_high = lifted[1].sum(axis=-1)[-20:].min()
    assert darkest_low < darkest_high - 60


def extreme_motions() -> dict[str, torch.Tensor]:
    rest = rest_pose().repeat(12, 1, 1)
    away = torch.linspace(0, 1, 12)[:, None]
    generator = torch.Generator().manual_seed(0)
    jump, run, teleport, toward, scattered = (rest.clone() for _ in range(5))
    jump[..., 1] += 6 * (1 - (2 * away - 1) ** 2)
    run[..., 0] += 80 * away
    teleport[6:, :, 0] += 25
    toward[..., 2] += 30 * away**3
    scattered += 3 * torch.randn(rest.shape, generator=generator)
    lying = rest[..., [1, 0, 2]] + torch.tensor([0.0, 0.3, 0.0])
    return {
        "jump": jump,
        "run": run,
        "teleport": teleport,
        "toward": toward,
        "scattered": scattered,
        "lying": lying,
        "giant": 40 * rest,
        "tiny": 0.02 * rest,
        "under the floor": rest - torch.tensor([0.0, 9.0, 0.0]),
    }


@pytest.mark.parametrize("name", extreme_motions())
def test_extreme_motions_stay_inside_the_picture(name):
    frames = draw(Motion(extreme_motions()[name]), size=(160, 96), caption="extreme")
    masks = figure_pixels(frames)
    assert masks.any(axis=(1, 2)).all()
    assert not masks[:, [0, -1]].any()
    assert not masks[:, :, [0, -1]].any()


def test_a_body_of_one_point_can_be_drawn():
    assert draw(Motion(torch.zeros(2, 22, 3))).shape == (2, SIZE, SIZE, 3)


def test_a_caption_is_written_at_the_top():
    bare, titled = draw(standing(2))[0], draw(standing(2), caption="a person stands")[0]
    assert bare[:8].min() > 150
    assert titled[: SIZE // 8].min() < 120


def test_the_same_motion_gives_the_same_pixels():
    first, second = draw(walking(4), caption="walks"), draw(walking(4), caption="walks")
    assert (first == second).all()


def test_nan_is_refused_before_anything_is_drawn():
    motion = standing(4)
    motion.joints[2, 7, 1] = float("nan")
    with pytest.raises(InputError, match="frame 2"):
        render_frames(motion)


def test_positions_that_cannot_be_metres_are_refused():
    with pytest.raises(InputError, match="metres"):
        render_frames(Motion(rest_pose().repeat(2, 1, 1) * 1e7))


@pytest.mark.parametrize("size", [0, 63, 65, -2, 100_000, (64, 67)])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(InputError, match="Width and height"):
        render_frames(standing(2), size=size)


def test_a_failed_film_leaves_nothing_behind(tmp_path):
    motion = standing(4)
    motion.joints[1] = float("inf")
    for name in ("film.mp4", "film.gif", "film.avi"):
        with pytest.raises(InputError):
            write_video(motion, tmp_path / name, size=SIZE)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_film_leaves_the_old_one(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"old")

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(standing(4), path, size=SIZE, progress=interrupt)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_progress_counts_the_frames(tmp_path):
    seen: list[tuple[int, int]] = []
    write_video(walking(5), tmp_path / "film.gif", size=64, progress=lambda *step: seen.append(step))
    assert seen == [(done, 5) for done in range(1, 6)]


def test_real_motion_capture_stays_inside_the_picture(local_data):
    with np.load(local_data("data/mocap") / "motions_free.npz") as clips:
        joints = clips["pos"][: clips["offsets"][1]][:60]
    masks = figure_pixels(draw(Motion(torch.from_numpy(joints))))
    assert masks.any(axis=(1, 2)).all()
    assert not masks[:, [0, -1]].any()
    assert not masks[:, :, [0, -1]].any()


def test_a_camera_that_stands_still_sees_the_whole_way():
    motion = walking(30, metres_per_frame=0.15)
    fixed = [~empty_floor(frame) for frame in render_frames(motion, (160, 96), camera="fixed")]
    middles = [np.nonzero(mask)[1].mean() for mask in fixed]
    assert abs(middles[-1] - middles[0]) > 40
    for mask in fixed:
        assert mask.sum() > 20
        assert not mask[:, [0, -1]].any()


def test_a_film_of_a_body(tmp_path):
    seen: list[tuple[int, int]] = []
    path = tmp_path / "film.webp"
    write_video(walking(5), path, 96, "walks", lambda *step: seen.append(step), style="mesh")
    assert seen[-1] == (5, 5)
    with Image.open(path) as image:
        assert image.n_frames == 5
        assert image.size == (96, 96)


def test_a_mesh_film_is_the_same_twice():
    first, second = (np.stack(list(render_frames(walking(3), 96, style="mesh"))) for _ in range(2))
    assert (first == second).all()
