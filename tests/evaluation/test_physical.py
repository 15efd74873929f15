from __future__ import annotations

import math

import pytest
import torch

from motiongpt3.evaluation.physical import (
    bone_length_drift,
    foot_skate,
    jerk,
    mean_pairwise_distance,
    measure_physics,
)
from motiongpt3.motion.skeleton import JOINT_INDEX, mirror_joints
from tests.evaluation import puppet


def test_planted_feet_do_not_skate() -> None:
    assert foot_skate(puppet.walk(speed=1.0)) < 2
    assert foot_skate(puppet.stand()) == 0


@pytest.mark.parametrize("slide", [0.2, 0.5])
def test_foot_skate_is_the_speed_of_the_planted_foot(slide: float) -> None:
    assert foot_skate(puppet.walk(speed=1.0, slide=slide)) == pytest.approx(100 * slide, rel=0.1)


def test_a_foot_cannot_escape_by_sliding_fast() -> None:
    joints = puppet.stand()
    joints[..., 2] += (torch.arange(len(joints)) * 0.25)[:, None]
    assert foot_skate(joints) == pytest.approx(500)


def test_foot_skate_of_a_body_that_never_stands_is_unknown() -> None:
    joints = puppet.stand()
    feet = [JOINT_INDEX[f"{side}_ankle"] for side in ("left", "right")]
    joints[:, feet, 1] += 0.5
    assert math.isnan(foot_skate(joints))


def test_jerk_of_a_cubic_path_is_its_third_derivative() -> None:
    time = torch.arange(40, dtype=torch.float64) / 20
    joints = puppet.stand(2.0)
    assert jerk(joints) == 0
    joints[..., 0] += (2.0 * time**3)[:, None]
    assert jerk(joints) == pytest.approx(12.0)
    # The same motion sampled half as often has the same jerk.
    assert jerk(joints[::2], fps=10.0) == pytest.approx(12.0)


def test_bone_length_drift_finds_a_stretched_bone() -> None:
    joints = puppet.walk()
    joints[10, JOINT_INDEX["left_wrist"]] += (
        joints[10, JOINT_INDEX["left_wrist"]] - joints[10, JOINT_INDEX["left_elbow"]]
    )
    assert bone_length_drift(joints) == pytest.approx(1.0, abs=0.01)
    assert bone_length_drift(puppet.raise_hands("left")) == pytest.approx(0, abs=1e-9)


def test_lowest_foot_is_signed() -> None:
    joints = puppet.stand()
    assert measure_physics(joints).lowest_foot == pytest.approx(0)
    joints[20, :, 1] -= 0.07
    assert measure_physics(joints).lowest_foot == pytest.approx(-0.07)


def test_measures_are_the_same_in_the_mirror() -> None:
    joints = puppet.walk(turn_degrees=50.0, slide=0.1)
    straight, mirrored = measure_physics(joints), measure_physics(mirror_joints(joints))
    assert mirrored.foot_skate == pytest.approx(straight.foot_skate)
    assert mirrored.jerk == pytest.approx(straight.jerk)


def test_variety_is_of_the_pose_not_of_path_heading_or_length() -> None:
    joints = puppet.raise_hands("left")
    turned = puppet.rotated(joints, "y", torch.full((len(joints),), 1.0, dtype=torch.float64))
    moved = turned + torch.tensor([4.0, 0.0, 1.0])
    longer = joints.repeat_interleave(3, dim=0)
    assert mean_pairwise_distance([joints, moved]) == pytest.approx(0, abs=1e-9)
    assert mean_pairwise_distance([joints, longer]) < 0.01


def test_variety_is_the_mean_distance_over_joints_frames_and_pairs() -> None:
    joints = puppet.stand()
    other = joints.clone()
    # Two of 22 joints lie 11 cm elsewhere: 1 cm on average. Of three pairs two differ.
    other[:, [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]], 1] += 0.11
    assert mean_pairwise_distance([joints, other]) == pytest.approx(0.01)
    assert mean_pairwise_distance([joints, other, joints]) == pytest.approx(0.02 / 3)
    assert math.isnan(mean_pairwise_distance([joints]))
