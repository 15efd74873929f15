"""The tasks as they are measured: each function is one replication of one task.

Shapes: N clips, E embedding, T frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from motiongpt3.data.captions import Caption
from motiongpt3.data.loaders import seed_of
from motiongpt3.evaluation.embedding_metrics.variety import Multimodality
from motiongpt3.evaluation.protocol.clips import (
    EvaluatedClip,
    chosen_captions,
    of_similar_length,
    sampling_seeds,
)
from motiongpt3.evaluation.protocol.completions import inbetween, prediction
from motiongpt3.evaluation.protocol.processes import from_first, gathered, share
from motiongpt3.evaluation.protocol.samples import Sample, picked_samples
from motiongpt3.evaluation.protocol.setting import (
    GENERATED,
    REAL,
    Replication,
    Scores,
    Setting,
    chunks,
    means,
    numbered,
)
from motiongpt3.evaluation.protocol.text_scores import text_scores
from motiongpt3.evaluation.reconstruction import (
    acceleration_error,
    mpjpe,
    procrustes_aligned_mpjpe,
    root_aligned_mpjpe,
)
from motiongpt3.motion.features import features_to_joints
from motiongpt3.motion.motion import Motion

Request = tuple[EvaluatedClip, Caption, int]
"""A clip, the caption that its motion is asked for with, and the seed of its noise."""

SENTENCES_AT_ONCE = 8
"""Of multimodality: each has 30 motions."""


def text_to_motion(setting: Setting, replication: int) -> Replication:
    """One motion for one caption of each clip, at the length of the real one or of the model's choice."""
    clips = setting.own_clips(replication)
    captions = chosen_captions(clips, replication)
    texts, real = setting.embed_captions(captions), setting.real(clips)
    requests = list(zip(clips, captions, sampling_seeds(clips, replication)))

    def answer(part: Sequence[Request]) -> list[Tensor]:
        return asked_motions(setting, part)

    made = setting.kept(
        "answers",
        lambda: setting.measured("make motions", requests, answer),
        varies=not setting.answers.fixed,
    )
    found = Replication(setting.motion_scores(clips, made, replication))
    for row, motions in ((GENERATED, made), (REAL, real)):
        found.scores[row] |= setting.retrieval_scores(clips, texts, motions.embeddings, replication)
    if _measures_multimodality(setting, replication):
        found.scores[GENERATED]["multimodality"] = _multimodality(setting, replication)
    if replication == setting.first:
        distances = torch.linalg.vector_norm(texts - made.embeddings, dim=-1).tolist()
        found.samples = picked_samples(
            numbered(clips, distances),
            lambda place, score: Sample(
                clips[place].name, "matching score", score, captions[place].text, answer([requests[place]])[0]
            ),
        )
    return found


def asked_motions(setting: Setting, requests: Sequence[Request]) -> list[Tensor]:
    """Raw features (T, 263) of a motion for each request, cut to a multiple of the protocol's unit."""
    clips, captions, seeds = map(list, zip(*requests))
    frames = [clip.frames for clip in clips] if setting.protocol.lengths == "real" else None
    made = setting.answers.motions(clips, [caption.text for caption in captions], frames, seeds)
    unit = setting.protocol.frame_unit
    return [features[: max(len(features) // unit, 1) * unit] for features in made]


def _measures_multimodality(setting: Setting, replication: int) -> bool:
    protocol = setting.protocol
    limit = protocol.multimodality_replications
    wanted = protocol.multimodality_captions > 0 and not setting.answers.fixed
    return wanted and (limit is None or replication - setting.first < limit)


def _multimodality(setting: Setting, replication: int) -> float:
    protocol = setting.protocol
    random = np.random.default_rng(seed_of(6, replication))
    count = min(protocol.multimodality_captions, len(setting.split.clips))
    drawn = random.choice(len(setting.split.clips), count, replace=False).tolist()
    clips = share(of_similar_length([setting.split.clips[place] for place in drawn]))
    metric = Multimodality(protocol.multimodality_pairs, seed_of(7, replication))
    each = protocol.multimodality_repetitions
    for part in chunks("make motions of one sentence", clips, setting.progress, SENTENCES_AT_ONCE):
        captions = chosen_captions(part, replication)
        requests = [
            (clip, caption, sampling_seeds([clip], replication, 1 + take)[0])
            for clip, caption in zip(part, captions)
            for take in range(each)
        ]
        embedded = setting.the_evaluator().embed_motions(asked_motions(setting, requests))
        metric.update(torch.tensor([clip.number for clip in part]), embedded.unflatten(0, (len(part), each)))
    return float(metric.compute())


def motion_to_text(setting: Setting, replication: int) -> Replication:
    """A caption of each clip: does it lead back to the clip, and what has it in common with the references?

    The likeliest words are taken: where all replications take the same stretches of clips, they judge the
    same captions, and only pools differ.
    """
    clips = setting.own_clips(replication)
    varies = setting.protocol.random_cuts and not setting.answers.fixed
    real = setting.kept(
        "real embeddings", lambda: _embedded_clips(setting, clips), varies=setting.protocol.random_cuts
    )
    said = setting.kept("captions", lambda: _captions(setting, clips), varies)
    spoken = setting.embed_captions([Caption(text or "-") for text in said])
    written = setting.embed_captions(chosen_captions(clips, replication))
    found = Replication(
        {
            GENERATED: setting.retrieval_scores(clips, spoken, real, replication),
            REAL: setting.retrieval_scores(clips, written, real, replication),
        }
    )
    found.scores[GENERATED] |= setting.kept("text scores", lambda: _text_scores(setting, clips, said), varies)
    found.texts = dict(gathered([(clip.number, (clip.name, text)) for clip, text in zip(clips, said)]))
    if replication == setting.first:
        distances = torch.linalg.vector_norm(spoken - real, dim=-1).tolist()
        found.samples = picked_samples(
            numbered(clips, distances),
            lambda place, score: Sample(
                clips[place].name,
                "matching score",
                score,
                said[place],
                setting.split.features(clips[place]),
                clips[place].captions[0].text,
            ),
        )
    return found


def _embedded_clips(setting: Setting, clips: Sequence[EvaluatedClip]) -> Tensor:
    """(N, E)."""
    parts = [
        setting.the_evaluator().embed_motions([setting.split.features(clip) for clip in part])
        for part in chunks("embed real motions", clips, setting.progress)
    ]
    return torch.cat(parts)


def _captions(setting: Setting, clips: Sequence[EvaluatedClip]) -> list[str]:
    said: list[str] = []
    for part in chunks("write captions", clips, setting.progress):
        motions = [Motion.from_features(setting.split.features(clip), name=clip.name) for clip in part]
        said += setting.answers.captions(part, motions)
    return said


def _text_scores(setting: Setting, clips: Sequence[EvaluatedClip], said: Sequence[str]) -> Scores:
    """Of the captions of all processes against their references."""
    count = setting.protocol.references or None
    references = [[caption.text for caption in clip.captions[:count]] for clip in clips]
    every = gathered([(clip.number, pair) for clip, pair in zip(clips, zip(said, references))])
    captions, wanted = zip(*every)
    return from_first(lambda: text_scores(captions, wanted))


def reconstruction(setting: Setting, replication: int) -> Replication:
    """Each clip through the motion VAE and back, from the mean of its posterior."""
    clips = setting.own_clips(replication)
    errors: list[Scores] = []

    def reconstruct(part: Sequence[EvaluatedClip]) -> list[Tensor]:
        real = [setting.split.features(clip) for clip in part]
        made = setting.answers.reconstructions(real)
        errors.extend(map(reconstruction_scores, made, real))
        return made

    made = setting.measured("reconstruct motions", clips, reconstruct)
    found = Replication(setting.motion_scores(clips, made, replication))
    rows = numbered(clips, errors)
    found.scores[GENERATED] |= means(rows)
    found.samples = picked_samples(
        [(number, scores["MPJPE mm"]) for number, scores in rows],
        lambda place, score: Sample(
            clips[place].name,
            "MPJPE mm",
            score,
            clips[place].captions[0].text,
            setting.answers.reconstructions([setting.split.features(clips[place])])[0],
        ),
    )
    return found


def reconstruction_scores(made: Tensor, real: Tensor) -> Scores:
    """Errors of one reconstructed clip, raw features (T, 263), named with their units."""
    made_joints, real_joints = features_to_joints(made), features_to_joints(real)
    return {
        "MPJPE mm": float(mpjpe(made_joints, real_joints)),
        "root-aligned MPJPE mm": float(root_aligned_mpjpe(made_joints, real_joints)),
        "PA-MPJPE mm": float(procrustes_aligned_mpjpe(made_joints, real_joints)),
        "acceleration error mm": float(acceleration_error(made_joints, real_joints)),
        "feature MSE": float((made - real).square().mean()),
    }


MEASURES: dict[str, Callable[[Setting, int], Replication]] = {
    "t2m": text_to_motion,
    "m2t": motion_to_text,
    "pred": prediction,
    "inbetween": inbetween,
    "reconstruction": reconstruction,
}
"""One replication of each task that is measured on clips."""
