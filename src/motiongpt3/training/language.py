"""One step of a language stage: the losses of a batch of lessons.

What trains is the motion branch, its placeholders and the generative head, and in the last stage the text
branch. While that is frozen, text before motion is not computed here but read from memory (`CaptionMemory`);
through the frozen text behind a motion, gradients of captions flow back to the motion that they are about.

Shapes: B lessons, S text tokens, K latents, D width of a branch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from motiongpt3.models.mot import KeyValueCache, MixtureOfTransformers, TokenStream
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import REQUEST_BLOCK, SequencePlaceholders
from motiongpt3.models.vae import visible_frames
from motiongpt3.training.joint_means import Term, means_of, of_all, share_of, sums_of
from motiongpt3.training.lessons import (
    CaptionLessons,
    Decisions,
    LessonBatch,
    LessonMix,
    MotionLessons,
    TextLessons,
)
from motiongpt3.training.optimization import OptimizerConfig, configure_optimizer


class TextReader(Protocol):
    """A numbered list of texts that can be had as caches: from memory, or computed anew."""

    def batch(self, indices: Sequence[int]) -> tuple[KeyValueCache, Tensor]:
        """The cache of the texts ``indices`` and their lengths (B,) in tokens."""
        ...


class LiveTexts:
    """Texts that the text branch reads whenever they are wanted, since it is being trained.

    Args:
        ids: token ids of each text.
        mot: the backbone.
        layers: text layers whose keys and values are wanted.
    """

    def __init__(
        self, ids: Sequence[Sequence[int]], mot: MixtureOfTransformers, layers: tuple[int, ...]
    ) -> None:
        self._ids = ids
        self._layers = layers
        # On a function, so that no module takes it for a part of itself.
        self._mot = lambda: mot

    def batch(self, indices: Sequence[int]) -> tuple[KeyValueCache, Tensor]:
        """The cache of the texts ``indices``, with gradients, and their lengths (B,) in tokens."""
        mot = self._mot()
        device = mot.text.token_embedding.weight.device
        rows = [torch.tensor(list(self._ids[index]), device=device) for index in indices]
        lengths = torch.tensor([len(row) for row in rows], device=device)
        ids_BS = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        visible_BS = visible_frames(lengths, ids_BS.shape[1])
        stream = TokenStream.sequential(mot.embed_text(ids_BS), visible_BS)
        return mot.encode_text(stream, self._layers), lengths


# The parts that are trained, by the names of `OptimizerConfig.part_rates`: the text in the last stage alone.
PARTS = ("motion", "placeholders", "head")
TEXT_PART = "text"

# The terms of the loss, and the kinds of lessons of `LessonMix.rates` that have them.
MOTION_LESSONS = ("t2m", "pred", "inbetween")
TERMS = {
    "head": MOTION_LESSONS,
    "length": MOTION_LESSONS,
    "answer": MOTION_LESSONS,
    "decision": ("decision",),
    "text": ("t2t",),
    "caption": ("m2t",),
}


def terms_of(mix: LessonMix) -> tuple[str, ...]:
    """The terms of the loss that the lessons of a mix can have."""
    return tuple(term for term, kinds in TERMS.items() if any(mix.rates[kind] for kind in kinds))


@dataclass(frozen=True)
class LanguageWeights:
    """Weights of the terms of the loss; that of the head has weight 1.

    Args:
        length: cross-entropy of the number of latents that the start token predicts.
        caption: cross-entropy per token of words about a motion.
        decision: cross-entropy of the kind of answer that the start token predicts.
        text: cross-entropy per token of answers in text alone.
    """

    length: float = 0.02
    caption: float = 1.0
    decision: float = 0.1
    text: float = 1.0


class LanguageTraining(LightningModule):
    """The losses of lessons, and what they train.

    Only what trains is registered as a submodule, so that a frozen language model is neither shared out to
    other processes nor looked at in checkpoints. The model itself hangs on a function for that reason.

    Terms of the loss are means over the lessons, latents or tokens of all processes (see `joint_means`).

    Args:
        model: its text branch is trained if any of its parameters require gradients.
        requests: requests, read at the attached layers.
        openings: texts before given motions, read at all layers.
        optimizer: rates, steps and averaging.
        weights: of the terms of the loss.
        terms: those of `TERMS` that lessons can have. A step whose lessons have none of one logs NaN for it,
            so that all processes log the same names, and none is taken over from a step before.
    """

    def __init__(
        self,
        model: MotionGPT3,
        requests: TextReader,
        openings: TextReader,
        optimizer: OptimizerConfig,
        weights: LanguageWeights,
        terms: Sequence[str] = tuple(TERMS),
    ) -> None:
        super().__init__()
        self._model = lambda: model
        self.requests = requests
        self.openings = openings
        self.optimizer = optimizer
        self.weights = weights
        self.terms = tuple(terms)
        self.trained = nn.ModuleDict(
            {"motion": model.mot.motion, "placeholders": model.placeholders, "head": model.head}
        )
        if not model.mot.text_is_frozen:
            self.trained[TEXT_PART] = model.mot.text
            if model.mot.text_head is not None:
                self.trained["text_head"] = model.mot.text_head
        self._validated: list[Tensor] = []

    def on_fit_start(self) -> None:
        """Bring what does not train along to the device: Lightning moves only what is registered."""
        self._model().mot.to(self.device)

    def training_step(self, batch: LessonBatch, batch_index: int) -> Tensor:
        loss, means = self._losses(batch)
        self.log_dict({f"train/{name}": means.get(name, math.nan) for name in self.terms})
        self.log("train/loss", self._weighted(means), prog_bar=True)
        return loss

    def validation_step(self, batch: LessonBatch, batch_index: int) -> None:
        self._validated.append(sums_of(self._terms(batch), self.terms, self.device))

    def on_validation_epoch_end(self) -> None:
        means = means_of(of_all(torch.stack(self._validated).sum(dim=0)), self.terms)
        self._validated.clear()
        # All processes have the same numbers; Lightning wants to be told to agree on them.
        self.log_dict({f"val/{name}": means.get(name, math.nan) for name in self.terms}, sync_dist=True)
        self.log("val/loss", self._weighted(means), prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> Any:
        parts = {name: list(self.trained[name].parameters()) for name in PARTS}
        text = [
            parameter
            for name in (TEXT_PART, "text_head")
            if name in self.trained
            for parameter in self.trained[name].parameters()
        ]
        return configure_optimizer(parts | ({TEXT_PART: text} if text else {}), self.optimizer)

    def _losses(self, batch: LessonBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of this process's share of the batch, and the terms of the whole batch."""
        terms = self._terms(batch)
        joint = of_all(sums_of(terms, self.terms, self.device))
        return self._weighted(share_of(terms, joint, self.terms)), means_of(joint, self.terms)

    def _weighted(self, values: Mapping[str, Tensor]) -> Tensor:
        """Terms added up by their weights."""
        weights = self.weights
        factors = {
            "head": 1.0,
            "length": weights.length,
            "answer": weights.decision,
            "decision": weights.decision,
            "text": weights.text,
            "caption": weights.caption,
        }
        return torch.stack([factors[name] * value for name, value in values.items()]).sum()

    def _terms(self, batch: LessonBatch) -> dict[str, Term]:
        terms: dict[str, Term] = {}
        if batch.motions:
            terms["head"], terms["length"], terms["answer"] = self._motion_losses(batch.motions)
        if batch.decisions:
            terms["decision"] = self._decision_loss(batch.decisions)
        if batch.texts:
            terms["text"] = self._text_loss(batch.texts)
        if batch.captions:
            terms["caption"] = self._caption_loss(batch.captions)
        return terms

    def _motion_losses(self, lessons: MotionLessons) -> tuple[Term, Term, Term]:
        """The head's loss over the latents that are asked for, and those of their number and the answer."""
        model = self._model()
        placeholders, head, objective = model.placeholders, model.head, model.objective
        assert isinstance(placeholders, SequencePlaceholders)
        cache, text_lengths = self._read(self.requests, lessons.prompts)
        counts, known = lessons.counts, lessons.known

        start_hidden_BD = placeholders.start(model.mot, cache, text_lengths)
        hidden_BKD = placeholders.fill(model.mot, cache, text_lengths, counts, known)
        number = (counts - 1).clamp(max=placeholders.config.longest - 1)
        length_loss_B = F.cross_entropy(placeholders.count_logits(start_hidden_BD), number, reduction="none")
        # How long a motion is that continues another, no text says.
        from_text = ~lessons.completes
        length_loss = (length_loss_B * from_text).sum() / from_text.sum().clamp(min=1)

        hidden_BKD = torch.where(lessons.nulled[:, None, None], placeholders.null_hidden(counts), hidden_BKD)
        condition = placeholders.condition(head, hidden_BKD, counts)
        latents = torch.where(known.given[..., None], known.latents, lessons.latents)
        noise, times = lessons.noise, lessons.times
        prediction = head(objective.noised(latents, noise, times), objective.network_time(times), condition)
        asked_BK = visible_frames(counts, latents.shape[1]) & ~known.given
        answer_loss = F.cross_entropy(placeholders.answer_logits(start_hidden_BD), lessons.wanted)
        head_loss = objective.loss(prediction, latents, noise, asked_BK)
        return (
            Term(head_loss, asked_BK.sum()),
            Term(length_loss, from_text.sum()),
            Term(answer_loss, len(counts)),
        )

    def _decision_loss(self, lessons: Decisions) -> Term:
        """Cross-entropy of the kind of answer that requests want."""
        model = self._model()
        assert isinstance(model.placeholders, SequencePlaceholders)
        cache, text_lengths = self._read(self.requests, lessons.prompts)
        start_hidden_BD = model.placeholders.start(model.mot, cache, text_lengths)
        loss = F.cross_entropy(model.placeholders.answer_logits(start_hidden_BD), lessons.wanted)
        return Term(loss, len(lessons.prompts))

    def _text_loss(self, lessons: TextLessons) -> Term:
        """Cross-entropy per token of answers in text alone, the end token included."""
        mot = self._model().mot
        visible = visible_frames(lessons.lengths, lessons.ids.shape[1])
        hidden = mot(text=TokenStream.sequential(mot.embed_text(lessons.ids), visible)).text_hidden
        places = torch.arange(lessons.ids.shape[1], device=self.device)
        answered = visible[:, 1:] & (places[1:] >= lessons.answer_starts[:, None])
        loss = F.cross_entropy(mot.text_logits(hidden[:, :-1][answered]), lessons.ids[:, 1:][answered])
        return Term(loss, answered.sum())

    def _read(self, texts: TextReader, numbers: Sequence[int]) -> tuple[KeyValueCache, Tensor]:
        """The cache of texts that have been read, and their lengths (B,)."""
        cache, lengths = texts.batch(numbers)
        return cache.to(self.device), lengths.to(self.device)

    def _caption_loss(self, lessons: CaptionLessons) -> Term:
        """Cross-entropy per token of the answers, the end token included."""
        model = self._model()
        mot, placeholders = model.mot, model.placeholders
        assert isinstance(placeholders, SequencePlaceholders)
        cache, before = self._read(self.openings, lessons.before)
        counts = lessons.counts
        motion = TokenStream.sequential(
            placeholders.embed_given(mot, lessons.latents, counts),
            visible_frames(counts, lessons.latents.shape[1]),
            start=before,
            block=REQUEST_BLOCK,
        )
        after_visible = visible_frames(lessons.after_lengths, lessons.after.shape[1])
        after = TokenStream.sequential(mot.embed_text(lessons.after), after_visible, start=before + counts)
        after_hidden = mot(text=after, motion=motion, cache=cache).text_hidden
        last = (lessons.after_lengths - 1)[:, None, None].expand(-1, 1, after_hidden.shape[-1])
        first_hidden = after_hidden.gather(1, last)

        rows = torch.arange(len(counts), device=self.device).repeat_interleave(lessons.copies)
        cache, first_hidden = cache.rows(rows), first_hidden[rows]
        answered = visible_frames(lessons.answer_lengths, lessons.answers.shape[1])
        # The last token is only ever predicted.
        answer = TokenStream.sequential(
            mot.embed_text(lessons.answers[:, :-1]),
            answered[:, 1:],
            start=(before + counts + lessons.after_lengths)[rows],
        )
        hidden = torch.cat([first_hidden, mot(text=answer, cache=cache).text_hidden], dim=1)
        loss = F.cross_entropy(mot.text_logits(hidden[answered]), lessons.answers[answered])
        return Term(loss, answered.sum())
