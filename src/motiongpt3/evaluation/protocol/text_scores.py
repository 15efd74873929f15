"""Captions against references in both conventions of the field, and which of them could be computed here."""

from __future__ import annotations

from collections.abc import Sequence

from motiongpt3.evaluation.protocol.setting import Scores
from motiongpt3.evaluation.text_metrics.overlap import overlap_scores
from motiongpt3.evaluation.text_metrics.similarity import bert_score, bert_score_available
from motiongpt3.evaluation.text_metrics.tokenization import lemmatised, spacy_available


def text_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """BLEU-1, BLEU-4, ROUGE-L, CIDEr against raw and, with spaCy, lemmatised references; BERTScore.

    The names say which is which; what a package is missing for is left out, and `text_conventions` says so.
    """
    found = {f"{name} (raw)": value for name, value in overlap_scores(captions, references).items()}
    if spacy_available():
        flat = iter(lemmatised([one for several in references for one in several]))
        # A reference without any word would count as none.
        plain = [[next(flat) or "-" for _ in several] for several in references]
        scores = overlap_scores(captions, plain)
        found |= {f"{name} (lemmatised)": value for name, value in scores.items()}
    if bert_score_available():
        found["BERTScore F1 (MiniLM)"] = bert_score(captions, references)
    return found


def text_conventions() -> dict[str, str]:
    """For the record: tokenizer, what lemmatises, and the model of BERTScore."""
    from motiongpt3.evaluation.text_metrics.tokenization import spacy_description
    from motiongpt3.models.sentence_encoder import MINILM

    missing = "not measured: pip install 'motiongpt3[evaluation]'"
    return {
        "tokenizer": "whitespace; punctuation and capitals stay",
        "lemmatised references": spacy_description() if spacy_available() else missing,
        "BERTScore": f"{MINILM}, all layers, idf, not rescaled" if bert_score_available() else missing,
    }
