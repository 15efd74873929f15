from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.bones import bone_lengths
from motiongpt3.motion.clean_up import (
    CUTOFF,
    REPAIRS,
    CleanUp,
    looped,
    on_floor,
    smoothed,
    with_planted_feet,
)
from motiongpt3.motion.foot_lock import ANKLES, TOES, reach_legs
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import T_POSE_OFFSETS, BodyPose
from motiongpt3.motion.rotations import axis_angle_to_quaternion, rotate_about_up
from tests.motion.bodies import standing, travelling, wriggling

FEET = ANKLES + TOES
FPS = 20.0


def crouching(frames: int) -> Tensor:
    """(T, 22, 3) a body that stands with bent knees, its lowest joint at y = 0."""
    joints = standing(frames)
    joints = joints - joints[..., 1].min() * joints.new_tensor([0.0, 1.0, 0.0])
    lower = joints - joints.new_tensor([0.0, 0.06, 0.0])
    return reach_legs(lower, joints[:, ANKLES], joints[:, TOES], bone_lengths(joints))


def sway(frames: int, period: int, size: float) -> Tensor:
    """(T, 1, 3) a way to the side and back."""
    time = torch.arange(frames, dtype=torch.float64)
    way = size * torch.sin(2 * math.pi * time / period)
    return torch.stack([way, torch.zeros_like(way), torch.zeros_like(way)], dim=-1)[:, None]


def horizontal_range(path: Tensor) -> float:
    return float((path.amax(0) - path.amin(0))[..., (0, 2)].max())


def test_feet_that_stand_and_slide_stay_in_place() -> None:
    joints = crouching(60) + sway(60, 40, 0.05)
    mended = with_planted_feet(joints, FPS)
    assert horizontal_range(joints[:, FEET]) > 0.09
    assert horizontal_range(mended[:, FEET]) < 1e-4
    torch.testing.assert_close(mended[:, FEET].mean(0), joints[:, FEET].mean(0), atol=0.02, rtol=0)
    legs = {1, 2, 4, 5, 7, 8, 10, 11}
    above = [joint for joint in range(22) if joint not in legs - {1, 2}]
    torch.testing.assert_close(mended[:, above], joints[:, above], atol=0, rtol=0)
    torch.testing.assert_close(bone_lengths(mended), bone_lengths(joints))


def test_a_foot_that_slides_on_takes_steps() -> None:
    frames = 80
    path = torch.zeros(frames, 1, 3, dtype=torch.float64)
    path[:, 0, 2] = torch.arange(frames) * 0.3 / FPS
    joints = crouching(frames) + path
    mended = with_planted_feet(joints, FPS)
    steps = mended[:, FEET, 2].diff(dim=0) * FPS
    still = (steps.abs() < 0.01).double().mean()
    assert still > 0.5
    assert float((mended - joints).abs().max()) < 0.1


def test_feet_that_do_not_slide_are_left_alone() -> None:
    still = crouching(30)
    torch.testing.assert_close(with_planted_feet(still, FPS), still, atol=1e-9, rtol=0)
    fast = travelling(torch.zeros(30), torch.arange(30)[:, None] * torch.tensor([0.0, 0.0, 0.15]))
    torch.testing.assert_close(with_planted_feet(fast, FPS), fast, atol=1e-9, rtol=0)


def test_what_a_foot_was_moved_by_is_gone_in_the_air() -> None:
    joints = crouching(60) + sway(60, 40, 0.05)
    height = torch.zeros(60, 1, 3, dtype=torch.float64)
    height[30:, 0, 1] = 0.6
    joints = joints + height
    mended = with_planted_feet(joints, FPS)
    assert float((mended[:30] - joints[:30]).abs().max()) > 0.02
    torch.testing.assert_close(mended[39:], joints[39:], atol=1e-9, rtol=0)


def test_smoothing_halves_the_power_at_the_cutoff() -> None:
    fps, frames = 80.0, 200
    joints = standing(frames) + sway(frames, round(fps / CUTOFF), 0.1)
    path = smoothed(joints, fps)[20:-20, 0, 0]
    assert float(path.max()) == pytest.approx(0.1 / math.sqrt(2), rel=0.02)
    slow = standing(frames) + sway(frames, 160, 0.1)
    torch.testing.assert_close(smoothed(slow, fps), slow, atol=2e-3, rtol=0)


def test_smoothing_keeps_steady_motion_and_lengths() -> None:
    steady = travelling(torch.zeros(30), torch.arange(30)[:, None] * torch.tensor([0.02, 0.0, 0.05]))
    torch.testing.assert_close(smoothed(steady, FPS), steady, atol=1e-6, rtol=0)
    calm = crouching(60) + sway(60, 40, 0.05)
    tremble = torch.randn(60, 22, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mended = smoothed(calm + 0.003 * tremble, FPS)
    jerk, before = (
        torch.linalg.vector_norm(clip.diff(n=3, dim=0), dim=-1).mean()
        for clip in (mended, calm + 0.003 * tremble)
    )
    assert jerk < 0.5 * before
    rigid = wriggling(50)
    torch.testing.assert_close(bone_lengths(smoothed(rigid, FPS)), bone_lengths(rigid))


def test_the_floor_is_under_the_feet_and_nothing_below() -> None:
    joints = crouching(40) + torch.tensor([0.0, 0.3, 0.0])
    joints[20] -= torch.tensor([0.0, 0.04, 0.0])
    mended = on_floor(joints)
    lowest = mended[..., 1].amin(1)
    torch.testing.assert_close(lowest[:20], torch.zeros(20, dtype=torch.float64), atol=1e-9, rtol=0)
    assert lowest.min() > -1e-6
    torch.testing.assert_close(mended[20, 15], joints[20, 15] - torch.tensor([0.0, 0.3, 0.0]))


def test_a_loop_of_what_repeats_is_a_period_of_it() -> None:
    joints = crouching(95) + sway(95, 40, 0.05)
    path = torch.arange(95)[:, None, None] * torch.tensor([0.0, 0.0, 0.04])
    first, part, turn, step = looped(joints + path, FPS)
    assert len(part) == 80
    assert turn == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(step, torch.tensor([0.0, 0.0, 3.2], dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(part, (joints + path)[first : first + 80], atol=1e-3, rtol=0)


@pytest.mark.parametrize("names", ["loop", "loop,all"])
def test_the_seam_of_a_loop_is_mended(names: str) -> None:
    joints = wriggling(120, seed=2) + torch.tensor([0.0, 2.0, 0.0])
    first, _, turn, step = looped(joints, FPS)
    part = CleanUp.parse(names)(Motion.from_joints(joints)).joints.double()
    assert 60 <= len(part) <= 119

    def roughness(clip: Tensor) -> Tensor:
        """Greatest change of velocity of a joint in the half second before the seam, and across it."""
        again = rotate_about_up(clip[:3], clip.new_tensor(turn)) + step
        row = torch.cat([clip[-14:], again])
        return torch.linalg.vector_norm(row.diff(n=2, dim=0), dim=-1).max()

    assert roughness(part) < 0.1 * roughness(joints[first : first + len(part)])
    if names == "loop":
        torch.testing.assert_close(part[:-10], joints[first:][: len(part) - 10], atol=1e-5, rtol=0)


def test_short_clips_have_no_loop() -> None:
    motion = Motion.from_joints(wriggling(12), name="hop", source="hop.bvh")
    with pytest.raises(InputError, match=r"hop\.bvh: 0\.6 s are too short for a loop"):
        CleanUp(loop=True)(motion)


def twisted(frames: int) -> Motion:
    """A motion with rotations, among them twists that positions do not show."""
    angles = 0.4 * torch.sin(
        torch.arange(frames, dtype=torch.float64)[:, None, None] / 5 + torch.arange(66).reshape(22, 3)
    )
    root = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64) + sway(frames, 30, 0.1)[:, 0]
    return Motion.from_pose(BodyPose(axis_angle_to_quaternion(angles), T_POSE_OFFSETS), root, FPS)


def test_a_pose_follows_its_joints_and_keeps_its_twist() -> None:
    motion = twisted(50)
    assert motion.pose is not None
    same = motion.pose.following(motion.pose.joints(motion.joints[:, 0].double()))
    torch.testing.assert_close(same.rotations.abs(), motion.pose.rotations.abs(), atol=1e-9, rtol=0)

    turned = motion.pose.rotations.clone()
    turned[:, 16] = axis_angle_to_quaternion(torch.tensor([0.0, 0.6, 0.2], dtype=torch.float64))
    other = replace(motion.pose, rotations=turned)
    joints = other.joints(motion.joints[:, 0].double())
    torch.testing.assert_close(motion.pose.following(joints).joints(joints[:, 0]), joints, atol=1e-9, rtol=0)


def test_repairs_keep_rotations() -> None:
    mended = CleanUp.parse("all,loop")(twisted(60))
    assert mended.pose is not None
    torch.testing.assert_close(
        mended.pose.joints(mended.joints[:, 0].double()).float(), mended.joints, atol=1e-5, rtol=0
    )


def test_names_of_repairs() -> None:
    assert CleanUp.parse("all") == CleanUp(smooth=True, floor=True, feet=True)
    assert CleanUp.parse(" Loop, feet ") == CleanUp(loop=True, feet=True)
    for text, message in (
        ("polish", "unknown repair 'polish': use all, or some of loop"),
        (",", "no repair"),
    ):
        with pytest.raises(InputError, match=message):
            CleanUp.parse(text)


@settings(max_examples=20, deadline=None)
@given(
    frames=st.integers(2, 40),
    size=st.sampled_from([0.0, 1e-6, 1.0, 1e4]),
    fps=st.sampled_from([0.01, 1.0, 20.0, 1000.0]),
    names=st.sets(st.sampled_from(REPAIRS), min_size=1),
    seed=st.integers(0, 100),
)
def test_anything_stays_finite(frames: int, size: float, fps: float, names: set[str], seed: int) -> None:
    noise = torch.randn(frames, 22, 3, generator=torch.Generator().manual_seed(seed))
    try:
        mended = CleanUp.parse(",".join(names))(Motion.from_joints(size * noise, fps))
    except InputError:
        assert "loop" in names
    else:
        assert mended.fps == fps
        assert float(mended.joints.abs().max()) <= 30 * size + 0.01
