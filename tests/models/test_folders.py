"""Model folders: what is read is exactly what was meant, or refused in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from motiongpt3.errors import CheckpointError, ConfigError, MotionGPT3Error
from motiongpt3.models.folders import (
    build_kind,
    config_from_json,
    config_to_json,
    load_strictly,
    read_config,
    read_tensors,
    write_config,
    write_tensors,
)


@dataclass(frozen=True)
class Inner:
    """A part of a config."""

    size: int


@dataclass(frozen=True)
class Outer:
    """A config with a field of every type in use."""

    count: int
    rate: float
    name: str
    flag: bool
    layers: tuple[int, ...]
    inner: Inner
    anything: dict[str, Any]
    spare: int = 7


VALUES = {
    "count": 3,
    "rate": 0.5,
    "name": "x",
    "flag": True,
    "layers": [1, 2],
    "inner": {"size": 4},
    "anything": {"kind": "k", "list": [1]},
}
CONFIG = Outer(3, 0.5, "x", True, (1, 2), Inner(4), {"kind": "k", "list": [1]})


def one_line(error: pytest.ExceptionInfo[MotionGPT3Error]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_config_goes_to_json_and_back() -> None:
    assert config_from_json(Outer, VALUES, "config") == CONFIG
    written = json.loads(json.dumps(config_to_json(CONFIG)))
    assert written == {**VALUES, "spare": 7}
    assert config_from_json(Outer, written, "config") == CONFIG


def test_whole_number_is_a_rate_too() -> None:
    rate = config_from_json(Outer, {**VALUES, "rate": 2}, "config").rate
    assert rate == 2.0
    assert isinstance(rate, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "config: unknown field 'colour'; known are count, rate"),
        ({"count": "3"}, "config.count: expected int, found '3'"),
        ({"count": 3.0}, "config.count: expected int, found 3.0"),
        ({"count": True}, "config.count: expected int, found True"),
        ({"count": [3]}, "config.count: expected int, found [3]"),
        ({"rate": True}, "config.rate: expected float, found True"),
        ({"name": None}, "config.name: expected str, found None"),
        ({"flag": 1}, "config.flag: expected bool, found 1"),
        ({"layers": 3}, "config.layers: expected list, found 3"),
        ({"layers": "12"}, "config.layers: expected list, found '12'"),
        ({"layers": [1, "2"]}, "config.layers: expected int, found '2'"),
        ({"inner": {}}, "config.inner: field 'size' is missing"),
        ({"inner": 4}, "config.inner: expected an object with fields, found int"),
        ({"anything": []}, "config.anything: expected object, found []"),
    ],
)
def test_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config_from_json(Outer, {**VALUES, **change}, "config")
    assert message in one_line(raised)


@pytest.mark.parametrize("name", sorted(VALUES))
def test_missing_field_is_named(name: str) -> None:
    values = {key: value for key, value in VALUES.items() if key != name}
    with pytest.raises(ConfigError, match=f"config: field '{name}' is missing"):
        config_from_json(Outer, values, "config")


def linear(config: Inner) -> nn.Linear:
    return nn.Linear(config.size, 12 // config.size)


def test_kind_decides_what_is_built() -> None:
    kinds = {"linear": (linear, Inner), "plain": (Inner, Inner)}
    built = build_kind({"kind": "linear", "size": 4}, kinds, "part")
    assert isinstance(built, nn.Linear)
    assert built.in_features == 4
    assert build_kind({"kind": "plain", "size": 4}, kinds, "part") == Inner(4)
    for values in ({"kind": "square", "size": 4}, {"size": 4}, {"kind": ["linear"]}, None, 3, "linear"):
        with pytest.raises(ConfigError, match=r"part\.kind: .* is not one of linear, plain"):
            build_kind(values, kinds, "part")


@pytest.mark.parametrize("size", [0, -2])
def test_impossible_size_is_a_config_error(size: int) -> None:
    with pytest.raises(ConfigError) as raised:
        build_kind({"kind": "linear", "size": size}, {"linear": (linear, Inner)}, "part")
    assert one_line(raised).startswith("part: ")


def test_config_file_round_trip(tmp_path: Path) -> None:
    write_config(tmp_path / "model", VALUES)
    assert read_config(tmp_path / "model") == VALUES
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1', "cannot be read as JSON"),
        (b"\xff\xfe{}", "cannot be read as JSON"),
        (b"[1, 2]", "expected a JSON object"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
    ],
)
def test_broken_config_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as raised:
        read_config(tmp_path)
    assert str(tmp_path) in one_line(raised)


def test_folder_without_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json; this is not a model folder"):
        read_config(tmp_path)


def layer() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    module.register_buffer("steps", torch.tensor(5))
    return module


def test_tensors_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.safetensors"
    shared = torch.randn(4, 3)
    tensors = {"a": shared, "b": shared, "c": shared.T, "d": torch.tensor(3), "e": shared.half()}
    write_tensors(path, tensors)
    read = read_tensors(path)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"a": torch.ones(2)})
    with pytest.raises(TypeError):
        write_tensors(path, {"a": torch.zeros(2), 3: torch.zeros(2)})  # type: ignore[dict-item]
    assert torch.equal(read_tensors(path)["a"], torch.ones(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    "change", [lambda data: data[:-3], lambda data: data[:20], lambda data: b"", lambda data: b"PK" + data]
)
def test_damaged_tensors_are_refused(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_tensors(path, layer().state_dict())
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match="not a readable safetensors file") as raised:
        read_tensors(path)
    assert str(path) in one_line(raised)


def test_missing_tensors_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file; the model folder is incomplete"):
        read_tensors(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": None}, "1 tensors are missing, first 'bias'"),
        ({"weight": None, "bias": None}, "2 tensors are missing, first 'bias'"),
        ({"gate": torch.ones(2)}, "1 unexpected tensors, first 'gate'"),
        ({"weight": torch.ones(2, 2)}, "'weight' has shape (2, 2), the config asks for (2, 3)"),
        ({"weight": torch.ones(6)}, "'weight' has shape (6,), the config asks for (2, 3)"),
        ({"bias": torch.tensor([1.0, float("nan")])}, "'bias' holds NaN or infinite values"),
        ({"bias": torch.tensor([1.0, float("inf")])}, "'bias' holds NaN or infinite values"),
        ({"bias": torch.tensor([1.0, 1e300], dtype=torch.float64)}, "'bias' holds NaN or infinite values"),
        (
            {"bias": torch.tensor([float("nan"), 0]).to(torch.float8_e5m2)},
            "'bias' holds NaN or infinite values",
        ),
        (
            {"bias": torch.tensor([1, 2])},
            "'bias' is stored as torch.int64, the config asks for torch.float32",
        ),
        ({"steps": torch.tensor(1.5)}, "'steps' is stored as torch.float32, the config asks for torch.int64"),
    ],
)
def test_tensors_must_fit(change: dict[str, Tensor | None], message: str) -> None:
    module = layer()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    # Another value for a tensor that is read before the wrong one: it must not get in.
    tensors = {**before, "weight": before["weight"] + 1, **change}
    with pytest.raises(CheckpointError, match=re.escape(message)) as raised:
        load_strictly(module, {name: t for name, t in tensors.items() if t is not None}, "models/x")
    assert one_line(raised).startswith("models/x: ")
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_half_precision_is_cast(tmp_path: Path) -> None:
    tensors = layer().state_dict()
    save_file(
        {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}, tmp_path / "half"
    )
    module = layer()
    load_strictly(module, read_tensors(tmp_path / "half"), "half")
    assert module.weight.dtype == torch.float32
    assert torch.equal(module.weight, tensors["weight"].half().float())
