"""Is a dataset in order? Everything that would spoil a training or an evaluation, found beforehand.

Shapes, lists and captions are looked at for every clip, values for all or for a sample of the clips. Files
are mapped into memory, so a dataset of HumanML3D's size takes seconds to a minute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from motiongpt3.data.captions import Caption
from motiongpt3.data.humanml3d import MAX_FRAMES, MIN_FRAMES, HumanML3DDataset
from motiongpt3.data.layout import FEATURES, JOINTS, METADATA, SPLITS, TEXTS, open_array
from motiongpt3.errors import InputError
from motiongpt3.motion.features import FEATURE_WIDTH, KIT_FEATURE_WIDTH, Statistics, features_to_joints
from motiongpt3.motion.skeleton import JOINT_COUNT

Status = Literal["ok", "warning", "error"]

DRIFT_WARNING, DRIFT_ERROR = 0.05, 0.5
"""How far Mean may be from the files' mean, in deviations, and the logarithm of Std from that of theirs."""

SAMPLED_DRIFT_WARNING = 0.2
"""The same where only some of the clips were read."""

JOINTS_TOLERANCE = 1e-3
"""Metres between stored joints and those of the stored features."""

_JOINTS_SAMPLE = 100


@dataclass(frozen=True)
class Finding:
    """The result of looking at one thing: what, how it is, and the numbers or the trouble in words."""

    what: str
    status: Status
    detail: str


@dataclass(frozen=True)
class DatasetReport:
    """All findings about one dataset."""

    root: Path
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """What makes the dataset wrong or unusable."""
        return [finding for finding in self.findings if finding.status == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """What is unusual, but may be meant."""
        return [finding for finding in self.findings if finding.status == "warning"]


def check_dataset(root: str | Path, sample: int | None = None, seed: int = 0) -> DatasetReport:
    """Look at everything in a dataset that can be wrong.

    Args:
        root: a folder in HumanML3D's layout.
        sample: read the values of at most so many clips; None reads all.
        seed: of the choice of the sample.

    Raises:
        InputError: if the folder is not a dataset at all.
    """
    dataset = HumanML3DDataset(root)
    if not any((dataset.root / FEATURES).glob("*.npy")):
        raise InputError(f"{root} has no clips: {FEATURES} holds no .npy files")
    return DatasetReport(dataset.root, _Inspection(dataset, sample, seed).findings())


class _Inspection:
    """One pass over a dataset; each method looks at one thing and relies on those called before it."""

    def __init__(self, dataset: HumanML3DDataset, sample: int | None, seed: int) -> None:
        self.dataset = dataset
        self.random = np.random.default_rng(seed)
        self.sample = sample
        self.clips = _stems(dataset.root / FEATURES, ".npy")
        self.splits: dict[str, list[str]] = {}
        self.lengths: dict[str, int] = {}
        self.captions: dict[str, list[Caption]] = {}

    def findings(self) -> list[Finding]:
        lists = list(self._lists())
        features = list(self._features())
        captions = list(self._captions())
        return [
            *(self._split_summary(split) for split in self.splits),
            *lists,
            *features,
            *self._lengths(),
            *captions,
            *self._values_and_statistics(),
            *self._joints(),
            *self._metadata(),
        ]

    def _lists(self) -> Iterator[Finding]:
        troubles = _Troubles("lists")
        for split in SPLITS:
            try:
                self.splits[split] = self.dataset.split(split)
            except InputError as error:
                missing = not (self.dataset.root / f"{split}.txt").is_file()
                troubles.add("warning" if missing and split != "train" else "error", str(error))
        homes: dict[str, list[str]] = {}
        for split, names in self.splits.items():
            if not names:
                troubles.add("error" if split == "train" else "warning", f"{split}.txt is empty")
            repeated = [name for name, count in Counter(names).items() if count > 1]
            troubles.some("warning", repeated, f"listed more than once in {split}.txt")
            troubles.some("error", sorted(set(names) - self.clips), f"in {split}.txt without {FEATURES}")
            for name in set(names):
                homes.setdefault(name, []).append(split)
        troubles.some(
            "error", sorted(name for name, where in homes.items() if len(where) > 1), "in two splits"
        )
        parted = [
            name
            for name, where in homes.items()
            if name.startswith("M") and name[1:] in homes and homes[name[1:]] != where
        ]
        troubles.some("warning", sorted(parted), "in another split than the clip they mirror")
        troubles.some("warning", sorted(self.clips - set(homes)), "in no split")
        listed = len(homes)
        yield from troubles.findings(
            f"{listed:,} clips listed, {len(self.clips):,} on disk, no clip in two splits"
        )

    def _split_summary(self, split: str) -> Finding:
        names = [name for name in self.splits[split] if name in self.lengths]
        stretches = 0
        for name in names:
            length, captions = self.lengths[name], self.captions.get(name, [])
            spans = {(c.start, c.end): c.frames(length, self.dataset.fps) for c in captions}
            stretches += sum(MIN_FRAMES <= end - start < MAX_FRAMES for start, end in spans.values())
        sentences = sum(len(self.captions.get(name, [])) for name in names)
        hours = sum(self.lengths[name] for name in names) / self.dataset.fps / 3600
        detail = f"{len(names):,} clips, {hours:.2f} h, {sentences:,} captions, {stretches:,} usable segments"
        return Finding(split, "ok" if stretches else "error", detail)

    def _features(self) -> Iterator[Finding]:
        troubles = _Troubles("features")
        widths: dict[int, list[str]] = {}
        shapeless, empty = [], []
        for name in sorted(self.clips):
            try:
                shape = open_array(self.dataset.root / FEATURES / f"{name}.npy").shape
            except InputError as error:
                troubles.add("error", str(error))
                continue
            if len(shape) != 2:
                shapeless.append(name)
            elif shape[1] != FEATURE_WIDTH:
                widths.setdefault(shape[1], []).append(name)
            elif not shape[0]:
                empty.append(name)
            else:
                self.lengths[name] = shape[0]
        troubles.some("error", shapeless, f"not of shape (T, {FEATURE_WIDTH})")
        troubles.some("error", empty, "without a frame")
        for width, names in sorted(widths.items()):
            layout = " (KIT-ML's 21 joints, which are not supported)" if width == KIT_FEATURE_WIDTH else ""
            troubles.some("error", names, f"with {width} values a frame{layout} instead of {FEATURE_WIDTH}")
        yield from troubles.findings(f"{len(self.lengths):,} clips of shape (T, {FEATURE_WIDTH})")

    def _lengths(self) -> Iterator[Finding]:
        if self.lengths:
            lengths = np.fromiter(self.lengths.values(), dtype=np.int64)
            short, long = int((lengths < MIN_FRAMES).sum()), int((lengths >= MAX_FRAMES).sum())
            detail = f"{lengths.min()} to {lengths.max()} frames, median {int(np.median(lengths))}"
            if short or long:
                detail += (
                    f"; {short:,} under {MIN_FRAMES} and {long:,} of {MAX_FRAMES} or more are not used whole"
                )
            yield Finding("lengths", "ok", detail)

    def _captions(self) -> Iterator[Finding]:
        troubles = _Troubles("captions")
        texts = _stems(self.dataset.root / TEXTS, ".txt")
        troubles.some("error", sorted(self.clips - texts), "without a file of captions")
        troubles.some("warning", sorted(texts - self.clips), "with captions but without features")
        none, beyond = [], []
        for name in sorted(self.clips & texts):
            try:
                self.captions[name] = self.dataset.captions(name)
            except InputError as error:
                troubles.add("error", str(error))
                continue
            if not self.captions[name]:
                none.append(name)
            length = self.lengths.get(name)
            spans = (
                [] if length is None else [c.frames(length, self.dataset.fps) for c in self.captions[name]]
            )
            if any(end <= start for start, end in spans):
                beyond.append(name)
        troubles.some("error", none, "whose file of captions is empty")
        troubles.some(
            "warning", beyond, "with a caption about a stretch that is empty or beyond the clip's end"
        )
        every = [caption for captions in self.captions.values() for caption in captions]
        tagged, timed = sum(bool(c.tokens) for c in every), sum(not c.whole_clip for c in every)
        yield from troubles.findings(
            f"{len(every):,} captions, {tagged:,} of them tagged, {timed:,} with times"
        )

    def _values_and_statistics(self) -> Iterator[Finding]:
        names = sorted(self.lengths)
        chosen = self._choose(names, self.sample)
        train = set(self.splits.get("train", []))
        troubles = _Troubles("values")
        broken: list[str] = []

        def readable_train_clips() -> Iterator[np.ndarray]:
            for name in chosen:
                rows = np.array(open_array(self.dataset.root / FEATURES / f"{name}.npy"), dtype=np.float32)
                if not np.isfinite(rows).all():
                    broken.append(name)
                elif name in train:
                    yield rows

        try:
            of_files = Statistics.of(readable_train_clips())
        except InputError:
            of_files = None
        troubles.some("error", broken, "with NaN or infinite features")
        yield from troubles.findings(
            f"finite in all of the {len(chosen):,} clips read ({len(names):,} in all)"
        )
        yield self._statistics(of_files, sampled=len(chosen) < len(names))

    def _statistics(self, of_files: Statistics | None, sampled: bool) -> Finding:
        what = "Mean and Std"
        try:
            stored = self.dataset.statistics
        except InputError as error:
            return Finding(what, "error", str(error))
        if of_files is None:
            return Finding(what, "error", "there are no training clips to compare them with")
        shift = ((stored.mean - of_files.mean).abs() / of_files.std).max()
        stretch = (stored.std / of_files.std).log().abs().max()
        drift = float(torch.maximum(shift, stretch))
        limit = SAMPLED_DRIFT_WARNING if sampled else DRIFT_WARNING
        status: Status = "error" if drift > DRIFT_ERROR else "warning" if drift > limit else "ok"
        detail = (
            f"Mean is off the training files by up to {shift:.3g} deviations, "
            f"Std by a factor of up to {float(stretch.exp()):.3g}"
        )
        return Finding(what, status, detail)

    def _joints(self) -> Iterator[Finding]:
        folder = self.dataset.root / JOINTS
        if not folder.is_dir():
            yield Finding("joints", "warning", f"there is no folder {JOINTS}")
            return
        troubles = _Troubles("joints")
        present = _stems(folder, ".npy")
        troubles.some("warning", sorted(self.clips - present), f"without {JOINTS}")
        misshapen: list[str] = []
        sound: list[str] = []
        for name in sorted(present & set(self.lengths)):
            try:
                shape = open_array(folder / f"{name}.npy").shape
            except InputError as error:
                troubles.add("error", str(error))
                continue
            (sound if shape == (self.lengths[name], JOINT_COUNT, 3) else misshapen).append(name)
        troubles.some(
            "error", misshapen, f"whose joints are not of shape (T, {JOINT_COUNT}, 3) with the features' T"
        )
        chosen = self._choose(sound, _JOINTS_SAMPLE)
        apart = [name for name in chosen if not self._joints_agree(name)]
        troubles.some(
            "error", apart, f"whose joints are not those of the features (within {JOINTS_TOLERANCE} m)"
        )
        yield from troubles.findings(f"{len(sound):,} clips; those of {len(chosen)} agree with the features")

    def _joints_agree(self, name: str) -> bool:
        features = open_array(self.dataset.root / FEATURES / f"{name}.npy")
        expected = features_to_joints(torch.from_numpy(np.array(features, dtype=np.float32))).numpy()
        difference = np.abs(expected - self.dataset.joints(name)).max()
        # NaN features are a finding of their own; NaN in the joints alone compares as a disagreement.
        return bool(difference <= JOINTS_TOLERANCE) or not np.isfinite(expected).all()

    def _metadata(self) -> Iterator[Finding]:
        if not (self.dataset.root / METADATA).is_file():
            return
        troubles = _Troubles("metadata")
        try:
            entries = self.dataset.metadata
        except InputError as error:
            yield Finding("metadata", "error", str(error))
            return
        troubles.some("warning", sorted(set(entries) - self.clips), f"in {METADATA} without features")
        uneven = [
            name
            for name, entry in entries.items()
            if entry.human and name in self.captions and len(entry.human) != len(self.captions[name])
        ]
        troubles.some("warning", sorted(uneven), "whose marks of who wrote a caption are not one per caption")
        labels = len({entry.label for entry in entries.values() if entry.label})
        yield from troubles.findings(f"{len(entries):,} clips, {labels:,} labels")

    def _choose(self, names: Sequence[str], count: int | None) -> list[str]:
        if count is None or len(names) <= count:
            return list(names)
        return [names[index] for index in sorted(self.random.choice(len(names), count, replace=False))]


class _Troubles:
    """Gathers what is wrong with one thing; says that it is fine where nothing is."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._findings: list[Finding] = []
        self._left_out: Counter[Status] = Counter()

    def add(self, status: Status, detail: str, limit: int = 5) -> None:
        """One trouble in words; after ``limit`` of them they are only counted."""
        if len(self._findings) < limit:
            self._findings.append(Finding(self._what, status, detail))
        else:
            self._left_out[status] += 1

    def some(self, status: Status, names: Sequence[str], what_they_are: str) -> None:
        """One trouble that some clips have in common; nothing if none has it."""
        if names:
            few = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
            plural = "clip" if len(names) == 1 else "clips"
            self._findings.append(
                Finding(self._what, status, f"{len(names):,} {plural} {what_they_are}: {few}")
            )

    def findings(self, fine: str) -> list[Finding]:
        rest = [
            Finding(self._what, status, f"{count:,} more like these")
            for status, count in self._left_out.items()
        ]
        return self._findings + rest or [Finding(self._what, "ok", fine)]


def _stems(folder: Path, suffix: str) -> set[str]:
    return {path.stem for path in folder.glob(f"*{suffix}")}
