"""Training text-to-motion with the language model frozen: captions and clips in, a `MotionGPT3` folder out.

Nothing that stays the same is computed twice: captions are read once by the text branch (`CaptionMemory`),
clips are encoded once by the VAE. What trains is the motion branch, its placeholders and the generative head.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, seed_everything
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.loaders import LengthBuckets, MotionClips, pad_clips
from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.codec import MotionCodec
from motiongpt3.models.folders import load_strictly
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import SequencePlaceholders
from motiongpt3.models.vae import visible_frames
from motiongpt3.training.caption_memory import CaptionMemory
from motiongpt3.training.optimization import OptimizerConfig, configure_optimizer
from motiongpt3.training.runs import fit

logger = logging.getLogger(__name__)


def train_text_to_motion(
    data: Path,
    out: Path,
    model: dict[str, Any],
    optimizer: OptimizerConfig,
    codec: Path | None = None,
    start_from: Path | None = None,
    batch_size: int = 16,
    noise_draws: int = 2,
    null_rate: float = 0.1,
    length_weight: float = 0.02,
    label_balance: float = 0.7,
    validate_every: int = 1000,
    store: Literal["float32", "float16"] = "float32",
    seed: int = 0,
    device: str = "auto",
) -> Path:
    """Train text-to-motion and write the model to ``out/model``.

    A run that was interrupted goes on from its last checkpoint when it is started again with the same
    ``out``.

    Args:
        data: a dataset in HumanML3D's layout.
        out: folder for checkpoints, logs, cached captions and the finished model.
        model: what the model's config.json says beyond the VAE: text backbone, motion branch, head,
            objective.
        optimizer: rates, steps and averaging.
        codec: folder of the trained motion VAE; or leave it out and give
        start_from: a finished model of the same sizes that is trained further, such as ``models/mini``.
        batch_size: clips per step.
        noise_draws: noisy versions of each clip per step; they share one pass of the motion branch.
        null_rate: how often the head is given the null condition, for classifier-free guidance.
        length_weight: of the cross-entropy of the predicted number of latents.
        label_balance: a clip is drawn at a rate of (clips with its label) ** -label_balance; 0 is uniform.
            Clips without a label count as a label of their own.
        validate_every: steps.
        store: how the finished model's weights are stored; half precision halves the file.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Returns:
        The folder of the finished model.

    Raises:
        ConfigError: if the model's description contradicts itself, or is not of the native kind.
        InputError: if the dataset cannot be used.
    """
    seed_everything(seed, verbose=False)
    dataset = HumanML3DDataset(data)
    trained = None if start_from is None else MotionGPT3.from_pretrained(start_from)
    if codec is not None and trained is None:
        motion_codec = MotionCodec.from_pretrained(codec)
    elif codec is None and trained is not None:
        motion_codec = trained.codec
    else:
        raise ConfigError("give either codec, to train from the start, or start_from, whose codec is kept")
    assembled = MotionGPT3.assemble(model, motion_codec)
    if not isinstance(assembled.placeholders, SequencePlaceholders):
        raise ConfigError(
            f"placeholders.kind: this recipe trains 'sequence', not {model['placeholders']['kind']!r}"
        )
    if trained is not None:
        for name in ("mot.motion", "placeholders", "head"):
            tensors = trained.get_submodule(name).state_dict()
            load_strictly(assembled.get_submodule(name), tensors, f"{start_from}, {name}")
    splits = {name: encode_split(dataset, name, motion_codec) for name in ("train", "val")}
    captions = sorted({text for clips in splits.values() for clip in clips for text in clip.captions})
    memory = read_captions(assembled, captions, out / "captions")
    number = {text: index for index, text in enumerate(captions)}

    training = CaptionedLatents(splits["train"], number)
    validation = CaptionedLatents(splits["val"], number, always_the_same=True)
    sampler = LengthBuckets(
        [len(clip.mean) for clip in splits["train"]],
        batch_size,
        weights=balanced_rates([clip.label for clip in splits["train"]], label_balance),
        seed=seed,
    )
    module = TextToMotionTraining(assembled, memory, optimizer, noise_draws, null_rate, length_weight)
    fit(
        module,
        DataLoader(training, batch_sampler=sampler, collate_fn=collate),
        DataLoader(validation, batch_size=32, collate_fn=collate),
        out,
        optimizer,
        validate_every=validate_every,
        monitor="val/loss",
        device=device,
    )
    assembled.eval().save_pretrained(out / "model", torch.float16 if store == "float16" else None)
    return out / "model"


@dataclass(frozen=True)
class EncodedClip:
    """A clip as the language side sees it: posterior of its latents (K, C), captions, and action label."""

    mean: Tensor
    std: Tensor
    captions: tuple[str, ...]
    label: str | None


@torch.inference_mode()
def encode_split(
    dataset: HumanML3DDataset, split: str, codec: MotionCodec, batch_size: int = 32
) -> list[EncodedClip]:
    """Encode every segment of a split once.

    Raises:
        InputError: if the split has no segment that can be used.
    """
    segments = dataset.segments(split)
    if not segments:
        raise InputError(f"{dataset.root}: split {split!r} has no clips of a length that can be used")
    encoded: list[EncodedClip] = []
    for start in range(0, len(segments), batch_size):
        part = segments[start : start + batch_size]
        clips = MotionClips(dataset, part)
        batch = pad_clips([clips[index] for index in range(len(part))])
        means, stds = codec.encode(batch.features, batch.lengths)
        counts = codec.latent_counts(batch.lengths).tolist()
        encoded.extend(
            EncodedClip(mean[:count].clone(), std[:count].clone(), tuple(segment.captions), segment.label)
            for mean, std, count, segment in zip(means, stds, counts, part)
        )
    return encoded


def read_captions(model: MotionGPT3, captions: Sequence[str], folder: Path) -> CaptionMemory:
    """The keys and values of all captions, laid out as prompts of ``model``."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [model.prompt_ids(text) for text in captions]
    with Progress(transient=True) as progress:
        task = progress.add_task("reading captions", total=len(captions))
        return CaptionMemory.of(
            tokens,
            model.mot,
            folder,
            model.config.text_fingerprint,
            progress=lambda done, total: progress.update(task, completed=done),
        )


def balanced_rates(labels: Sequence[str | None], exponent: float) -> list[float]:
    """The rate at which each clip is drawn: (clips with its label) ** -exponent."""
    counts = Counter(labels)
    return [1.0 if label is None else counts[label] ** -exponent for label in labels]


@dataclass(frozen=True)
class LatentBatch:
    """Latents (B, K, C) drawn from their posteriors, their counts (B,), and a caption number for each."""

    latents: Tensor
    counts: Tensor
    captions: list[int]

    def to(self, device: torch.device | str) -> LatentBatch:
        """The same batch on another device."""
        return LatentBatch(self.latents.to(device), self.counts.to(device), self.captions)


class CaptionedLatents(Dataset[tuple[Tensor, int]]):
    """A latent sequence drawn from a clip's posterior, with one of its captions at random.

    Args:
        clips: what to draw from.
        caption_numbers: the number that stands for each caption.
        always_the_same: draw by the clip's index alone, so that two passes can be compared; otherwise from
            torch's global generator.
    """

    def __init__(
        self, clips: Sequence[EncodedClip], caption_numbers: dict[str, int], always_the_same: bool = False
    ) -> None:
        self._clips = clips
        self._always_the_same = always_the_same
        self._captions = [[caption_numbers[text] for text in clip.captions] for clip in clips]

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        clip, captions = self._clips[index], self._captions[index]
        generator = torch.Generator().manual_seed(index) if self._always_the_same else None
        chosen = captions[int(torch.randint(len(captions), (), generator=generator))]
        return clip.mean + torch.randn(clip.std.shape, generator=generator) * clip.std, chosen


def collate(items: Sequence[tuple[Tensor, int]]) -> LatentBatch:
    """Pad latent sequences into one batch."""
    latents = [latent for latent, _ in items]
    counts = torch.tensor([len(latent) for latent in latents])
    padded = nn.utils.rnn.pad_sequence(latents, batch_first=True)
    return LatentBatch(padded, counts, [caption for _, caption in items])


class TextToMotionTraining(LightningModule):
    """One step: placeholders read the cached text; the head learns to turn noise into latents.

    Only what trains is registered as a submodule, so that the frozen language model is neither averaged nor
    written into checkpoints. The model itself hangs on a function, which copies of this module (the averaged
    one) share instead of copying the language model.
    """

    def __init__(
        self,
        model: MotionGPT3,
        memory: CaptionMemory,
        optimizer: OptimizerConfig,
        noise_draws: int,
        null_rate: float,
        length_weight: float,
    ) -> None:
        super().__init__()
        self._model = lambda: model
        self.memory = memory
        self.optimizer = optimizer
        self.noise_draws = noise_draws
        self.null_rate = null_rate
        self.length_weight = length_weight
        self.trained = nn.ModuleDict(
            {"motion": model.mot.motion, "placeholders": model.placeholders, "head": model.head}
        )

    def training_step(self, batch: LatentBatch, batch_index: int) -> Tensor:
        loss, terms = self._losses(batch)
        self.log_dict({f"train/{name}": value for name, value in terms.items()})
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: LatentBatch, batch_index: int) -> None:
        with torch.random.fork_rng():
            # The same noise at every validation: differences are the model's.
            torch.manual_seed(batch_index)
            loss, terms = self._losses(batch)
        self.log_dict({f"val/{name}": value for name, value in terms.items()}, batch_size=len(batch.counts))
        self.log("val/loss", loss, prog_bar=True, batch_size=len(batch.counts))

    def configure_optimizers(self) -> Any:
        return configure_optimizer(self.parameters(), self.optimizer)

    def _losses(self, batch: LatentBatch) -> tuple[Tensor, dict[str, Tensor]]:
        model = self._model()
        placeholders, head, objective = model.placeholders, model.head, model.objective
        assert isinstance(placeholders, SequencePlaceholders)
        cache, text_lengths = self.memory.batch(batch.captions)
        cache, text_lengths = cache.to(self.device), text_lengths.to(self.device)

        start_hidden_BD = placeholders.start(model.mot, cache, text_lengths)
        hidden_BKD = placeholders.fill(model.mot, cache, text_lengths, batch.counts)
        length_loss = F.cross_entropy(
            placeholders.count_logits(start_hidden_BD),
            (batch.counts - 1).clamp(max=placeholders.config.longest - 1),
        )

        nulled_B11 = torch.rand(len(batch.counts), 1, 1, device=self.device) < self.null_rate
        hidden_BKD = torch.where(nulled_B11, placeholders.null_hidden(batch.counts), hidden_BKD)
        condition = placeholders.condition(head, hidden_BKD, batch.counts).repeated(self.noise_draws)
        latents = batch.latents.repeat(self.noise_draws, 1, 1)
        noise = torch.randn_like(latents)
        time = objective.sample_times(len(latents)).to(self.device)
        visible_BK = visible_frames(batch.counts, latents.shape[1])
        prediction = head(objective.noised(latents, noise, time), objective.network_time(time), condition)
        head_loss = objective.loss(prediction, latents, noise, visible_BK.repeat(self.noise_draws, 1))
        return head_loss + self.length_weight * length_loss, {"head": head_loss, "length": length_loss}
