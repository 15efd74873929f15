"""An evaluator that this project trained (``motiongpt3 train`` with recipe ``evaluator``), from its
folder."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motiongpt3.data.captions import Caption
from motiongpt3.errors import CheckpointError
from motiongpt3.evaluation.evaluators.interface import in_batches
from motiongpt3.models.matching_evaluator import FRAMES_PER_STRETCH, MatchingEvaluator
from motiongpt3.models.sentence_encoder import SentenceEncoder, load_sentence_encoder
from motiongpt3.models.text_backbone import fingerprint
from motiongpt3.motion.features import FEATURE_WIDTH


class TrainedEvaluator:
    """A `MatchingEvaluator` and the sentence encoder that it was trained with.

    Args:
        networks: the encoders.
        sentences: reads captions.
        device: cpu, cuda or mps.
        batch_size: clips read together.
    """

    shortest_frames = FRAMES_PER_STRETCH

    def __init__(
        self,
        networks: MatchingEvaluator,
        sentences: SentenceEncoder,
        device: str = "cpu",
        batch_size: int = 64,
    ) -> None:
        self.networks = networks.eval().requires_grad_(False).to(device)
        self._sentences = sentences
        self._device = device
        self._batch_size = batch_size

    @property
    def width(self) -> int:
        """See `Evaluator`."""
        return self.networks.config.embedding

    @torch.inference_mode()
    def embed_motions(self, clips: Sequence[Tensor]) -> Tensor:
        """See `Evaluator`."""

        def embed(part: list[Tensor]) -> Tensor:
            lengths = torch.tensor([len(clip) for clip in part], device=self._device)
            features = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
            return self.networks.embed_motions(features.to(self._device), lengths)

        return in_batches(clips, len, embed, self._batch_size)

    @torch.inference_mode()
    def embed_captions(self, captions: Sequence[Caption]) -> Tensor:
        """See `Evaluator`."""
        vectors = self._sentences.encode([caption.text for caption in captions])
        return self.networks.embed_texts(vectors.to(self._device)).float().cpu()

    def describe(self) -> dict[str, Any]:
        """See `Evaluator`."""
        return {
            "evaluator": "trained by contrast (matching-evaluator)",
            "fingerprint": fingerprint(self.networks),
            "sentence encoder": self._sentences.name,
        }


def load_trained_evaluator(folder: str | Path, device: str = "cpu") -> TrainedEvaluator:
    """Read the evaluator in a folder, and find its sentence encoder.

    Raises:
        CheckpointError: if the folder is no evaluator, or one of other features.
        MissingDependencyError: if the sentence encoder is not installed.
    """
    networks = MatchingEvaluator.from_pretrained(folder)
    if networks.config.feature_width != FEATURE_WIDTH:
        found = networks.config.feature_width
        raise CheckpointError(f"{folder}: reads {found} features a frame, HumanML3D's are {FEATURE_WIDTH}")
    sentences = load_sentence_encoder(networks.config.sentence_encoder, device)
    wanted = networks.config.sentence_fingerprint
    if wanted and wanted != sentences.fingerprint:
        warnings.warn(
            f"{folder} was trained with another copy of the sentence encoder (fingerprint {wanted}) than the "
            f"one found (fingerprint {sentences.fingerprint}): its numbers are not comparable",
            stacklevel=2,
        )
    return TrainedEvaluator(networks, sentences, device)
