"""Judging joints by what they do: one clip, many clips of an action, and a model on a list of prompts.

Generation stays outside: `evaluate_prompts` takes any function from sentences and seeds to joints, so that
the benchmark and the validation during training share every criterion.

Shapes: joints are (T, 22, 3) in metres, y up, uniform skeleton, T may differ between clips.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.evaluation.actions import action_named, is_turn, turn_amplitude_fits
from motiongpt3.evaluation.kinematics import measure
from motiongpt3.evaluation.physical import mean_pairwise_distance, measure_physics

Generate = Callable[[list[str], list[int]], Sequence[Tensor]]
"""Sentences and as many seeds to as many clips."""

PROMPT_SETS = ("val", "report")

FLOOR_TOLERANCE = 0.05
"""How far from the floor the lowest foot of a clip may be, metres, above or below."""


@dataclass(frozen=True)
class Prompt:
    """A sentence whose effect can be measured.

    Attributes:
        text: the sentence.
        action: name of the action that must follow.
        wording: "seen" if it is a training caption word for word (or the mirror image of one), "paraphrase"
            if it occurs in no caption of the data.
    """

    text: str
    action: str
    wording: Literal["seen", "paraphrase"]

    @property
    def group(self) -> str:
        """Heading under which the action is reported."""
        return action_named(self.action).group


@dataclass(frozen=True)
class Verdict:
    """One clip, judged.

    Attributes:
        success: whether the action's criterion holds; never for a clip that is not finite.
        amplitude_fits: for turns, whether the heading changes by 45 to 150 degrees to the right side.
        finite: whether all joints are finite numbers; if not, the numbers below are NaN.
        heading_change: degrees, left positive.
        foot_skate: centimetres per second; NaN if no foot touches the ground.
        jerk: metres per second cubed.
        lowest_foot: metres over the floor.
    """

    success: bool
    amplitude_fits: bool
    finite: bool
    heading_change: float = math.nan
    foot_skate: float = math.nan
    jerk: float = math.nan
    lowest_foot: float = math.nan


@dataclass(frozen=True)
class Score:
    """Many clips of one kind, judged.

    Attributes:
        count: number of clips.
        successes: how many meet their criterion.
        turns: how many should turn.
        amplitudes: how many of those turn the right way by 45 to 150 degrees.
        not_finite: how many hold NaN or infinity.
        on_floor: how many have their lowest foot within `FLOOR_TOLERANCE` of the floor.
        turn_angles: (5 %, 50 %, 95 %) quantiles of the turns, degrees toward the named side, or empty.
        foot_skate: mean, centimetres per second.
        jerk: mean, metres per second cubed.
        variety: `mean_pairwise_distance` of the clips of one prompt (or of the real clips of one action),
            metres; for several prompts the mean over them.
    """

    count: int
    successes: int
    turns: int
    amplitudes: int
    not_finite: int
    on_floor: int
    turn_angles: tuple[float, ...]
    foot_skate: float
    jerk: float
    variety: float

    @property
    def rate(self) -> float:
        """Fraction of successes."""
        return self.successes / self.count if self.count else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of the rate."""
        return wilson_interval(self.successes, self.count)

    @property
    def amplitude_rate(self) -> float:
        """Fraction of the turns with the right amplitude; NaN without turns."""
        return self.amplitudes / self.turns if self.turns else math.nan

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None for NaN."""
        values: dict[str, Any] = {
            "count": self.count,
            "rate": self.rate,
            "interval": list(self.interval),
            "not_finite": self.not_finite,
            "on_floor": self.on_floor / self.count if self.count else math.nan,
            "foot_skate_cm_s": self.foot_skate,
            "jerk_m_s3": self.jerk,
            "variety_m": self.variety,
        }
        if self.turns:
            values["amplitude_rate"] = self.amplitude_rate
        if self.turn_angles:
            values["turn_angles_deg"] = list(self.turn_angles)
        return {key: _json(value) for key, value in values.items()}


@dataclass(frozen=True)
class Report:
    """What `evaluate_prompts` finds: a score for each prompt, and for their combinations."""

    prompts: tuple[tuple[Prompt, Score], ...]

    @property
    def overall(self) -> Score:
        """All prompts together."""
        return combine(score for _, score in self.prompts)

    @property
    def paraphrases(self) -> Score:
        """The prompts that occur in no caption."""
        return combine(score for prompt, score in self.prompts if prompt.wording == "paraphrase")

    @property
    def groups(self) -> dict[str, Score]:
        """The prompts of each group of actions."""
        return self._by(lambda prompt: prompt.group)

    @property
    def actions(self) -> dict[str, Score]:
        """The prompts of each action."""
        return self._by(lambda prompt: prompt.action)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "overall": self.overall.as_dict(),
            "paraphrases": self.paraphrases.as_dict(),
            "groups": {name: score.as_dict() for name, score in self.groups.items()},
            "actions": {name: score.as_dict() for name, score in self.actions.items()},
            "prompts": [
                {"prompt": prompt.text, "action": prompt.action, "wording": prompt.wording, **score.as_dict()}
                for prompt, score in self.prompts
            ],
        }

    def _by(self, key: Callable[[Prompt], str]) -> dict[str, Score]:
        names = dict.fromkeys(key(prompt) for prompt, _ in self.prompts)
        return {name: combine(score for of, score in self.prompts if key(of) == name) for name in names}


def read_prompts(path: str | Path, prompt_set: str) -> list[Prompt]:
    """The prompts of one set ("val" or "report") of a file like `benchmarks/mini_kinematics_prompts.json`.

    Raises:
        InputError: if the file is missing or not of that form, or names an unknown action.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))[prompt_set]
        prompts = [Prompt(str(entry["prompt"]), str(entry["action"]), entry["wording"]) for entry in entries]
    except OSError as error:
        raise InputError(f"{path}: cannot read the prompts ({error.strerror})") from None
    except (ValueError, TypeError, KeyError) as error:
        expected = f"a list {prompt_set!r} of objects with prompt, action and wording"
        raise InputError(f"{path}: expected {expected} ({error!r})") from None
    for prompt in prompts:
        action_named(prompt.action)
        if prompt.wording not in ("seen", "paraphrase"):
            raise InputError(
                f"{path}: wording {prompt.wording!r} of {prompt.text!r} is not seen or paraphrase"
            )
    return prompts


def judge_clip(joints: Tensor, action: str, fps: float = 20.0) -> Verdict:
    """Judge one clip (T, 22, 3) by the criterion of an action.

    A clip that is not finite fails; it is no error.

    Raises:
        InputError: if there is no such action, the shape is wrong, or the clip has fewer than 4 frames.
    """
    criterion = action_named(action).holds
    joints = joints.detach().cpu()
    if not torch.isfinite(joints).all():
        return Verdict(success=False, amplitude_fits=False, finite=False)
    measurements = measure(joints, fps)
    physics = measure_physics(joints, fps)
    return Verdict(
        success=criterion(measurements),
        amplitude_fits=is_turn(action) and turn_amplitude_fits(measurements, action),
        finite=True,
        heading_change=measurements.heading_change,
        foot_skate=physics.foot_skate,
        jerk=physics.jerk,
        lowest_foot=physics.lowest_foot,
    )


def score_clips(clips: Sequence[Tensor], action: str, fps: float = 20.0) -> Score:
    """Judge many clips by the criterion of one action; errors as for `judge_clip`."""
    verdicts = [judge_clip(clip, action, fps) for clip in clips]
    finite = [clip.detach().cpu() for clip, verdict in zip(clips, verdicts) if verdict.finite]
    turns = len(clips) if is_turn(action) else 0
    sign = 1.0 if action == "turn_left" else -1.0
    angles = torch.tensor([sign * verdict.heading_change for verdict in verdicts if verdict.finite])
    quantiles = angles.quantile(torch.tensor([0.05, 0.5, 0.95])).tolist() if turns and len(angles) else []
    return Score(
        count=len(clips),
        successes=sum(verdict.success for verdict in verdicts),
        turns=turns,
        amplitudes=sum(verdict.amplitude_fits for verdict in verdicts),
        not_finite=len(clips) - len(finite),
        on_floor=sum(abs(verdict.lowest_foot) <= FLOOR_TOLERANCE for verdict in verdicts),
        turn_angles=tuple(quantiles),
        foot_skate=_mean(verdict.foot_skate for verdict in verdicts),
        jerk=_mean(verdict.jerk for verdict in verdicts),
        variety=mean_pairwise_distance(finite),
    )


def judge(clips: Sequence[Tensor], action: str, fps: float = 20.0) -> dict[str, Any]:
    """`score_clips` as plain values."""
    return score_clips(clips, action, fps).as_dict()


def combine(scores: Iterable[Score]) -> Score:
    """Several scores as one: counts add up; foot skate, jerk and variety are means over the scores.

    Quantiles of turns cannot be combined and are left out.
    """
    parts = list(scores)
    return Score(
        count=sum(part.count for part in parts),
        successes=sum(part.successes for part in parts),
        turns=sum(part.turns for part in parts),
        amplitudes=sum(part.amplitudes for part in parts),
        not_finite=sum(part.not_finite for part in parts),
        on_floor=sum(part.on_floor for part in parts),
        turn_angles=(),
        foot_skate=_mean(part.foot_skate for part in parts),
        jerk=_mean(part.jerk for part in parts),
        variety=_mean(part.variety for part in parts),
    )


def evaluate_prompts(
    generate: Generate,
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    batch_size: int = 64,
    fps: float = 20.0,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Generate every prompt with every seed and judge the clips.

    Args:
        generate: sentences and as many seeds to as many clips.
        prompts: what to ask for.
        seeds: 4 to 8 will do to follow a training, 32 for a report.
        batch_size: how many clips to ask ``generate`` for at once.
        fps: frames per second of the clips.
        progress: called with (clips done, clips in all).

    Raises:
        InputError: if ``generate`` returns another number of clips than it was asked for.
    """
    requests = [(prompt.text, seed) for prompt in prompts for seed in seeds]
    clips: list[Tensor] = []
    for start in range(0, len(requests), batch_size):
        texts, batch_seeds = zip(*requests[start : start + batch_size])
        made = generate(list(texts), list(batch_seeds))
        if len(made) != len(texts):
            raise InputError(f"asked for {len(texts)} clips, got {len(made)}")
        clips.extend(made)
        if progress is not None:
            progress(len(clips), len(requests))
    per_prompt = [clips[start : start + len(seeds)] for start in range(0, len(clips), len(seeds))]
    scores = (score_clips(made, prompt.action, fps) for prompt, made in zip(prompts, per_prompt))
    return Report(tuple(zip(prompts, scores)))


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson 1927, "Probable inference, the law of succession")."""
    if count == 0:
        return 0.0, 1.0
    z = 1.959964
    rate, spread = successes / count, z * z / count
    centre = (rate + spread / 2) / (1 + spread)
    half = z * math.sqrt(rate * (1 - rate) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def _mean(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    kept = [value for value in values if not math.isnan(value)]
    return fmean(kept) if kept else math.nan


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 5)
    if isinstance(value, list):
        return [_json(item) for item in value]
    return value
