"""Diversity and multimodality: how much motions differ, of all sentences and of one.

Guo et al. 2022, "Generating Diverse and Natural 3D Human Motions from Text", section 6: mean Euclidean
distances of pairs drawn at random.

Shapes: N clips, C captions, R repetitions of each, E embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from motiongpt3.errors import InputError
from motiongpt3.evaluation.embedding_metrics.retrieval import in_order

DIVERSITY_PAIRS = 300
MULTIMODALITY_CAPTIONS, MULTIMODALITY_REPETITIONS, MULTIMODALITY_PAIRS = 100, 30, 10


class Diversity(Metric):
    """Mean distance between two independent draws of clips, each without repetition.

    Args:
        pairs: in a draw; of fewer clips, half of them.
        seed: of the draws.
    """

    full_state_update = False
    numbers: list[Tensor]
    motions: list[Tensor]

    def __init__(self, pairs: int = DIVERSITY_PAIRS, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.pairs = pairs
        self.seed = seed
        for name in ("numbers", "motions"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, numbers: Tensor, motions: Tensor) -> None:
        """Add clips: their numbers (B,), and embeddings (B, E)."""
        self.numbers.append(numbers)
        self.motions.append(motions)

    def compute(self) -> Tensor:
        """The mean distance.

        Raises:
            InputError: for fewer than two clips.
        """
        (motions,) = in_order(self.numbers, self.motions)
        if len(motions) < 2:
            raise InputError("diversity needs two clips at least")
        pairs = self.pairs if len(motions) >= self.pairs else len(motions) // 2
        random = torch.Generator().manual_seed(self.seed)
        first, second = (torch.randperm(len(motions), generator=random)[:pairs] for _ in range(2))
        return torch.linalg.vector_norm((motions[first] - motions[second]).double(), dim=-1).mean()


class Multimodality(Metric):
    """Mean distance between motions of one sentence.

    Args:
        pairs: drawn for each sentence: two draws of so many repetitions, each without repeating one.
        seed: of the draws.
    """

    full_state_update = False
    numbers: list[Tensor]
    motions: list[Tensor]

    def __init__(self, pairs: int = MULTIMODALITY_PAIRS, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self.pairs = pairs
        self.seed = seed
        for name in ("numbers", "motions"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, numbers: Tensor, motions: Tensor) -> None:
        """Add sentences: their numbers (B,), and embeddings (B, R, E) of the motions of each."""
        self.numbers.append(numbers)
        self.motions.append(motions)

    def compute(self) -> Tensor:
        """The mean distance.

        Raises:
            InputError: if sentences have fewer motions than pairs are drawn.
        """
        (motions,) = in_order(self.numbers, self.motions)
        if motions.shape[1] < self.pairs:
            raise InputError(
                f"multimodality: {self.pairs} pairs cannot be drawn from {motions.shape[1]} motions"
            )
        random = torch.Generator().manual_seed(self.seed)
        first, second = (torch.randperm(motions.shape[1], generator=random)[: self.pairs] for _ in range(2))
        distances = torch.linalg.vector_norm((motions[:, first] - motions[:, second]).double(), dim=-1)
        return distances.mean()
