"""BLEU, ROUGE-L and CIDEr: what captions have in common with references, word by word.

The numbers are those of pycocoevalcap, the COCO caption evaluation that this field quotes:

- BLEU-n (Papineni et al. 2002): clipped n-gram precision over the whole corpus, the geometric mean up to n,
  with a brevity penalty against the closest reference length.
- ROUGE-L (Lin 2004): F-measure (β = 1.2) of the longest common subsequence; of several references the best
  precision and the best recall; mean over captions.
- CIDEr (Vedantam et al. 2015, arXiv:1411.5726): cosine of tf-idf weighted n-grams, n = 1 … 4, with document
  frequencies from all references of the corpus; the variant CIDEr-D, mean over captions.

All are given as the field quotes them, BLEU and ROUGE-L in 0 … 1, CIDEr in 0 … 10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from motiongpt3.errors import InputError, MissingDependencyError
from motiongpt3.evaluation.text_metrics.tokenization import whitespace_words

OVERLAP_METRICS = ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr")


def overlap_scores(
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    words: Callable[[str], list[str]] = whitespace_words,
) -> dict[str, float]:
    """BLEU-1, BLEU-4, ROUGE-L and CIDEr of captions.

    Args:
        captions: (N) to be judged.
        references: one or more for each.
        words: the tokenizer.

    Raises:
        InputError: if captions and references do not pair up, or a caption has none.
        MissingDependencyError: without pycocoevalcap.
    """
    if not captions or len(captions) != len(references) or not all(references):
        raise InputError(
            f"{len(captions)} captions and {len(references)} lists of references do not pair up, "
            "or a caption has no reference"
        )
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"BLEU, ROUGE-L and CIDEr need the package {error.name!r}: pip install 'motiongpt3[evaluation]'"
        ) from None

    # The library takes sentences whose words are separated by spaces.
    wanted = {row: [" ".join(words(one)) for one in several] for row, several in enumerate(references)}
    judged = {row: [" ".join(words(caption))] for row, caption in enumerate(captions)}
    bleu, _ = Bleu(4).compute_score(wanted, judged, verbose=0)
    rouge, _ = Rouge().compute_score(wanted, judged)
    cider, _ = Cider().compute_score(wanted, judged)
    return dict(zip(OVERLAP_METRICS, map(float, (bleu[0], bleu[3], rouge, cider))))
