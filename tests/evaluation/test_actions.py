from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.evaluation.actions import ACTIONS, action_named, turn_amplitude_fits
from motiongpt3.evaluation.kinematics import Measurements, measure
from motiongpt3.motion.skeleton import mirror_joints
from tests.evaluation import puppet

PERFORMANCES: dict[str, Callable[[], Tensor]] = {
    "raise_left_hand": lambda: puppet.raise_hands("left"),
    "raise_both_hands": lambda: puppet.raise_hands("left", "right"),
    "wave_left_hand": lambda: puppet.raise_hands("left", degrees=130.0, waves=1.0, seconds=6.0),
    "wave_both_hands": lambda: puppet.raise_hands("left", "right", degrees=130.0, waves=1.0, seconds=6.0),
    "walk": puppet.walk,
    "run": puppet.run,
    "turn_left": lambda: puppet.walk(turn_degrees=90.0),
    "walk_backward": lambda: puppet.walk(speed=-0.7),
    "walk_leftward": lambda: puppet.walk(speed=0.8, sideways=0.5),
    "jump": puppet.jump,
    "bow": puppet.bow,
    "kick": puppet.kick,
    "cartwheel": puppet.cartwheel,
    "stand": puppet.stand,
}
# A criterion says what must be there; these performances contain a second action by nature.
ALSO = {("walk_leftward", "walk")}


@pytest.mark.parametrize("performed", PERFORMANCES)
def test_only_the_criterion_of_what_is_performed_holds(performed: str) -> None:
    measured = measure(PERFORMANCES[performed]())
    holding = {name for name, action in ACTIONS.items() if action.holds(measured)}
    assert performed in holding
    assert holding - {performed} <= {second for first, second in ALSO if first == performed}


@pytest.mark.parametrize("performed", PERFORMANCES)
def test_the_mirror_image_performs_the_mirrored_action(performed: str) -> None:
    measured = measure(mirror_joints(PERFORMANCES[performed]()))
    assert ACTIONS[ACTIONS[performed].mirror].holds(measured)
    if ACTIONS[performed].mirror != performed:
        assert not ACTIONS[performed].holds(measured)


def test_mirrors_point_at_each_other() -> None:
    for action in ACTIONS.values():
        assert ACTIONS[action.mirror].mirror == action.name
        assert ACTIONS[action.mirror].group == action.group
        assert action.holds.__doc__


def _measured(performed: str) -> Measurements:
    return measure(PERFORMANCES[performed]())


@pytest.mark.parametrize(
    ("performed", "inside", "outside"),
    [
        ("raise_left_hand", {"left_hand_raised": 0.3}, {"left_hand_raised": 0.25}),
        ("raise_left_hand", {"left_hand_swings": 4}, {"left_hand_swings": 5}),
        ("raise_left_hand", {"right_hand_peak": -0.2}, {"right_hand_peak": -0.19}),
        ("raise_both_hands", {"right_hand_raised": 0.3}, {"right_hand_raised": 0.25}),
        ("wave_left_hand", {"left_hand_swings": 3}, {"left_hand_swings": 2}),
        ("wave_left_hand", {"mean_speed": 0.3}, {"mean_speed": 0.31}),
        ("wave_both_hands", {"right_hand_swings": 3}, {"right_hand_swings": 2}),
        ("walk", {"forward_speed": 0.3}, {"forward_speed": 0.29}),
        ("walk", {"top_speed": 2.2}, {"top_speed": 2.21}),
        ("walk", {"steps": 3}, {"steps": 2}),
        ("walk", {"flight_fraction": 0.1}, {"flight_fraction": 0.11}),
        ("walk", {"heading_change": -45.0}, {"heading_change": -46.0}),
        ("walk_backward", {"forward_speed": -0.3}, {"forward_speed": -0.29}),
        ("turn_left", {"heading_change": 20.0}, {"heading_change": 19.0}),
        ("walk_leftward", {"left_speed": 0.18}, {"left_speed": 0.17}),
        ("run", {"step_rate": 2.0}, {"step_rate": 1.9}),
        (
            "run",
            {"top_speed": 2.2, "flight_fraction": 0.0, "step_rate": 2.4},
            {"flight_fraction": 0.0, "top_speed": 2.1, "step_rate": 2.4},
        ),
        ("run", {"top_speed": 1.3, "flight_fraction": 0.02}, {"top_speed": 1.2, "flight_fraction": 0.02}),
        ("run", {"top_speed": 1.3, "flight_fraction": 0.0, "step_rate": 2.45}, {"forward_speed": 0.9}),
        ("jump", {"airborne_seconds": 0.1}, {"airborne_seconds": 0.05}),
        ("jump", {"pelvis_range": 0.25}, {"pelvis_range": 0.24}),
        ("jump", {"airborne_height": 0.1}, {"airborne_height": 0.09}),
        ("jump", {"neck_over_pelvis": 0.1}, {"neck_over_pelvis": -0.1}),
        ("bow", {"trunk_pitch": 20.0}, {"trunk_pitch": 19.0}),
        (
            "bow",
            {"trunk_pitch": 40.0, "trunk_pitch_at_ends": 25.0},
            {"trunk_pitch": 40.0, "trunk_pitch_at_ends": 26.0},
        ),
        ("bow", {"pelvis_drop": 0.2}, {"pelvis_drop": 0.21}),
        ("bow", {"steps": 1}, {"steps": 2}),
        ("kick", {"kick_speed": 4.0, "kick_height": 0.3}, {"kick_speed": 4.0, "kick_height": 0.29}),
        ("kick", {"kick_speed": 6.0, "kick_height": 0.0}, {"kick_speed": 3.9}),
        ("kick", {"mean_speed": 1.5}, {"mean_speed": 1.6}),
        ("cartwheel", {"feet_over_pelvis": 0.2}, {"feet_over_pelvis": 0.19}),
        ("cartwheel", {"neck_over_pelvis": -0.2}, {"neck_over_pelvis": -0.19}),
        ("cartwheel", {"lowest_hand": 0.25}, {"lowest_hand": 0.26}),
        ("stand", {"mean_speed": 0.15}, {"mean_speed": 0.16}),
        ("stand", {"right_hand_raised": 0.2}, {"right_hand_raised": 0.25}),
        ("stand", {"kick_speed": 1.5}, {"kick_speed": 1.6}),
    ],
)
def test_criteria_end_where_they_say(
    performed: str, inside: dict[str, float], outside: dict[str, float]
) -> None:
    measured = _measured(performed)
    assert ACTIONS[performed].holds(replace(measured, **inside))
    assert not ACTIONS[performed].holds(replace(measured, **outside))


@pytest.mark.parametrize(
    ("degrees", "left", "right"),
    [
        (45.0, True, False),
        (150.0, True, False),
        (44.0, False, False),
        (151.0, False, False),
        (-90.0, False, True),
    ],
)
def test_turn_amplitude_is_counted_toward_the_named_side(degrees: float, left: bool, right: bool) -> None:
    measured = replace(_measured("turn_left"), heading_change=degrees)
    assert turn_amplitude_fits(measured, "turn_left") is left
    assert turn_amplitude_fits(measured, "turn_right") is right


def test_unknown_action_is_refused() -> None:
    with pytest.raises(InputError, match="no action called 'fly'"):
        action_named("fly")
