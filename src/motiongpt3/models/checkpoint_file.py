"""Tensors by name from a checkpoint file that somebody else made, without running anything that is in it.

A torch checkpoint is a pickle: a program that names functions and calls them. torch's restricted reader
(``weights_only``) calls nothing but what rebuilds tensors, and refuses training checkpoints, which also name
configs, paths and the like. Here every such name stands for an empty class of ours: nothing of the packages
that it comes from is imported or called, and what it would have made is thrown away. A name that has no place
in a checkpoint, such as ``os.system``, refuses the whole file.
"""

from __future__ import annotations

import pickletools
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from motiongpt3.errors import CheckpointError, InputError
from motiongpt3.models.folders import read_tensors

ZIP_START = b"PK\x03\x04"
# torch's older format: magic number, protocol and system, then the content; storages follow.
LEGACY_PICKLES = 4
DEEPEST_NESTING = 3

# Names that torch itself knows, or refuses.
LEFT_TO_TORCH = {
    "_codecs.encode",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.set",
    "collections.Counter",
    "collections.OrderedDict",
}
# What training checkpoints of this field hold beside tensors; in packages any name, otherwise only these.
HARMLESS_PACKAGES = {
    "easydict",
    "lightning",
    "lightning_fabric",
    "mGPT",
    "mld",
    "motGPT",
    "numpy",
    "omegaconf",
    "pathlib",
    "pytorch_lightning",
    "torchmetrics",
    "typing",
    "yacs",
}
HARMLESS_NAMES = {
    *(f"builtins.{name}" for name in ("bool", "bytes", "dict", "float", "frozenset", "int", "list")),
    *(f"builtins.{name}" for name in ("object", "range", "slice", "str", "tuple", "type")),
    "_operator.getitem",  # Optional[int] and the like
    "argparse.Namespace",
    "collections.defaultdict",
    "datetime.datetime",
    "datetime.timedelta",
    "torch.torch_version.TorchVersion",
    "types.SimpleNamespace",
}
DICTIONARIES = {"AttributeDict", "CfgNode", "EasyDict", "defaultdict"}
# Python 2's names, which the pickle protocol of torch.save still writes.
OLD_BUILTINS = {"long": "int", "unicode": "str", "xrange": "range"}


class Inert:
    """Stands for a class or function whose results nobody needs: takes anything and does nothing."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class InertDictionary:
    """Stands for a subclass of dict: torch fills nothing but plain ones."""

    def __new__(cls, *arguments: Any) -> Any:
        return OrderedDict()


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    Args:
        path: a safetensors file (by its suffix) or what ``torch.save`` wrote, in its old or new format; with
            the tensors at the top, in ``state_dict``, or in a ``state_dict`` within that.

    Raises:
        InputError: there is no such file.
        CheckpointError: it is damaged, hostile, or something else than tensors by name.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the checkpoint file in it")
    if not path.is_file():
        raise InputError(f"no checkpoint {path}")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    if tarfile.is_tarfile(path):
        raise CheckpointError(f"{path}: an archive of files; unpack it and give the checkpoint in it")
    return _tensors_by_name(read_content(path), path)


def read_content(path: Path) -> Any:
    """What ``torch.save`` wrote, on the CPU; whatever is neither tensor, number, text nor container is inert.

    Raises:
        CheckpointError: it is damaged or hostile.
    """
    try:
        return _load(path)
    except CheckpointError:
        raise
    # A damaged pickle can end in any kind of error.
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a readable checkpoint ({_reason(error)}); fetch it again"
        ) from None


def _load(path: Path) -> Any:
    stand_ins: list[Any] = []
    for module, name in sorted(set(_called_names(path))):
        full_name = f"{module}.{name}"
        package = module.partition(".")[0]
        if full_name in HARMLESS_NAMES or package in HARMLESS_PACKAGES:
            kind = InertDictionary if name in DICTIONARIES else Inert
            stand_ins.append(type(name, (kind,), {"__module__": module}))
        elif full_name not in LEFT_TO_TORCH and package != "torch":
            raise CheckpointError(
                f"{path}: reading it would call {full_name}, which has no place in a checkpoint; nothing was "
                "run. Distrust this file, or ask its maker for the bare state_dict"
            )
    with torch.serialization.safe_globals(stand_ins):
        return torch.load(path, map_location="cpu", weights_only=True)


def _called_names(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of all that the pickles of a file refer to. Their instructions are only listed."""
    with path.open("rb") as file:
        is_zip = file.read(len(ZIP_START)) == ZIP_START
        file.seek(0)
        if is_zip:
            with zipfile.ZipFile(file) as archive:
                for entry in archive.namelist():
                    if entry.endswith(".pkl"):
                        yield from _globals(archive.read(entry))
        else:
            for _ in range(LEGACY_PICKLES):
                yield from _globals(file)


def _globals(pickle: bytes | IO[bytes]) -> Iterator[tuple[str, str]]:
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            yield ("builtins", OLD_BUILTINS.get(name, name)) if module == "__builtin__" else (module, name)


def _tensors_by_name(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(DEEPEST_NESTING):
        if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
            content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: holds no tensors by name; give a checkpoint with a state_dict")
    tensors = {}
    for name, value in content.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise CheckpointError(
                f"{path}: {name!r} is not a plain tensor but a {type(value).__name__}; "
                "give a checkpoint with a state_dict"
            )
        tensors[name] = value.detach()
    return tensors


def _is_plain(value: Any) -> bool:
    """Whether it is a dense tensor on the CPU, with memory for each of its numbers."""
    return (
        type(value) in (Tensor, torch.nn.Parameter)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _reason(error: Exception) -> str:
    """What torch found, without its advice to switch the protection off."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    return text.splitlines()[0].partition(". ")[0].rstrip(".") if text else type(error).__name__
