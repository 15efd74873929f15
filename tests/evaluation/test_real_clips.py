"""The criteria against real motion capture, and the choice of real clips from a dataset."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motiongpt3.data.captions import Caption
from motiongpt3.data.humanml3d import ClipMetadata, HumanML3DDataset, write_dataset
from motiongpt3.errors import InputError
from motiongpt3.evaluation.actions import ACTIONS
from motiongpt3.evaluation.kinematics import measure
from motiongpt3.evaluation.real_clips import real_clips
from motiongpt3.motion.features import joints_to_features
from motiongpt3.motion.kinematics import put_on_floor, uniform_skeleton
from tests.evaluation import puppet

PER_LABEL = 48


def _dataset(folder: Path, clips: list[tuple[str, str, ClipMetadata | None]]) -> HumanML3DDataset:
    features = joints_to_features(puppet.raise_hands("left", seconds=2.0)).float().numpy()
    with write_dataset(folder) as writer:
        for name, split, metadata in clips:
            writer.add(name, features, [Caption("a person raises the left hand")], split, metadata)
    return HumanML3DDataset(folder)


def _raise(name: str, **more: str) -> ClipMetadata:
    return ClipMetadata(name, label="raise-up-left-hand", **more)


def test_test_clips_are_enough_or_all_are_taken(tmp_path: Path) -> None:
    train = [(f"train{k}", "train", _raise(f"train{k}")) for k in range(2)]
    few = _dataset(tmp_path / "few", [*train, ("test0", "test", _raise("test0"))])
    found = real_clips(few, ["raise_left_hand", "jump"])
    assert list(found) == ["raise_left_hand"]
    assert found["raise_left_hand"].split == "all"
    assert len(found["raise_left_hand"].joints) == 3
    assert real_clips(few, ["raise_left_hand"], "test")["raise_left_hand"].split == "test"

    many = _dataset(tmp_path / "many", [*train, *((f"t{k}", "test", _raise(f"t{k}")) for k in range(8))])
    found = real_clips(many, ["raise_left_hand"])
    assert found["raise_left_hand"].split == "test"
    assert len(found["raise_left_hand"].joints) == 8
    assert ACTIONS["raise_left_hand"].holds(measure(found["raise_left_hand"].joints[0]))


def test_mirror_images_and_duplicates_are_left_out(tmp_path: Path) -> None:
    clips = [
        ("a", "train", _raise("a")),
        ("Mb", "train", _raise("Mb", mirrored_from="b")),
        ("c", "train", _raise("c", duplicate_of="a")),
    ]
    dataset = _dataset(tmp_path / "dataset", clips)
    assert len(real_clips(dataset, ["raise_left_hand"])["raise_left_hand"].joints) == 1


def test_a_dataset_without_labels_is_refused(tmp_path: Path) -> None:
    dataset = _dataset(tmp_path / "dataset", [("a", "train", None)])
    with pytest.raises(InputError, match="no labels"):
        real_clips(dataset, ["walk"])


@pytest.fixture(scope="module")
def clips_by_label(local_data: Callable[[str], Path]) -> dict[str, list[Tensor]]:
    """Up to `PER_LABEL` real clips, evenly spread, of each label that an action names; uniform skeleton."""
    folder = local_data("data/mocap")
    recordings: dict[str, np.ndarray] = {}
    for group in ("free", "nc"):
        with np.load(folder / f"motions_{group}.npz") as arrays:
            positions, offsets = arrays["pos"], arrays["offsets"]
            for index, name in enumerate(arrays["ids"]):
                recordings[str(name)] = positions[offsets[index] : offsets[index + 1]]
    wanted = {label for action in ACTIONS.values() for label in action.labels}
    entries: dict[str, list[dict[str, object]]] = defaultdict(list)
    for line in (folder / "captions_rich.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["label"] in wanted:
            entries[entry["label"]].append(entry)
    clips = {}
    for label, found in entries.items():
        chosen = found[:: -(-len(found) // PER_LABEL)]
        stretches = [recordings[e["source_id"]][e["start"] : e["end"]] for e in chosen]  # type: ignore[index, misc]
        clips[label] = [put_on_floor(uniform_skeleton(torch.from_numpy(joints))) for joints in stretches]
    return clips


@pytest.mark.parametrize("name", ACTIONS)
def test_real_clips_meet_the_criterion_of_their_action(
    name: str, clips_by_label: dict[str, list[Tensor]]
) -> None:
    clips = [clip for label in ACTIONS[name].labels for clip in clips_by_label[label]]
    rate = np.mean([ACTIONS[name].holds(measure(clip)) for clip in clips])
    assert rate >= 0.9, f"{rate:.2f} of {len(clips)} clips"


def test_real_clips_seldom_meet_the_criterion_of_another_label(
    clips_by_label: dict[str, list[Tensor]],
) -> None:
    distinct = ("raise_left_hand", "raise_both_hands", "wave_right_hand", "run", "turn_left", "walk_backward")
    distinct += ("jump", "bow", "kick", "cartwheel")
    for label, action in (
        ("raise-up-right-hand", "raise_right_hand"),
        ("wave-left-hand", "wave_left_hand"),
        ("walk", "walk"),
        ("walk-turn-right", "turn_right"),
    ):
        counts: Counter[str] = Counter()
        for clip in clips_by_label[label]:
            found = measure(clip)
            counts.update(name for name in distinct if name != action and ACTIONS[name].holds(found))
        assert all(count <= 0.1 * len(clips_by_label[label]) for count in counts.values()), (label, counts)
