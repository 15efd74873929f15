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
from torch import Tensor, nn

from motiongpt3.generation.requests import put_in_place
from motiongpt3.models.interleaving import MotionPart, interleave, text_stream
from motiongpt3.models.mot import KeyValueCache, MixtureOfTransformers, TokenStream
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import Known, LatentPlaceholders, SequencePlaceholders
from motiongpt3.models.vae import visible_frames
from motiongpt3.training.joint_means import JointTerms, Term
from motiongpt3.training.lesson_batches import (
    CaptionLessons,
    Decisions,
    Draws,
    LessonBatch,
    MotionLessons,
    TextLessons,
    WovenLessons,
)
from motiongpt3.training.lessons import LessonMix
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
        # On a function, so that no module takes it for a part of itself.
        self._mot = lambda: mot

    def batch(self, indices: Sequence[int]) -> tuple[KeyValueCache, Tensor]:
        """The cache of the texts ``indices``, with gradients, and their lengths (B,) in tokens."""
        mot = self._mot()
        stream, lengths = text_stream(mot, [self._ids[index] for index in indices])
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
    "woven": ("pred", "inbetween"),
    "decision": ("decision",),
    "text": ("t2t",),
    "caption": ("m2t",),
}


# What only one of the layouts of `placeholders` has.
SEQUENCE_TERMS, LATENT_TERMS = ("length", "answer", "decision"), ("woven",)


def terms_of(mix: LessonMix, placeholders: nn.Module) -> tuple[str, ...]:
    """The terms of the loss that the lessons of a mix can have in the layout of ``placeholders``."""
    others = SEQUENCE_TERMS if isinstance(placeholders, LatentPlaceholders) else LATENT_TERMS
    terms = (term for term, kinds in TERMS.items() if any(mix.rates[kind] for kind in kinds))
    return tuple(term for term in terms if term not in others)


@dataclass(frozen=True)
class LanguageWeights:
    """Weights of the terms of the loss; those of the head (``head``, ``woven``) have weight 1.

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

    @property
    def factors(self) -> dict[str, float]:
        """By the names of `TERMS`."""
        return {
            "head": 1.0,
            "woven": 1.0,
            "length": self.length,
            "answer": self.decision,
            "decision": self.decision,
            "text": self.text,
            "caption": self.caption,
        }


class LanguageTraining(JointTerms):
    """The losses of lessons, and what they train.

    Only what trains is registered as a submodule, so that a frozen language model is neither shared out to
    other processes nor looked at in checkpoints. The model itself hangs on a function for that reason.

    Terms of the loss are means over the lessons, latents or tokens of all processes.

    Args:
        model: its text branch is trained if any of its parameters require gradients.
        requests: requests, read at the attached layers.
        openings: texts before given motions, read at all layers.
        optimizer: rates, steps and averaging.
        weights: of the terms of the loss.
        terms: those of `TERMS` that lessons can have.
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
        factors = weights.factors
        super().__init__({term: factors[term] for term in terms})
        self._model = lambda: model
        self.requests = requests
        self.openings = openings
        self.optimizer = optimizer
        self.trained = nn.ModuleDict(
            {"motion": model.mot.motion, "placeholders": model.placeholders, "head": model.head}
        )
        if not model.mot.text_is_frozen:
            self.trained[TEXT_PART] = model.mot.text
            if model.mot.text_head is not None:
                self.trained["text_head"] = model.mot.text_head

    def on_fit_start(self) -> None:
        """Bring what does not train along to the device: Lightning moves only what is registered."""
        self._model().mot.to(self.device)

    def configure_optimizers(self) -> Any:
        parts = {name: list(self.trained[name].parameters()) for name in PARTS}
        text = [
            parameter
            for name in (TEXT_PART, "text_head")
            if name in self.trained
            for parameter in self.trained[name].parameters()
        ]
        return configure_optimizer(parts | ({TEXT_PART: text} if text else {}), self.optimizer)

    def _terms(self, batch: LessonBatch) -> dict[str, Term]:
        terms: dict[str, Term] = {}
        if batch.motions:
            terms |= self._motion_losses(batch.motions)
        if batch.woven:
            terms["woven"] = self._woven_loss(batch.woven)
        if batch.decisions:
            terms["decision"] = self._decision_loss(batch.decisions)
        if batch.texts:
            terms["text"] = self._text_loss(batch.texts)
        if batch.captions:
            terms["caption"] = self._caption_loss(batch.captions)
        return terms

    def _motion_losses(self, lessons: MotionLessons) -> dict[str, Term]:
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
            "length": Term((length_loss_B * from_text).sum() / from_text.sum().clamp(min=1), from_text.sum()),
            "answer": Term(
                F.cross_entropy(placeholders.answer_logits(start_hidden_BD), lessons.wanted), len(counts)
            ),
        }

    def _woven_loss(self, lessons: WovenLessons) -> Term:
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
    ) -> Term:
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
        return Term(objective.loss(prediction, latents, draws.noise, asked_BK), asked_BK.sum())

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
        loss = F.cross_entropy(mot.text_logits(hidden[answered]), lessons.answers[answered])
        return Term(loss, answered.sum())
