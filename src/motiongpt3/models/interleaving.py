"""Sequences of text and motion in time order, laid out as the two streams that the backbone reads.

Shapes: B rows, N tokens of a part, D width of the motion branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from motiongpt3.errors import InputError
from motiongpt3.models.attention import NO_BLOCK, TokenStream
from motiongpt3.models.mot import MixtureOfTransformers
from motiongpt3.models.vae import visible_frames


@dataclass(frozen=True)
class TextPart:
    """Text within a row: ``ids`` (N,) int64."""

    ids: Tensor


@dataclass(frozen=True)
class MotionPart:
    """Motion within a row: ``embeddings`` (N, D), and the block whose tokens may see one another."""

    embeddings: Tensor
    block: int = NO_BLOCK


def text_stream(mot: MixtureOfTransformers, rows: Sequence[Sequence[int]]) -> tuple[TokenStream, Tensor]:
    """Rows of text alone, from their token ids: the text stream, padded on the right, and lengths (B,)."""
    device = mot.text.token_embedding.weight.device
    lengths = torch.tensor([len(row) for row in rows], device=device)
    ids_BS = pad_sequence([torch.tensor(list(row), device=device) for row in rows], batch_first=True)
    visible_BS = visible_frames(lengths, ids_BS.shape[1])
    return TokenStream.sequential(mot.embed_text(ids_BS), visible_BS), lengths


def interleave(
    mot: MixtureOfTransformers,
    rows: Sequence[Sequence[TextPart | MotionPart]],
    starts: Sequence[int] | None = None,
) -> tuple[TokenStream | None, TokenStream | None, Tensor]:
    """Both streams of rows of parts, each part behind the one before on the common time axis.

    Args:
        mot: the backbone that is to read them, and on whose device they will be.
        rows: of parts in time order.
        starts: position of each row's first token; 0 by default.

    Returns:
        Text stream and motion stream, padded on the right, None if no row has such a part; and the positions
        (B,) behind the last part of each row, which from start 0 are the lengths of the rows.

    Raises:
        InputError: if a row reaches beyond the positions of the text branch.
    """
    ends = [0] * len(rows) if starts is None else list(starts)
    texts: list[list[tuple[Tensor, int, int]]] = []
    motions: list[list[tuple[Tensor, int, int]]] = []
    for number, row in enumerate(rows):
        texts.append([])
        motions.append([])
        for part in row:
            if isinstance(part, TextPart):
                tensor, block, stream = part.ids, NO_BLOCK, texts
            else:
                tensor, block, stream = part.embeddings, part.block, motions
            if len(tensor):
                stream[number].append((tensor, ends[number], block))
            ends[number] += len(tensor)
    longest = mot.text_config.max_positions
    if max(ends, default=0) > longest:
        raise InputError(
            f"{max(ends)} tokens to read, but the text branch has {longest} positions: shorten it"
        )

    weight = mot.text.token_embedding.weight
    no_ids = torch.empty(0, dtype=torch.long, device=weight.device)
    no_embeddings = weight.new_empty(0, mot.motion_config.width)
    text = None
    if any(texts):
        ids_BS, *timeline = _padded(texts, no_ids)
        text = TokenStream(mot.embed_text(ids_BS), *timeline)
    motion = TokenStream(*_padded(motions, no_embeddings)) if any(motions) else None
    return text, motion, torch.tensor(ends, device=weight.device)


def _padded(
    rows: list[list[tuple[Tensor, int, int]]], nothing: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows of (tokens, first position, block) as tokens (B, N, …), positions, visible and blocks (B, N)."""
    device = nothing.device
    tokens, positions, blocks = [], [], []
    for row in rows:
        tokens.append(torch.cat([nothing, *(tensor.to(device) for tensor, _, _ in row)]))
        positions.append([start + index for tensor, start, _ in row for index in range(len(tensor))])
        blocks.append([block for tensor, _, block in row for _ in range(len(tensor))])
    longest = max(map(len, positions))

    def table(values: list[list[int]], padding: int) -> Tensor:
        return torch.tensor([row + [padding] * (longest - len(row)) for row in values], device=device)

    positions_BN = table(positions, -1)
    return pad_sequence(tokens, True), positions_BN.clamp(min=0), positions_BN >= 0, table(blocks, NO_BLOCK)
