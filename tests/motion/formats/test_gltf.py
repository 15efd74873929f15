from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motiongpt3.errors import InputError
from motiongpt3.motion.formats import read_motion, write_glb
from motiongpt3.motion.formats.gltf import FLOAT, UNSIGNED_BYTE, Gltf, GltfBuilder, read_gltf
from motiongpt3.motion.formats.joint_names import NAMINGS
from motiongpt3.motion.motion import Motion
from tests.motion.bodies import standing
from tests.motion.formats.gltf_files import Made
from tests.motion.formats.test_gltf_motion import rig


def glb(document: object, binary: bytes = b"", version: int = 2, length: int | None = None) -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    if binary:
        chunks += struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<4sII", b"glTF", version, len(chunks) + 12 if length is None else length) + chunks


ASSET = {"asset": {"version": "2.0"}}


def test_arrays_come_back(tmp_path: Path) -> None:
    builder = GltfBuilder({"asset": {"version": "2.0"}})
    odd = builder.array(np.arange(5)[:, None], "SCALAR", UNSIGNED_BYTE)
    matrix = builder.array(np.arange(32).reshape(2, 16) / 7, "MAT4", bounds=True)
    half = builder.array(np.array([[0, 255, 51]]), "VEC3", UNSIGNED_BYTE, normalized=True)
    for suffix in (".glb", ".gltf"):
        builder.write(tmp_path / f"a{suffix}")
        gltf = read_gltf(tmp_path / f"a{suffix}")
        assert np.array_equal(gltf.array(odd)[:, 0], np.arange(5))
        np.testing.assert_allclose(gltf.array(matrix), np.arange(32).reshape(2, 16) / 7, rtol=1e-6)
        np.testing.assert_allclose(gltf.array(half), [[0, 1, 0.2]])
        assert gltf.document["accessors"][matrix]["max"][15] == pytest.approx(31 / 7)


def test_interleaved_arrays_are_read() -> None:
    data = np.arange(24, dtype="<f4")
    gltf = Gltf(
        {
            "accessors": [
                {"bufferView": 0, "byteOffset": 4, "componentType": FLOAT, "count": 4, "type": "VEC3"}
            ],
            "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": 96, "byteStride": 24}],
        },
        [data.tobytes()],
        "clip.glb",
    )
    assert np.array_equal(gltf.array(0), data.reshape(4, 6)[:, 1:4])


VIEW = {"buffer": 0, "byteLength": 48}
ACCESSOR = {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"}


@pytest.mark.parametrize(
    ("accessor", "view", "message"),
    [
        ({"count": 5}, {}, "do not fit the bytes"),
        ({"count": 10**9}, {}, "arrays are read up to"),
        ({"count": 10**15}, {}, "whole number"),
        ({"count": -1}, {}, "whole number"),
        ({"count": 1.5}, {}, "whole number"),
        ({"byteOffset": 4}, {}, "do not fit the bytes"),
        ({}, {"byteOffset": 4}, "do not fit the bytes"),
        ({}, {"byteLength": 4000}, "do not fit the bytes"),
        ({}, {"byteStride": 8}, "do not fit the bytes"),
        ({}, {"buffer": 3}, r"no buffers\[3\]"),
        ({}, {"extensions": {"EXT_meshopt_compression": {}}}, "compressed"),
        ({"sparse": {}}, {}, "sparse"),
        ({"type": "VEC9"}, {}, "unknown type"),
        ({"componentType": 1}, {}, "unknown type"),
        ({"bufferView": 7}, {}, r"no bufferViews\[7\]"),
        ({"bufferView": None}, {}, r"no bufferViews\[None\]"),
    ],
)
def test_arrays_must_lie_within_the_file(
    accessor: dict[str, Any], view: dict[str, Any], message: str
) -> None:
    gltf = Gltf({"accessors": [ACCESSOR | accessor], "bufferViews": [VIEW | view]}, [bytes(48)], "clip.glb")
    with pytest.raises(InputError, match=message):
        gltf.array(0)
    assert Gltf({"accessors": [ACCESSOR], "bufferViews": [VIEW]}, [bytes(48)], "a").array(0).shape == (4, 3)


def test_values_must_be_finite() -> None:
    data = np.array([1, np.nan, 2], "<f4").tobytes()
    gltf = Gltf(
        {"accessors": [ACCESSOR | {"count": 1}], "bufferViews": [VIEW | {"byteLength": 12}]}, [data], "a"
    )
    with pytest.raises(InputError, match="NaN"):
        gltf.array(0)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "not a glTF file"),
        (b"glTF", "cut short"),
        (glb(ASSET, version=1), "of version 1"),
        (glb(ASSET, length=10**6), "cut short: 1000000 bytes announced"),
        (glb(ASSET)[:-3], "cut short"),
        (struct.pack("<4sIIII", b"glTF", 2, 20, 4000, 0x4E4F534A), "a chunk of 4000 bytes"),
        (struct.pack("<4sIIII", b"glTF", 2, 20, 0, 1), "the first chunk is not JSON"),
        (glb(b"{"), "not a glTF file"),
        (glb(b"[" * 100_000), "not a glTF file"),
        (glb([]), "the JSON is no object"),
        (glb({}), "only 2.0 is read"),
        (glb({"asset": []}), "only 2.0 is read"),
        (glb({"asset": {"version": "1.0"}}), "glTF of version 1.0"),
        (glb(ASSET | {"buffers": 3}), "'buffers' is not a list"),
        (glb(ASSET | {"buffers": [3]}), "'buffers' is not a list"),
        (glb(ASSET | {"buffers": [{"byteLength": 4}]}), "has no contents"),
        (glb(ASSET | {"buffers": [{"byteLength": 400}]}, b"1234"), "cut short: 400 bytes announced, 4 found"),
        (glb(ASSET | {"buffers": [{"byteLength": 4, "uri": 5}]}), "its uri is no text"),
        (glb(ASSET | {"buffers": [{"byteLength": 4, "uri": "data:;base64,???"}]}), "its base64 is broken"),
        (glb(ASSET | {"buffers": [{"byteLength": 4, "uri": "../secret"}]}), "only files beside"),
        (glb(ASSET | {"buffers": [{"byteLength": 4, "uri": "%2e%2e/secret"}]}), "only files beside"),
        (glb(ASSET | {"buffers": [{"byteLength": 4, "uri": "/etc/passwd"}]}), "only files beside"),
        (
            glb(ASSET | {"buffers": [{"byteLength": 4, "uri": "http://example.org/a.bin"}]}),
            "only files beside",
        ),
        (glb(ASSET | {"buffers": [{"byteLength": 4, "uri": "missing.bin"}]}), "missing.bin: no such file"),
        (glb(ASSET), "has no animation"),
        (glb(ASSET | {"animations": [{}]}), "has no channels"),
        (glb(ASSET | {"animations": [{"channels": [], "samplers": []}]}), "moves no node"),
        (glb(ASSET | {"nodes": [{"children": [0]}]}), "two parents"),
        (glb(ASSET | {"nodes": [{"children": [1]}, {"children": [0]}]}), "is its own ancestor"),
        (glb(ASSET | {"nodes": [{"children": [2]}, {"children": [2]}, {}]}), "two parents"),
        (glb(ASSET | {"nodes": [{"children": [5]}]}), r"no nodes\[5\]"),
        (glb(ASSET | {"nodes": [{"children": 5}]}), "children is no list"),
        (glb(ASSET | {"nodes": [{"translation": [0, 0]}]}), "3 finite numbers"),
        (glb(ASSET | {"nodes": [{"scale": [0, 0, "x"]}]}), "3 finite numbers"),
        (glb(b'{"asset":{"version":"2.0"},"nodes":[{"translation":[0,0,NaN]}]}'), "3 finite numbers"),
        (glb(b'{"asset":{"version":"2.0"},"nodes":[{"translation":[0,0,1e999]}]}'), "3 finite numbers"),
        (glb(ASSET | {"nodes": [{}] * 20_001}), "20001 nodes"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, contents: bytes, message: str) -> None:
    (tmp_path / "clip.glb").write_bytes(contents)
    with pytest.raises(InputError, match=message):
        read_motion(tmp_path / "clip.glb")


@pytest.mark.parametrize(
    ("node", "path", "times", "values", "message"),
    [
        (1, "rotation", [0, 1], [[0, 0, 0, 1]], "keys of .* are broken"),
        (1, "translation", [1, 0], [[0, 0, 0]] * 2, "keys of .* are broken"),
        (1, "translation", [-1, 0], [[0, 0, 0]] * 2, "keys of .* are broken"),
        (99, "translation", [0, 1], [[0, 0, 0]] * 2, r"no nodes\[99\]"),
        (1, "translation", [0, 1e30], [[0, 0, 0]] * 2, "up to 1000000 frames"),
        (1, "translation", [0, 1], [[0, 0, 1e30]] * 2, "absurdly far"),
        (1, "translation", [0], [[0, 0, 0]], "at least 2 frames"),
        (1, "weights", [0, 1], [[0, 0, 0]] * 2, "moves no node"),
    ],
)
def test_broken_animations_are_refused(
    tmp_path: Path, node: int, path: str, times: list[float], values: list[list[float]], message: str
) -> None:
    made = Made(rig(names={name: name for name in JOINTS}))
    made.track(node, path, times, values)
    with pytest.raises(InputError, match=message):
        read_motion(made.write(tmp_path / "clip.gltf"))


def test_a_figure_without_size_is_refused(tmp_path: Path) -> None:
    made = Made(rig(names=NAMINGS["vrm"]))
    made.track(0, "scale", [0, 1], [[0, 0, 0]] * 2)
    with pytest.raises(InputError, match="legs of 0 units fit no known unit"):
        read_motion(made.write(tmp_path / "clip.gltf"))


def test_absurd_rates_are_refused(tmp_path: Path) -> None:
    made = Made(rig(names={name: name for name in JOINTS}))
    made.track(1, "translation", [0, 1], [[0, 0, 0]] * 2)
    path = made.write(tmp_path / "clip.gltf")
    for fps in (0, -1, float("nan"), 1e9):
        with pytest.raises(InputError, match="no frame rate"):
            read_motion(path, fps=fps)


def test_large_files_are_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "clip.glb").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(InputError, match="read up to 512 MiB"):
        read_motion(tmp_path / "clip.glb")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_an_input_error_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    good = tmp_path / "good.glb"
    if not good.exists():
        write_glb(Motion.from_joints(standing(3)), good, skin=None)
    contents = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.glb"
    path.write_bytes(bytes(contents[: data.draw(st.integers(len(contents) // 2, len(contents)))]))
    with contextlib.suppress(InputError):
        assert read_motion(path).joints.isfinite().all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-3, 99)
        | st.floats()
        | st.sampled_from(["VEC3", "LINEAR", "x"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(
        ["nodes", "accessors", "bufferViews", "animations", "skins", "buffers", "extensions", "asset"]
    ),
    st.randoms(use_true_random=False),
)
def test_any_json_in_any_place_is_an_input_error_or_harmless(
    tmp_path: Path, value: object, key: str, random: Any
) -> None:
    made = Made(rig(names={name: name for name in JOINTS}))
    made.track(1, "translation", [0, 1], [[0, 1, 0], [0, 1, 1]])
    made.document["extensions"] = {"VRM": {"humanoid": {"humanBones": []}}}
    made.document["skins"] = [{"joints": list(range(1, 23))}]
    path = made.write(tmp_path / "clip.gltf")
    document = json.loads(path.read_text())
    holder, place = document, key
    # Walk down at random, then put the value there.
    while isinstance(holder[place], dict | list) and holder[place] and random.random() < 0.8:
        holder = holder[place]
        place = random.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    holder[place] = value
    path.write_text(json.dumps(document))
    with contextlib.suppress(InputError):
        assert read_motion(path).joints.isfinite().all()


JOINTS = [node["name"].removeprefix("mixamorig:") for node in rig()[1:]]
