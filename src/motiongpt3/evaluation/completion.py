"""How far completed motion is from the real one: prediction (the end is made) and in-between (the middle is).

Errors are distances of joints in metres, the mean over the 22 joints, where they stand in the world, and only
over frames that were made: frames that were given must come back as they were, which is measured apart. One
real clip is one way to go on among many; so what counts is the distance beside that of the baselines, which
know nothing of people.

Shapes: joints are (T, 22, 3) in metres, y up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.evaluation.intervals import bootstrap_interval
from motiongpt3.motion.skeleton import JOINT_COUNT, JOINT_INDEX

PREDICTION_GIVEN = 0.2
"""Fraction of a clip that prediction is given, from its beginning."""

INBETWEEN_GIVEN = 0.25
"""Fraction of a clip that in-between is given at its beginning, and again at its end."""

VELOCITY_FRAMES = 5
"""Steps over which the velocity of the baseline "constant velocity" is averaged."""


@dataclass(frozen=True)
class Gap:
    """Which frames of a clip are made: those from `head` up to `frames - tail`; the others are given.

    Raises:
        InputError: if nothing is given at the beginning, or nothing is left to make.
    """

    frames: int
    head: int
    tail: int = 0

    def __post_init__(self) -> None:
        if self.head < 1 or self.tail < 0 or self.head + self.tail >= self.frames:
            raise InputError(
                f"of {self.frames} frames, {self.head} first and {self.tail} last are given: "
                "one at least must be given at the beginning, and one be left to make"
            )

    @classmethod
    def prediction(cls, frames: int, given: float = PREDICTION_GIVEN) -> Gap:
        """The first fifth is given, rounded down to whole frames, but at least 2 (a `Motion` has no less)."""
        return cls(frames, max(int(given * frames), 2))

    @classmethod
    def inbetween(cls, frames: int, given: float = INBETWEEN_GIVEN) -> Gap:
        """A quarter is given at either side; the end begins where three quarters round down; at least 2."""
        return cls(frames, max(int(given * frames), 2), max(frames - int((1 - given) * frames), 2))

    @property
    def made(self) -> slice:
        """The frames that are made."""
        return slice(self.head, self.frames - self.tail)

    def split(self, joints: Tensor) -> tuple[Tensor, Tensor]:
        """What is given of a clip: its beginning and its end (which may be empty)."""
        return joints[: self.head], joints[self.frames - self.tail :]


@dataclass(frozen=True)
class CompletionError:
    """How far one clip is from the real one.

    Attributes:
        mean_joint_error: mean over made frames and joints, metres (ADE, per joint).
        final_joint_error: mean over joints in the last made frame, metres (FDE, per joint).
        pose_error: like `mean_joint_error` after the pelvis is moved onto the real one in every frame;
            headings are not aligned.
        kept_error: greatest distance of any joint in the given frames, metres; 0 if they came back exactly.
        seam_step: mean over joints of how far they move from a given frame to a made one or back, metres, the
            greatest over the seams.
        real_seam_step: the same of the real clip.
    """

    mean_joint_error: float
    final_joint_error: float
    pose_error: float
    kept_error: float
    seam_step: float
    real_seam_step: float


def completion_error(made: Tensor, real: Tensor, gap: Gap) -> CompletionError:
    """Compare a completed clip with the real one.

    Args:
        made: (T, 22, 3) given and made frames, in the world of the given ones.
        real: (T, 22, 3).
        gap: which frames are made.

    Raises:
        InputError: if a shape is another, or ``made`` holds NaN or infinity.
    """
    expected = (gap.frames, JOINT_COUNT, 3)
    for name, joints in (("completed", made), ("real", real)):
        if tuple(joints.shape) != expected:
            raise InputError(f"expected {name} joints of shape {expected}, found {tuple(joints.shape)}")
    if not torch.isfinite(made).all():
        raise InputError("the completed clip holds NaN or infinite positions")
    made, real = made.double(), real.double()
    per_frame = _distance(made, real)
    pelvis = JOINT_INDEX["pelvis"]
    posed = _distance(made - made[:, pelvis, None], real - real[:, pelvis, None])
    kept = torch.ones(gap.frames, dtype=torch.bool)
    kept[gap.made] = False
    return CompletionError(
        mean_joint_error=float(per_frame[gap.made].mean()),
        final_joint_error=float(per_frame[gap.made][-1]),
        pose_error=float(posed[gap.made].mean()),
        kept_error=float(torch.linalg.vector_norm(made - real, dim=-1)[kept].max()),
        seam_step=_seam_step(made, gap),
        real_seam_step=_seam_step(real, gap),
    )


def _distance(first: Tensor, second: Tensor) -> Tensor:
    """(T,) mean over joints."""
    return torch.linalg.vector_norm(first - second, dim=-1).mean(-1)


def _seam_step(joints: Tensor, gap: Gap) -> float:
    seams = [gap.head] + ([gap.frames - gap.tail] if gap.tail else [])
    return max(float(_distance(joints[seam], joints[seam - 1])) for seam in seams)


def repeat_last_frame(real: Tensor, gap: Gap) -> Tensor:
    """Baseline: the last given frame of the beginning stands still until the end, or the given end, comes."""
    made = real.clone()
    made[gap.made] = real[gap.head - 1]
    return made


def constant_velocity(real: Tensor, gap: Gap) -> Tensor:
    """Baseline for prediction: the last given pose moves on as the pelvis last did.

    It moves horizontally, at the pelvis's mean velocity over the last `VELOCITY_FRAMES` given steps (or as
    many as there are; with one given frame it stays). Joints moving on each at its own velocity fly apart,
    which is far worse.
    """
    last = gap.head - 1
    first = max(last - VELOCITY_FRAMES, 0)
    pelvis = real[:, JOINT_INDEX["pelvis"]]
    velocity = (pelvis[last] - pelvis[first]) / max(last - first, 1) * real.new_tensor([1.0, 0.0, 1.0])
    steps = torch.arange(1, gap.frames - gap.tail - last, dtype=real.dtype)
    made = real.clone()
    made[gap.made] = real[last] + steps[:, None, None] * velocity
    return made


def linear_interpolation(real: Tensor, gap: Gap) -> Tensor:
    """Baseline for in-between: every joint moves straight from the last given frame to the next given one.

    Raises:
        InputError: if no end is given.
    """
    if not gap.tail:
        raise InputError("without a given end there is nothing to interpolate to")
    first, last = gap.head - 1, gap.frames - gap.tail
    weight = (torch.arange(gap.head, last, dtype=real.dtype) - first) / (last - first)
    made = real.clone()
    made[gap.made] = torch.lerp(real[first], real[last], weight[:, None, None])
    return made


Baseline = Callable[[Tensor, Gap], Tensor]

PREDICTION_BASELINES: dict[str, Baseline] = {
    "repeat last frame": repeat_last_frame,
    "constant velocity": constant_velocity,
}
INBETWEEN_BASELINES: dict[str, Baseline] = {
    "repeat last frame": repeat_last_frame,
    "linear interpolation": linear_interpolation,
}


@dataclass(frozen=True)
class CompletionScore:
    """Many clips, compared with the real ones.

    Attributes:
        clips: one error for each clip; of several seeds, their mean.
        best: mean over clips of the least `mean_joint_error` of the seeds.
        seeds: how often each clip was completed.
    """

    clips: tuple[CompletionError, ...]
    best: float
    seeds: int

    def mean(self, measure: str) -> float:
        """Mean over clips of an attribute of `CompletionError`; NaN without clips."""
        return fmean(self.values(measure)) if self.clips else math.nan

    def values(self, measure: str) -> list[float]:
        """An attribute of `CompletionError`, clip by clip."""
        return [getattr(clip, measure) for clip in self.clips]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: means with bootstrap 95 % intervals over clips; metres."""
        values: dict[str, Any] = {"clips": len(self.clips), "seeds": self.seeds}
        for field in fields(CompletionError):
            values[field.name] = _json(self.mean(field.name))
            values[f"{field.name}_interval"] = [
                _json(end) for end in bootstrap_interval(self.values(field.name))
            ]
        # Not the mean: one given frame that moved is one too many.
        values["kept_error"] = _json(max(self.values("kept_error"), default=math.nan))
        del values["kept_error_interval"]
        values["best_mean_joint_error"] = _json(self.best)
        return values

    def less_than(self, other: CompletionScore, measure: str = "mean_joint_error") -> dict[str, Any]:
        """How much less than another's the error is, clip by clip: mean, bootstrap interval, share of clips.

        Raises:
            InputError: if the other score is of another number of clips.
        """
        if len(self.clips) != len(other.clips):
            raise InputError(f"cannot compare {len(self.clips)} clips with {len(other.clips)}")
        gains = [theirs - own for own, theirs in zip(self.values(measure), other.values(measure))]
        return {
            "less_by": _json(fmean(gains) if gains else math.nan),
            "less_by_interval": [_json(end) for end in bootstrap_interval(gains)],
            "clips_with_less": _json(fmean(gain > 0 for gain in gains) if gains else math.nan),
        }


def score_completions(errors: Iterable[Iterable[CompletionError]]) -> CompletionScore:
    """Combine the errors of many clips, each completed with one or several seeds.

    Raises:
        InputError: if a clip has none.
    """
    clips: list[CompletionError] = []
    best: list[float] = []
    seeds = 0
    for group in errors:
        of_clip = list(group)
        if not of_clip:
            raise InputError("a clip was completed with no seed")
        seeds = max(seeds, len(of_clip))
        best.append(min(error.mean_joint_error for error in of_clip))
        clips.append(_mean(of_clip))
    return CompletionScore(tuple(clips), fmean(best) if best else math.nan, seeds)


def _mean(errors: list[CompletionError]) -> CompletionError:
    means = {
        field.name: fmean(getattr(error, field.name) for error in errors) for field in fields(CompletionError)
    }
    # A given frame that moved with one seed must not vanish among the others.
    return CompletionError(**means | {"kept_error": max(error.kept_error for error in errors)})


def _json(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)
