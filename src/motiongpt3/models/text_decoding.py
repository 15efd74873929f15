"""Writing text: what the text branch goes on to say, token by token, behind all that a cache holds.

Text and motion are alike here, as long as the cache holds their keys: a new token attends to earlier motion
at the layers where motion is attached. This module knows no prompts or tasks; a caller reads those into a
cache, and gives the logits that follow.

Shapes: B rows, S text tokens, D width of the text branch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.attention import Timeline
from motiongpt3.models.cache import KeyValueCache, StreamCache
from motiongpt3.models.interleaving import MotionPart, TextPart, interleave
from motiongpt3.models.mot import MixtureOfTransformers, TokenStream

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NewTokens = Callable[[list[int | None]], bool | None]
"""Told after each step what every row's new token is, None for a row that has ended; False stops all rows."""


@dataclass(frozen=True)
class TextDecoding:
    """How text is chosen, token by token.

    Args:
        max_new_tokens: at most so many tokens are written.
        temperature: logits are divided by it before one token is drawn; 0 takes the likeliest always.
        top_k: draw from the so many likeliest only; 0 from all.
        top_p: draw from the likeliest that together have this probability; 1 from all.
        repetition_penalty: logits of tokens already written, but not of those read, are divided by it if
            positive and multiplied otherwise (Keskar et al. 2019, arXiv:1909.05858, section 4.1); 1 for none.
        banned_tokens: never written; as they are in the tokenizer's vocabulary.

    Raises:
        InputError: if a value is out of its range.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    banned_tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "banned_tokens", tuple(self.banned_tokens))
        for name, fits, range_ in (
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < float("inf"), "above 0"),
        ):
            if not fits:
                raise InputError(f"{name}: {getattr(self, name)} cannot be used, it must be {range_}")

    @classmethod
    def official(cls) -> TextDecoding:
        """As the official release puts motions into words: greedy, at most 40 tokens."""
        banned = ("<start_of_motion>", "<end_of_motion>")
        return cls(max_new_tokens=40, repetition_penalty=1.1, banned_tokens=banned)

    def banned_ids(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
        """Ids of the banned tokens; `ConfigError` if the tokenizer has no such token."""
        return token_ids(tokenizer, self.banned_tokens)


def token_ids(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> tuple[int, ...]:
    """Ids of whole tokens; `ConfigError` if the tokenizer has no such token."""
    found: Any = tokenizer.convert_tokens_to_ids(list(tokens))
    for token, number in zip(tokens, found):
        # An unknown token has the number of another, or none.
        if number is None or tokenizer.convert_ids_to_tokens(number) != token:
            raise ConfigError(f"the tokenizer has no token {token!r}: name tokens of its vocabulary")
    return tuple(found)


def next_token_logits(mot: MixtureOfTransformers, text_hidden: Tensor, visible: Tensor) -> Tensor:
    """Logits (B, V) of the token behind the last visible one of each row.

    Args:
        mot: the backbone.
        text_hidden: (B, S, D) its hidden states.
        visible: (B, S) of the text stream; each row has a visible token.
    """
    columns = torch.arange(visible.shape[1], device=visible.device)
    last_B = (columns * visible).amax(dim=1)
    return mot.text_logits(text_hidden[torch.arange(len(last_B), device=last_B.device), last_B])


class Reading(NamedTuple):
    """What `decode_text` goes on from: a cache, the positions (B,) that follow, the logits (B, V) there."""

    cache: KeyValueCache
    next_positions: Tensor
    next_logits: Tensor


@torch.inference_mode()
def read_parts(
    mot: MixtureOfTransformers,
    rows: Sequence[Sequence[TextPart | MotionPart]],
    cache: KeyValueCache | None = None,
    starts: Sequence[int] | None = None,
) -> Reading:
    """Let the backbone read rows of text and motion, each of which ends with text.

    Args:
        mot: the backbone.
        rows: of parts in time order.
        cache: of what comes before them, which is extended; none by default.
        starts: position of each row's first token; 0 by default.

    Raises:
        InputError: if a row does not end with text, or reaches beyond the positions of the text branch.
    """
    for row in rows:
        written = [part for part in row if len(part.ids if isinstance(part, TextPart) else part.embeddings)]
        if not written or isinstance(written[-1], MotionPart):
            raise InputError("text can only follow text: end every row with some")
    cache = KeyValueCache() if cache is None else cache
    text, motion, next_positions = interleave(mot, rows, starts)
    assert text is not None
    hidden = mot(text, motion, cache).text_hidden
    assert hidden is not None
    return Reading(cache, next_positions, next_token_logits(mot, hidden, text.visible))


@torch.inference_mode()
def decode_text(
    mot: MixtureOfTransformers,
    cache: KeyValueCache,
    next_positions: Tensor,
    first_logits: Tensor,
    stop_ids: Collection[int],
    decoding: TextDecoding,
    seeds: Sequence[int],
    on_tokens: NewTokens | None = None,
    banned_ids: Collection[int] = (),
) -> list[list[int]]:
    """Continue the text of every row until a stop token, the longest length, or the end of the positions.

    A row depends on nothing but itself and its seed: draws come from a generator per row on the CPU, one
    number a token, and rows that have ended leave the batch. Afterwards ``cache`` holds the tokens returned
    and no stop tokens. If an exception ends the writing (of ``on_tokens``, say), it is as it was.

    Args:
        mot: the backbone.
        cache: of all that comes before, at every text layer.
        next_positions: (B,) position of the first token to write.
        first_logits: (B, V) of that token; see `next_token_logits`.
        stop_ids: tokens that end a row.
        decoding: how tokens are chosen.
        seeds: one per row; without effect at temperature 0.
        on_tokens: told of each step's tokens; see `NewTokens`.
        banned_ids: tokens never written; see `TextDecoding.banned_ids`.

    Returns:
        The tokens written to each row, without the stop token.

    Raises:
        InputError: if a row has no position left, or seeds and rows do not pair up.
    """
    if len(seeds) != len(next_positions):
        raise InputError(f"{len(next_positions)} rows of text and {len(seeds)} seeds do not pair up")
    if not len(seeds):
        return []
    room = mot.text_config.max_positions - next_positions
    if int(room.min()) < 1:
        raise InputError(
            f"nothing can be written behind position {int(next_positions.max())}: the text branch has "
            f"{mot.text_config.max_positions} positions; give it less to read"
        )
    longest = room.clamp(max=decoding.max_new_tokens).tolist()
    stops = torch.tensor(list(stop_ids), dtype=torch.long, device=first_logits.device)
    choose = TokenChoice(decoding, banned_ids, seeds)
    batch = _Batch(cache, next_positions, longest, first_logits.dtype)
    logits_BV = first_logits
    while batch.rows:
        chosen_B = choose(batch.rows, batch.tokens_BN, logits_BV)
        stopped = torch.isin(chosen_B, stops).tolist()
        batch.write(chosen_B, stopped)
        if not batch.rows:
            break
        news: list[int | None] = [None] * len(seeds)
        for row in batch.rows:
            news[row] = batch.written[row][-1]
        go_on = on_tokens is None or on_tokens(news) is not False
        hidden_BD = batch.read_last(mot, go_on)
        logits_BV = mot.text_logits(hidden_BD)
    batch.ended.join(cache.text)
    return batch.written


class _Batch:
    """The rows that are still being written, and what the ended ones wrote.

    Attributes:
        rows: numbers of the rows still in the batch, in order.
        cache: of those rows; its own, with room for what they may write.
        positions: (B,) of their next tokens.
        tokens_BN: what they have written.
        written: the same for all rows there ever were.
        ended: what the others left for the cache of all.
    """

    def __init__(
        self, cache: KeyValueCache, positions: Tensor, longest: Sequence[int], dtype: torch.dtype
    ) -> None:
        self.rows = list(range(len(longest)))
        self.cache = cache.copy()
        self.positions = positions
        self.tokens_BN = positions.new_empty(len(longest), 0)
        self.written: list[list[int]] = [[] for _ in longest]
        self.ended = _EndedRows(cache.text.length)
        self._longest, self._dtype = longest, dtype
        self._reserve()

    def write(self, chosen_B: Tensor, stopped: list[bool]) -> None:
        """Put the next token behind each row, or end it."""
        self.tokens_BN = torch.cat((self.tokens_BN, chosen_B[:, None]), dim=1)
        for row, token, is_stop in zip(self.rows, chosen_B.tolist(), stopped):
            if not is_stop:
                self.written[row].append(token)
        self._end(stopped)

    def read_last(self, mot: MixtureOfTransformers, go_on: bool) -> Tensor:
        """Hidden states (B, D) at the newest tokens, of the rows that take another one."""
        stream = TokenStream.sequential(mot.embed_text(self.tokens_BN[:, -1:]), start=self.positions)
        hidden_B1D = mot(text=stream, cache=self.cache).text_hidden
        assert hidden_B1D is not None
        self.positions = self.positions + 1
        full = [not go_on or len(self.written[row]) == self._longest[row] for row in self.rows]
        kept = self._end(full)
        return hidden_B1D[:, 0] if kept is None else hidden_B1D[kept, 0]

    def _end(self, gone: list[bool]) -> Tensor | None:
        """Let rows leave the batch; the indices of those that stay, or None if all do."""
        if not any(gone):
            return None
        gone_B = torch.tensor(gone, device=self.positions.device)
        left = [row for row, is_gone in zip(self.rows, gone) if is_gone]
        self.ended.add(left, self.cache.text, gone_B.nonzero()[:, 0])
        kept = (~gone_B).nonzero()[:, 0]
        self.rows = [row for row, is_gone in zip(self.rows, gone) if not is_gone]
        self.cache = self.cache.rows(kept)
        self.positions, self.tokens_BN = self.positions[kept], self.tokens_BN[kept]
        if self.rows:
            self._reserve()
        return kept

    def _reserve(self) -> None:
        read = self.cache.text.length - self.ended.read
        self.cache.text.reserve(max(self._longest[row] for row in self.rows) - read, self._dtype)


class TokenChoice:
    """Chooses the next token of each row."""

    def __init__(self, decoding: TextDecoding, banned_ids: Collection[int], seeds: Sequence[int]) -> None:
        self.processors = LogitsProcessorList()
        if decoding.repetition_penalty != 1:
            self.processors.append(RepetitionPenaltyLogitsProcessor(float(decoding.repetition_penalty)))
        if banned_ids:
            self.processors.append(SuppressTokensLogitsProcessor(list(banned_ids)))
        self.generators = None
        if decoding.temperature > 0:
            self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            self.processors.append(TemperatureLogitsWarper(float(decoding.temperature)))
            if decoding.top_k:
                self.processors.append(TopKLogitsWarper(decoding.top_k))
            if decoding.top_p < 1:
                self.processors.append(TopPLogitsWarper(decoding.top_p))

    def __call__(self, rows: Sequence[int], written_BN: Tensor, logits_BV: Tensor) -> Tensor:
        """The next tokens (B,) of ``rows``, which have written ``written_BN``, from their logits."""
        written, logits = cast(torch.LongTensor, written_BN), cast(torch.FloatTensor, logits_BV.float())
        scores_BV = self.processors(written, logits)
        if self.generators is None:
            return scores_BV.argmax(dim=-1)
        draws = [torch.rand((), generator=self.generators[row], dtype=torch.float64) for row in rows]
        # On the CPU, because not every device has double precision (MPS).
        cumulative_BV = scores_BV.cpu().double().softmax(dim=-1).cumsum(dim=-1)
        # So that no draw, all being below 1, falls behind the last token that has a probability.
        cumulative_BV = cumulative_BV / cumulative_BV[:, -1:]
        drawn_B1 = torch.searchsorted(cumulative_BV, torch.stack(draws)[:, None], right=True)
        return drawn_B1[:, 0].to(logits_BV.device)


class _EndedRows:
    """Text that rows had written when they left the batch, with its keys and values."""

    def __init__(self, read: int) -> None:
        self.read = read
        self.rows: list[int] = []
        self.parts: list[StreamCache] = []

    def add(self, rows: list[int], stream: StreamCache, indices: Tensor) -> None:
        """Keep what ``rows``, which are ``indices`` of the stream, hold behind the columns that were read."""
        assert stream.timeline is not None
        timeline = Timeline(*(part[indices, self.read :] for part in stream.timeline))
        keys = {layer: tensor[indices, :, self.read :] for layer, tensor in stream.keys.items()}
        values = {layer: tensor[indices, :, self.read :] for layer, tensor in stream.values.items()}
        self.rows += rows
        self.parts.append(StreamCache(timeline, keys, values))

    def join(self, stream: StreamCache) -> None:
        """Put it all behind the stream of the whole batch; shorter rows are padded."""
        longest = max(part.length for part in self.parts)
        if not longest:
            return
        timelines = [part.timeline for part in self.parts if part.timeline is not None]
        order = torch.tensor(self.rows, device=timelines[0].positions.device).argsort()

        def joined(tensors: Sequence[Tensor], columns: int) -> Tensor:
            padded = [
                F.pad(tensor, [0, 0] * (columns == -2) + [0, longest - tensor.shape[columns]])
                for tensor in tensors
            ]
            return torch.cat(padded)[order]

        stream.extend(Timeline(*(joined(field, -1) for field in zip(*timelines))))
        for layer in self.parts[0].keys:
            keys = joined([part.keys[layer] for part in self.parts], -2)
            stream.append(layer, keys, joined([part.values[layer] for part in self.parts], -2))
