"""Guo et al.'s evaluator: official numbers, published files, what is wrong with them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from motiongpt3.data.captions import Caption
from motiongpt3.errors import CheckpointError, InputError, MotionGPT3Error
from motiongpt3.evaluation.evaluators.glove import CLASSES, GloveVocabulary, read_plain_pickle
from motiongpt3.evaluation.evaluators.loading import load_evaluator
from motiongpt3.evaluation.evaluators.t2m import STATISTICS, WEIGHTS, T2MEvaluator
from motiongpt3.models.t2m_evaluator import PARTS, T2MEvaluatorNetworks
from tests.conftest import golden_weight

WORDS = ["unk", "sos", "eos", "walk", "person", "left", "a"]


@pytest.fixture(scope="module")
def networks() -> T2MEvaluatorNetworks:
    """With the weights behind the golden arrays."""
    made = T2MEvaluatorNetworks()
    made.load_state_dict({name: golden_weight(name, tuple(t.shape)) for name, t in made.state_dict().items()})
    return made.eval()


@pytest.fixture(scope="module")
def published(networks: T2MEvaluatorNetworks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the archive unpacks to, with GloVe vectors in it."""
    root = tmp_path_factory.mktemp("published")
    (root / WEIGHTS).parent.mkdir(parents=True)
    state = {part: getattr(networks, part).state_dict() for part in PARTS}
    torch.save({**state, "epoch": 7, "opt_text_encoder": {"lr": 0.1}}, root / WEIGHTS)
    (root / STATISTICS).mkdir(parents=True)
    np.save(root / STATISTICS / "mean.npy", np.linspace(-1, 1, 263))
    np.save(root / STATISTICS / "std.npy", np.linspace(0.5, 2, 263))
    write_glove(root)
    return root


def write_glove(folder: Path) -> None:
    np.save(folder / "our_vab_data.npy", np.random.default_rng(0).standard_normal((len(WORDS), 300)))
    (folder / "our_vab_words.pkl").write_bytes(pickle.dumps(WORDS))
    (folder / "our_vab_idx.pkl").write_bytes(pickle.dumps({word: i for i, word in enumerate(WORDS)}))


@torch.inference_mode()
def test_embeddings_are_the_official_ones(
    networks: T2MEvaluatorNetworks, golden: Callable[[str], dict[str, np.ndarray]]
) -> None:
    arrays = {name: torch.from_numpy(array) for name, array in golden("evaluator").items()}
    text = networks.text_encoder.embed(arrays["word_embs"], arrays["pos_ohot"], arrays["text_len"])
    torch.testing.assert_close(text, arrays["text_emb"], atol=2e-5, rtol=1e-4)
    movement = networks.movement_encoder(arrays["feats"][..., :-4])
    torch.testing.assert_close(movement, arrays["movement"], atol=2e-5, rtol=1e-4)
    lengths = torch.tensor([80, 60, 41])
    motion = networks.embed_motions(arrays["feats"], lengths, packed=False)
    torch.testing.assert_close(motion, arrays["motion_emb_unpacked"], atol=2e-5, rtol=1e-4)
    packed = networks.embed_motions(arrays["feats"], lengths)
    torch.testing.assert_close(packed[0], motion[0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(packed[1], motion[1], atol=1e-3)


def test_packed_lengths_ignore_what_follows(networks: T2MEvaluatorNetworks) -> None:
    features = torch.randn(1, 40, 263, generator=torch.Generator().manual_seed(0))
    evaluator = T2MEvaluator(
        networks, _unit_statistics(), GloveVocabulary(np.zeros((1, 300), np.float32), {"unk": 0})
    )
    alone = evaluator.embed_motions([features[0]])
    beside = evaluator.embed_motions([features[0], torch.randn(80, 263)])
    torch.testing.assert_close(beside[:1], alone, atol=1e-5, rtol=1e-4)


def test_published_files_are_read(published: Path) -> None:
    evaluator = load_evaluator(published)
    assert isinstance(evaluator, T2MEvaluator)
    described = evaluator.describe()
    assert described["packed lengths"] is True
    motion = torch.randn(24, 263)
    normal = (motion - torch.linspace(-1, 1, 263)) / torch.linspace(0.5, 2, 263)
    # The field pads with zeros up to 196 frames, and the last movement looks past the clip's end.
    padded = torch.cat([normal, torch.zeros(196 - 24, 263)])[None]
    expected = evaluator.networks.embed_motions(padded, torch.tensor([24]))
    torch.testing.assert_close(evaluator.embed_motions([motion]), expected, atol=1e-5, rtol=1e-4)
    captions = [Caption("a person walks left", ("a/DET", "person/NOUN", "walk/VERB", "left/ADV"))]
    assert evaluator.embed_captions(captions * 2).shape == (2, 512)


def test_words_get_their_vectors_and_classes(published: Path) -> None:
    words = GloveVocabulary.load(published)
    tokens = ("a/DET", "person/NOUN", "walk/VERB", "left/ADV", "gizmo/NOUN")
    vectors, classes, lengths = words.encode([Caption("x", tokens), Caption("y", ("a/DET",) * 30)])
    assert lengths.tolist() == [7, 22]
    names = [CLASSES[number] for number in classes[0].argmax(-1)[:7].tolist()]
    assert names == ["OTHER", "DET", "NOUN", "Act_VIP", "Loc_VIP", "OTHER", "OTHER"]
    table = np.load(published / "our_vab_data.npy")
    np.testing.assert_allclose(vectors[0, 3], table[WORDS.index("walk")], rtol=1e-6)
    np.testing.assert_allclose(vectors[0, 5], table[WORDS.index("unk")], rtol=1e-6)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return eval, ("__import__('pathlib').Path('exploded').touch()",)


def test_nothing_in_a_vocabulary_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "our_vab_words.pkl"
    for content in (pickle.dumps([Bomb()]), pickle.dumps(["a"])[:-2], b"", pickle.dumps([Path("a")])):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="not a plain list"):
            read_plain_pickle(path)
    assert not (tmp_path / "exploded").exists()
    path.write_bytes(pickle.dumps({"a": [1, 2.5, "b", None]}))
    assert read_plain_pickle(path) == {"a": [1, 2.5, "b", None]}


def test_what_is_missing_or_wrong_is_named(
    published: Path, tmp_path: Path, networks: T2MEvaluatorNetworks
) -> None:
    with pytest.raises(InputError, match="download glove"):
        GloveVocabulary.load(tmp_path)
    with pytest.raises(InputError, match="no evaluator"):
        load_evaluator(tmp_path)
    with pytest.raises(InputError, match="KIT-ML"):
        networks.embed_motions(torch.zeros(1, 40, 251), torch.tensor([40]))
    with pytest.raises(InputError, match="4 frames or more"):
        networks.embed_motions(torch.zeros(1, 3, 263), torch.tensor([3]))
    (tmp_path / WEIGHTS).parent.mkdir(parents=True)
    for content in ({"text_encoder": {}}, {part: {} for part in PARTS}):
        torch.save(content, tmp_path / WEIGHTS)
        with pytest.raises(MotionGPT3Error, match=r"movement_encoder|tensors are missing"):
            load_evaluator(tmp_path)


def _unit_statistics():  # type: ignore[no-untyped-def]
    from motiongpt3.motion.features import Statistics

    return Statistics(torch.zeros(263), torch.ones(263))
