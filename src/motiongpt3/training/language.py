"""One step of a language stage: the losses of a batch of lessons.

What trains is the motion branch, its placeholders and the generative head, and in the last stage the text
branch. While that is frozen, text before motion is not computed here but read from memory (`CaptionMemory`);
through the frozen text behind a motion, gradients of captions flow back to the motion that they are about.

Shapes: B lessons, S text tokens, K latents, D width of a branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from motiongpt3.generation.requests import put_in_place
from motiongpt3.models.interleaving import MotionPart, interleave
from motiongpt3.models.mot import KeyValueCache, MixtureOfTransformers, TokenStream
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import Known, LatentPlaceholders, SequencePlaceholders
from motiongpt3.models.vae import visible_frames
from motiongpt3.training.lessons import (
    CaptionLessons,
    Decisions,
    Draws,
    LessonBatch,
    MotionLessons,
    TextLessons,
    WovenLessons,
)
from motiongpt3.training.optimization import OptimizerConfig, configure_optimizer


class TextReader(Protocol):
    """A numbered list of texts that can be had as caches: from memory, or computed anew."""

    def batch(self, indices: Sequence[int]) -> tuple[KeyValueCache, Tensor]:
        """The cache of the texts ``indices`` and their lengths (B,) in tokens."""
        ...


class LiveTexts:
    """Texts that the text branch reads whenever they are wanted.

    So it must be where the branch is being trained; elsewhere it costs time and saves disk.

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
        # On a function, which copies of the training module share.
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

    Only what trains is registered as a submodule, so that a frozen language model is neither averaged nor
    written into checkpoints. The model itself hangs on a function, which copies of this module (the averaged
    one) share instead of copying the language model.

    Args:
        model: its text branch is trained if any of its parameters require gradients.
        requests: requests, read at the attached layers.
        openings: texts before given motions, read at all layers.
        optimizer: rates, steps and averaging.
        weights: of the terms of the loss.
    """

    def __init__(
        self,
        model: MotionGPT3,
        requests: TextReader,
        openings: TextReader,
        optimizer: OptimizerConfig,
        weights: LanguageWeights,
    ) -> None:
        super().__init__()
        self._model = lambda: model
        self.requests = requests
        self.openings = openings
        self.optimizer = optimizer
        self.weights = weights
        self.trained = nn.ModuleDict(
            {"motion": model.mot.motion, "placeholders": model.placeholders, "head": model.head}
        )
        if not model.mot.text_is_frozen:
            self.trained["text"] = model.mot.text
            if model.mot.text_head is not None:
                self.trained["text_head"] = model.mot.text_head

    def on_fit_start(self) -> None:
        """Bring what does not train along to the device: Lightning moves only what is registered."""
        self._model().mot.to(self.device)

    def training_step(self, batch: LessonBatch, batch_index: int) -> Tensor:
        loss, terms = self._losses(batch)
        self.log_dict({f"train/{name}": value for name, value in terms.items()})
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: LessonBatch, batch_index: int) -> None:
        loss, terms = self._losses(batch)
        # As many as there are of motions: their loss is the one that is watched.
        size = len(batch.motions.counts) if batch.motions else 1
        self.log_dict({f"val/{name}": value for name, value in terms.items()}, batch_size=size)
        self.log("val/loss", loss, prog_bar=True, batch_size=size)

    def configure_optimizers(self) -> Any:
        return configure_optimizer(self.parameters(), self.optimizer)

    def _losses(self, batch: LessonBatch) -> tuple[Tensor, dict[str, Tensor]]:
        terms: dict[str, Tensor] = {}
        total = torch.zeros((), device=self.device)
        if batch.motions:
            motion_terms = self._motion_losses(batch.motions)
            terms |= motion_terms
            total = total + motion_terms["head"]
            if "length" in motion_terms:
                total = total + self.weights.length * motion_terms["length"]
                total = total + self.weights.decision * motion_terms["answer"]
        if batch.woven:
            terms["woven_head"] = self._woven_loss(batch.woven)
            total = total + terms["woven_head"]
        if batch.decisions:
            terms["decision"] = self._decision_loss(batch.decisions)
            total = total + self.weights.decision * terms["decision"]
        if batch.texts:
            terms["text"] = self._text_loss(batch.texts)
            total = total + self.weights.text * terms["text"]
        if batch.captions:
            terms["caption"] = self._caption_loss(batch.captions)
            total = total + self.weights.caption * terms["caption"]
        return total, terms

    def _motion_losses(self, lessons: MotionLessons) -> dict[str, Tensor]:
        """The head's loss; if there is a start token, also those of the number of latents and the answer."""
        model = self._model()
        placeholders, counts = model.placeholders, lessons.counts
        cache, text_lengths = self._read(self.requests, lessons.prompts)
        if isinstance(placeholders, LatentPlaceholders):
            hidden_BPD = placeholders.fill(model.mot, cache, text_lengths, counts)
            return {"head": self._head_loss(hidden_BPD, lessons.latents, counts, lessons.draws)}
        start_hidden_BD = placeholders.start(model.mot, cache, text_lengths)
        hidden_BKD = placeholders.fill(model.mot, cache, text_lengths, counts, lessons.known)
        number = (counts - 1).clamp(max=placeholders.config.longest - 1)
        length_loss_B = F.cross_entropy(placeholders.count_logits(start_hidden_BD), number, reduction="none")
        # How long a motion is that continues another, no text says.
        from_text = ~lessons.completes
        return {
            "head": self._head_loss(hidden_BKD, lessons.latents, counts, lessons.draws, lessons.known),
            "length": (length_loss_B * from_text).sum() / from_text.sum().clamp(min=1),
            "answer": F.cross_entropy(placeholders.answer_logits(start_hidden_BD), lessons.wanted),
        }

    def _woven_loss(self, lessons: WovenLessons) -> Tensor:
        """The head's loss where motions stand in the request."""
        model = self._model()
        mot, placeholders = model.mot, model.placeholders
        assert isinstance(placeholders, LatentPlaceholders)
        asking = MotionPart(placeholders.embed_asking(mot))
        rows = [
            [*put_in_place(model, request, given), asking]
            for request, given in zip(lessons.requests, lessons.given)
        ]
        text, motion, _ = interleave(mot, rows)
        assert motion is not None
        hidden_BND = mot(text=text, motion=motion).motion_hidden
        # The placeholders are the last of each row's motion.
        lengths_B1 = motion.visible.sum(dim=1, keepdim=True)
        places_P = torch.arange(placeholders.config.placeholders, device=self.device)
        places_BP = lengths_B1 - placeholders.config.placeholders + places_P
        hidden_BPD = hidden_BND.gather(1, places_BP[..., None].expand(-1, -1, hidden_BND.shape[-1]))
        counts = torch.ones(len(rows), dtype=torch.long, device=self.device)
        return self._head_loss(hidden_BPD, lessons.latents, counts, lessons.draws)

    def _head_loss(
        self, hidden: Tensor, latents: Tensor, counts: Tensor, draws: Draws, known: Known | None = None
    ) -> Tensor:
        """The objective's loss over all draws, of the latents (B, K, C) that are not given."""
        model = self._model()
        placeholders, head, objective = model.placeholders, model.head, model.objective
        repeats = len(draws.times) // len(counts)

        def repeated(tensor: Tensor) -> Tensor:
            return tensor.repeat_interleave(repeats, dim=0)

        latents, counts, hidden = repeated(latents), repeated(counts), repeated(hidden)
        if placeholders.null_condition is not None:
            null = placeholders.null_hidden(counts)
            hidden = torch.where(draws.nulled[:, None, None], null, hidden)
        asked_BK = visible_frames(counts, latents.shape[1])
        noisy_BKC = objective.noised(latents, draws.noise, draws.times)
        if known is not None:
            # What is given stands clean among the noisy, as in `sampling.holding`.
            given_BK = repeated(known.given)
            noisy_BKC = torch.where(given_BK[..., None], repeated(known.latents), noisy_BKC)
            asked_BK = asked_BK & ~given_BK
        condition = placeholders.condition(head, hidden, counts)
        prediction = head(noisy_BKC, objective.network_time(draws.times), condition)
        return objective.loss(prediction, latents, draws.noise, asked_BK)

    def _decision_loss(self, lessons: Decisions) -> Tensor:
        """Cross-entropy of the kind of answer that requests want."""
        model = self._model()
        assert isinstance(model.placeholders, SequencePlaceholders)
        cache, text_lengths = self._read(self.requests, lessons.prompts)
        start_hidden_BD = model.placeholders.start(model.mot, cache, text_lengths)
        return F.cross_entropy(model.placeholders.answer_logits(start_hidden_BD), lessons.wanted)

    def _text_loss(self, lessons: TextLessons) -> Tensor:
        """Cross-entropy per token of answers in text alone, the end token included."""
        mot = self._model().mot
        visible = visible_frames(lessons.lengths, lessons.ids.shape[1])
        hidden = mot(text=TokenStream.sequential(mot.embed_text(lessons.ids), visible)).text_hidden
        places = torch.arange(lessons.ids.shape[1], device=self.device)
        answered = visible[:, 1:] & (places[1:] >= lessons.answer_starts[:, None])
        return F.cross_entropy(mot.text_logits(hidden[:, :-1][answered]), lessons.ids[:, 1:][answered])

    def _read(self, texts: TextReader, numbers: Sequence[int]) -> tuple[KeyValueCache, Tensor]:
        """The cache of texts that have been read, and their lengths (B,)."""
        cache, lengths = texts.batch(numbers)
        return cache.to(self.device), lengths.to(self.device)

    def _caption_loss(self, lessons: CaptionLessons) -> Tensor:
        """Cross-entropy per token of the answers, the end token included."""
        model = self._model()
        mot, placeholders = model.mot, model.placeholders
        cache, before = self._read(self.openings, lessons.before)
        motion, counts = placeholders.given_stream(mot, lessons.latents, lessons.counts, before)
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
        return F.cross_entropy(mot.text_logits(hidden[answered]), lessons.answers[answered])
