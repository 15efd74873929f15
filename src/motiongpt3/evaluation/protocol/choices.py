"""The choices that change numbers, in one place, so that every result can state them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from motiongpt3.errors import InputError
from motiongpt3.evaluation.embedding_metrics.retrieval import POOL_SIZE
from motiongpt3.evaluation.embedding_metrics.variety import (
    DIVERSITY_PAIRS,
    MULTIMODALITY_CAPTIONS,
    MULTIMODALITY_PAIRS,
    MULTIMODALITY_REPETITIONS,
)


@dataclass(frozen=True)
class Protocol:
    """How a split is evaluated.

    Attributes:
        name: of the protocol.
        min_frames: shortest clip that counts.
        max_frames: clips of so many frames or more do not count.
        frame_unit: clips are cut to a multiple of it.
        random_cuts: one time in three a unit more is cut, and the cut begins at a random frame, as the
            field's loaders do; otherwise a clip begins with its first frame.
        packed: the T2M evaluator reads a clip to its own end, not the padding behind it.
        lengths: of generated motions: "real", that of the real clip, or "model", chosen by the text.
        references: of a clip that captions are compared with, the first so many; 0 for all.
        captions: which caption of a clip is taken as the prompt.
        errors: "per joint": mean distance of joints over made frames; "official": the norm of all 66
            coordinates of a frame at once.
        pool_size: pairs in a pool of R-precision.
        diversity_pairs: of Diversity.
        multimodality_captions: sentences of multimodality; 0 leaves it out.
        multimodality_repetitions: motions of each.
        multimodality_pairs: pairs drawn of these.
        multimodality_replications: in how many replications it is measured, from the first on; None for all.
    """

    name: str
    min_frames: int = 40
    max_frames: int = 200
    frame_unit: int = 4
    random_cuts: bool = False
    packed: bool = True
    lengths: str = "real"
    references: int = 3
    captions: str = "one at random in each replication"
    errors: str = "per joint"
    pool_size: int = POOL_SIZE
    diversity_pairs: int = DIVERSITY_PAIRS
    multimodality_captions: int = MULTIMODALITY_CAPTIONS
    multimodality_repetitions: int = MULTIMODALITY_REPETITIONS
    multimodality_pairs: int = MULTIMODALITY_PAIRS
    multimodality_replications: int | None = None

    def __post_init__(self) -> None:
        if self.lengths not in ("real", "model"):
            raise InputError(f"lengths: {self.lengths!r} is not real or model")
        if 0 < self.multimodality_repetitions < self.multimodality_pairs:
            raise InputError(
                f"multimodality: {self.multimodality_pairs} pairs cannot be drawn from "
                f"{self.multimodality_repetitions} motions of a sentence"
            )

        limit = self.multimodality_replications
        if limit is not None and limit < 1:
            raise InputError("multimodality_replications: 1 at least; --multimodality 0 leaves it out")

    def as_dict(self) -> dict[str, Any]:
        """All choices, for the record."""
        return asdict(self)


PROTOCOLS = {
    "standard": Protocol("standard"),
    "official-release": Protocol(
        "official-release", min_frames=20, random_cuts=True, packed=False, errors="official"
    ),
}
"""``standard`` is the field's: 40 to 196 frames, lengths packed. ``official-release`` repeats what the
official MotionGPT3 does differently: clips from 20 frames, padding read as motion, errors over all
coordinates of a frame at once. Its random quotation marks around captions are not repeated, nor its reading
of FDE past a clip's end."""


def protocol_named(name: str) -> Protocol:
    """The protocol called ``name``.

    Raises:
        InputError: if there is none.
    """
    if name not in PROTOCOLS:
        raise InputError(f"no protocol {name!r}: choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
