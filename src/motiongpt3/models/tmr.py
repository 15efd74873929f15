"""TMR's encoders, with the names of their published weights: a transformer with two tokens of its own.

Petrovich et al. 2023, "TMR: Text-to-Motion Retrieval", arXiv:2305.00976; the architecture is ACTOR's encoder
(Petrovich et al. 2021). The two tokens stand for mean and log-variance of a Gaussian; the mean is what is
compared.

Shapes: B items, S frames or words, F values each, D = 256.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motiongpt3.models.vae import visible_frames

WIDTH, FEEDFORWARD, LAYERS, HEADS = 256, 1024, 6, 4
LONGEST = 5000


class ActorEncoder(nn.Module):
    """One of the two encoders.

    Args:
        values: F, of a frame (263) or of a word (768).
    """

    positions: Tensor

    def __init__(self, values: int) -> None:
        super().__init__()
        self.projection = nn.Linear(values, WIDTH)
        self.tokens = nn.Parameter(torch.randn(2, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, FEEDFORWARD, 0.1, F.gelu, batch_first=True)
        self.seqTransEncoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        rates = torch.exp(torch.arange(0, WIDTH, 2) * (-math.log(10000.0) / WIDTH))
        angles = torch.arange(LONGEST)[:, None] * rates
        positions = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """(B, D) means of values (B, S, F), of which ``lengths`` (B,) are real."""
        inputs = torch.cat([self.tokens.expand(len(values), -1, -1), self.projection(values)], dim=1)
        visible = visible_frames(lengths + len(self.tokens), inputs.shape[1])
        hidden = inputs + self.positions[: inputs.shape[1]]
        return self.seqTransEncoder(hidden, src_key_padding_mask=~visible)[:, 0]
