"""A small world to evaluate in: a dataset, a model, an evaluator, all with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from motiongpt3.data.captions import Caption
from motiongpt3.data.humanml3d import write_dataset
from motiongpt3.models.matching_evaluator import MatchingEvaluator, MatchingEvaluatorConfig
from motiongpt3.models.sentence_encoder import load_sentence_encoder
from tests import tiny
from tests.data.datasets import features
from tests.sentences import save_sentence_encoder

FRAMES = {"walk": 44, "jump": 52, "wave": 61, "turn": 48, "Mturn": 48, "bow": 70, "nap": 30, "trek": 230}
"""Clips of the test split: the last two are too short and too long."""


@dataclass(frozen=True)
class World:
    """Folders of its parts."""

    data: Path
    model: Path
    evaluator: Path


def make_world(root: Path) -> World:
    """Write everything below ``root``."""
    with write_dataset(root / "data") as writer:
        writer.add("train", features(40), [Caption("a person waves")], "train")
        for seed, (name, frames) in enumerate(FRAMES.items(), start=1):
            captions = [Caption(f"the person {name} {seed}"), Caption(f"motion number {seed}")]
            writer.add(name, features(frames, seed), captions, "test")
    model = tiny.model(tiny.save_backbone(root / "backbone"))
    model.save_pretrained(root / "model")
    sentences = load_sentence_encoder(save_sentence_encoder(root / "sentences"))
    config = MatchingEvaluatorConfig(
        sentences.name,
        sentences.fingerprint,
        sentences.width,
        width=8,
        layers=1,
        heads=2,
        text_width=8,
        embedding=4,
        longest_frames=400,
    )
    torch.manual_seed(0)
    evaluator = MatchingEvaluator(config)
    tiny.randomise(evaluator)
    evaluator.save_pretrained(root / "evaluator")
    return World(root / "data", root / "model", root / "evaluator")
