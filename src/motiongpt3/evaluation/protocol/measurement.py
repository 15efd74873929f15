"""The tasks as they are measured: each function is one replication of one task.

Shapes: N clips, E embedding, T frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from motiongpt3.data.captions import Caption
from motiongpt3.data.loaders import seed_of
from motiongpt3.evaluation.completion import (
    INBETWEEN_BASELINES,
    PREDICTION_BASELINES,
    Baseline,
    Gap,
    completion_error,
)
from motiongpt3.evaluation.embedding_metrics.variety import Multimodality
from motiongpt3.evaluation.protocol.clips import EvaluatedClip, chosen_captions, sampling_seeds
from motiongpt3.evaluation.protocol.processes import gathered, share
from motiongpt3.evaluation.protocol.setting import (
    Replication,
    Sample,
    Scores,
    Setting,
    chunks,
    means,
    physics,
)
from motiongpt3.evaluation.protocol.text_scores import text_scores
from motiongpt3.evaluation.reconstruction import (
    acceleration_error,
    mpjpe,
    procrustes_aligned_mpjpe,
    root_aligned_mpjpe,
)
from motiongpt3.evaluation.seams import measure_seams
from motiongpt3.generation.requests import frame_features
from motiongpt3.motion.features import features_to_joints
from motiongpt3.motion.motion import Motion

GENERATED, REAL = "generated", "real"


def text_to_motion(setting: Setting, replication: int) -> Replication:
    """One motion for one caption of each clip, at the length of the real one or of the model's choice."""
    clips = setting.own_clips(replication)
    captions = chosen_captions(clips, replication)
    texts, real = setting.embed_captions(captions), setting.embed_real(clips)
    if setting.answers.fixed and not setting.protocol.random_cuts:

        def made_before(clip: EvaluatedClip) -> Tensor:
            return whole_units(setting.answers.motions([clip], [""], None, [0])[0], setting)

        made = setting.embed_fixed(clips, made_before)
        physical = setting.fixed_physics(GENERATED, clips, made_before)
        kept: list[Tensor] = []
    else:
        made, physical, kept = _made(setting, clips, captions, replication)
    found = Replication(setting.motion_scores(clips, made, real, replication))
    for name, motions in ((GENERATED, made), (REAL, real)):
        found.scores[name] |= setting.retrieval_scores(clips, texts, motions, replication)
    _add_physics(found.scores, setting, clips, physical)
    if setting.protocol.multimodality_captions and not setting.answers.fixed:
        found.scores[GENERATED]["multimodality"] = _multimodality(setting, replication)
    distances = torch.linalg.vector_norm(texts - made, dim=-1).tolist()
    found.samples = [
        Sample(clip.name, distance, caption.text, features)
        for clip, distance, caption, features in zip(clips, distances, captions, kept)
    ]
    return found


def _made(
    setting: Setting, clips: Sequence[EvaluatedClip], captions: Sequence[Caption], replication: int
) -> tuple[Tensor, list[Scores], list[Tensor]]:
    """Embeddings (N, E), physical measures, and, in the first replication, the motions themselves."""
    rows = list(zip(clips, captions, sampling_seeds(clips, replication)))
    embeddings, physical, kept = [], [], []
    for part in chunks("make motions", rows, setting.progress):
        taken, said, seeds = map(list, zip(*part))
        frames = [clip.frames for clip in taken] if setting.protocol.lengths == "real" else None
        made = setting.answers.motions(taken, [caption.text for caption in said], frames, seeds)
        made = [whole_units(features, setting) for features in made]
        embeddings.append(setting.the_evaluator().embed_motions(made))
        physical += [physics(features_to_joints(features)) for features in made]
        kept += made if replication == 0 else []
    return torch.cat(embeddings), physical, kept


def whole_units(features: Tensor, setting: Setting) -> Tensor:
    """Features (T, 263) cut to a multiple of the protocol's unit, as real clips are."""
    unit = setting.protocol.frame_unit
    return features[: max(len(features) // unit, 1) * unit]


def _multimodality(setting: Setting, replication: int) -> float:
    protocol = setting.protocol
    random = np.random.default_rng(seed_of(6, replication))
    count = min(protocol.multimodality_captions, len(setting.split.clips))
    drawn = sorted(random.choice(len(setting.split.clips), count, replace=False).tolist())
    clips = share([setting.split.clips[place] for place in drawn])
    metric = Multimodality(protocol.multimodality_pairs, seed_of(7, replication))
    each = protocol.multimodality_repetitions
    for part in chunks("make motions of one sentence", clips, setting.progress, size=8):
        captions = chosen_captions(part, replication)
        repeated = list(itertools.chain.from_iterable([clip] * each for clip in part))
        prompts = [caption.text for caption in captions for _ in range(each)]
        seeds = [sampling_seeds([clip], replication, 1 + take)[0] for clip in part for take in range(each)]
        frames = [clip.frames for clip in repeated] if protocol.lengths == "real" else None
        made = setting.answers.motions(repeated, prompts, frames, seeds)
        embedded = setting.the_evaluator().embed_motions([whole_units(one, setting) for one in made])
        metric.update(torch.tensor([clip.number for clip in part]), embedded.unflatten(0, (len(part), each)))
    return float(metric.compute())


def motion_to_text(setting: Setting, replication: int) -> Replication:
    """A caption of each clip: does it lead back to the clip, and what has it in common with the references?

    The likeliest words are taken, so all replications judge the same captions; pools differ.
    """
    clips = setting.own_clips(replication)
    real = setting.embed_real(clips)
    said = setting.kept_texts(lambda: _captions(setting, clips))
    written = chosen_captions(clips, replication)
    spoken = [Caption(text or "-") for text in said]
    found = Replication(
        {
            GENERATED: setting.retrieval_scores(clips, setting.embed_captions(spoken), real, replication),
            REAL: setting.retrieval_scores(clips, setting.embed_captions(written), real, replication),
        }
    )
    references = [
        [caption.text for caption in clip.captions[: setting.protocol.references or None]] for clip in clips
    ]
    rows = [(clip.number, row) for clip, row in zip(clips, zip(said, references))]
    every = gathered(rows)
    found.scores[GENERATED] |= setting.kept_scores(
        lambda: text_scores([text for text, _ in every], [several for _, several in every])
    )
    found.texts = dict(gathered([(clip.number, (clip.name, text)) for clip, text in zip(clips, said)]))
    if replication == 0:
        distances = torch.linalg.vector_norm(setting.embed_captions(spoken) - real, dim=-1).tolist()
        found.samples = [
            Sample(clip.name, distance, text, setting.split.features(clip), clip.captions[0].text)
            for clip, distance, text in zip(clips, distances, said)
        ]
    return found


def _captions(setting: Setting, clips: Sequence[EvaluatedClip]) -> list[str]:
    said: list[str] = []
    for part in chunks("write captions", clips, setting.progress, size=32):
        motions = [Motion.from_features(setting.split.features(clip), name=clip.name) for clip in part]
        said += setting.answers.captions(part, motions)
    return said


def prediction(setting: Setting, replication: int) -> Replication:
    """The first fifth of each clip is given."""
    return _completion(setting, replication, Gap.prediction, PREDICTION_BASELINES)


def inbetween(setting: Setting, replication: int) -> Replication:
    """The first and the last quarter of each clip are given."""
    return _completion(setting, replication, Gap.inbetween, INBETWEEN_BASELINES)


def _completion(
    setting: Setting,
    replication: int,
    gap_of: Callable[[int], Gap],
    baselines: dict[str, Baseline],
) -> Replication:
    clips = setting.own_clips(replication)
    seeds = sampling_seeds(clips, replication)
    rows: dict[str, list[tuple[int, Scores]]] = {GENERATED: [], REAL: [], **{name: [] for name in baselines}}
    curves: dict[str, list[tuple[int, list[float]]]] = {GENERATED: [], **{name: [] for name in baselines}}
    embeddings, samples = [], []
    for part in chunks("complete motions", list(zip(clips, seeds)), setting.progress):
        taken = [clip for clip, _ in part]
        features = [setting.split.features(clip) for clip in taken]
        motions = [Motion.from_features(one, name=clip.name) for one, clip in zip(features, taken)]
        gaps = [gap_of(len(motion)) for motion in motions]
        made = setting.answers.completions(taken, motions, gaps, [seed for _, seed in part])
        if setting.evaluator:
            embeddings.append(setting.evaluator.embed_motions([frame_features(one) for one in made]))
        for clip, motion, gap, one in zip(taken, motions, gaps, made):
            real = motion.joints
            candidates = {name: baseline(real, gap) for name, baseline in baselines.items()}
            for name, joints in {GENERATED: one.joints, **candidates}.items():
                errors = completion_scores(joints, real, gap, setting.protocol.errors)
                curves[name].append((clip.number, _error_over_time(joints, real, gap)))
                rows[name].append((clip.number, errors | physics(joints)))
            seam = {"seam jump mm": _seam_jump(real, gap)}
            rows[REAL].append((clip.number, seam | physics(real)))
            if replication == 0:
                score = rows[GENERATED][-1][1]["ADE mm"]
                samples.append(Sample(clip.name, score, clip.captions[0].text, frame_features(one)))
    found = Replication({name: means(of_clips) for name, of_clips in rows.items()}, samples=samples)
    found.curves = {name: _mean_curve(gathered(of_clips)) for name, of_clips in curves.items()}
    if setting.evaluator:
        scores = setting.motion_scores(clips, torch.cat(embeddings), setting.embed_real(clips), replication)
        for name in (GENERATED, REAL):
            found.scores[name] |= scores[name]
    return found


def completion_scores(made: Tensor, real: Tensor, gap: Gap, definition: str = "per joint") -> Scores:
    """Errors of one completed clip (T, 22, 3) in millimetres, over the frames that were made.

    Args:
        made: given and made frames.
        real: the real clip.
        gap: which frames were made.
        definition: "per joint" for the mean distance of joints; "official" for the norm of all 66 coordinates
            of a frame, as the official release has it, which is larger by a factor of up to √22.
    """
    error = completion_error(made, real, gap)
    ade, fde = error.mean_joint_error, error.final_joint_error
    if definition == "official":
        per_frame = torch.linalg.vector_norm((made - real).double().flatten(1), dim=-1)[gap.made]
        ade, fde = float(per_frame.mean()), float(per_frame[-1])
    return {
        "ADE mm": 1000 * ade,
        "FDE mm": 1000 * fde,
        "pose error mm": 1000 * error.pose_error,
        "kept frames off mm": 1000 * error.kept_error,
        "seam jump mm": _seam_jump(made, gap),
    }


def _seam_jump(joints: Tensor, gap: Gap) -> float:
    given = [range(gap.head), *([range(gap.frames - gap.tail, gap.frames)] if gap.tail else [])]
    return 1000 * max(seam.position_jump for seam in measure_seams(joints, given))


def _error_over_time(made: Tensor, real: Tensor, gap: Gap) -> list[float]:
    """Millimetres in each made frame."""
    return (torch.linalg.vector_norm(made - real, dim=-1).mean(-1)[gap.made] * 1000).tolist()


def _mean_curve(curves: Sequence[Sequence[float]]) -> list[float]:
    """The mean at each frame over the clips that reach it, as long as a quarter of them do."""
    longest = max(map(len, curves))
    table = np.full((len(curves), longest), np.nan)
    for row, curve in enumerate(curves):
        table[row, : len(curve)] = curve
    enough = (~np.isnan(table)).sum(0) >= max(len(curves) / 4, 1)
    return [round(float(value), 2) for value in np.nanmean(table[:, enough], axis=0)]


def reconstruction(setting: Setting, replication: int) -> Replication:
    """Each clip through the motion VAE and back, from the mean of its posterior."""
    clips = setting.own_clips(replication)
    rows: list[tuple[int, Scores]] = []
    physical, embeddings, samples = [], [], []
    for part in chunks("reconstruct motions", clips, setting.progress, size=32):
        features = [setting.split.features(clip) for clip in part]
        made = setting.answers.reconstructions(features)
        if setting.evaluator:
            embeddings.append(setting.evaluator.embed_motions(made))
        for clip, real, one in zip(part, features, made):
            made_joints, real_joints = features_to_joints(one), features_to_joints(real)
            errors = {
                "MPJPE mm": float(mpjpe(made_joints, real_joints)),
                "root-aligned MPJPE mm": float(root_aligned_mpjpe(made_joints, real_joints)),
                "PA-MPJPE mm": float(procrustes_aligned_mpjpe(made_joints, real_joints)),
                "acceleration error mm": float(acceleration_error(made_joints, real_joints)),
                "feature MSE": float((one - real).square().mean()),
            }
            rows.append((clip.number, errors))
            physical.append(physics(made_joints))
            samples.append(Sample(clip.name, errors["MPJPE mm"], clip.captions[0].text, one))
    found = Replication({GENERATED: means(rows), REAL: {}}, samples=samples)
    if setting.evaluator:
        scores = setting.motion_scores(clips, torch.cat(embeddings), setting.embed_real(clips), replication)
        for name in (GENERATED, REAL):
            found.scores[name] |= scores[name]
    _add_physics(found.scores, setting, clips, physical)
    return found


def _add_physics(
    scores: dict[str, Scores], setting: Setting, clips: Sequence[EvaluatedClip], made: Sequence[Scores]
) -> None:
    numbers = [clip.number for clip in clips]
    scores[GENERATED] |= means(list(zip(numbers, made)))
    scores[REAL] |= means(list(zip(numbers, setting.real_physics(clips))))


MEASURES: dict[str, Callable[[Setting, int], Replication]] = {
    "t2m": text_to_motion,
    "m2t": motion_to_text,
    "pred": prediction,
    "inbetween": inbetween,
    "reconstruction": reconstruction,
}
"""One replication of each task that is measured on clips."""
