"""Model folders: a ``config.json`` beside safetensors, written atomically and read strictly.

A config is a frozen dataclass; in JSON it is a plain object, and where several kinds are possible the object
has a ``kind``. Reading refuses what it does not know: an unknown or missing field, a missing, unexpected,
misshapen or non-finite tensor.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from motiongpt3.errors import CheckpointError, ConfigError
from motiongpt3.files import atomic_file
from motiongpt3.models.locate import CONFIG_FILE

Config = TypeVar("Config")
Built = TypeVar("Built")

WEIGHTS_FILE = "model.safetensors"


def config_to_json(config: Any) -> dict[str, Any]:
    """A dataclass as JSON-ready values (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def config_from_json(cls: type[Config], values: Any, where: str) -> Config:
    """Build the dataclass ``cls`` from JSON values; every field must be there and no other.

    Args:
        cls: a dataclass; fields that are dataclasses themselves are built in turn, lists become tuples, and
            fields with a default may be left out.
        values: a mapping, usually from `read_config`.
        where: what is being read, for the error message.

    Raises:
        ConfigError: naming the unknown, missing or mistyped field.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected an object with fields, found {type(values).__name__}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ConfigError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(fields)}")
    hints = get_type_hints(cls)
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _field_from_json(hints[name], values[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: field {name!r} is missing")
    return build(lambda: cls(**arguments), where)


def _field_from_json(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return config_from_json(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_field_from_json(get_args(hint)[0], item, where) for item in value)
    if hint is float and type(value) is int:
        return float(value)
    kind = get_origin(hint) or hint
    if kind in (int, float, str, bool, tuple, dict) and type(value) is not kind:
        expected = "list" if kind is tuple else "object" if kind is dict else kind.__name__
        raise ConfigError(f"{where}: expected {expected}, found {value!r}")
    return value


def build_kind(values: Any, kinds: Mapping[str, tuple[Callable[..., Any], type]], where: str) -> Any:
    """Build what a JSON object with a ``kind`` describes.

    Args:
        values: the ``kind`` and the fields of its config.
        kinds: for each kind what makes it, and the config class that this is called with (the same twice if
            the config is the thing itself).
        where: for error messages.

    Raises:
        ConfigError: for an unknown kind, a wrong field, or sizes that nothing can be built with.
    """
    fields = dict(values) if isinstance(values, Mapping) else {}
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise ConfigError(f"{where}.kind: {kind!r} is not one of {', '.join(kinds)}")
    make, config = kinds[kind]
    read: Any = config_from_json(config, fields, where)
    return read if make is config else build(lambda: make(read), where)


def build(make: Callable[[], Built], where: str) -> Built:
    """Call ``make``, and say of which part of a config it is that nothing can be built of its sizes.

    Raises:
        ConfigError: for what Python and torch say of sizes that are zero, negative, or larger than memory.
    """
    try:
        return make()
    except (ArithmeticError, AssertionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{where}: nothing has these sizes ({' '.join(str(error).split())})") from error


def read_config(folder: str | Path) -> dict[str, Any]:
    """The JSON object in ``config.json`` of a model folder.

    Raises:
        CheckpointError: if the folder has none or it is not a JSON object.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: no {CONFIG_FILE}; this is not a model folder") from None
    # A hostile file may be nested deeper than the parser recurses.
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object")
    return values


def read_config_of(folder: str | Path, name: str, kind: str) -> dict[str, Any]:
    """What `read_config` finds, without the ``model`` in it, which must be ``name``.

    Args:
        folder: of the model.
        name: what the config of such a model calls it.
        kind: what people do, with its article.

    Raises:
        CheckpointError: if the folder has no config, or one of another kind of model.
    """
    values = read_config(folder)
    found = values.pop("model", None)
    if found != name:
        raise CheckpointError(f"{folder}: not {kind} (its config says model = {found!r}, not {name!r})")
    return values


def write_config(folder: str | Path, values: Mapping[str, Any]) -> None:
    """Write ``config.json``, atomically."""
    with atomic_file(Path(folder) / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    Raises:
        CheckpointError: if the file is missing, truncated, or not safetensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; the model folder is incomplete")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}); fetch it again") from None


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, atomically."""
    # Copies, because safetensors refuses tensors that share memory.
    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_file(path) as temporary:
        save_file(ready, temporary, metadata={"format": "pt"})


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Fill every parameter and buffer of ``module``, cast to its own dtype.

    Raises:
        CheckpointError: naming the first missing, unexpected, misshapen or non-finite tensor; nothing is
            changed then.
    """
    expected = module.state_dict()
    missing = sorted(set(expected) - set(tensors))
    if missing:
        raise CheckpointError(
            f"{where}: {len(missing)} tensors are missing, first {missing[0]!r}; fetch it again"
        )
    unexpected = sorted(set(tensors) - set(expected))
    if unexpected:
        raise CheckpointError(
            f"{where}: {len(unexpected)} unexpected tensors, first {unexpected[0]!r}; "
            "the weights do not belong to this config"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            found, wanted = tuple(tensor.shape), tuple(expected[name].shape)
            raise CheckpointError(f"{where}: {name!r} has shape {found}, the config asks for {wanted}")
        dtype = expected[name].dtype
        if tensor.is_floating_point() != dtype.is_floating_point:
            raise CheckpointError(
                f"{where}: {name!r} is stored as {tensor.dtype}, the config asks for {dtype}"
            )
        # After the cast: a large float64 is infinite as float32.
        if not torch.isfinite(tensor.to(dtype)).all():
            raise CheckpointError(f"{where}: {name!r} holds NaN or infinite values; the file is damaged")
    module.load_state_dict(dict(tensors))
