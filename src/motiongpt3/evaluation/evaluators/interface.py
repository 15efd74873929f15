"""What metrics ask of an evaluator: motions and captions become points of one space.

Shapes: E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from motiongpt3.data.captions import Caption


class Evaluator(Protocol):
    """Encoders that measure; frozen."""

    @property
    def width(self) -> int:
        """E."""
        ...

    @property
    def shortest_frames(self) -> int:
        """Frames of the shortest clip that it reads."""
        ...

    def embed_motions(self, clips: Sequence[Tensor]) -> Tensor:
        """(N, E) float32 on the CPU of clips of raw features (T_i, 263)."""
        ...

    def embed_captions(self, captions: Sequence[Caption]) -> Tensor:
        """(N, E) float32 on the CPU."""
        ...

    def describe(self) -> dict[str, Any]:
        """What it is, for the record: name, hash of its weights, choices that change numbers."""
        ...


def in_batches(
    items: Sequence[Any], length: Callable[[Any], int], embed: Callable[[list[Any]], Tensor], batch_size: int
) -> Tensor:
    """Embed items in batches of similar length; rows come back in the order of the items."""
    order = sorted(range(len(items)), key=lambda place: length(items[place]))
    parts = [
        embed([items[place] for place in order[first : first + batch_size]]).float().cpu()
        for first in range(0, len(order), batch_size)
    ]
    rows = torch.empty_like(joined := torch.cat(parts))
    rows[torch.tensor(order)] = joined
    return rows
