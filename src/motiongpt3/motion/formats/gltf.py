"""The glTF 2.0 container (Khronos, ISO/IEC 12113): a file to JSON and arrays, and back. It knows no skeleton.

A file is ``.glb`` (one binary file) or ``.gltf`` (JSON, with its numbers inside as base64, or in ``.bin``
files beside it). Nothing outside the file's own folder is opened, and every array is checked against the
bytes that are there before it is made.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file

MAX_FILE_BYTES = 512 * 2**20
MAX_JSON_BYTES = 64 * 2**20
MAX_VALUES = 2**26
"""In one array."""

_MAGIC, _VERSION = b"glTF", 2
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
FLOAT, UNSIGNED_BYTE, UNSIGNED_SHORT, UNSIGNED_INT = 5126, 5121, 5123, 5125
_TYPES: dict[int, np.dtype[Any]] = {
    5120: np.dtype("<i1"),
    UNSIGNED_BYTE: np.dtype("<u1"),
    5122: np.dtype("<i2"),
    UNSIGNED_SHORT: np.dtype("<u2"),
    UNSIGNED_INT: np.dtype("<u4"),
    FLOAT: np.dtype("<f4"),
}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963


@dataclass
class Gltf:
    """The contents of a file.

    Attributes:
        document: the JSON object.
        buffers: the bytes of each buffer.
        name: what to call the file in messages.
    """

    document: dict[str, Any]
    buffers: list[bytes]
    name: str

    def items(self, key: str) -> list[dict[str, Any]]:
        """A list of objects at the top of the document; empty if there is none.

        Raises:
            InputError: if it is no list of objects.
        """
        found = self.document.get(key, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise InputError(f"{self.name}: {key!r} is not a list of objects")
        return found

    def item(self, key: str, index: object) -> dict[str, Any]:
        """One object of a list at the top of the document.

        Raises:
            InputError: if the index is not of one.
        """
        found = self.items(key)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(found):
            raise InputError(f"{self.name}: there is no {key}[{index!r}]")
        return found[index]

    def array(self, index: object) -> np.ndarray:
        """The numbers of an accessor: (count, width) float64, normalised integers as their values.

        Raises:
            InputError: if the accessor does not lie within its bytes, is compressed or sparse, or holds NaN
                or infinity.
        """
        accessor = self.item("accessors", index)
        where = f"{self.name}: accessors[{index}]"
        dtype = _TYPES.get(_whole(accessor, "componentType", where))
        width = _WIDTHS.get(str(accessor.get("type")))
        if dtype is None or width is None:
            raise InputError(f"{where} has an unknown type; this file cannot be read")
        if "sparse" in accessor:
            raise InputError(f"{where} is sparse, which is not supported; export the file without it")
        count = _whole(accessor, "count", where)
        view = self.item("bufferViews", accessor.get("bufferView"))
        if view.get("extensions"):
            raise InputError(f"{where} is compressed; export the file without compression")
        buffer = _whole(view, "buffer", where)
        if buffer >= len(self.buffers):
            raise InputError(f"{where}: there is no buffers[{buffer}]")
        if count * width > MAX_VALUES:
            raise InputError(f"{where} has {count * width} values; arrays are read up to {MAX_VALUES}")
        length, size = _whole(view, "byteLength", where), dtype.itemsize * width
        stride = _whole(view, "byteStride", where, default=0) or size
        start, inside = (_whole(source, "byteOffset", where, default=0) for source in (view, accessor))
        end = inside + stride * (count - 1) + size if count else inside
        if stride < size or end > length or start + length > len(self.buffers[buffer]):
            raise InputError(f"{where}: {count} values do not fit the bytes it refers to; the file is broken")
        if not count:
            return np.zeros((0, width))
        rows = np.lib.stride_tricks.as_strided(
            np.frombuffer(self.buffers[buffer], np.uint8, stride * (count - 1) + size, start + inside),
            (count, size),
            (stride, 1),
        )
        values = np.ascontiguousarray(rows).view(dtype).astype(np.float64)
        if accessor.get("normalized") and dtype.kind in "iu":
            values = np.maximum(values / np.iinfo(dtype.type).max, -1.0)
        if not np.isfinite(values).all():
            raise InputError(f"{where} has NaN or infinite values")
        return values


def _whole(holder: Mapping[str, Any], key: str, where: str, default: int | None = None) -> int:
    value = holder.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**40:
        raise InputError(f"{where}: {key} should be a whole number, not {str(value)[:40]!r}")
    return value


def read_gltf(path: str | Path) -> Gltf:
    """Read a ``.glb`` or ``.gltf`` file, told apart by how it begins.

    Raises:
        InputError: if it is missing, broken, larger than 512 MiB, or refers to what is not in its folder.
    """
    path = Path(path)
    data = _read_bytes(path, MAX_FILE_BYTES)
    if data[:4] == _MAGIC:
        text, binary = _split_glb(data, path)
    else:
        text, binary = data, None
    document = _parse(text, path)
    version = document.get("asset", {}).get("version") if isinstance(document.get("asset"), dict) else None
    if not str(version).startswith("2."):
        raise InputError(f"{path}: glTF of version {str(version)[:20]}; only 2.0 is read")
    gltf = Gltf(document, [], str(path))
    budget = MAX_FILE_BYTES
    for index, buffer in enumerate(gltf.items("buffers")):
        gltf.buffers.append(_buffer(buffer, index, binary, path, budget))
        budget -= len(gltf.buffers[-1])
    return gltf


def _split_glb(data: bytes, path: Path) -> tuple[bytes, bytes | None]:
    if len(data) < 20:
        raise InputError(f"{path}: cut short: {len(data)} bytes are no .glb file")
    version, length = struct.unpack_from("<II", data, 4)
    if version != _VERSION:
        raise InputError(f"{path}: .glb of version {version}; only 2 is read")
    if length > len(data):
        raise InputError(f"{path}: cut short: {length} bytes announced, {len(data)} found")
    chunks: list[tuple[int, bytes]] = []
    place = 12
    while place + 8 <= length and len(chunks) < 16:
        size, kind = struct.unpack_from("<II", data, place)
        if place + 8 + size > length:
            raise InputError(f"{path}: a chunk of {size} bytes does not fit the file; it is broken")
        chunks.append((kind, data[place + 8 : place + 8 + size]))
        place += 8 + size
    if not chunks or chunks[0][0] != _JSON_CHUNK:
        raise InputError(f"{path}: the first chunk is not JSON; the file is broken")
    binary = next((contents for kind, contents in chunks[1:] if kind == _BINARY_CHUNK), None)
    return chunks[0][1], binary


def _parse(text: bytes, path: Path) -> dict[str, Any]:
    if len(text) > MAX_JSON_BYTES:
        raise InputError(f"{path}: {len(text) / 2**20:.0f} MiB of JSON; up to 64 are read")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a glTF file ({str(error)[:100]})") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: not a glTF file: the JSON is no object")
    return document


def _buffer(buffer: dict[str, Any], index: int, binary: bytes | None, path: Path, budget: int) -> bytes:
    where = f"{path}: buffers[{index}]"
    length = _whole(buffer, "byteLength", where)
    uri = buffer.get("uri")
    if uri is None:
        if index or binary is None:
            raise InputError(f"{where} has no contents; the file is cut short")
        contents = binary
    elif not isinstance(uri, str):
        raise InputError(f"{where}: its uri is no text")
    elif uri.startswith("data:"):
        try:
            contents = base64.b64decode(uri.partition(",")[2], validate=True)
        except (binascii.Error, ValueError) as error:
            raise InputError(f"{where}: its base64 is broken ({error})") from error
    else:
        contents = _read_bytes(_beside(path, unquote(uri), where), budget)
    if len(contents) < length:
        raise InputError(f"{where}: cut short: {length} bytes announced, {len(contents)} found")
    return contents


def _beside(path: Path, uri: str, where: str) -> Path:
    relative = Path(uri)
    inside = "\0" not in uri and ":" not in uri and not relative.is_absolute() and ".." not in relative.parts
    if not inside:
        raise InputError(f"{where} refers to {uri[:60]!r}; only files beside the .gltf file are opened")
    return path.parent / relative


def _read_bytes(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise InputError(
                f"{path}: {size / 2**20:.0f} MiB; glTF files are read up to {limit // 2**20} MiB in all"
            )
        with path.open("rb") as file:
            return file.read(limit)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


@dataclass
class GltfBuilder:
    """Collects a document and its numbers.

    Attributes:
        document: top-level lists by name, in glTF's own form.
        binary: the bytes of the one buffer.
    """

    document: dict[str, Any] = field(default_factory=dict)
    binary: bytearray = field(default_factory=bytearray)

    def add(self, key: str, item: dict[str, Any]) -> int:
        """Append an object to a list of the document; its index."""
        found: list[dict[str, Any]] = self.document.setdefault(key, [])
        found.append(item)
        return len(found) - 1

    def array(
        self,
        values: np.ndarray,
        kind: str,
        component: int = FLOAT,
        target: int | None = None,
        bounds: bool = False,
        normalized: bool = False,
    ) -> int:
        """Add numbers as an accessor; its index.

        Args:
            values: (count, width).
            kind: "SCALAR", "VEC3" ...
            component: componentType, e.g. `FLOAT`.
            target: of the buffer view, for vertices and indices.
            bounds: whether to write min and max, as positions and times need.
            normalized: whether integers stand for 0 to 1.
        """
        packed = np.ascontiguousarray(values, dtype=_TYPES[component])
        self.binary.extend(bytes(-len(self.binary) % 4))
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": packed.nbytes}
        if target is not None:
            view["target"] = target
        self.binary.extend(packed.tobytes())
        accessor: dict[str, Any] = {
            "bufferView": self.add("bufferViews", view),
            "componentType": component,
            "count": len(packed),
            "type": kind,
        }
        if normalized:
            accessor["normalized"] = True
        if bounds:
            rows = packed.reshape(len(packed), -1)
            accessor["min"], accessor["max"] = rows.min(0).tolist(), rows.max(0).tolist()
        return self.add("accessors", accessor)

    def write(self, path: str | Path) -> None:
        """Write ``.glb``, or for the ending ``.gltf`` JSON with the numbers as base64."""
        path = Path(path)
        buffer: dict[str, Any] = {"byteLength": len(self.binary)}
        document = {**self.document, "buffers": [buffer]}
        if path.suffix.lower() == ".gltf":
            buffer["uri"] = "data:application/octet-stream;base64," + base64.b64encode(self.binary).decode()
            contents = json.dumps(document, allow_nan=False).encode()
        else:
            text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
            text += b" " * (-len(text) % 4)
            binary = bytes(self.binary) + bytes(-len(self.binary) % 4)
            length = 12 + 8 + len(text) + 8 + len(binary)
            contents = b"".join(
                [
                    struct.pack("<4sII", _MAGIC, _VERSION, length),
                    struct.pack("<II", len(text), _JSON_CHUNK),
                    text,
                    struct.pack("<II", len(binary), _BINARY_CHUNK),
                    binary,
                ]
            )
        with atomic_file(path) as temporary:
            temporary.write_bytes(contents)


def numbers(holder: Mapping[str, Any], key: str, default: Sequence[float], where: str) -> np.ndarray:
    """A row of finite numbers out of a JSON object, as float64.

    Raises:
        InputError: if it has another length, or anything but finite numbers.
    """
    values = holder.get(key, default)
    if (
        not isinstance(values, list | tuple)
        or len(values) != len(default)
        or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        or not all(abs(v) < 1e30 for v in values)
    ):
        raise InputError(f"{where}: {key} should be {len(default)} finite numbers, not {str(values)[:60]}")
    return np.array([float(v) for v in values])
