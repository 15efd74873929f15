"""Folders of models with a text branch: it lies in the folder, or is named there and found elsewhere.

A text branch that was never trained is not stored again with every model: ``config.json`` names the text
backbone and the fingerprint of its exact weights. One that was trained lies in the model's own file, with its
tokenizer beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor

from motiongpt3.errors import CheckpointError, InputError
from motiongpt3.models.backbones import load_text_weights, text_config_from
from motiongpt3.models.dialogue import DialogueConfig
from motiongpt3.models.folders import (
    WEIGHTS_FILE,
    config_from_json,
    config_to_json,
    load_strictly,
    read_config_of,
    read_tensors,
    write_tensors,
)
from motiongpt3.models.mot import MixtureOfTransformers, MotionBranchConfig, TextBranchConfig
from motiongpt3.models.text_backbone import load_text_backbone, load_tokenizer
from motiongpt3.models.text_decoding import TextDecoding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_FOLDER = "tokenizer"
# The tensors of the text branch: not in the model's own file if they come from a text backbone.
TEXT_TENSORS = ("mot.text.", "mot.text_head.")


class Bimodal(Protocol):
    """A module whose backbone is ``mot``, and whose text is tokenised by ``tokenizer``."""

    mot: MixtureOfTransformers
    tokenizer: PreTrainedTokenizerBase

    def state_dict(self) -> dict[str, Any]:
        """All tensors by name."""
        ...


@dataclass(frozen=True)
class BimodalConfig:
    """What the configs of all such models say; the docstring of each class names its own fields.

    Args:
        text_backbone: name of the language model that the text branch is loaded from (see `text_backbone`),
            or empty if the text branch and its tokenizer are in the model's own folder.
        text_fingerprint: of the exact weights of that language model; empty with an empty ``text_backbone``.
        dialogue: how requests and answers are written for the text branch.
        longest_prompt: tokens of a request, with all that is written around it.
        frames_per_second: of the motions.
        shortest_frames: of a motion that is made.
        longest_frames: of a motion that is made or read.
        decoding: how text answers are chosen.
        text: the text branch.
        motion: the motion branch.
    """

    text_backbone: str
    text_fingerprint: str
    dialogue: DialogueConfig
    longest_prompt: int
    frames_per_second: float
    shortest_frames: int
    longest_frames: int
    decoding: TextDecoding
    text: TextBranchConfig
    motion: MotionBranchConfig


Model = TypeVar("Model", bound=Bimodal)
Config = TypeVar("Config", bound=BimodalConfig)


def assemble_bimodal(
    description: dict[str, Any],
    config_class: type[Config],
    make: Callable[[Config, PreTrainedTokenizerBase], Model],
    **settled: Any,
) -> Model:
    """A model to train: its text pretrained and frozen, all else as ``make`` has it.

    Args:
        description: fields of the config, ``text_backbone`` among them.
        config_class: of the config.
        make: the model with random weights for a config, around a tokenizer.
        settled: fields of the config that the parts of the model settle; ``text`` and ``text_fingerprint``
            follow from the backbone.

    Raises:
        ConfigError: if a field is unknown, missing or unusable.
        MissingDependencyError: if the text backbone is not on this machine.
    """
    backbone = load_text_backbone(description["text_backbone"])
    values = {
        **description,
        "text": config_to_json(text_config_from(backbone.config)),
        "text_fingerprint": backbone.fingerprint,
        **settled,
    }
    model = make(config_from_json(config_class, values, "model"), backbone.tokenizer)
    load_text_weights(model.mot, backbone.model.state_dict(), backbone.config.model_type)
    model.mot.freeze_text()
    return model


def read_bimodal(
    path: str | Path,
    name: str,
    kind: str,
    config_class: type[Config],
    make: Callable[[Config, PreTrainedTokenizerBase], Model],
    progress: Callable[[str], None] | None = None,
) -> Model:
    """A model with the weights in a folder, its text frozen.

    Args:
        path: a folder that has a config and what `write_bimodal` wrote, or a hub id.
        name: what the config calls such a model.
        kind: what people do.
        config_class: of the config.
        make: the model with random weights for a config, around a tokenizer.
        progress: told about slow steps, such as the one-time conversion of the text backbone.

    Raises:
        CheckpointError: if the folder is no such model, or its weights do not fit its config.
        MissingDependencyError: if the text backbone is not on this machine.
    """
    folder = local_folder(path)
    config = config_from_json(config_class, read_config_of(folder, name, kind), str(folder))
    text_backbone, text_fingerprint = config.text_backbone, config.text_fingerprint
    tensors = read_tensors(folder / WEIGHTS_FILE)
    if text_backbone:
        text = next((name for name in tensors if name.startswith(TEXT_TENSORS)), None)
        if text is not None:
            raise CheckpointError(
                f"{folder}: unexpected tensor {text!r}; the text comes from {text_backbone}"
            )
        backbone = load_text_backbone(text_backbone, expected_fingerprint=text_fingerprint, progress=progress)
        model = make(config, backbone.tokenizer)
        load_text_weights(model.mot, backbone.model.state_dict(), backbone.config.model_type)
        tensors |= {
            name: tensor for name, tensor in model.state_dict().items() if name.startswith(TEXT_TENSORS)
        }
    else:
        model = make(config, load_tokenizer(folder / TOKENIZER_FOLDER))
    load_strictly(model, tensors, str(folder))  # type: ignore[arg-type]
    model.mot.freeze_text()
    return model


def write_bimodal(
    model: Bimodal,
    folder: Path,
    text_backbone: str,
    dtype: torch.dtype | None,
    exact: tuple[str, ...],
) -> None:
    """Write ``model.safetensors`` and, if the text branch is the model's own, the tokenizer.

    Args:
        model: what to write.
        folder: where to.
        text_backbone: name of the text backbone; empty to write the text branch too.
        dtype: of the weights in the file; None keeps theirs.
        exact: beginnings of the names of tensors that keep theirs in any case.
    """
    own: Mapping[str, Tensor] = model.state_dict()
    if text_backbone:
        own = {name: tensor for name, tensor in own.items() if not name.startswith(TEXT_TENSORS)}
    if dtype is not None:
        own = {name: tensor if name.startswith(exact) else tensor.to(dtype) for name, tensor in own.items()}
    write_tensors(folder / WEIGHTS_FILE, own)
    if not text_backbone:
        model.tokenizer.save_pretrained(folder / TOKENIZER_FOLDER)


def local_folder(path: str | Path) -> Path:
    """The folder of a model; a hub id is fetched into the hub's cache.

    Raises:
        InputError: if there is neither.
    """
    if Path(path).is_dir():
        return Path(path)
    name = str(path)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(f"no model at {name}: give a model folder, or a hub id like organisation/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(name, allow_patterns=["*.json", "*.safetensors", f"{TOKENIZER_FOLDER}/*"])
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"no folder {name}, and the hub has no such model or cannot be reached ({reason})"
        ) from None
