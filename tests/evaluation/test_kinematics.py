from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.evaluation.kinematics import (
    count_swings,
    heading_angles,
    longest_run,
    measure,
    moving_average,
)
from motiongpt3.motion.skeleton import mirror_joints
from tests.evaluation import puppet


def test_raised_hand_is_measured_against_its_own_shoulder() -> None:
    found = measure(puppet.raise_hands("left", degrees=180.0, seconds=4.0))
    arm = 0.26601186 + 0.25683984  # left upper arm and forearm are the offsets of elbow and wrist
    assert found.left_hand_peak == pytest.approx(arm, abs=0.02)
    assert found.right_hand_peak == pytest.approx(-arm, abs=0.02)
    # Up for 60 % of the clip, and a little on either side of it.
    assert 2.2 < found.left_hand_raised < 3.2
    assert found.right_hand_raised == 0
    assert found.left_hand_swings <= 2


def test_swings_count_the_turning_points_of_a_wave() -> None:
    found = measure(puppet.raise_hands("right", degrees=140.0, waves=1.0, seconds=6.0))
    # 60 % of 6 s up, one wave to and fro a second.
    assert 6 <= found.right_hand_swings <= 11
    assert found.left_hand_swings == 0


@pytest.mark.parametrize("speed", [0.8, 1.4, -0.7])
def test_walk_has_the_speed_and_steps_it_was_made_with(speed: float) -> None:
    found = measure(puppet.walk(speed=speed, steps_per_second=2.0, seconds=5.0))
    assert found.forward_speed == pytest.approx(speed, abs=0.05 * abs(speed))
    assert found.mean_speed == pytest.approx(abs(speed), abs=0.05 * abs(speed))
    assert found.left_speed == pytest.approx(0, abs=1e-6)
    assert found.displacement == pytest.approx(abs(speed) * 4.95, rel=0.01)
    assert abs(found.steps - 10) <= 1
    assert found.flight_fraction == 0


@pytest.mark.parametrize("degrees", [90.0, -90.0, 270.0])
def test_heading_change_is_signed_and_unwrapped(degrees: float) -> None:
    found = measure(puppet.walk(turn_degrees=degrees, seconds=5.0))
    assert found.heading_change == pytest.approx(degrees, rel=0.05)


def test_left_speed_is_along_the_body_not_the_world() -> None:
    joints = puppet.walk(speed=0.5, sideways=0.4)
    found = measure(puppet.rotated(joints, "y", torch.full((len(joints),), 2.0, dtype=torch.float64)))
    assert found.left_speed == pytest.approx(0.4, abs=0.03)
    assert found.forward_speed == pytest.approx(0.5, abs=0.03)


def test_flight_needs_both_feet_off_the_ground() -> None:
    assert measure(puppet.run()).flight_fraction > 0.3
    assert measure(puppet.walk(speed=1.2)).flight_fraction == 0


def test_jump_height_and_pelvis_range() -> None:
    found = measure(puppet.jump(height=0.4))
    assert found.airborne_height == pytest.approx(0.4, abs=0.03)
    assert found.pelvis_range == pytest.approx(0.4, abs=0.03)
    # The parabola is over 0.1 m for sqrt(0.75) of 0.6 s.
    assert found.airborne_seconds == pytest.approx(0.52, abs=0.11)


def test_trunk_pitch_is_the_angle_of_the_bow() -> None:
    found = measure(puppet.bow(degrees=40.0))
    assert found.trunk_pitch == pytest.approx(40, abs=1)
    assert found.trunk_pitch_at_ends == pytest.approx(0, abs=1)


def test_kick_height_and_speed() -> None:
    found = measure(puppet.kick("left", degrees=85.0))
    leg = 0.39362314 + 0.43243298
    assert found.kick_height == pytest.approx(leg * (1 - math.cos(math.radians(85))), abs=0.1)
    assert found.kick_speed > 4


def test_kick_behind_the_body_has_no_height() -> None:
    assert measure(puppet.kick(degrees=-60.0)).kick_height == 0


def test_cartwheel_is_upside_down() -> None:
    found = measure(puppet.cartwheel())
    assert found.feet_over_pelvis == pytest.approx(0.82, abs=0.05)
    assert found.neck_over_pelvis < -0.5
    assert found.lowest_hand == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    "joints",
    [
        puppet.raise_hands("left", waves=1.3),
        puppet.walk(turn_degrees=70.0, sideways=0.2),
        puppet.kick("left"),
        puppet.cartwheel(),
    ],
)
def test_mirrored_joints_measure_the_mirrored_answer(joints: Tensor) -> None:
    mirrored = asdict(measure(mirror_joints(joints)))
    # The puppet's body is not quite symmetric, but a mirrored motion and its mirrored measurements are exact.
    for name, expected in asdict(measure(joints).mirrored()).items():
        assert mirrored[name] == pytest.approx(expected, abs=1e-6), name


def test_measurements_do_not_depend_on_place_and_heading() -> None:
    joints = puppet.walk(turn_degrees=60.0)
    moved = puppet.rotated(joints, "y", torch.full((len(joints),), 1.0, dtype=torch.float64)) + torch.tensor(
        [3.0, 0.5, -2.0]
    )
    for name, expected in asdict(measure(joints)).items():
        assert asdict(measure(moved))[name] == pytest.approx(expected, abs=1e-6), name


def test_count_swings_ignores_what_is_smaller_and_does_not_care_about_sign() -> None:
    time = torch.linspace(0, 5 * 2 * math.pi, 400)
    wave = torch.sin(time) + 0.01 * torch.sin(30 * time)
    assert count_swings(wave, 0.5) == count_swings(-wave, 0.5) == 11
    assert count_swings(0.2 * torch.sin(time), 0.5) == 0
    assert count_swings(torch.arange(10.0), 0.5) == 1


def test_longest_run() -> None:
    assert longest_run(torch.tensor([True, True, False, True, True, True, False])) == 3
    assert longest_run(torch.tensor([False])) == 0


def test_moving_average_holds_the_ends() -> None:
    values = torch.arange(6.0)
    assert moving_average(values, 3).tolist() == pytest.approx([1 / 3, 1, 2, 3, 4, 14 / 3])
    assert moving_average(values, 1).tolist() == values.tolist()


def test_heading_angles_pass_half_a_turn() -> None:
    angles = torch.linspace(0, 3 * math.pi, 50)
    forward = torch.stack([angles.sin(), torch.zeros(50), angles.cos()], dim=-1)
    assert torch.allclose(heading_angles(forward), angles, atol=1e-5)


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (torch.zeros(10, 21, 3), r"shape \(10, 21, 3\)"),
        (torch.zeros(3, 22, 3), "3 frames are too few"),
        (torch.full((10, 22, 3), math.nan), "not finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(joints: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        measure(joints)
