"""The T2M evaluator of Guo et al. from its published files: ``finest.tar``, ``mean.npy``, ``std.npy``,
GloVe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motiongpt3.data.captions import Caption
from motiongpt3.downloads.cache import cache_folder
from motiongpt3.errors import CheckpointError, InputError
from motiongpt3.evaluation.evaluators.glove import GloveVocabulary
from motiongpt3.evaluation.evaluators.interface import in_batches
from motiongpt3.models.checkpoint_file import read_content
from motiongpt3.models.folders import load_strictly
from motiongpt3.models.t2m_evaluator import FRAMES_PER_MOVEMENT, PARTS, T2MEvaluatorNetworks
from motiongpt3.models.text_backbone import fingerprint
from motiongpt3.motion.features import Statistics

WEIGHTS = Path("text_mot_match/model/finest.tar")
STATISTICS = Path("Comp_v6_KLD01/meta")
PADDED_TO = 196
CONVOLVED = 8
"""Frames behind the last that the last movement depends on, at most."""


class T2MEvaluator:
    """Guo et al.'s encoders, with the statistics and word vectors that they were trained with.

    Args:
        networks: the encoders.
        statistics: of the features they read.
        words: GloVe.
        packed: read each clip to its own end; see `T2MEvaluatorNetworks.embed_motions`.
        device: cpu, cuda or mps.
        batch_size: clips, or captions, read together.
    """

    width = 512
    shortest_frames = FRAMES_PER_MOVEMENT

    def __init__(
        self,
        networks: T2MEvaluatorNetworks,
        statistics: Statistics,
        words: GloveVocabulary,
        packed: bool = True,
        device: str = "cpu",
        batch_size: int = 128,
    ) -> None:
        self.networks = networks.eval().requires_grad_(False).to(device)
        self.packed = packed
        self._mean = torch.as_tensor(statistics.mean).float()
        self._std = torch.as_tensor(statistics.std).float()
        self._words = words
        self._device = device
        self._batch_size = batch_size

    @torch.inference_mode()
    def embed_motions(self, clips: Sequence[Tensor]) -> Tensor:
        """See `Evaluator`."""

        def embed(part: list[Tensor]) -> Tensor:
            lengths = torch.tensor([len(clip) for clip in part])
            normal = [(clip - self._mean) / self._std for clip in part]
            features = torch.nn.utils.rnn.pad_sequence(normal, batch_first=True)
            if self.packed:
                # The convolutions look past a clip's end, where the field has zeros up to 196 frames.
                longest = features.shape[1]
                beyond = min(longest + CONVOLVED, max(longest, PADDED_TO)) - longest
                features = torch.nn.functional.pad(features, (0, 0, 0, beyond))
            features = features.to(self._device)
            return self.networks.embed_motions(features, lengths, self.packed)

        return in_batches(clips, len, embed, self._batch_size)

    @torch.inference_mode()
    def embed_captions(self, captions: Sequence[Caption]) -> Tensor:
        """See `Evaluator`."""

        def embed(part: list[Caption]) -> Tensor:
            words, classes, lengths = self._words.encode(part)
            return self.networks.text_encoder.embed(words.to(self._device), classes.to(self._device), lengths)

        return in_batches(captions, lambda caption: len(caption.text), embed, self._batch_size)

    def describe(self) -> dict[str, Any]:
        """See `Evaluator`."""
        return {
            "evaluator": "T2M (Guo et al. 2022)",
            "fingerprint": fingerprint(self.networks),
            "packed lengths": self.packed,
        }


def load_t2m_evaluator(
    folder: str | Path, glove: str | Path | None = None, packed: bool = True, device: str = "cpu"
) -> T2MEvaluator:
    """Read the published files.

    Args:
        folder: with ``text_mot_match`` and ``Comp_v6_KLD01`` in it, as the archive unpacks to.
        glove: folder with ``our_vab_data.npy`` and its pickles; by default ``folder`` itself if it has them,
            else where ``motiongpt3 download glove`` puts them.
        packed: see `T2MEvaluator`.
        device: where to compute.

    Raises:
        InputError: if a file is missing.
        CheckpointError: if a file is damaged, hostile, or of another network.
    """
    folder = Path(folder)
    networks = T2MEvaluatorNetworks()
    load_strictly(networks, read_finest(folder / WEIGHTS), str(folder / WEIGHTS))
    statistics = Statistics.load(folder / STATISTICS)
    if glove is None:
        glove = folder if (folder / "our_vab_data.npy").is_file() else cache_folder() / "glove" / "glove"
    return T2MEvaluator(networks, statistics, GloveVocabulary.load(glove), packed, device)


def is_t2m_folder(folder: str | Path) -> bool:
    """Whether a folder holds the published weights."""
    return (Path(folder) / WEIGHTS).is_file()


def read_finest(path: Path) -> dict[str, Tensor]:
    """The tensors of all three networks, each with its network's name in front.

    Raises:
        InputError: if there is no such file.
        CheckpointError: if it is damaged, hostile, or holds something else.
    """
    if not path.is_file():
        raise InputError(f"no evaluator weights at {path}")
    content = read_content(path)
    missing = [part for part in PARTS if not isinstance(content, dict) or part not in content]
    if missing:
        raise CheckpointError(f"{path}: has no {missing[0]!r}; expected the published finest.tar")
    return {f"{part}.{name}": tensor for part in PARTS for name, tensor in content[part].items()}
