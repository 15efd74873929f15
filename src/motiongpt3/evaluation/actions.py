"""When a clip counts as doing an action: one documented criterion each, over `kinematics.Measurements`.

The criteria were set by looking at real motion capture, its test clips included, so that nearly every clip of
an action meets its own and few clips of other actions do: real rates check the criteria, they are no held-out
result. `benchmarks/mini_kinematics.py` prints them beside a model's, and with ``--confusion`` for all pairs.
A right action is by construction the left one in the mirror.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from motiongpt3.errors import InputError
from motiongpt3.evaluation.kinematics import Measurements

Criterion = Callable[[Measurements], bool]

TURN_AMPLITUDE = (45.0, 150.0)
"""Heading changes that an ordinary turn of about 90 degrees may have, degrees."""


@dataclass(frozen=True)
class Action:
    """Something a body does that can be told from its joints.

    Attributes:
        name: identifier, as prompt files name it.
        group: the heading it is reported under.
        holds: the criterion; its docstring states it in words, with units.
        labels: labels of the real clips that show it.
        mirror: name of the action with left and right swapped.
    """

    name: str
    group: str
    holds: Criterion
    labels: tuple[str, ...]
    mirror: str


def _in_place(m: Measurements) -> bool:
    return m.mean_speed <= 0.3


def _raised(seconds: float, swings: int) -> bool:
    return seconds >= 0.3 and swings <= 4


def raises_left_hand(m: Measurements) -> bool:
    """The left wrist is over its shoulder - 0.10 m for 0.3 s, with at most 4 swings of 3 cm (no wave).

    The right wrist stays under its shoulder - 0.20 m; mean pelvis speed at most 0.3 m/s.
    """
    return _raised(m.left_hand_raised, m.left_hand_swings) and m.right_hand_peak <= -0.2 and _in_place(m)


def raises_both_hands(m: Measurements) -> bool:
    """Each wrist is over its shoulder - 0.10 m for 0.3 s, with at most 4 swings of 3 cm.

    Mean pelvis speed at most 0.3 m/s.
    """
    left = _raised(m.left_hand_raised, m.left_hand_swings)
    right = _raised(m.right_hand_raised, m.right_hand_swings)
    return left and right and _in_place(m)


def waves_left_hand(m: Measurements) -> bool:
    """The left wrist makes 3 swings of 3 cm while held up, over its shoulder - 0.25 m.

    The right wrist stays under its shoulder - 0.20 m; mean pelvis speed at most 0.3 m/s.
    """
    return m.left_hand_swings >= 3 and m.right_hand_peak <= -0.2 and _in_place(m)


def waves_both_hands(m: Measurements) -> bool:
    """Each wrist makes 3 swings of 3 cm while held up, over its shoulder - 0.25 m; speed at most 0.3 m/s."""
    return min(m.left_hand_swings, m.right_hand_swings) >= 3 and _in_place(m)


def _steps(m: Measurements) -> bool:
    return m.steps >= 3 and m.flight_fraction <= 0.1 and m.top_speed <= 2.2


def walks(m: Measurements) -> bool:
    """Mean forward speed 0.3 m/s, top speed at most 2.2 m/s, 3 alternating steps of 15 cm, no flight.

    No flight: both feet 4 cm off the ground of the moment in at most 10 % of the frames.
    """
    return m.forward_speed >= 0.3 and _steps(m)


def walks_straight(m: Measurements) -> bool:
    """Like `walks`, and the heading at the end differs from that at the start by at most 45 degrees."""
    return walks(m) and abs(m.heading_change) <= 45


def walks_backward(m: Measurements) -> bool:
    """Mean forward speed at most -0.3 m/s; top speed, steps and flight as for `walks`."""
    return m.forward_speed <= -0.3 and _steps(m)


def turns_left(m: Measurements) -> bool:
    """Walks, and at the end faces at least 20 degrees further to the left: a turn in the right direction."""
    return walks(m) and m.heading_change >= 20


def walks_leftward(m: Measurements) -> bool:
    """Mean speed to its own left 0.18 m/s; top speed, steps and flight as for `walks`."""
    return m.left_speed >= 0.18 and _steps(m)


def runs(m: Measurements) -> bool:
    """3 alternating steps of 15 cm at 2 per second, mean forward speed 1 m/s, and fast, in flight or hurried.

    Fast: top speed 2.2 m/s. In flight: both feet 4 cm off the ground of the moment in 2 % of the frames.
    Hurried: 2.45 steps per second (the tired and the old run without leaving the ground). The last two count
    from a top speed of 1.3 m/s.
    """
    springy = m.flight_fraction >= 0.02 or m.step_rate >= 2.45
    fast = m.top_speed >= 2.2 or (m.top_speed >= 1.3 and springy)
    return fast and m.forward_speed >= 1.0 and m.steps >= 3 and m.step_rate >= 2.0


def jumps(m: Measurements) -> bool:
    """Both feet 10 cm off the ground for 0.1 s, pelvis range 0.25 m, upright, mean speed at most 1.5 m/s."""
    off_ground = m.airborne_height >= 0.10 and m.airborne_seconds >= 0.1
    return off_ground and m.pelvis_range >= 0.25 and m.neck_over_pelvis > 0 and m.mean_speed <= 1.5


def bows(m: Measurements) -> bool:
    """The trunk leans 20 degrees forward, and 15 degrees more than at start and end, while the legs stay.

    Legs: pelvis drops at most 0.2 m, no jump, mean pelvis speed at most 0.3 m/s, at most one step.
    """
    leans = m.trunk_pitch >= 20 and m.trunk_pitch - m.trunk_pitch_at_ends >= 15
    return leans and m.pelvis_drop <= 0.2 and m.airborne_height < 0.1 and m.steps <= 1 and _in_place(m)


def kicks(m: Measurements) -> bool:
    """An ankle moves at 4 m/s against the pelvis, and is 0.3 m over the other while 0.3 m in front; or 6 m/s.

    Upright; mean pelvis speed at most 1.5 m/s.
    """
    kick = m.kick_speed >= 6.0 or (m.kick_speed >= 4.0 and m.kick_height >= 0.3)
    return kick and m.neck_over_pelvis > 0 and m.mean_speed <= 1.5


def cartwheels(m: Measurements) -> bool:
    """Mean ankles 0.2 m over the pelvis, neck 0.2 m under it, a wrist within 0.25 m of the ground."""
    return m.feet_over_pelvis >= 0.2 and m.neck_over_pelvis <= -0.2 and m.lowest_hand <= 0.25


def stands(m: Measurements) -> bool:
    """Mean pelvis speed at most 0.15 m/s, pelvis range 0.1 m, at most 2 steps, and nothing else happens.

    No hand is up for over 0.2 s, the trunk leans under 20 degrees, no ankle moves faster than 1.5 m/s.
    """
    still = m.mean_speed <= 0.15 and m.pelvis_range <= 0.1 and m.steps <= 2 and m.kick_speed <= 1.5
    return still and m.trunk_pitch < 20 and max(m.left_hand_raised, m.right_hand_raised) <= 0.2


def _left_and_right(name: str, group: str, holds: Criterion, label: str) -> tuple[Action, Action]:
    """A left action and its mirror image; ``{}`` in the name and the label stands for the side."""

    def holds_mirrored(m: Measurements) -> bool:
        return holds(m.mirrored())

    holds_mirrored.__doc__ = f"In the mirror: {holds.__doc__}"
    left, right = name.format("left"), name.format("right")
    return (
        Action(left, group, holds, (label.format("left"),), right),
        Action(right, group, holds_mirrored, (label.format("right"),), left),
    )


def _unsided(name: str, group: str, holds: Criterion, *labels: str) -> Action:
    return Action(name, group, holds, labels, name)


_ALL = (
    *_left_and_right("raise_{}_hand", "hands", raises_left_hand, "raise-up-{}-hand"),
    _unsided("raise_both_hands", "hands", raises_both_hands, "raise-up-both-hands"),
    *_left_and_right("wave_{}_hand", "hands", waves_left_hand, "wave-{}-hand"),
    _unsided("wave_both_hands", "hands", waves_both_hands, "wave-both-hands"),
    _unsided("walk", "walk", walks_straight, "walk", "walking"),
    _unsided("run", "run", runs, "run", "run forward", "dash", "running", "run/jog"),
    *_left_and_right("turn_{}", "turn", turns_left, "walk-turn-{}"),
    _unsided("walk_backward", "walk backward", walks_backward, "walk-back"),
    *_left_and_right("walk_{}ward", "walk sideways", walks_leftward, "walk-{}"),
    _unsided("jump", "jump", jumps, "jumping", "jump", "forward jump", "Jump Turn", "180 degree jump"),
    _unsided("bow", "bow", bows, "bow"),
    _unsided("kick", "kick", kicks, "kick", "soccer - kick ball"),
    _unsided("cartwheel", "cartwheel", cartwheels, "cartwheel", "cartwheels", "stretch and cartwheel"),
    _unsided("stand", "stand", stands, "idle standing"),
)

ACTIONS: dict[str, Action] = {action.name: action for action in _ALL}
"""Every action, by name."""


def action_named(name: str) -> Action:
    """The action called ``name``.

    Raises:
        InputError: if there is none.
    """
    if name not in ACTIONS:
        raise InputError(f"no action called {name!r}; there are {', '.join(ACTIONS)}")
    return ACTIONS[name]


def is_turn(name: str) -> bool:
    """Whether the amplitude of an action's heading change is judged too."""
    return name in ("turn_left", "turn_right")


def turn_amplitude_fits(measurements: Measurements, name: str) -> bool:
    """Whether the heading changes to the side that a turn is named after, by `TURN_AMPLITUDE` degrees."""
    toward = measurements.heading_change if name == "turn_left" else -measurements.heading_change
    return TURN_AMPLITUDE[0] <= toward <= TURN_AMPLITUDE[1]
