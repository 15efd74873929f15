"""glTF files of other people's making, and what pygltflib and scipy say that our files play."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from pygltflib import GLTF2
from scipy.spatial.transform import Rotation

_COMPONENTS = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def accessor(gltf: GLTF2, index: int) -> np.ndarray:
    entry = gltf.accessors[index]
    view = gltf.bufferViews[entry.bufferView]
    data = gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    values = np.frombuffer(data, _COMPONENTS[entry.componentType])
    return values.reshape(entry.count, _WIDTHS[entry.type])


def played(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """At the keys of the one animation: times (T,), world matrices (T, nodes, 4, 4), node indices by name."""
    gltf = GLTF2.load(str(path))
    (animation,) = gltf.animations
    times = accessor(gltf, animation.samplers[0].input)[:, 0]
    local = np.zeros((len(times), len(gltf.nodes), 4, 4))
    tracks = {
        (channel.target.node, channel.target.path): accessor(gltf, animation.samplers[channel.sampler].output)
        for channel in animation.channels
    }
    for index, node in enumerate(gltf.nodes):
        local[:, index] = np.eye(4)
        local[:, index, :3, 3] = tracks.get((index, "translation"), node.translation or [0, 0, 0])
        turn = tracks.get((index, "rotation"), np.array([node.rotation or [0, 0, 0, 1]]))
        local[:, index, :3, :3] = Rotation.from_quat(turn).as_matrix()
    parents = {child: index for index, node in enumerate(gltf.nodes) for child in node.children or []}
    world = local.copy()
    for index in range(len(gltf.nodes)):
        above = parents.get(index)
        while above is not None:
            world[:, index] = local[:, above] @ world[:, index]
            above = parents.get(above)
    return times, world, {node.name: index for index, node in enumerate(gltf.nodes)}


def skinned(path: Path) -> np.ndarray:
    """(T, V, 3) vertices as a viewer shows them."""
    gltf = GLTF2.load(str(path))
    _, world, _ = played(path)
    (skin,) = gltf.skins
    attributes = gltf.meshes[0].primitives[0].attributes
    vertices = accessor(gltf, attributes.POSITION)
    bones, weights = accessor(gltf, attributes.JOINTS_0), accessor(gltf, attributes.WEIGHTS_0)
    binds = accessor(gltf, skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
    matrices = world[:, skin.joints] @ binds
    points = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)
    shown = np.zeros((len(world), len(vertices), 3))
    for slot in range(4):
        moved = np.einsum("tvij,vj->tvi", matrices[:, bones[:, slot]], points)[..., :3]
        shown += weights[:, slot, None] * moved
    return shown


class Made:
    """A glTF file written by hand: nodes, and tracks whose numbers go into one base64 buffer."""

    def __init__(self, nodes: list[dict[str, Any]]) -> None:
        self.data = b""
        self.document: dict[str, Any] = {
            "asset": {"version": "2.0"},
            "nodes": nodes,
            "accessors": [],
            "bufferViews": [],
            "animations": [{"name": "first", "channels": [], "samplers": []}],
        }

    def array(self, values: object, kind: str, dtype: str = "<f4", **more: object) -> int:
        packed = np.asarray(values, dtype)
        self.data += bytes(-len(self.data) % 4)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": packed.nbytes}
        self.data += packed.tobytes()
        self.document["bufferViews"].append(view)
        entry = {
            "bufferView": len(self.document["bufferViews"]) - 1,
            "componentType": {"<f4": 5126, "<i2": 5122, "<i1": 5120, "<u2": 5123, "<u1": 5121}[dtype],
            "count": len(packed),
            "type": kind,
        }
        self.document["accessors"].append(entry | more)
        return len(self.document["accessors"]) - 1

    def track(
        self,
        node: int,
        path: str,
        times: object,
        values: object,
        interpolation: str | None = None,
        dtype: str = "<f4",
    ) -> None:
        animation = self.document["animations"][-1]
        kind = "VEC4" if path == "rotation" else "VEC3"
        more = {} if dtype == "<f4" else {"normalized": True}
        sampler = {"input": self.array(times, "SCALAR"), "output": self.array(values, kind, dtype, **more)}
        if interpolation:
            sampler["interpolation"] = interpolation  # type: ignore[assignment]
        animation["channels"].append(
            {"sampler": len(animation["samplers"]), "target": {"node": node, "path": path}}
        )
        animation["samplers"].append(sampler)

    def write(self, path: Path, inside: bool = True) -> Path:
        buffer: dict[str, Any] = {"byteLength": len(self.data)}
        if inside:
            buffer["uri"] = "data:application/gltf-buffer;base64," + base64.b64encode(self.data).decode()
        else:
            buffer["uri"] = f"{path.stem}%20data.bin"
            path.with_name(f"{path.stem} data.bin").write_bytes(self.data)
        path.write_text(json.dumps(self.document | {"buffers": [buffer]}))
        return path
