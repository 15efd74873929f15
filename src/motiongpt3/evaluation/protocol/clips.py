"""The clips that are evaluated: which of a split count, why others do not, and what of each is taken."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from motiongpt3.data.captions import Caption
from motiongpt3.data.humanml3d import HumanML3DDataset, Segment
from motiongpt3.data.loaders import seed_of
from motiongpt3.errors import InputError
from motiongpt3.evaluation.protocol.choices import Protocol

WITHOUT_LIMIT = 1_000_000


@dataclass(frozen=True)
class EvaluatedClip:
    """One clip of a split.

    Attributes:
        number: its place among all clips of the evaluation.
        name: of the segment.
        segment: where it lies in the dataset.
        captions: about it, with tagged words where the dataset has them.
        frames: cut to the protocol's unit.
    """

    number: int
    name: str
    segment: Segment
    captions: tuple[Caption, ...]
    frames: int


@dataclass(frozen=True)
class EvaluatedSplit:
    """All clips of a split that count, and how many others do not, by reason."""

    dataset: HumanML3DDataset
    name: str
    clips: tuple[EvaluatedClip, ...]
    excluded: dict[str, int]
    fingerprint: str

    def features(self, clip: EvaluatedClip) -> Tensor:
        """(frames, 263) raw features of a clip, cut from its first frame on."""
        return torch.from_numpy(self.dataset.features(clip.segment)[: clip.frames])

    def cut(self, clip: EvaluatedClip, protocol: Protocol, replication: int) -> EvaluatedClip:
        """The stretch of a clip that a replication takes: all of it, or a random one; see `Protocol`."""
        if not protocol.random_cuts:
            return clip
        random = np.random.default_rng(seed_of(1, replication, clip.number))
        shorter = clip.frames > protocol.frame_unit and random.random() < 1 / 3
        frames = clip.frames - protocol.frame_unit * shorter
        start = clip.segment.start + int(random.integers(len(clip.segment) - frames + 1))
        return replace(clip, segment=replace(clip.segment, start=start, end=start + frames), frames=frames)


def evaluated_split(
    dataset: HumanML3DDataset,
    split: str,
    protocol: Protocol,
    limit: int | None = None,
) -> EvaluatedSplit:
    """The clips of a split that the protocol counts.

    Args:
        dataset: in HumanML3D's layout.
        split: name of the list.
        protocol: says which lengths count.
        limit: take so many, evenly from the whole list; for a quick look.

    Raises:
        InputError: if nothing is left, or the split does not exist.
    """
    excluded: Counter[str] = Counter()
    listed = dataset.split(split)
    if not listed:
        raise InputError(f"split {split!r} of {dataset.root} is empty: there is nothing to evaluate")
    segments = dataset.segments(split, 1, WITHOUT_LIMIT)
    found = {segment.clip for segment in segments}
    excluded["without motion or caption"] = len(set(listed) - found)
    digest = hashlib.sha256()
    clips: list[EvaluatedClip] = []
    for segment in segments:
        if len(segment) < protocol.min_frames:
            excluded[f"shorter than {protocol.min_frames} frames"] += 1
        elif len(segment) >= protocol.max_frames:
            excluded[f"{protocol.max_frames} frames or longer"] += 1
        else:
            try:
                features = dataset.features(segment)
            except InputError:
                excluded["NaN or infinite"] += 1
                continue
            digest.update(segment.name.encode() + features.tobytes())
            digest.update("\n".join(segment.captions).encode())
            frames = len(segment) // protocol.frame_unit * protocol.frame_unit
            clips.append(
                EvaluatedClip(len(clips), segment.name, segment, _captions(dataset, segment), frames)
            )
    if limit is not None and limit < len(clips):
        excluded["beyond the limit"] = len(clips) - limit
        chosen = [clips[place * len(clips) // limit] for place in range(limit)]
        clips = [replace(clip, number=number) for number, clip in enumerate(chosen)]
    if not clips:
        reasons = ", ".join(f"{count} {reason}" for reason, count in excluded.items() if count)
        raise InputError(f"no clip of split {split!r} of {dataset.root} counts ({reasons})")
    counted = {reason: count for reason, count in excluded.items() if count}
    return EvaluatedSplit(dataset, split, tuple(clips), counted, digest.hexdigest()[:16])


def of_similar_length(clips: Sequence[EvaluatedClip]) -> list[EvaluatedClip]:
    """Short clips first: batches of neighbours have the least padding, and processes the same work."""
    return sorted(clips, key=lambda clip: clip.frames)


def chosen_captions(clips: Sequence[EvaluatedClip], replication: int) -> list[Caption]:
    """One caption of each clip, at random, by the number of the replication."""
    return [
        clip.captions[
            int(np.random.default_rng(seed_of(2, replication, clip.number)).integers(len(clip.captions)))
        ]
        for clip in clips
    ]


def sampling_seeds(clips: Sequence[EvaluatedClip], replication: int, purpose: int = 0) -> list[int]:
    """A seed for the noise of each clip; no two replications or purposes share one."""
    return [seed_of(3, purpose, replication, clip.number) % 2**31 for clip in clips]


def _captions(dataset: HumanML3DDataset, segment: Segment) -> tuple[Caption, ...]:
    tagged = {caption.text: caption for caption in dataset.captions(segment.clip)}
    return tuple(tagged[text] for text in segment.captions)
