"""How a codebook learns: it follows moving averages, and codes that nothing uses start anew.

Each codebook vector is the mean of the encoder's vectors that were nearest to it, averaged exponentially over
batches (van den Oord et al. 2017, "Neural Discrete Representation Learning", arXiv:1711.00937, appendix A.1).
A code whose average use falls too low is moved to a random vector of the batch (Dhariwal et al. 2020,
"Jukebox", arXiv:2005.00341, section 3.1).

Shapes: M encoder vectors of a batch, V codebook vectors, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motiongpt3.data.loaders import process
from motiongpt3.models.vq_vae import Codebook
from motiongpt3.training.joint_means import of_all

# Of the noise that tells copies apart where a batch has fewer vectors than the codebook; over sqrt(C).
COPY_NOISE = 0.01


class CodebookAverages(nn.Module):
    """The moving averages behind a `Codebook`; part of a training run, not of a finished model.

    Args:
        code_count: V.
        code_width: C.
        decay: of the averages, per batch.
        least_use: vectors per batch, on average, below which a code is unused and starts anew.
    """

    uses: Tensor
    sums: Tensor
    started: Tensor

    def __init__(self, code_count: int, code_width: int, decay: float = 0.99, least_use: float = 1.0) -> None:
        super().__init__()
        self.decay = decay
        self.least_use = least_use
        self.register_buffer("uses", torch.ones(code_count))
        self.register_buffer("sums", torch.zeros(code_count, code_width))
        self.register_buffer("started", torch.tensor(False))

    @property
    def in_use(self) -> Tensor:
        """(V,) true for the codes that are used often enough."""
        return self.uses >= self.least_use

    @torch.no_grad()
    def start(self, codebook: Codebook, vectors: Tensor) -> None:
        """At the first batch, and at no other: place all codes on vectors (M, C) of the encoder."""
        if not self.started:
            codebook.codebook.copy_(self._drawn(vectors))
            self.sums.copy_(codebook.codebook)
            self.uses.fill_(1.0)
            self.started.fill_(True)

    @torch.no_grad()
    def update(self, codebook: Codebook, vectors: Tensor, codes: Tensor) -> None:
        """Take in a batch: encoder vectors (M, C), and the codes (M,) nearest to them.

        Draws from torch's global generator. Several processes take in the batches of all of them; the vectors
        that unused codes move to are those of the first.
        """
        chosen_MV = F.one_hot(codes, len(self.uses)).to(vectors.dtype)
        uses, sums = of_all(chosen_MV.sum(dim=0)), of_all(chosen_MV.T @ vectors)
        self.uses.lerp_(uses, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        means_VC = self.sums / self.uses.clamp(min=self.least_use)[:, None]
        codebook.codebook.copy_(torch.where(self.in_use[:, None], means_VC, self._drawn(vectors)))

    def _drawn(self, vectors_MC: Tensor) -> Tensor:
        """(V, C) vectors of the batch in random order; copies with a little noise if there are too few."""
        count, (available, width) = len(self.uses), vectors_MC.shape
        if available < count:
            vectors_MC = vectors_MC.repeat(-(-count // available), 1)
            vectors_MC = vectors_MC + torch.randn_like(vectors_MC) * COPY_NOISE / width**0.5
        order = torch.randperm(len(vectors_MC), device=vectors_MC.device)[:count]
        drawn_VC = vectors_MC[order]
        if process()[1] > 1:
            torch.distributed.broadcast(drawn_VC, 0)
        return drawn_VC


def perplexity(uses: Tensor) -> Tensor:
    """How many codes would carry as much if all were used alike: exp of the entropy of their uses (V,)."""
    share = uses / uses.sum().clamp(min=1e-12)
    return (-torch.special.xlogy(share, share).sum()).exp()
