"""Means over what all processes have together, for losses whose terms count different things.

The processes that share a batch have different numbers of tokens, latents or lessons of a kind in their
shares. The mean of their means would weigh one token more than another, and differ from what one process has
for the whole batch. So every process adds up, and divides by what there is in all of them.

Names are given as a fixed list: a process whose share has none of something counts nothing of it, but takes
part in the exchange all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from motiongpt3.data.loaders import process


class Term(NamedTuple):
    """One term of a loss: a mean, and of how many values."""

    mean: Tensor
    number: Tensor | int


def sums_of(terms: Mapping[str, Term], names: Sequence[str], device: torch.device) -> Tensor:
    """(2, N) sum and count of each of the N names, without gradients."""
    zero = torch.zeros((), device=device)
    rows = [terms.get(name, Term(zero, 0)) for name in names]
    counts = torch.stack([torch.as_tensor(term.number, dtype=zero.dtype, device=device) for term in rows])
    return torch.stack([torch.stack([term.mean.detach() for term in rows]) * counts, counts])


def of_all(sums: Tensor) -> Tensor:
    """The same, added up over all processes; all must call this."""
    if process()[1] > 1:
        sums = sums.clone()
        torch.distributed.all_reduce(sums)
    return sums


def means_of(sums: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """The mean of each name of which there is any."""
    found = (sums[1] > 0).tolist()
    return {name: sums[0, place] / sums[1, place] for place, name in enumerate(names) if found[place]}


def share_of(terms: Mapping[str, Term], joint: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """This process's part of the joint means, times the number of processes.

    The mean of these over the processes, which is what data-parallel training makes of gradients, is the mean
    over all that was counted.

    Args:
        terms: of this process, with gradients.
        joint: `of_all` of their sums.
        names: the list that the sums are of.
    """
    processes = process()[1]
    return {
        name: terms[name].mean * (terms[name].number * processes / joint[1, place].clamp(min=1))
        for place, name in enumerate(names)
        if name in terms
    }


class JointTerms(LightningModule):
    """A training whose loss is a weighted sum of terms, each a mean over what all processes have of it.

    A subclass gives the terms of a batch by `_terms`. A step that has none of one logs NaN for it, so that
    all processes log the same names, and none is taken over from a step before.

    Args:
        factors: weight of each term that there can be, by name.
    """

    def __init__(self, factors: Mapping[str, float]) -> None:
        super().__init__()
        self.factors = dict(factors)
        self.terms = tuple(factors)
        self._validated: list[Tensor] = []

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        loss, means = self._losses(batch)
        self.log_dict({f"train/{name}": means.get(name, math.nan) for name in self.terms})
        self.log("train/loss", self._weighted(means), prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_index: int) -> None:
        self._validated.append(sums_of(self._terms(batch), self.terms, self.device))

    def on_validation_epoch_end(self) -> None:
        means = means_of(of_all(torch.stack(self._validated).sum(dim=0)), self.terms)
        self._validated.clear()
        # All processes have the same numbers; Lightning wants to be told to agree on them.
        self.log_dict({f"val/{name}": means.get(name, math.nan) for name in self.terms}, sync_dist=True)
        self.log("val/loss", self._weighted(means), prog_bar=True, sync_dist=True)

    def _terms(self, batch: Any) -> dict[str, Term]:
        """The terms that this process's share of a batch has."""
        raise NotImplementedError

    def _losses(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of this process's share of the batch, and the terms of the whole batch."""
        terms = self._terms(batch)
        joint = of_all(sums_of(terms, self.terms, self.device))
        return self._weighted(share_of(terms, joint, self.terms)), means_of(joint, self.terms)

    def _weighted(self, values: Mapping[str, Tensor]) -> Tensor:
        """Terms added up by their weights."""
        return torch.stack([self.factors[name] * value for name, value in values.items()]).sum()
