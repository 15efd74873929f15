"""Is the language still there? Perplexity of plain text, for a model and for the language model it came
from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.models.attention import TokenStream
from motiongpt3.models.text_backbone import load_text_backbone

if TYPE_CHECKING:
    from motiongpt3.models.motiongpt import MotionGPT3

Logits = Callable[[Tensor], Tensor]
"""Next-token logits (S, V) of token ids (S,)."""


@dataclass(frozen=True)
class TextScore:
    """Exponential of the mean negative log-likelihood of a token given those before it, and how many there
    are."""

    perplexity: float
    tokens: int


def text_score(logits_of: Logits, sentences: Sequence[Tensor]) -> TextScore:
    """Perplexity of sentences, each read alone and from its second token on.

    Raises:
        InputError: if no sentence has two tokens.
    """
    read = [ids for ids in sentences if len(ids) > 1]
    if not read:
        raise InputError("no text to measure: a sentence needs two tokens at least")
    losses = [float(F.cross_entropy(logits_of(ids)[:-1].double(), ids[1:], reduction="sum")) for ids in read]
    tokens = sum(len(ids) - 1 for ids in read)
    return TextScore(math.exp(sum(losses) / tokens), tokens)


def model_logits(model: MotionGPT3) -> Logits:
    """What a model says of plain text, without a prompt around it."""

    @torch.inference_mode()
    def logits(ids: Tensor) -> Tensor:
        rows = ids[None].to(model.mot.text.token_embedding.weight.device)
        stream = TokenStream.sequential(model.mot.embed_text(rows), torch.ones_like(rows, dtype=torch.bool))
        return model.mot.text_logits(model.mot(text=stream).text_hidden)[0].float().cpu()

    return logits


def backbone_logits(model: MotionGPT3) -> tuple[Logits, str] | None:
    """The same of the language model that the text branch came from, with its name; None if it has none."""
    name = model.config.text_backbone
    if not name:
        return None
    backbone = load_text_backbone(name, expected_fingerprint=model.config.text_fingerprint or None)

    @torch.inference_mode()
    def logits(ids: Tensor) -> Tensor:
        return backbone.model(input_ids=ids[None]).logits[0].float()

    return logits, f"{backbone.name}, fingerprint {backbone.fingerprint}"
