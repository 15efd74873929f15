"""The field's evaluator: motion and text encoders of Guo et al. 2022, with the names of their weights.

"Generating Diverse and Natural 3D Human Motions from Text", section 6 and supplement: a convolutional encoder
of movement over four frames each, a bidirectional GRU over movements, and one over words (GloVe vectors plus
a projection of the part of speech). Published numbers on HumanML3D are distances between these embeddings.

Shapes: B items, T frames, F features, N = T // 4 movements, S words, E embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from motiongpt3.errors import InputError
from motiongpt3.motion.features import FEATURE_SLICES, FEATURE_WIDTH, KIT_FEATURE_WIDTH

CONTACTS = FEATURE_SLICES["foot_contacts"].stop - FEATURE_SLICES["foot_contacts"].start
FRAMES_PER_MOVEMENT = 4
WORD_WIDTH, POS_WIDTH = 300, 15
PARTS = ("text_encoder", "movement_encoder", "motion_encoder")


class MovementEncoder(nn.Module):
    """Movements of four frames each: (B, T, F - 4) normalised features without contacts to (B, N, width)."""

    def __init__(self, features: int = FEATURE_WIDTH - CONTACTS, width: int = 512) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(features, width, 4, 2, 1),
            nn.Dropout(0.2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(width, width, 4, 2, 1),
            nn.Dropout(0.2),
            nn.LeakyReLU(0.2),
        )
        self.out_net = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """See above."""
        return self.out_net(self.main(features.mT).mT)


class RecurrentEncoder(nn.Module):
    """A bidirectional GRU with a learnt start, and two layers over its last states."""

    def __init__(self, input_width: int, width: int, embedding: int = 512) -> None:
        super().__init__()
        self.input_emb = nn.Linear(input_width, width)
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * width, width),
            nn.LayerNorm(width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, embedding),
        )
        self.hidden = nn.Parameter(torch.zeros(2, 1, width))

    def forward(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, E) of steps (B, S, input_width); without ``lengths`` (B,) all steps are read, padding too."""
        inputs = self.input_emb(steps)
        start = self.hidden.expand(-1, len(steps), -1).contiguous()
        if lengths is None:
            _, last = self.gru(inputs, start)
        else:
            packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
            _, last = self.gru(packed, start)
        return self.output_net(torch.cat([last[0], last[1]], dim=-1))


class TextEncoder(RecurrentEncoder):
    """Words with their parts of speech to an embedding."""

    def __init__(self, width: int = 512, embedding: int = 512) -> None:
        super().__init__(WORD_WIDTH, width, embedding)
        self.pos_emb = nn.Linear(POS_WIDTH, WORD_WIDTH)

    def embed(self, words: Tensor, parts_of_speech: Tensor, lengths: Tensor) -> Tensor:
        """(B, E) of word vectors (B, S, 300), one-hot parts of speech (B, S, 15), and lengths (B,)."""
        return self(words + self.pos_emb(parts_of_speech), lengths)


class T2MEvaluatorNetworks(nn.Module):
    """The three networks, named as in the published file."""

    def __init__(self) -> None:
        super().__init__()
        self.text_encoder = TextEncoder()
        self.movement_encoder = MovementEncoder()
        self.motion_encoder = RecurrentEncoder(512, 1024)

    def embed_motions(self, features: Tensor, lengths: Tensor, packed: bool = True) -> Tensor:
        """(B, 512) of features (B, T, 263), normalised with the evaluator's statistics.

        Args:
            features: zero past each clip's length.
            lengths: (B,) frames; what does not fill a movement of four is left out.
            packed: read each clip to its own end, as Guo et al. do. False reads the padding as motion, as
                the official MotionGPT3 does.

        Raises:
            InputError: for features of another width, or a clip of fewer than four frames.
        """
        if features.shape[-1] != FEATURE_WIDTH:
            advice = ", KIT-ML's" if features.shape[-1] == KIT_FEATURE_WIDTH else ""
            raise InputError(
                f"the evaluator reads HumanML3D's {FEATURE_WIDTH} features a frame, "
                f"not {features.shape[-1]}{advice}"
            )
        counts = lengths // FRAMES_PER_MOVEMENT
        if int(counts.min()) < 1:
            raise InputError(f"the evaluator reads clips of {FRAMES_PER_MOVEMENT} frames or more")
        movements = self.movement_encoder(features[..., :-CONTACTS])
        return self.motion_encoder(movements, counts if packed else None)
