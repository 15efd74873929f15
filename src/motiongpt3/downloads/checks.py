"""Is what lies in a folder what it should be? Each check looks at structure: names, shapes, kinds of file.

A check never runs anything that a file contains: arrays are read without pickle, tensors with
``weights_only``, and where only names matter, the pickle's instructions are listed and not executed.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from motiongpt3.errors import MotionGPT3Error

FEATURE_WIDTH = 263
WEIGHT_SUFFIXES = (".ckpt", ".pth", ".pt", ".tar")
FINEST = Path("text_mot_match", "model", "finest.tar")


@dataclass(frozen=True)
class Report:
    """What a check found, in a few words, and what is wrong or missing (nothing: all there)."""

    found: str
    problems: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything is there and looks right."""
        return not self.problems


def check_text_backbone(folder: Path) -> Report:
    """A transformers folder with a causal language model and its tokenizer, loaded strictly."""
    if not (folder / "config.json").is_file():
        return _missing("config.json, model.safetensors and the tokenizer's files")
    from motiongpt3.models.text_backbone import load_text_backbone

    try:
        backbone = load_text_backbone(folder)
    except MotionGPT3Error as error:
        return Report("a text backbone", (str(error),))
    return Report(f"{backbone.config.model_type} language model, fingerprint {backbone.fingerprint}")


def check_official(folder: Path) -> Report:
    """At least one checkpoint with the official model's language branch and motion VAE."""
    needed = ("lm.language_model.transformer.h.0.ln_1.fn.1.weight", "vae.skel_embedding.weight")
    return _check_checkpoints(folder, needed, "checkpoints of the official MotionGPT3")


def check_mld_vae(folder: Path) -> Report:
    """The MLD checkpoint, with its motion VAE in it."""
    needed = ("vae.skel_embedding.weight", "vae.global_motion_token")
    return _check_checkpoints(folder, needed, "the MLD checkpoint (1222_mld_humanml3d_FID041.ckpt)")


def t2m_evaluator_folder(folder: Path) -> Path | None:
    """The folder inside an unpacked ``t2m.tar.gz`` that holds ``text_mot_match`` for HumanML3D."""
    places = (folder / "t2m" / "t2m", folder / "t2m", folder)
    return next((place for place in places if (place / FINEST).is_file()), None)


def check_t2m_evaluators(folder: Path) -> Report:
    """The three networks of the HumanML3D evaluators and the statistics they expect."""
    place = t2m_evaluator_folder(folder)
    if place is None:
        return _missing("t2m/t2m/text_mot_match/model/finest.tar")
    import torch

    finest = place / FINEST
    problems = []
    try:
        networks = torch.load(finest, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        return Report("", (f"{finest} cannot be read as weights: {_first_line(error)}",))
    expected = {
        "text_encoder": ("input_emb.weight", (512, 300)),
        "movement_encoder": ("main.0.weight", (512, FEATURE_WIDTH - 4, 4)),
        "motion_encoder": ("input_emb.weight", (1024, 512)),
    }
    for network, (key, shape) in expected.items():
        weights = networks.get(network) if isinstance(networks, dict) else None
        tensor = weights.get(key) if isinstance(weights, dict) else None
        if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
            problems.append(f"{finest.name} has no {network} with {key} of shape {shape}")
    meta = place / "Comp_v6_KLD01" / "meta"
    for name in ("mean.npy", "std.npy"):
        problems += _array_problems(meta / name, (FEATURE_WIDTH,))
    return Report(f"evaluators of text and motion in {place}", tuple(problems))


def check_glove(folder: Path) -> Report:
    """The 300-wide word vectors, their words and the words' rows."""
    places = (folder, folder / "glove")
    place = next((place for place in places if (place / "our_vab_data.npy").is_file()), None)
    if place is None:
        return _missing("our_vab_data.npy, our_vab_words.pkl and our_vab_idx.pkl")
    problems = _array_problems(place / "our_vab_data.npy", (None, 300))
    for name in ("our_vab_words.pkl", "our_vab_idx.pkl"):
        if not (place / name).is_file():
            problems.append(f"{name} is missing")
            continue
        try:
            with (place / name).open("rb") as file:
                words = sum(1 for _ in _strings(file.read()))
        except (ValueError, OSError) as error:
            problems.append(f"{name} cannot be read: {_first_line(error)}")
        else:
            if words == 0:
                problems.append(f"{name} holds no words")
    return Report(f"word vectors in {place}", tuple(problems))


def check_smpl(folder: Path) -> Report:
    """At least one body model of the SMPL family; ``.pkl`` files are counted, not opened."""
    models = [path for path in _files(folder, ".npz", ".pkl") if _looks_like_smpl(path)]
    if not models:
        return _missing("a body model such as SMPL_NEUTRAL.npz, SMPLH_MALE.npz or SMPLX_NEUTRAL.npz")
    problems = []
    for path in models:
        if path.suffix == ".npz":
            absent = {"v_template", "weights", "J_regressor", "shapedirs"} - _npz_names(path)
            if absent:
                problems.append(f"{path.name} is not a body model: it has no {', '.join(sorted(absent))}")
    return Report(", ".join(path.name for path in models), tuple(problems))


def check_amass(folder: Path) -> Report:
    """AMASS's own folders of ``.npz`` sequences; the first one is looked into."""
    sequences = [path for path in _files(folder, ".npz") if path.name != "shape.npz"]
    if not sequences:
        return _missing("AMASS's folders, such as CMU/01/01_01_poses.npz (SMPL+H G)")
    absent = {"poses", "trans", "betas"} - _npz_names(sequences[0])
    problems = (f"{sequences[0]} has no {', '.join(sorted(absent))}",) if absent else ()
    return Report(f"{len(sequences)} sequences", problems)


def check_humanml3d(folder: Path) -> Report:
    """HumanML3D's layout: features, captions, splits and statistics; the first clip is looked into."""
    absent = [
        name
        for name in ("new_joint_vecs", "texts", "train.txt", "val.txt", "test.txt", "Mean.npy", "Std.npy")
        if not (folder / name).exists()
    ]
    if absent:
        return _missing(", ".join(absent))
    clips = _files(folder / "new_joint_vecs", ".npy")
    texts = _files(folder / "texts", ".txt")
    problems = []
    for name in ("Mean.npy", "Std.npy"):
        problems += _array_problems(folder / name, (FEATURE_WIDTH,))
    problems += _array_problems(clips[0], (None, FEATURE_WIDTH)) if clips else ["new_joint_vecs is empty"]
    return Report(f"{len(clips)} clips, {len(texts)} caption files", tuple(problems))


def _check_checkpoints(folder: Path, needed: tuple[str, ...], what: str) -> Report:
    paths = _files(folder, *WEIGHT_SUFFIXES, ".safetensors")
    if not paths:
        return _missing(what)
    good, problems = [], []
    for path in paths:
        try:
            names = _tensor_names(path)
        except (ValueError, OSError, zipfile.BadZipFile, KeyError) as error:
            problems.append(f"{path.name} cannot be read as weights: {_first_line(error)}")
            continue
        absent = [key for key in needed if key not in names]
        if absent:
            problems.append(f"{path.name} has no {absent[0]}")
        else:
            good.append(path.name)
    # Other files of weights may lie beside the model; they are nobody's concern once it is there.
    return Report(", ".join(good), () if good else tuple(problems))


def _tensor_names(path: Path) -> set[str]:
    """Names that occur in a file of weights, read without executing it."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                return set(file.keys())
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inner = [name for name in archive.namelist() if name.endswith("data.pkl")]
            if not inner:
                raise ValueError("it is an archive, but not one of torch")
            return set(_strings(archive.read(inner[0])))
    # torch's older format: three small pickles (magic number, protocol, system), then the weights' own.
    names: set[str] = set()
    with path.open("rb") as file:
        for _ in range(4):
            for opcode, argument, _ in pickletools.genops(file):
                if isinstance(argument, str) and "UNICODE" in opcode.name:
                    names.add(argument)
    return names


def _strings(data: bytes) -> Iterator[str]:
    """The text strings in a pickle, in order. Its instructions are listed, never executed."""
    for opcode, argument, _ in pickletools.genops(data):
        if isinstance(argument, str) and "UNICODE" in opcode.name:
            yield argument


def _array_problems(path: Path, shape: tuple[int | None, ...]) -> list[str]:
    if not path.is_file():
        return [f"{path.name} is missing"]
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        return [f"{path.name} cannot be read: {_first_line(error)}"]
    fits = array.ndim == len(shape) and all(want in (None, size) for want, size in zip(shape, array.shape))
    wanted = tuple("any" if want is None else want for want in shape)
    return [] if fits else [f"{path.name} has shape {array.shape}, expected {wanted}".replace("'any'", "any")]


def _npz_names(path: Path) -> set[str]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return set(arrays.files)
    except (ValueError, OSError, zipfile.BadZipFile, EOFError):
        return set()


def _looks_like_smpl(path: Path) -> bool:
    name = path.name.lower()
    return name.startswith(("smpl", "basicmodel", "basic_model")) or (
        name == "model.npz" and path.parent.name in ("neutral", "male", "female")
    )


def _files(folder: Path, *suffixes: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file())


def _missing(what: str) -> Report:
    return Report("", (f"missing: {what}",))


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
