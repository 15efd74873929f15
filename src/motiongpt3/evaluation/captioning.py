"""Does a caption name what the clip shows? Judged against the label of the clip, action and side apart.

*Action*: the caption names one of the actions that the label accepts, and no action that the clip does not
show. What is part of an action may be named too (a hand is raised before it waves, a footballer runs up), and
so may what goes without saying (standing while waving). A caption that names two actions of which one is
wrong is wrong. A caption that lets a clip turn, step aside or go backward which does none of these is wrong
in its action as well, since it tells of another movement. Labels are coarse where captions must be: any dance
is right for a salsa, walking is right for sneaking, and the manner (old, tired, proud) is not judged.

*Side*: where the label names a hand or a direction, the caption names it and no other: "both hands", or left
and right, is wrong for one hand, and one hand is wrong for both. A caption that names no side is not right;
it is counted as "unnamed" beside those that are wrong. The labels of some actions of one hand (guiding,
saying bye, responding) leave the hand open: then it is the hand that all captions of the clip which name one
agree on, or none.

Labels with more than one thing in them, or none that can be told, are excluded: `facts_of` gives None.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from motiongpt3.data.humanml3d import HumanML3DDataset, Segment
from motiongpt3.errors import InputError
from motiongpt3.evaluation.caption_reading import Reading, read_caption
from motiongpt3.evaluation.judgement import wilson_interval

Hand = Literal["left", "right", "both"]
Direction = Literal["left", "right", "backward"]
SideVerdict = Literal["right", "wrong", "unnamed", "none"]

_LEFT, _RIGHT = frozenset({"left"}), frozenset({"right"})
_LEAVE_THE_HAND_OPEN = ("greet one hand", "respond", "guide")


@dataclass(frozen=True)
class Facts:
    """What a caption of a clip has to say.

    Attributes:
        family: the heading under which clips are counted; the same for left and right.
        accepted: actions of which at least one must be named.
        also: further actions that may be named.
        hand: which hand must be named; None if no hand, or any.
        direction: which direction must be named; None if none, or any.
        any_direction: whether directions and turns may be named although none must.
    """

    family: str
    accepted: frozenset[str]
    also: frozenset[str] = frozenset()
    hand: Hand | None = None
    direction: Direction | None = None
    any_direction: bool = False

    @property
    def has_side(self) -> bool:
        """Whether there is a side or direction to name."""
        return self.hand is not None or self.direction is not None


@dataclass(frozen=True)
class CaptionVerdict:
    """One caption, judged.

    Attributes:
        action: whether the right action is named, and no wrong one.
        side: "none" where the clip has no side.
    """

    action: bool
    side: SideVerdict

    @property
    def right(self) -> bool:
        """Whether everything is named that must be."""
        return self.action and self.side in ("right", "none")


def _facts(family: str, accepted: str, also: str = "", **more: Any) -> Facts:
    return Facts(family, frozenset(accepted.split(", ")), frozenset(also.split(", ")) - {""}, **more)


_STEPS = "dance, spin, turn, walk, jump, run, kick, raise, balance, squat, signal"
_RULES: tuple[tuple[str, Facts | None], ...] = (
    # No single action: the captions of these clips tell different stories.
    (r"start walk stop|stretch.*|long sequence.*", None),
    (r"raise-up-(?P<hand>left|right|both)-hands?", _facts("raise", "raise", "greet, signal")),
    (r"wave-(?P<hand>left|right|both)-hands?", _facts("wave", "wave", "raise, greet")),
    (r"bye", _facts("greet one hand", "wave, greet", "raise")),
    (r"byebye", _facts("greet both hands", "wave, greet", "raise", hand="both")),
    (r"respond", _facts("respond", "raise, greet", "wave, call, signal")),
    (r"call", _facts("call", "call", "raise, wave, bow, signal")),
    (r"guide", _facts("guide", "guide", "raise, signal")),
    (r"bow", _facts("bow", "bow", "greet, get up")),
    (r"walk-turn-(?P<direction>left|right)", _facts("walk turn", "walk, turn", "stop")),
    (r"walk-(?P<direction>left|right)", _facts("walk aside", "walk", "turn")),
    (r"walk-back", _facts("walk backward", "walk", direction="backward")),
    (
        r"long walk\d*|walk on uneven terrain",
        _facts("walk about", "walk", "turn, climb, stop", any_direction=True),
    ),
    (r"(brisk |slow )?walk(ing)?(, exaggerated stride)?", _facts("walk", "walk", "stop")),
    (r"stealthy walk\d*", _facts("sneak", "sneak, walk", "turn, squat, bow", any_direction=True)),
    (
        r"(long )?zombie( walk)?",
        _facts("zombie", "zombie, walk", "raise, turn, stop, fall", any_direction=True),
    ),
    (
        r"(?:run |run turn |run, veer |run/jog, veer |run, 90-degree )(?P<direction>left|right)(?: turn)?",
        _facts("run turn", "run", "turn, stop"),
    ),
    (r"walk to run|run (to quick stop|stop run)|run/jog, sudden stop", _facts("run", "run", "stop, walk")),
    (r"run( forward)?|running|run/jog|dash", _facts("run", "run", "stop")),
    (r"run duck underneath", _facts("duck", "duck, squat", "run, bow, get up, walk, roll")),
    (r"run dive over roll run", _facts("roll", "roll, jump", "run, get up, fall, walk")),
    (r"run jump .*|run, leap", _facts("jump", "jump", "run, stop, kick")),
    (
        r"jump( up and down, hop on one foot|, balance|ing)?|forward jump|(small|further)?jump ?turn|180.*"
        r"|playground - forward jumps, turn around|start hop stop",
        _facts(
            "jump",
            "jump",
            "turn, spin, squat, run, balance, stop, dance, walk, raise, kick",
            any_direction=True,
        ),
    ),
    (r"idle standing", _facts("stand", "stand", "greet")),
    (
        r"longsequencegood|uprightsequence|fancyfootwork|breaksequence.*|jumptwist|kickflip.*|helicopter",
        _facts("dance", "dance, flip, spin", f"{_STEPS}, handstand, fall, get up", any_direction=True),
    ),
    (
        r"dance( - .*|, whirl| spin)|pirouette",
        _facts("dance", "dance, spin, balance, jump", _STEPS, any_direction=True),
    ),
    (r"(indian |salsa )?dance.*", _facts("dance", "dance", _STEPS, any_direction=True)),
    (
        r"martial arts|bassai|empi",
        _facts(
            "martial arts",
            "martial arts, kick, punch",
            "turn, jump, spin, walk, squat, raise, duck",
            any_direction=True,
        ),
    ),
    (r"punch.*", _facts("punch", "punch, martial arts", "turn, bow, walk", any_direction=True)),
    (r"soccer.*", _facts("kick a ball", "kick", "run, walk", any_direction=True)),
    (
        r"(jump |jump and spin |spin)?kick",
        _facts(
            "kick", "kick, martial arts", "jump, spin, turn, run, balance, squat, raise", any_direction=True
        ),
    ),
    (
        r"swordplay|slash",
        _facts("swordplay", "swordplay", "raise, wave, punch, walk, turn, squat", any_direction=True),
    ),
    (r"basketball signal", _facts("referee", "referee, signal", "guide, raise, call, wave, basketball")),
    (
        r"basketball.*",
        _facts("basketball", "basketball", "walk, run, turn, spin, jump, stop, kick", any_direction=True),
    ),
    (r"directing traffic", _facts("direct traffic", "traffic, signal", "wave, guide, raise, stop, turn")),
    (
        r"cartwheels?|stretch and cartwheel",
        _facts("cartwheel", "cartwheel", "raise, walk, flip, spin, turn, roll"),
    ),
    (
        r"backflip|sideflip|spin|crouch and flip backward on hands",
        _facts("flip", "flip, jump, spin", "spin, squat, raise, turn, run", any_direction=True),
    ),
    (r"roll", _facts("roll", "roll", "duck, get up")),
    (r"get ?up.*", _facts("get up", "get up", "roll, bow, raise, squat, sit")),
    (r"fall on face|bannanapeelslip", _facts("fall", "fall", "walk, jump, wash", any_direction=True)),
    (r"crawl", _facts("crawl", "crawl", "walk, sneak")),
    (r"balance", _facts("balance", "balance", "squat, raise")),
    (r"handstandkicks", _facts("handstand", "handstand", "kick, flip, swing, balance")),
    (r"bend over, scoop up, rise, lift arm", _facts("pick up", "squat", "raise, bow, get up")),
    (r"playground.*", _facts("playground", "swing, climb, sit", "jump, turn, bow, kick", any_direction=True)),
    (r"wash.*", _facts("wash", "wash", "bow, raise, guide")),
    (r"laugh", _facts("laugh", "laugh", "raise, bow, wave, walk")),
)
"""Labels (whole, in lower case) and what a caption has to say; the first rule that fits counts."""

_COMPILED = tuple((re.compile(pattern), facts) for pattern, facts in _RULES)


def facts_of(label: str | None, captions: Iterable[str] = ()) -> Facts | None:
    """What a caption of a clip with this label has to say; None for labels that are excluded or unknown.

    Args:
        label: as in the dataset's metadata; mirrored clips have mirrored labels.
        captions: the clip's reference captions, which settle the hand where the label leaves it open.
    """
    for pattern, facts in _COMPILED:
        match = pattern.fullmatch((label or "").lower())
        if match is None:
            continue
        if facts is None:
            return None
        sides: dict[str, Any] = match.groupdict()
        if sides:
            return replace(facts, **sides)
        if facts.family in _LEAVE_THE_HAND_OPEN:
            return replace(facts, hand=_agreed_hand(captions))
        return facts
    return None


def _agreed_hand(captions: Iterable[str]) -> Hand | None:
    named = {read_caption(caption).hands for caption in captions} - {frozenset[str]()}
    return "left" if named == {_LEFT} else "right" if named == {_RIGHT} else None


def judge_caption(caption: str, facts: Facts) -> CaptionVerdict:
    """Judge one caption by the rules above."""
    return judge_reading(read_caption(caption), facts)


def judge_reading(reading: Reading, facts: Facts) -> CaptionVerdict:
    """`judge_caption` for a caption that has been read."""
    named = bool(reading.actions & facts.accepted)
    foreign = bool(reading.actions - facts.accepted - facts.also - {"stand"})
    in_place = facts.direction is None and not facts.any_direction
    strays = in_place and bool(reading.directions - {"forward"})
    return CaptionVerdict(named and not foreign and not strays, _side(reading, facts))


def _side(reading: Reading, facts: Facts) -> SideVerdict:
    if facts.direction is not None:
        # Who walks to the left also walks forward; who walks backward does not.
        ignored = set() if facts.direction == "backward" else {"forward"}
        named, wanted = reading.directions - ignored, frozenset[str]({facts.direction})
    elif facts.hand is not None:
        pair = frozenset({"left", "right"})
        named = frozenset({"both"}) if reading.hands >= pair else reading.hands
        wanted = frozenset[str]({facts.hand})
    else:
        return "none"
    return "unnamed" if not named else "right" if named == wanted else "wrong"


@dataclass(frozen=True)
class CaptionScore:
    """Many captions, judged.

    Attributes:
        count: captions.
        actions: how many name the right action.
        sided: how many are of clips with a side.
        sides: how many of those name the right side.
        unnamed: how many of those name no side.
        right: how many name everything that they must.
    """

    count: int
    actions: int
    sided: int
    sides: int
    unnamed: int
    right: int

    @property
    def action_rate(self) -> float:
        """Fraction of captions that name the right action; NaN without captions."""
        return self.actions / self.count if self.count else math.nan

    @property
    def side_rate(self) -> float:
        """Fraction of the captions of clips with a side that name it; NaN without such clips."""
        return self.sides / self.sided if self.sided else math.nan

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with Wilson 95 % intervals; None for rates of nothing."""
        rates = {
            "action": (self.actions, self.count),
            "side": (self.sides, self.sided),
            "side_unnamed": (self.unnamed, self.sided),
            "right": (self.right, self.count),
        }
        values: dict[str, Any] = {"count": self.count, "sided": self.sided}
        for name, (part, whole) in rates.items():
            values[name] = round(part / whole, 4) if whole else None
            values[f"{name}_interval"] = [round(end, 4) for end in wilson_interval(part, whole)]
        return values


def score_verdicts(verdicts: Iterable[CaptionVerdict]) -> CaptionScore:
    """Count verdicts."""
    judged = list(verdicts)
    sides = Counter(verdict.side for verdict in judged)
    return CaptionScore(
        count=len(judged),
        actions=sum(verdict.action for verdict in judged),
        sided=len(judged) - sides["none"],
        sides=sides["right"],
        unnamed=sides["unnamed"],
        right=sum(verdict.right for verdict in judged),
    )


@dataclass(frozen=True)
class ClipWithFacts:
    """A segment of a dataset, and what a caption of it has to say."""

    segment: Segment
    facts: Facts


def clips_with_facts(
    dataset: HumanML3DDataset, split: str, mirrored: bool = False
) -> tuple[list[ClipWithFacts], Counter[str]]:
    """The segments of a split that captions can be judged on, and how many of each label are excluded.

    Args:
        dataset: has labels.
        split: its name.
        mirrored: take mirror images too. Duplicates of other clips are always left out.

    Raises:
        InputError: if the dataset has no labels, or no such split.
    """
    kept, excluded, labelled = [], Counter[str](), False
    for segment in dataset.segments(split):
        metadata = dataset.metadata.get(segment.clip)
        labelled = labelled or segment.label is not None
        if metadata is None or metadata.duplicate_of or (metadata.mirrored_from and not mirrored):
            continue
        facts = facts_of(segment.label, segment.captions)
        if facts is None:
            excluded[segment.label or "no label"] += 1
        else:
            kept.append(ClipWithFacts(segment, facts))
    if not labelled:
        raise InputError(f"{dataset.root} has no labels: it needs metadata.jsonl with a label for each clip")
    return kept, excluded


@dataclass(frozen=True)
class JudgeCheck:
    """How the judge fares on captions that are known to be right or wrong.

    Attributes:
        own: the reference captions, each judged on its own clip.
        other_action: how often the caption of a clip names the right action of another, whose facts differ.
        other_right: how often it names everything that the other clip asks for.
        table: for two families, how often captions of the first are right, action and side, for clips of the
            second with other facts; for a family and itself, for their own clips.
    """

    own: CaptionScore
    other_action: float
    other_right: float
    table: Mapping[tuple[str, str], float]


def check_judge(clips: Sequence[ClipWithFacts]) -> JudgeCheck:
    """Judge the reference captions of clips on their own clips, and on those of all other facts."""
    readings = {text: read_caption(text) for clip in clips for text in clip.segment.captions}
    said: dict[Facts, Counter[Reading]] = defaultdict(Counter)
    for clip in clips:
        said[clip.facts].update(readings[text] for text in clip.segment.captions)
    weights = Counter(clip.facts for clip in clips)
    own: list[CaptionVerdict] = []
    action, right, table = _Share(), _Share(), defaultdict[tuple[str, str], _Share](_Share)
    for facts, captions in said.items():
        for judged, weight in weights.items():
            for reading, times in captions.items():
                verdict = judge_reading(reading, judged)
                if judged == facts:
                    own += [verdict] * times
                else:
                    action.add(verdict.action, times * weight)
                    right.add(verdict.right, times * weight)
                if judged == facts or judged.family != facts.family:
                    table[facts.family, judged.family].add(verdict.right, times * weight)
    rates = {pair: share.rate for pair, share in table.items()}
    return JudgeCheck(score_verdicts(own), action.rate, right.rate, rates)


@dataclass
class _Share:
    part: int = 0
    whole: int = 0

    def add(self, holds: bool, weight: int) -> None:
        self.part += weight * holds
        self.whole += weight

    @property
    def rate(self) -> float:
        return self.part / self.whole if self.whole else math.nan
