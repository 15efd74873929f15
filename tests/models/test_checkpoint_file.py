"""Checkpoint files of others: every layout is read, the rest is thrown away, and nothing in them runs."""

from __future__ import annotations

import os
import pickle
import sys
import tarfile
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from motiongpt3.errors import CheckpointError, InputError
from motiongpt3.models.checkpoint_file import read_checkpoint

STATE = {"vae.weight": torch.arange(6.0).reshape(2, 3), "lm.bias": torch.tensor([1.5])}


def assert_is_the_state(path: Path) -> None:
    read = read_checkpoint(path)
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in STATE.items())


class Config:
    """Stands for a class of a package that is not installed where the checkpoint is read."""

    touched: tuple[str, ...] = ()

    def __init__(self, **values: Any) -> None:
        self.values = values

    def __getstate__(self) -> dict[str, Any]:
        return {"_content": self.values, "_parent": None}

    def __setstate__(self, state: Any) -> None:
        Config.touched += ("setstate",)


class EasyDict(dict):  # type: ignore[type-arg]
    """Stands for a dictionary of such a package."""

    def __setitem__(self, key: Any, value: Any) -> None:
        Config.touched += ("setitem",)


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes above, where packages of training code have theirs."""
    for kind, module in ((Config, "omegaconf.dictconfig"), (EasyDict, "easydict")):
        for name in (module.partition(".")[0], module):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        setattr(sys.modules[module], kind.__name__, kind)
        monkeypatch.setattr(kind, "__module__", module)
    monkeypatch.setattr(Config, "touched", ())


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_found_at_any_depth(depth: int, zipped: bool, tmp_path: Path) -> None:
    content: dict[str, Any] = STATE
    for _ in range(depth):
        content = {"epoch": 3, "state_dict": content}
    torch.save(content, tmp_path / "file.pth", _use_new_zipfile_serialization=zipped)
    assert_is_the_state(tmp_path / "file.pth")


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "file.safetensors")
    assert_is_the_state(tmp_path / "file.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_what_training_leaves_in_a_checkpoint_is_not_brought_to_life(
    foreign: None, zipped: bool, tmp_path: Path
) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    content = {
        "state_dict": STATE,
        "hyper_parameters": {
            "cfg": Config(lm=[1, 2.5, "three"], nested=Config()),
            "lists": EasyDict(a=1, b=[Config()]),
            "root": Path("experiments"),
            "kinds": [int, str, list, type(None), Any],
            "counts": defaultdict(int, {"a": 1}),
            "best": np.float64(3.0),
            "curve": np.arange(3),
        },
        "hparams_type": Config,
        "optimizer_states": [optimizer.state_dict()],
        "pytorch-lightning_version": torch.__version__,
    }
    torch.save(content, tmp_path / "last.ckpt", _use_new_zipfile_serialization=zipped)
    # While a dictionary is written it is not filled.
    Config.touched = ()
    assert_is_the_state(tmp_path / "last.ckpt")
    assert Config.touched == ()


class Hostile:
    """Makes whoever unpickles it create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


class Evaluated(Hostile):
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"open({str(self.path)!r}, 'w')",)


class Fetched(Hostile):
    def __reduce__(self) -> tuple[Any, ...]:
        return torch.load, (str(self.path),)


@pytest.mark.parametrize("place", ["beside", "among", "alone"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Hostile, f"{os.system.__module__}.system"),
        (Evaluated, "builtins.eval"),
        (Fetched, "torch.serialization.load"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_files_are_refused_by_what_they_call(
    kind: type[Hostile], name: str, place: str, zipped: bool, tmp_path: Path
) -> None:
    created, path = tmp_path / "created", tmp_path / "hostile.pth"
    trap = kind(created)
    content = {"beside": {"state_dict": STATE, "extra": trap}, "among": STATE | {"x": trap}, "alone": trap}[
        place
    ]
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=name) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert not created.exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    created = tmp_path / "created"
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Hostile(created), protocol=2))
    (tmp_path / "newer.pth").write_bytes(pickle.dumps(Hostile(created)))
    for name in ("bare.pth", "newer.pth"):
        with pytest.raises(CheckpointError, match=name):
            read_checkpoint(tmp_path / name)
    assert not created.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.95])
def test_truncated_files_are_refused(kept: float, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(CheckpointError, match=r"half\.pth: not a readable checkpoint"):
        read_checkpoint(path)


def test_truncated_safetensors_are_refused(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "half.safetensors")
    data = (tmp_path / "half.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(data[:-4])
    with pytest.raises(CheckpointError, match="half"):
        read_checkpoint(tmp_path / "half.safetensors")


@pytest.mark.parametrize(
    "content",
    [
        {"epoch": 3, "model": STATE},
        {"state_dict": STATE, "x": 1} | {"state_dict": {"w": [1.0]}},
        {"w": torch.zeros(2).to_sparse()},
        {"w": torch.zeros(2, device="meta")},
        {"w": torch.zeros(1).expand(10**12)},
        {3: torch.zeros(2)},
        [torch.zeros(2)],
        {},
    ],
)
def test_something_else_than_tensors_by_name_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "else.pth")
    with pytest.raises(CheckpointError, match=r"else\.pth: .*state_dict"):
        read_checkpoint(tmp_path / "else.pth")


def test_a_dictionary_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["state_dict"] = content
    torch.save(content, tmp_path / "loop.pth")
    with pytest.raises(CheckpointError, match="loop"):
        read_checkpoint(tmp_path / "loop.pth")


def test_archives_folders_and_absent_files_are_named(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "model.pth")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "model.pth", "model.pth")
    with pytest.raises(CheckpointError, match="unpack it"):
        read_checkpoint(tmp_path / "model.tar.gz")
    with pytest.raises(InputError, match="is a folder"):
        read_checkpoint(tmp_path)
    with pytest.raises(InputError, match="no checkpoint"):
        read_checkpoint(tmp_path / "absent.pth")
