"""A sentence encoder as small as can be, with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

WORDS = [
    "a",
    "the",
    "person",
    "clip",
    "motion",
    "number",
    "moves",
    "left",
    "right",
    "first",
    "half",
    "again",
    "0",
    "1",
    "2",
    "3",
    "4",
    "b",
    "c",
    "d",
    "e",
    "too",
    "short",
    "to",
    "use",
    "walks",
    "forward",
    "jumps",
    "up",
    "waves",
]


def save_sentence_encoder(folder: Path) -> Path:
    """A BERT over `WORDS`, as transformers saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS)]))
    torch.manual_seed(0)
    tokenizer = BertTokenizerFast(vocab=str(vocabulary))
    config = BertConfig(
        vocab_size=len(vocabulary.read_text().split()),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=128,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
