"""Prediction and in-between, as they are measured in one replication.

Shapes: N clips, T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from motiongpt3.evaluation.completion import (
    INBETWEEN_BASELINES,
    PREDICTION_BASELINES,
    Baseline,
    Gap,
    completion_error,
)
from motiongpt3.evaluation.protocol.clips import EvaluatedClip, sampling_seeds
from motiongpt3.evaluation.protocol.processes import gathered
from motiongpt3.evaluation.protocol.samples import Sample, picked_samples
from motiongpt3.evaluation.protocol.setting import (
    GENERATED,
    REAL,
    MeasuredMotions,
    Replication,
    Scores,
    Setting,
    chunks,
    means,
    numbered,
    physics,
)
from motiongpt3.evaluation.seams import measure_seams
from motiongpt3.generation.requests import frame_features
from motiongpt3.motion.features import features_to_joints
from motiongpt3.motion.motion import Motion


def prediction(setting: Setting, replication: int) -> Replication:
    """The first fifth of each clip is given."""
    return _completion(setting, replication, Gap.prediction, PREDICTION_BASELINES)


def inbetween(setting: Setting, replication: int) -> Replication:
    """The first and the last quarter of each clip are given."""
    return _completion(setting, replication, Gap.inbetween, INBETWEEN_BASELINES)


@dataclass
class Compared:
    """Motions beside the real ones, clip by clip: `completion_scores`, and the error in each made frame."""

    scores: list[Scores] = field(default_factory=list)
    curves: list[list[float]] = field(default_factory=list)

    def add(self, made: Tensor, real: Tensor, gap: Gap, definition: str) -> None:
        """One clip's joints (T, 22, 3)."""
        self.scores.append(completion_scores(made, real, gap, definition))
        self.curves.append(torch.linalg.vector_norm(made - real, dim=-1).mean(-1)[gap.made].tolist())


def _completion(
    setting: Setting,
    replication: int,
    gap_of: Callable[[int], Gap],
    baselines: dict[str, Baseline],
) -> Replication:
    clips, varies = setting.own_clips(replication), setting.protocol.random_cuts
    requests = list(zip(clips, sampling_seeds(clips, replication)))

    def complete(part: Sequence[tuple[EvaluatedClip, int]]) -> Iterator[tuple[Motion, Motion, Gap]]:
        taken, seeds = map(list, zip(*part))
        real = [Motion.from_features(setting.split.features(clip), name=clip.name) for clip in taken]
        gaps = [gap_of(len(motion)) for motion in real]
        yield from zip(setting.answers.completions(taken, real, gaps, seeds), real, gaps)

    def generated() -> tuple[MeasuredMotions, Compared]:
        parts, compared = [], Compared()
        for part in chunks("complete motions", requests, setting.progress):
            completed = list(complete(part))
            made = [one for one, _, _ in completed]
            parts.append(setting.measure([frame_features(one) for one in made], [one.joints for one in made]))
            for one, real, gap in completed:
                compared.add(one.joints, real.joints, gap, setting.protocol.errors)
        return MeasuredMotions.joined(parts), compared

    made, compared = setting.kept("answers", generated, varies=not setting.answers.fixed)
    found = Replication(setting.motion_scores(clips, made, replication))
    found.scores[GENERATED] |= means(numbered(clips, compared.scores))
    found.curves[GENERATED] = _mean_curve(gathered(numbered(clips, compared.curves)))
    beside = setting.kept("beside", lambda: _beside(setting, clips, gap_of, baselines), varies)
    for row, scores in beside.scores.items():
        found.scores[row] = found.scores.get(row, {}) | scores
    found.curves |= beside.curves
    if replication == setting.first:
        found.samples = picked_samples(
            numbered(clips, [scores["ADE m"] for scores in compared.scores]),
            lambda place, score: Sample(
                clips[place].name,
                "ADE m",
                score,
                clips[place].captions[0].text,
                frame_features(next(complete([requests[place]]))[0]),
            ),
        )
    return found


def _beside(
    setting: Setting,
    clips: Sequence[EvaluatedClip],
    gap_of: Callable[[int], Gap],
    baselines: dict[str, Baseline],
) -> Replication:
    """What stands beside completed motions: the seams of the real ones, and the baselines."""
    seams: list[Scores] = []
    compared = {name: Compared() for name in baselines}
    for part in chunks("measure baselines", clips, setting.progress):
        for clip in part:
            real, gap = features_to_joints(setting.split.features(clip)), gap_of(clip.frames)
            seams.append({"seam jump mm": _seam_jump(real, gap)})
            for name, baseline in baselines.items():
                joints = baseline(real, gap)
                compared[name].add(joints, real, gap, setting.protocol.errors)
                compared[name].scores[-1] |= physics(joints)
    found = Replication({REAL: means(numbered(clips, seams))})
    for name, of_baseline in compared.items():
        found.scores[name] = means(numbered(clips, of_baseline.scores))
        found.curves[name] = _mean_curve(gathered(numbered(clips, of_baseline.curves)))
    return found


def completion_scores(made: Tensor, real: Tensor, gap: Gap, definition: str = "per joint") -> Scores:
    """Errors of one completed clip (T, 22, 3) over the frames that were made, named with their units.

    Args:
        made: given and made frames.
        real: the real clip.
        gap: which frames were made.
        definition: of ADE and FDE: "per joint" for the mean distance of joints; "official" for the norm of
            all 66 coordinates of a frame, as the official release has it, which is larger by a factor of
            about √22.
    """
    error = completion_error(made, real, gap)
    ade, fde = error.mean_joint_error, error.final_joint_error
    if definition == "official":
        per_frame = torch.linalg.vector_norm((made - real).double().flatten(1), dim=-1)[gap.made]
        ade, fde = float(per_frame.mean()), float(per_frame[-1])
    return {
        "ADE m": ade,
        "FDE m": fde,
        "pose error mm": 1000 * error.pose_error,
        "kept frames off mm": 1000 * error.kept_error,
        "seam jump mm": _seam_jump(made, gap),
    }


def _seam_jump(joints: Tensor, gap: Gap) -> float:
    given = [range(gap.head), *([range(gap.frames - gap.tail, gap.frames)] if gap.tail else [])]
    return 1000 * max(seam.position_jump for seam in measure_seams(joints, given))


def _mean_curve(curves: Sequence[Sequence[float]]) -> list[float]:
    """The mean at each frame over the clips that reach it, as long as a quarter of them do."""
    longest = max(map(len, curves))
    table = np.full((len(curves), longest), np.nan)
    for row, curve in enumerate(curves):
        table[row, : len(curve)] = curve
    enough = (~np.isnan(table)).sum(0) >= max(len(curves) / 4, 1)
    return [round(float(value), 5) for value in np.nanmean(table[:, enough], axis=0)]
