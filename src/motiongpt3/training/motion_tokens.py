"""Training over motion tokens, the text frozen: clips and captions in, a `MotionTokenGPT` folder out.

Two directions at once. *Text to motion*: captions are read once by the text branch (`CaptionMemory`), and
the motion branch learns the next motion token. *Motion to text*: the motion branch reads the motion, and
gradients of the caption flow back to it through the text branch, which stays as it is.

Shapes: B clips, K codes of a motion, M motion tokens, S text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.loaders import Batch, LengthBuckets, item_generator, split_batches
from motiongpt3.errors import ConfigError
from motiongpt3.models.dialogue import text_ids
from motiongpt3.models.folders import load_strictly
from motiongpt3.models.interleaving import TextPart, interleave
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from motiongpt3.models.motion_tokens import MotionTokenGPT
from motiongpt3.models.vae import visible_frames
from motiongpt3.training.caption_memory import CaptionMemory
from motiongpt3.training.encoded_clips import balanced_rates
from motiongpt3.training.joint_means import JointTerms, Term
from motiongpt3.training.optimization import OptimizerConfig, configure_optimizer
from motiongpt3.training.runs import RunConfig, fit


def train_motion_tokens(
    data: Path,
    out: Path,
    model: dict[str, Any],
    optimizer: OptimizerConfig,
    motion_tokenizer: Path | None = None,
    start_from: Path | None = None,
    batch_size: int = 16,
    caption_batch_size: int = 4,
    caption_weight: float = 1.0,
    captions_per_clip: int | None = None,
    label_balance: float = 0.5,
    validate_every: int = 1000,
    store: Literal["float32", "float16"] = "float32",
    seed: int = 0,
    device: str = "auto",
    run: RunConfig | None = None,
) -> Path:
    """Train both directions between text and motion tokens, and write the model to ``out/model``.

    A run that was interrupted goes on from its last checkpoint when it is started again with the same
    ``out``.

    Args:
        data: a dataset in HumanML3D's layout.
        out: folder for checkpoints, logs, cached captions and the finished model.
        model: what the model's config.json says beyond the motion tokenizer: text backbone, dialogue, motion
            branch.
        optimizer: rates, steps and averaging; parts with rates of their own may be ``motion`` and ``head``.
        motion_tokenizer: folder of the trained VQ-VAE; or leave it out and give
        start_from: a finished model of the same sizes that is trained further.
        batch_size: clips per step, each to be made from a caption.
        caption_batch_size: how many of them are put into words as well; 0 trains text to motion alone.
        caption_weight: of the cross-entropy of captions, beside that of motion tokens.
        captions_per_clip: of each clip so many captions, drawn once, are read as requests; None for all. All
            can be answers.
        label_balance: a clip is drawn at a rate of (clips with its label) ** -label_balance; 0 is uniform.
            Clips without a label count as a label of their own.
        validate_every: steps.
        store: how the finished model's weights are stored; half precision halves the file.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        run: several devices, precision, logging, further checkpoints.

    Returns:
        The folder of the finished model.

    Raises:
        ConfigError: if the settings contradict one another.
        InputError: if the dataset cannot be used.
    """
    if not 0 <= caption_batch_size <= batch_size:
        raise ConfigError(
            f"caption_batch_size: {caption_batch_size} of {batch_size} clips in a batch cannot be captioned"
        )
    optimizer.check_parts(PARTS)
    seed_everything(seed, verbose=False)
    dataset = HumanML3DDataset(data)
    trained = None if start_from is None else MotionTokenGPT.from_pretrained(start_from)
    if motion_tokenizer is not None and trained is None:
        codec = MotionTokenizer.from_pretrained(motion_tokenizer)
    elif motion_tokenizer is None and trained is not None:
        codec = trained.motion_tokenizer
    else:
        raise ConfigError(
            "give either motion_tokenizer, to train from the start, or start_from, whose tokenizer is kept"
        )
    assembled = MotionTokenGPT.assemble(model, codec)
    if trained is not None:
        for name in ("mot.motion", "head"):
            tensors = trained.get_submodule(name).state_dict()
            load_strictly(assembled.get_submodule(name), tensors, f"{start_from}, {name}")
    splits = {name: encode_split(dataset, name, codec) for name in ("train", "val")}
    requests = {name: some_captions(clips, captions_per_clip, seed) for name, clips in splits.items()}
    asked = sorted({text for part in requests.values() for texts in part for text in texts})
    said = sorted({text for clips in splits.values() for clip in clips for text in clip.captions})
    asked_number, said_number = ({text: place for place, text in enumerate(texts)} for texts in (asked, said))
    training, validation = (
        CaptionedCodes(
            [clip.codes for clip in clips],
            [[asked_number[text] for text in texts] for texts in requests[name]],
            [[said_number[text] for text in clip.captions] for clip in clips],
        )
        for name, clips in splits.items()
    )
    memory = CaptionMemory.read([assembled.prompt_ids(text) for text in asked], assembled, out / "captions")
    answers = answer_ids(assembled, said)
    sampler = LengthBuckets(
        [len(clip.codes) for clip in splits["train"]],
        batch_size,
        weights=balanced_rates([clip.label for clip in splits["train"]], label_balance),
        seed=seed,
    )
    first = fit(
        MotionTokenTraining(assembled, memory, answers, optimizer, caption_batch_size, caption_weight),
        DataLoader(training, batch_sampler=sampler, collate_fn=collate),
        DataLoader(validation, batch_size=batch_size, collate_fn=collate),
        out,
        optimizer,
        validate_every=validate_every,
        monitor="val/loss",
        device=device,
        run=run,
    )
    if first:
        assembled.eval().save_pretrained(out / "model", torch.float16 if store == "float16" else None)
    return out / "model"


@dataclass(frozen=True)
class CodedClip:
    """A clip as the language side sees it: its codes (K,), captions, and action label."""

    codes: Tensor
    captions: tuple[str, ...]
    label: str | None


@torch.no_grad()
def encode_split(
    dataset: HumanML3DDataset, split: str, motion_tokenizer: MotionTokenizer, batch_size: int = 32
) -> list[CodedClip]:
    """The codes of every segment of a split.

    Raises:
        InputError: if the split has no segment that can be used.
    """
    coded: list[CodedClip] = []
    for part, _, batch in split_batches(dataset, split, batch_size):
        codes = motion_tokenizer.encode(batch.features, batch.lengths)
        coded.extend(
            CodedClip(
                row[: motion_tokenizer.code_count(length)].clone(), tuple(segment.captions), segment.label
            )
            for row, length, segment in zip(codes, batch.lengths.tolist(), part)
        )
    return coded


def some_captions(clips: Sequence[CodedClip], count: int | None, seed: int) -> list[list[str]]:
    """For each clip ``count`` of its captions, or all."""
    random = np.random.default_rng(seed)
    return [
        [clip.captions[place] for place in sorted(random.permutation(len(clip.captions))[:count].tolist())]
        for clip in clips
    ]


def answer_ids(model: MotionTokenGPT, captions: Sequence[str]) -> list[Tensor]:
    """Token ids (S,) of each caption as an answer: the text and the token that ends it."""
    end = model.config.dialogue.text_end_id(model.tokenizer)
    return [torch.tensor([*text_ids(model.tokenizer, text), end]) for text in captions]


@dataclass(frozen=True)
class CodeBatch(Batch):
    """Codes (B, K), padded with 0, their counts (B,), and for each the number of a request and an answer."""

    codes: Tensor
    counts: Tensor
    requests: list[int]
    answers: list[int]


class CaptionedCodes(Dataset[tuple[Tensor, int, int]]):
    """The codes of a clip, with one of its requests and one of its answers, drawn by `item_generator`.

    Args:
        codes: (K,) of each clip.
        requests: for each clip, the numbers of captions that ask for it.
        answers: for each clip, the numbers of captions that describe it.
    """

    def __init__(
        self, codes: Sequence[Tensor], requests: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> None:
        self._codes, self._requests, self._answers = codes, requests, answers

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        generator = item_generator(index)
        request, answer = (
            numbers[index][int(torch.randint(len(numbers[index]), (), generator=generator))]
            for numbers in (self._requests, self._answers)
        )
        return self._codes[index], request, answer


def collate(items: Sequence[tuple[Tensor, int, int]]) -> CodeBatch:
    """Pad codes into one batch."""
    codes, requests, answers = zip(*items)
    counts = torch.tensor([len(row) for row in codes])
    padded = nn.utils.rnn.pad_sequence(list(codes), batch_first=True)
    return CodeBatch(padded, counts, list(requests), list(answers))


# The parts that are trained, by the names of `OptimizerConfig.part_rates`.
PARTS = ("motion", "head")


class MotionTokenTraining(JointTerms):
    """One step: the next motion token behind cached captions, and the next word behind motions.

    Only what trains is registered as a submodule, so that the frozen language model is neither shared out to
    other processes nor looked at in checkpoints. The model itself hangs on a function for that reason.
    """

    def __init__(
        self,
        model: MotionTokenGPT,
        memory: CaptionMemory,
        answers: Sequence[Tensor],
        optimizer: OptimizerConfig,
        caption_batch_size: int,
        caption_weight: float,
    ) -> None:
        super().__init__({"motion": 1.0} | ({"caption": caption_weight} if caption_batch_size else {}))
        self._model = lambda: model
        self._answers = lambda: answers
        self.memory = memory
        self.optimizer = optimizer
        self.caption_batch_size = caption_batch_size
        self.trained = nn.ModuleDict({"motion": model.mot.motion, "head": model.head})

    def on_fit_start(self) -> None:
        """Bring what does not train along to the device: Lightning moves only what is registered."""
        self._model().to(self.device)

    def configure_optimizers(self) -> Any:
        parts = {name: part.parameters() for name, part in self.trained.items()}
        return configure_optimizer(parts, self.optimizer)

    def _terms(self, batch: CodeBatch) -> dict[str, Term]:
        terms = {"motion": self.motion_loss(batch)}
        if self.caption_batch_size:
            terms["caption"] = self.caption_loss(batch)
        return terms

    def motion_loss(self, batch: CodeBatch) -> Term:
        """Cross-entropy per motion token, the end token included."""
        model = self._model()
        cache, text_lengths = self.memory.batch(batch.requests)
        cache, text_lengths = cache.to(self.device), text_lengths.to(self.device)
        rows = [model.with_ends(row[:count]) for row, count in zip(batch.codes, batch.counts.tolist())]
        tokens_BM = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        visible_BM = visible_frames(batch.counts + 1, tokens_BM.shape[1] - 1)
        # The last token is only ever predicted.
        stream = model.motion_stream(tokens_BM[:, :-1], visible_BM, text_lengths)
        hidden = model.mot(motion=stream, cache=cache).motion_hidden
        assert hidden is not None
        loss = F.cross_entropy(model.head(hidden[visible_BM]), tokens_BM[:, 1:][visible_BM])
        return Term(loss, visible_BM.sum())

    def caption_loss(self, batch: CodeBatch) -> Term:
        """Cross-entropy per token of the captions of the first clips, the end token included."""
        model, answers = self._model(), self._answers()
        chosen = [answers[number].to(self.device) for number in batch.answers[: self.caption_batch_size]]
        rows = [
            # The last token is only ever predicted.
            [*model.caption_request(row[:count]), TextPart(answer[:-1])]
            for row, count, answer in zip(batch.codes, batch.counts.tolist(), chosen)
        ]
        text, motion, _ = interleave(model.mot, rows)
        assert text is not None
        hidden = model.mot(text=text, motion=motion).text_hidden
        assert hidden is not None
        # The tokens that predict an answer are the last ones of its row, as many as it has.
        text_lengths = text.visible.sum(dim=1)
        answer_lengths = torch.tensor([len(answer) for answer in chosen], device=self.device)
        read_BS = visible_frames(text_lengths - answer_lengths, text.visible.shape[1])
        predicting_BS = text.visible & ~read_BS
        loss = F.cross_entropy(model.mot.text_logits(hidden[predicting_BS]), torch.cat(chosen))
        return Term(loss, int(answer_lengths.sum()))
