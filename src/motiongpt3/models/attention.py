"""Token streams, and the attention in which they meet: who sees whom, rotary positions, one fused kernel.

Nothing here knows about text, motion or weights. Who sees whom is decided by positions, never by the order
in which tokens are stored.

Shapes: B batch, N tokens, Q queries, K keys, H query heads, G key/value heads, E width of a head, D width
of a branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

NO_BLOCK = -1


class Timeline(NamedTuple):
    """What attention must know of a row of tokens: ``positions``, ``visible`` and ``blocks``, each (B, N)."""

    positions: Tensor
    visible: Tensor
    blocks: Tensor

    @property
    def length(self) -> int:
        """N, padding included."""
        return self.positions.shape[1]

    @classmethod
    def joined(cls, parts: Sequence[Timeline]) -> Timeline:
        """Tokens side by side, in the order of ``parts``."""
        return parts[0] if len(parts) == 1 else cls(*(torch.cat(fields, dim=1) for fields in zip(*parts)))


@dataclass
class TokenStream:
    """The tokens of one modality, dense from embedding to hidden state.

    ``embeddings`` (B, N, D) without positions: the model adds those. ``positions`` (B, N) int64, from 0, on
    the one time axis that both modalities share. ``visible`` (B, N) bool: False is padding, which nothing
    attends to. ``blocks`` (B, N) int64 or None: tokens with the same block number see one another whatever
    their positions if the model is bidirectional; -1 is no block.
    """

    embeddings: Tensor
    positions: Tensor
    visible: Tensor
    blocks: Tensor | None = None

    @classmethod
    def sequential(
        cls, embeddings: Tensor, visible: Tensor | None = None, start: int | Tensor = 0, block: int = NO_BLOCK
    ) -> TokenStream:
        """Visible tokens at consecutive positions from ``start`` (one number, or (B,)), all in ``block``.

        Padding on the left takes no positions; padding elsewhere repeats the last one.
        """
        rows_columns = embeddings.shape[:2]
        if visible is None:
            visible = torch.ones(rows_columns, dtype=torch.bool, device=embeddings.device)
        first = torch.as_tensor(start, device=embeddings.device).view(-1, 1)
        positions = first + (visible.long().cumsum(1) - 1).clamp(min=0)
        return cls(embeddings, positions, visible, torch.full_like(positions, block))

    @property
    def timeline(self) -> Timeline:
        """Positions, visibility and blocks, the last filled in where there are none."""
        blocks = self.blocks if self.blocks is not None else torch.full_like(self.positions, NO_BLOCK)
        return Timeline(self.positions, self.visible, blocks)


def attention_mask(queries: Timeline, keys: Timeline, own_key_Q: Tensor, bidirectional: bool) -> Tensor:
    """Who sees whom: a bool mask (B, 1, Q, K).

    A query sees the visible keys at its own and earlier positions and, if ``bidirectional``, all visible
    keys of its block. A query that would see nothing (padding on the left) sees the key it brought itself,
    ``own_key_Q``, so that every row has a finite softmax in every kernel; nothing reads such a row.
    """
    reachable_BQK = keys.positions[:, None, :] <= queries.positions[:, :, None]
    if bidirectional:
        query_blocks = queries.blocks[:, :, None]
        same_block_BQK = (query_blocks == keys.blocks[:, None, :]) & (query_blocks != NO_BLOCK)
        reachable_BQK = reachable_BQK | same_block_BQK
    seen_BQK = reachable_BQK & keys.visible[:, None, :]
    own_QK = own_key_Q[:, None] == torch.arange(keys.positions.shape[1], device=own_key_Q.device)
    blind_BQ1 = ~seen_BQK.any(dim=-1, keepdim=True)
    return (seen_BQK | (blind_BQ1 & own_QK)).unsqueeze(1)


class Rotation(NamedTuple):
    """Cosines and sines of the rotary angles, each (B, 1, N, E); the sines of the first half are negated."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, positions_BN: Tensor, head_dim: int, theta: float) -> Rotation:
        """Angles position · theta^(-2i/E) in float32, halves paired as Llama does (RoFormer, section 3.2)."""
        pairs = torch.arange(0, head_dim, 2, device=positions_BN.device, dtype=torch.float32)
        angles_B1NF = (positions_BN[..., None].float() * theta ** (-pairs / head_dim)).unsqueeze(1)
        cos, sin = angles_B1NF.cos(), angles_B1NF.sin()
        return cls(torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1))

    def apply(self, x_BHNE: Tensor) -> Tensor:
        """Rotate queries or keys; their dtype is kept."""
        first, second = x_BHNE.chunk(2, dim=-1)
        swapped = torch.cat((second, first), dim=-1)
        return x_BHNE * self.cos.to(x_BHNE.dtype) + swapped * self.sin.to(x_BHNE.dtype)


def attend(q_BHQE: Tensor, k_BGKE: Tensor, v_BGKE: Tensor, mask_B1QK: Tensor) -> Tensor:
    """Softmax attention (B, H, Q, E); each key/value head serves H / G query heads."""
    grouped = q_BHQE.shape[1] != k_BGKE.shape[1]
    return F.scaled_dot_product_attention(q_BHQE, k_BGKE, v_BGKE, attn_mask=mask_B1QK, enable_gqa=grouped)
