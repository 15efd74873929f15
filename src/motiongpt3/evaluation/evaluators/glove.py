"""Words for the T2M evaluator: the field's file of GloVe vectors, and the classes of words it knows.

GloVe is Pennington et al. 2014; the files ``our_vab_data.npy``, ``our_vab_words.pkl``, ``our_vab_idx.pkl``
are those that HumanML3D publishes. The two pickles hold a list of words and a dictionary of rows. They are
read with an unpickler that knows no names at all: nothing in them can run.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from motiongpt3.data.captions import Caption
from motiongpt3.data.humanml3d import open_array
from motiongpt3.errors import CheckpointError, InputError
from motiongpt3.evaluation.text_metrics.tokenization import tagged_words
from motiongpt3.models.t2m_evaluator import POS_WIDTH, WORD_WIDTH

PREFIX = "our_vab"
LONGEST_CAPTION = 20
"""Words of a caption that are read; the field cuts what is longer."""

CLASSES = (
    "VERB",
    "NOUN",
    "DET",
    "ADP",
    "NUM",
    "AUX",
    "PRON",
    "ADJ",
    "ADV",
    "Loc_VIP",
    "Body_VIP",
    "Obj_VIP",
    "Act_VIP",
    "Desc_VIP",
    "OTHER",
)
SPECIAL_WORDS = {
    "Loc_VIP": (
        "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve"
    ),
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": (
        "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower "
        "raise wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb"
    ),
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
_CLASS_OF_WORD = {word: name for name, words in SPECIAL_WORDS.items() for word in words.split()}
_UNKNOWN = "unk"


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, numbers and strings; refuses every name."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, identifier: Any) -> Any:
        raise pickle.UnpicklingError("it asks for objects stored elsewhere")


def read_plain_pickle(path: Path) -> Any:
    """Containers, numbers and strings from a pickle; nothing in it is run.

    Raises:
        InputError: if there is no such file.
        CheckpointError: if it is damaged or holds anything else.
    """
    try:
        content = path.read_bytes()
    except OSError:
        raise InputError(f"no such file: {path}") from None
    try:
        return _PlainUnpickler(io.BytesIO(content)).load()
    # A damaged pickle can end in any kind of error.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path}: not a plain list or dictionary ({reason}); fetch it again") from None


class GloveVocabulary:
    """Vectors and classes of words.

    Args:
        vectors: (V, 300).
        rows: for each word, its row.

    Raises:
        CheckpointError: if they do not fit, or there is no word ``unk``.
    """

    def __init__(self, vectors: np.ndarray, rows: dict[str, int]) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != WORD_WIDTH:
            raise CheckpointError(
                f"GloVe: expected vectors of shape (words, {WORD_WIDTH}), found {vectors.shape}"
            )
        if _UNKNOWN not in rows or not all(0 <= row < len(vectors) for row in rows.values()):
            raise CheckpointError(f"GloVe: a word points outside of the vectors, or {_UNKNOWN!r} is missing")
        self._vectors = vectors
        self._rows = rows

    @classmethod
    def load(cls, folder: str | Path) -> GloveVocabulary:
        """Read the three files in a folder.

        Raises:
            InputError: if a file is missing.
            CheckpointError: if a file is damaged or hostile, or the three do not fit.
        """
        folder = Path(folder)
        data = folder / f"{PREFIX}_data.npy"
        if not data.is_file():
            raise InputError(
                f"no GloVe vectors at {data}: the T2M evaluator needs them (motiongpt3 download glove), or "
                "use an evaluator of your own (--evaluator)"
            )
        vectors = np.asarray(open_array(data), dtype=np.float32)
        words = read_plain_pickle(folder / f"{PREFIX}_words.pkl")
        indices = read_plain_pickle(folder / f"{PREFIX}_idx.pkl")
        if not isinstance(words, list) or not isinstance(indices, dict):
            raise CheckpointError(f"{folder}: expected a list of words and a dictionary of their rows")
        return cls(vectors, {word: int(indices[word]) for word in words if word in indices})

    def encode(self, captions: Sequence[Caption]) -> tuple[Tensor, Tensor, Tensor]:
        """Word vectors (B, S, 300), one-hot classes (B, S, 15) and lengths (B,), with start and end.

        Captions without tagged words are tagged by spaCy.

        Raises:
            MissingDependencyError: if a caption has no tags and spaCy is not installed.
        """
        untagged = [caption.text for caption in captions if not caption.tokens]
        tagged = dict(zip(untagged, tagged_words(untagged))) if untagged else {}
        sentences = [
            ["sos/OTHER", *(caption.tokens or tagged[caption.text])[:LONGEST_CAPTION], "eos/OTHER"]
            for caption in captions
        ]
        longest = max(map(len, sentences))
        words = torch.zeros(len(sentences), longest, WORD_WIDTH)
        classes = torch.zeros(len(sentences), longest, POS_WIDTH)
        for row, sentence in enumerate(sentences):
            for place in range(longest):
                token = sentence[place] if place < len(sentence) else f"{_UNKNOWN}/OTHER"
                vector, number = self._word(token)
                words[row, place] = torch.from_numpy(vector)
                classes[row, place, number] = 1.0
        return words, classes, torch.tensor([len(sentence) for sentence in sentences])

    def _word(self, token: str) -> tuple[np.ndarray, int]:
        word, _, tag = token.rpartition("/")
        if word not in self._rows:
            return self._vectors[self._rows[_UNKNOWN]], CLASSES.index("OTHER")
        tag = _CLASS_OF_WORD.get(word, tag)
        number = CLASSES.index(tag) if tag in CLASSES else CLASSES.index("OTHER")
        return self._vectors[self._rows[word]], number
