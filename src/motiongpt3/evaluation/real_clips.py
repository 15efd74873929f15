"""Real clips of an action, to put beside what a model makes of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from motiongpt3.data.humanml3d import HumanML3DDataset, Segment
from motiongpt3.errors import InputError
from motiongpt3.evaluation.actions import action_named
from motiongpt3.motion.features import features_to_joints

ENOUGH = 8
"""Fewer test clips than this say too little: then the clips of all splits are taken."""


@dataclass(frozen=True)
class RealClips:
    """Real clips of one action.

    Attributes:
        split: where they are from: one split, or "all" of them.
        joints: (T, 22, 3) each, metres.
    """

    split: str
    joints: list[Tensor]


def real_clips(
    dataset: HumanML3DDataset, actions: Iterable[str], split: str | None = None
) -> dict[str, RealClips]:
    """Clips of each action, by the label in the dataset's metadata, without mirror images and duplicates.

    Args:
        dataset: has labels.
        actions: names; those without a clip are left out of the result.
        split: take the clips of this split ("all" for every one); by default those of the test split, or of
            all where the test split has fewer than `ENOUGH`.

    Raises:
        InputError: if the dataset has no labels, or there is no such action.
    """
    names = [split] if split not in (None, "all") else dataset.splits
    by_label = {name: _by_label(dataset, name) for name in names}
    if not any(by_label.values()):
        raise InputError(f"{dataset.root} has no labels: it needs metadata.jsonl with a label for each clip")
    found = {}
    for action in dict.fromkeys(actions):
        labels = action_named(action).labels
        segments = {
            name: [segment for label in labels for segment in of_split.get(label, [])]
            for name, of_split in by_label.items()
        }
        origin = split or ("test" if len(segments.get("test", [])) >= ENOUGH else "all")
        splits = list(segments) if origin == "all" else [origin]
        chosen = [segment for name in splits for segment in segments[name]]
        if chosen:
            joints = [features_to_joints(torch.from_numpy(dataset.features(segment))) for segment in chosen]
            found[action] = RealClips(origin, joints)
    return found


def _by_label(dataset: HumanML3DDataset, split: str) -> dict[str, list[Segment]]:
    segments: dict[str, list[Segment]] = defaultdict(list)
    for segment in dataset.segments(split):
        metadata = dataset.metadata.get(segment.clip)
        if segment.label and metadata and not metadata.mirrored_from and not metadata.duplicate_of:
            segments[segment.label].append(segment)
    return dict(segments)
