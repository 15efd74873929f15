"""Tiny datasets made of synthetic motion, for the data tests."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motiongpt3.data.captions import Caption
from motiongpt3.data.humanml3d import ClipMetadata, write_dataset
from motiongpt3.motion.features import joints_to_features
from motiongpt3.motion.skeleton import JOINT_NAMES
from tests.motion.bodies import wriggling

CLIPS = {"a": ("train", 60), "b": ("train", 45), "c": ("train", 30), "d": ("val", 40), "e": ("test", 50)}


def features(frames: int, seed: int = 0) -> np.ndarray:
    """(frames, 263) float32 features of a smooth random motion."""
    return joints_to_features(wriggling(frames + 1, seed)).float().numpy()


def write_tiny(root: Path) -> Path:
    """A sound dataset of five clips; clip "a" has captions about stretches of it."""
    with write_dataset(root, attribution="by nobody") as writer:
        for seed, (name, (split, frames)) in enumerate(CLIPS.items()):
            captions = [
                Caption(f"clip {name} moves left"),
                Caption(f"motion number {seed}", ("motion/NOUN",)),
            ]
            if name == "a":
                captions += [
                    Caption("the first half", (), 0.0, 1.5),
                    Caption("again the first half", (), 0.0, 1.5),
                ]
                captions += [Caption("too short to use", (), 1.0, 1.5)]
            metadata = ClipMetadata(id=name, label=f"label-{name}", human=(True,) * len(captions))
            writer.add(name, features(frames, seed), captions, split, metadata)
    return root


def capture_segment(name: str, recording: str, start: int, end: int, **changes: Any) -> dict[str, Any]:
    """One entry of a source's list of segments."""
    entry = {
        "id": name,
        "source_id": recording,
        "start": start,
        "end": end,
        "group": "free",
        "split": "train",
    }
    entry |= {"label": "wave-left-hand", "style": "", "human": [True, False]}
    entry |= {"captions": ["a person waves the left hand", "they turn clockwise"]}
    return entry | changes


def write_capture(folder: Path, segments: list[dict[str, Any]] | None = None, **arrays: Any) -> Path:
    """A source of motion capture: recordings "walk" (70 frames) and "jump" (40) of each licence group.

    Args:
        folder: where to write; created.
        segments: lines of the list of segments, by default a few good ones.
        arrays: replacements for arrays of ``motions_free.npz``; None leaves one out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Another body than the uniform one, elsewhere in the room.
    clips = [wriggling(frames, seed) * 1.1 + 1 for seed, frames in enumerate((70, 40))]
    contents: dict[str, Any] = {
        "pos": torch.cat(clips).float().numpy(),
        "offsets": np.array([0, 70, 110]),
        "joint_names": np.array(JOINT_NAMES),
        "fps": np.array(20.0),
    }
    for group in ("free", "nc"):
        own = {**contents, "ids": np.array([f"{group}_walk", f"{group}_jump_fixed"])}
        own |= arrays if group == "free" else {}
        np.savez(folder / f"motions_{group}.npz", **{k: v for k, v in own.items() if v is not None})
    if segments is None:
        segments = [
            capture_segment("walk_0", "free_walk", 0, 30),
            capture_segment("walk_1", "free_walk", 30, 70, dup_of="walk_0"),
            capture_segment("jump", "free_jump_fixed", 5, 35, split="val"),
            capture_segment("nc_walk", "nc_walk", 0, 70, group="nc", split="test", label="walk"),
            capture_segment("nc_jump", "nc_jump_fixed", 0, 40, group="nc"),
        ]
    lines = (json.dumps(segment) + "\n" for segment in segments)
    (folder / "captions_rich.jsonl").write_text("".join(lines))
    rows = [["id", "license", "source_repo", "source_path"]]
    rows += [[f"free_{name}", "MIT", "github.com/arpspoof/Jump", f"{name}.bvh"] for name in ("walk", "jump")]
    rows += [[f"nc_{name}", "CC-BY-NC-4.0", "github.com/xbpeng/DeepMimic", name] for name in ("walk", "jump")]
    with (folder / "provenance.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder
