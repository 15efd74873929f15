"""TMR as an evaluator, from its published files.

A folder with ``last_weights/motion_encoder.pt`` and ``last_weights/text_encoder.pt``, the statistics of its
features (``mean.pt`` and ``std.pt``, or ``tmr_mean.npy`` and ``tmr_std.npy``), and in ``distilbert`` the
language model whose word vectors its text encoder reads (distilbert-base-uncased).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.data.captions import Caption
from motiongpt3.errors import CheckpointError, InputError
from motiongpt3.evaluation.evaluators.interface import in_batches
from motiongpt3.models.checkpoint_file import read_checkpoint, read_content
from motiongpt3.models.folders import load_strictly
from motiongpt3.models.sentence_encoder import SentenceEncoder, load_sentence_encoder
from motiongpt3.models.text_backbone import fingerprint
from motiongpt3.models.tmr import WIDTH, ActorEncoder
from motiongpt3.motion.features import FEATURE_WIDTH, Statistics

WEIGHTS = Path("last_weights")
WORDS = "distilbert"
WORD_WIDTH = 768


class TMREvaluator:
    """TMR's encoders; points are on the unit sphere, where Euclidean distances rank as its cosines do.

    Args:
        motion_encoder: of features normalised with ``statistics``.
        text_encoder: of word vectors.
        statistics: of the features.
        words: the language model that makes word vectors.
        device: cpu, cuda or mps.
        batch_size: clips, or captions, read together.
    """

    width = WIDTH
    shortest_frames = 1

    def __init__(
        self,
        motion_encoder: ActorEncoder,
        text_encoder: ActorEncoder,
        statistics: Statistics,
        words: SentenceEncoder,
        device: str = "cpu",
        batch_size: int = 64,
    ) -> None:
        self.motion_encoder = motion_encoder.eval().requires_grad_(False).to(device)
        self.text_encoder = text_encoder.eval().requires_grad_(False).to(device)
        self._statistics = statistics
        self._words = words
        self._device = device
        self._batch_size = batch_size

    @torch.inference_mode()
    def embed_motions(self, clips: Sequence[Tensor]) -> Tensor:
        """See `Evaluator`."""

        def embed(part: list[Tensor]) -> Tensor:
            lengths = torch.tensor([len(clip) for clip in part], device=self._device)
            normal = [self._statistics.normalize(clip) for clip in part]
            padded = torch.nn.utils.rnn.pad_sequence(normal, batch_first=True).to(self._device)
            return F.normalize(self.motion_encoder(padded, lengths), dim=-1)

        return in_batches(clips, len, embed, self._batch_size)

    @torch.inference_mode()
    def embed_captions(self, captions: Sequence[Caption]) -> Tensor:
        """See `Evaluator`."""

        def embed(part: list[Caption]) -> Tensor:
            words, lengths = self._words.word_vectors([caption.text for caption in part])
            return F.normalize(self.text_encoder(words.to(self._device), lengths.to(self._device)), dim=-1)

        return in_batches(captions, lambda caption: len(caption.text), embed, self._batch_size)

    def describe(self) -> dict[str, Any]:
        """See `Evaluator`."""
        return {
            "evaluator": "TMR (Petrovich et al. 2023)",
            "fingerprint": f"{fingerprint(self.motion_encoder)} {fingerprint(self.text_encoder)}",
            "word vectors": self._words.fingerprint,
        }


def is_tmr_folder(folder: str | Path) -> bool:
    """Whether a folder holds TMR's weights."""
    return (Path(folder) / WEIGHTS / "motion_encoder.pt").is_file()


def load_tmr_evaluator(folder: str | Path, device: str = "cpu") -> TMREvaluator:
    """Read TMR's files; see above for what the folder holds.

    Raises:
        InputError: if a file is missing.
        CheckpointError: if a file is damaged, hostile, or of another network.
    """
    folder = Path(folder)
    motion_encoder = _encoder(folder / WEIGHTS / "motion_encoder.pt", FEATURE_WIDTH)
    text_encoder = _encoder(folder / WEIGHTS / "text_encoder.pt", WORD_WIDTH)
    words = folder / WORDS
    if not words.is_dir():
        raise InputError(
            f"{folder} has no folder {WORDS}: put distilbert-base-uncased there, whose words TMR reads"
        )
    reader = load_sentence_encoder(words, device)
    return TMREvaluator(motion_encoder, text_encoder, _statistics(folder), reader, device)


def _encoder(path: Path, values: int) -> ActorEncoder:
    encoder = ActorEncoder(values)
    load_strictly(encoder, read_checkpoint(path), str(path))
    return encoder


def _statistics(folder: Path) -> Statistics:
    if (folder / "tmr_mean.npy").is_file():
        return Statistics.load((folder / "tmr_mean.npy", folder / "tmr_std.npy"))
    found = []
    for name in ("mean", "std"):
        path = folder / f"{name}.pt"
        if not path.is_file():
            raise InputError(
                f"{folder} has neither tmr_{name}.npy nor {name}.pt: TMR's statistics are missing"
            )
        values = read_content(path)
        if not isinstance(values, Tensor):
            raise CheckpointError(f"{path}: expected one tensor")
        found.append(values.float())
    return Statistics(*found)
