"""Where motion is asked for, and how motion is given: the tokens of the motion branch.

Two layouts, with one interface. *Sequence* (native): ``text | start | placeholder × K``, one placeholder for
each latent, all of a clip in one block that sees itself whole; each knows how far it is from both ends of the
clip. Where latents are known already (`Known`: a motion to continue, or to fill), they stand at their own
places in that block. The ``start`` token sees the text alone and predicts what kind of answer is wanted, and
how long a motion should be. *Latent* (official): a clip is one latent, asked for by a fixed number of
placeholders right behind the text, read as in any causal sequence; motions that are given stand in the text.

Shapes: B clips, K latents, C channels per latent, P placeholders of one latent, D width of the motion branch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from motiongpt3.errors import ConfigError
from motiongpt3.models.head import MLPCondition, MLPHead
from motiongpt3.models.mot import KeyValueCache, MixtureOfTransformers, TokenStream
from motiongpt3.models.sequence_head import SequenceCondition, SequenceHead
from motiongpt3.models.vae import visible_frames
from motiongpt3.tasks import ANSWERS

CLIP_BLOCK = 0
# A motion that is given in a request is a block of its own.
REQUEST_BLOCK = 1
GOAL_FEATURES = 4


@dataclass(frozen=True)
class Known:
    """What is known of motions that are asked for.

    Attributes:
        latents: (B, K, C); their values matter where one of the masks is true.
        given: (B, K) latents that are kept as they are.
        hinted: (B, K) latents that given frames cover in part: told, and asked for all the same.
        goal: (B, 4) where the frames given at the end begin, seen from the last frame given before: metres to
            its left and forward, sine and cosine of the change of heading; see `motion.completion`.
        has_goal: (B,) whether frames are given at the end.
    """

    latents: Tensor
    given: Tensor
    hinted: Tensor
    goal: Tensor
    has_goal: Tensor

    def to(self, device: torch.device | str) -> Known:
        """The same on another device."""
        return Known(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class SequencePlaceholdersConfig:
    """Sizes of `SequencePlaceholders`.

    Args:
        width: D, of the motion branch.
        latent_channels: C, of latents that are given.
        longest: the largest number of latents that a length can be predicted as.
        place_features: sinusoids per distance.
        start_token: id of the start token in the motion branch's vocabulary.
        placeholder_token: id of a placeholder there.
        given_token: id of a latent that is given.
    """

    width: int
    latent_channels: int
    longest: int
    place_features: int
    start_token: int
    placeholder_token: int
    given_token: int

    @property
    def tokens(self) -> tuple[int, ...]:
        """Ids that the motion branch's vocabulary must have."""
        return self.start_token, self.placeholder_token, self.given_token


class SequencePlaceholders(nn.Module):
    """One token per latent, what the start token predicts, and the null condition of guidance."""

    def __init__(self, config: SequencePlaceholdersConfig) -> None:
        super().__init__()
        self.config = config
        self.place = nn.Linear(2 * config.place_features, config.width)
        self.latent_in = nn.Linear(config.latent_channels, config.width)
        self.goal_in = nn.Linear(GOAL_FEATURES, config.width)
        self.count_logits = nn.Linear(config.width, config.longest)
        self.answer_logits = nn.Linear(config.width, len(ANSWERS))
        self.null_condition = nn.Parameter(torch.zeros(config.width))

    def start(self, mot: MixtureOfTransformers, cache: KeyValueCache, text_lengths: Tensor) -> Tensor:
        """Let the start token read the text in ``cache``, and add it there: its hidden state (B, D).

        Args:
            mot: the backbone.
            cache: of the text.
            text_lengths: (B,) visible text tokens.
        """
        ids = torch.full((len(text_lengths), 1), self.config.start_token, device=text_lengths.device)
        stream = TokenStream.sequential(mot.embed_motion(ids), start=text_lengths)
        return _motion_hidden(mot, stream, cache)[:, 0]

    def fill(
        self,
        mot: MixtureOfTransformers,
        cache: KeyValueCache,
        text_lengths: Tensor,
        counts: Tensor,
        known: Known | None = None,
    ) -> Tensor:
        """Let the placeholders read text and start token: hidden states (B, K, D), K = max(counts).

        Args:
            mot: the backbone.
            cache: of text and start token; the placeholders are added to it.
            text_lengths: (B,) visible text tokens.
            counts: (B,) latents wanted; the rest of a row is padding.
            known: what is known of the motions.
        """
        visible_BK = visible_frames(counts, int(counts.max()))
        ids = torch.full(visible_BK.shape, self.config.placeholder_token, device=counts.device)
        told_BKD: Tensor | float = 0.0
        if known is not None:
            ids = ids.masked_fill(known.given, self.config.given_token)
            told_BKD = self.latent_in(known.latents) * (known.given | known.hinted)[..., None]
            told_BKD = told_BKD + (self.goal_in(known.goal) * known.has_goal[:, None])[:, None]
        embeddings_BKD = mot.embed_motion(ids) + self.places(counts) + told_BKD
        stream = TokenStream.sequential(embeddings_BKD, visible_BK, start=text_lengths + 1, block=CLIP_BLOCK)
        return _motion_hidden(mot, stream, cache)

    def embed_given(self, mot: MixtureOfTransformers, latents: Tensor, counts: Tensor) -> Tensor:
        """Embeddings (B, K, D) of motions that are given in requests, from their latents (B, K, C).

        A row's first ``counts`` (B,) tokens are real. They belong in one block, `REQUEST_BLOCK`.
        """
        ids = torch.full(latents.shape[:2], self.config.given_token, device=latents.device)
        return mot.embed_motion(ids) + self.places(counts) + self.latent_in(latents)

    def given_stream(
        self, mot: MixtureOfTransformers, latents: Tensor, counts: Tensor, start: Tensor
    ) -> tuple[TokenStream, Tensor]:
        """Motions given in requests, one in each, as the motion branch reads them from positions ``start``.

        Args:
            mot: the backbone.
            latents: (B, K, C).
            counts: (B,) real latents of each.
            start: (B,).

        Returns:
            The stream, and the tokens (B,) that each motion takes.
        """
        embeddings_BKD = self.embed_given(mot, latents, counts)
        visible_BK = visible_frames(counts, latents.shape[1])
        return TokenStream.sequential(embeddings_BKD, visible_BK, start=start, block=REQUEST_BLOCK), counts

    def null_hidden(self, counts: Tensor) -> Tensor:
        """(B, K, D) hidden states for "no text at all": the learned null condition, and the places."""
        return self.null_condition + self.places(counts)

    def condition(self, head: nn.Module, hidden: Tensor, counts: Tensor) -> SequenceCondition:
        """What a `SequenceHead` makes of hidden states (B, K, D)."""
        assert isinstance(head, SequenceHead)
        return head.encode_condition(hidden, visible_frames(counts, hidden.shape[1]))

    def places(self, counts: Tensor) -> Tensor:
        """(B, K, D): where in its clip each placeholder stands, from the distances to first and last."""
        places = torch.arange(int(counts.max()), device=counts.device)
        from_start_BK = places.expand(len(counts), -1).float()
        from_end_BK = (counts[:, None] - 1 - places).clamp(min=0).float()
        width = self.config.place_features
        return self.place(
            torch.cat([_sinusoids(from_start_BK, width), _sinusoids(from_end_BK, width)], dim=-1)
        )

    def predicted_counts(self, start_hidden: Tensor) -> Tensor:
        """(B,) numbers of latents: medians of the distributions predicted from start hidden states (B, D)."""
        cumulative = self.count_logits(start_hidden).softmax(dim=-1).cumsum(dim=-1)
        return 1 + (cumulative < 0.5).sum(dim=-1).clamp(max=self.config.longest - 1)


@dataclass(frozen=True)
class LatentPlaceholdersConfig:
    """Sizes of `LatentPlaceholders`.

    Args:
        width: D, of the motion branch.
        placeholders: P, that ask for one latent.
        placeholder_token: their id in the motion branch's vocabulary.
        masked_token: id of the tokens, as many, that stand in a request for a part that is asked for.
        latent_channels: C, of latents that are given instead of asked for.
        null_condition: whether there is one; without, the model was not trained for guidance.
    """

    width: int
    placeholders: int
    placeholder_token: int
    masked_token: int
    latent_channels: int
    null_condition: bool

    @property
    def tokens(self) -> tuple[int, ...]:
        """Ids that the motion branch's vocabulary must have."""
        return self.placeholder_token, self.masked_token

    @classmethod
    def official(cls) -> LatentPlaceholdersConfig:
        """As in the official MotionGPT3 checkpoints."""
        return cls(
            width=768,
            placeholders=4,
            placeholder_token=2,
            masked_token=0,
            latent_channels=256,
            null_condition=True,
        )


class LatentPlaceholders(nn.Module):
    """P placeholders for the one latent of a clip, and the null condition of guidance; predicts no lengths.

    Latents that are given, such as a motion to put into words, take P places each: see `embed`.
    """

    def __init__(self, config: LatentPlaceholdersConfig) -> None:
        super().__init__()
        self.config = config
        null_condition = torch.zeros(config.placeholders, config.width)
        self.null_condition = nn.Parameter(null_condition) if config.null_condition else None
        self.motion_in = nn.Linear(config.latent_channels, config.placeholders * config.width)

    def start(self, mot: MixtureOfTransformers, cache: KeyValueCache, text_lengths: Tensor) -> None:
        """Nothing: the motion starts with a text token, which is part of the prompt."""

    def fill(
        self, mot: MixtureOfTransformers, cache: KeyValueCache, text_lengths: Tensor, counts: Tensor
    ) -> Tensor:
        """Let the placeholders read the text in ``cache``: hidden states (B, P, D)."""
        asking_BPD = self.embed_asking(mot).expand(len(counts), -1, -1)
        return _motion_hidden(mot, TokenStream.sequential(asking_BPD, start=text_lengths), cache)

    def embed_asking(self, mot: MixtureOfTransformers) -> Tensor:
        """Embeddings (P, D) of the placeholders that ask for a latent."""
        return self._embed(mot, self.config.placeholder_token)

    def null_hidden(self, counts: Tensor) -> Tensor:
        """(B, P, D) hidden states for "no text at all"; `ConfigError` if the model has none."""
        if self.null_condition is None:
            raise ConfigError("this model was trained without guidance and has no null condition")
        return self.null_condition.expand(len(counts), -1, -1)

    def embed(self, latents: Tensor) -> Tensor:
        """Embeddings (B, P · K, D) of given latents (B, K, C), for the motion branch.

        First the first part of every latent, then the second part of every latent, and so on: the official
        order, which weights are trained with, although the places belong to one latent after another.
        """
        parts_BKPD = self.motion_in(latents).unflatten(-1, (self.config.placeholders, self.config.width))
        return parts_BKPD.transpose(1, 2).flatten(1, 2)

    def embed_masked(self, mot: MixtureOfTransformers) -> Tensor:
        """Embeddings (P, D) that stand for a part of a motion that is asked for."""
        return self._embed(mot, self.config.masked_token)

    def given_stream(
        self, mot: MixtureOfTransformers, latents: Tensor, counts: Tensor, start: Tensor
    ) -> tuple[TokenStream, Tensor]:
        """Motions given in requests, one in each, as the motion branch reads them from positions ``start``.

        Args:
            mot: the backbone.
            latents: (B, 1, C).
            counts: (B,) ones.
            start: (B,).

        Returns:
            The stream, and the tokens (B,) that each motion takes.
        """
        embeddings_BPD = self.embed(latents)
        return TokenStream.sequential(embeddings_BPD, start=start), counts * self.config.placeholders

    def _embed(self, mot: MixtureOfTransformers, token: int) -> Tensor:
        device = mot.motion.token_embedding.weight.device
        return mot.embed_motion(torch.full((1, self.config.placeholders), token, device=device))[0]

    def condition(self, head: nn.Module, hidden: Tensor, counts: Tensor) -> MLPCondition:
        """What an `MLPHead` makes of hidden states (B, P, D)."""
        assert isinstance(head, MLPHead)
        return head.encode_condition(hidden)


def _motion_hidden(mot: MixtureOfTransformers, stream: TokenStream, cache: KeyValueCache) -> Tensor:
    hidden = mot(motion=stream, cache=cache).motion_hidden
    assert hidden is not None
    return hidden


def _sinusoids(values: Tensor, width: int) -> Tensor:
    """Sines and cosines (..., width) of ``values``, with wavelengths from 2 to about 400."""
    half = width // 2
    exponents = torch.arange(half, device=values.device) / max(1, half - 1)
    frequencies = math.pi * torch.exp(-math.log(200.0) * exponents)
    angles = values[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
