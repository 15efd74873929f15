"""`Motion` to glTF: a skeleton with a skin that plays.

Joints are nodes in a T-pose (`motion.rig`), moved by rotations and, where joints are not rigid, by
translations; a skin follows them. Everything is in metres with y up, and a heading of 0 faces +z, as glTF has
it, so there are no options for these.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from motiongpt3 import __version__
from motiongpt3.motion.formats.gltf import (
    ARRAY_BUFFER,
    ELEMENT_ARRAY_BUFFER,
    UNSIGNED_BYTE,
    UNSIGNED_INT,
    GltfBuilder,
)
from motiongpt3.motion.formats.joint_names import Naming, names_of
from motiongpt3.motion.formats.skin import (
    BONES_PER_VERTEX,
    Skin,
    SkinMaker,
    mannequin_skin,
    rest_joints,
    vertex_normals,
)
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import CHILDREN, continuous_quaternions
from motiongpt3.motion.rig import LENGTH_TOLERANCE, JointTracks, joint_tracks
from motiongpt3.motion.skeleton import JOINT_COUNT, JOINT_NAMES

_GENERATOR = f"motiongpt3 {__version__}"
_logger = logging.getLogger(__name__)


def write_glb(
    motion: Motion,
    path: str | Path,
    naming: Naming = "smpl",
    stretch: bool | None = None,
    skin: SkinMaker | None = mannequin_skin,
) -> None:
    """Write a motion as glTF 2.0: binary, or as JSON for the ending ``.gltf``.

    Args:
        motion: what to write.
        path: the file.
        naming: what the joints are called, see `NAMINGS`.
        stretch: whether bones may change their length, see `joint_tracks`.
        skin: what the skeleton wears; None for joints alone (which Blender shows as empties).
    """
    tracks = joint_tracks(motion, stretch)
    if tracks.error > LENGTH_TOLERANCE:
        _logger.info("%s: bone lengths vary; joints are up to %.1f mm off", path, 1000 * tracks.error)
    worn = None if skin is None else skin(tracks.rest)
    _document(motion, tracks, names_of(naming), worn).write(path)


def _document(
    motion: Motion, tracks: JointTracks, names: Mapping[str, str], skin: Skin | None
) -> GltfBuilder:
    builder = GltfBuilder()
    builder.document["asset"] = {"version": "2.0", "generator": _GENERATOR}
    builder.document["scene"] = 0
    rest = rest_joints(tracks.rest)
    # Stand on the floor while nothing plays.
    height = float(-rest[:, 1].min())
    rotations, translations = tracks.rotations, tracks.places
    extra = () if skin is None else skin.extra_bones
    children = [[*CHILDREN[joint]] for joint in range(JOINT_COUNT)]
    for index, (_, parent, _) in enumerate(extra):
        children[parent].append(JOINT_COUNT + index)
    for joint in range(JOINT_COUNT):
        offset = tracks.rest[joint].tolist() if joint else [0.0, height, 0.0]
        node: dict[str, Any] = {"name": names[JOINT_NAMES[joint]], "translation": offset}
        if children[joint]:
            node["children"] = children[joint]
        builder.add("nodes", node)
    for name, _, place in extra:
        builder.add("nodes", {"name": name, "translation": tracks.rest[place].tolist()})
    roots = [0]
    if skin is not None:
        mesh = _add_mesh(builder, skin, motion.name)
        roots.append(builder.add("nodes", {"name": f"{motion.name} body", "mesh": mesh, "skin": 0}))
    builder.add("scenes", {"name": motion.name, "nodes": roots})

    seconds = np.arange(len(motion), dtype=np.float64)[:, None] / motion.fps
    animation: dict[str, Any] = {
        "name": motion.name,
        "channels": [],
        "samplers": [],
        "extras": {"fps": motion.fps},
    }
    times = builder.array(seconds, "SCALAR", bounds=True)

    def track(node: int, path: str, values: Tensor, kind: str) -> None:
        sampler = {"input": times, "output": builder.array(values.numpy(), kind), "interpolation": "LINEAR"}
        animation["channels"].append(
            {"sampler": len(animation["samplers"]), "target": {"node": node, "path": path}}
        )
        animation["samplers"].append(sampler)

    for joint in range(JOINT_COUNT):
        track(joint, "rotation", rotations[:, joint].roll(-1, -1), "VEC4")
        if tracks.moves[joint]:
            track(joint, "translation", translations[:, joint], "VEC3")
    if skin is not None and skin.extra_rotations is not None:
        turns = continuous_quaternions(skin.extra_rotations(rotations))
        for index in range(len(extra)):
            track(JOINT_COUNT + index, "rotation", turns[:, index].roll(-1, -1), "VEC4")
    builder.document["animations"] = [animation]
    return builder


def _add_mesh(builder: GltfBuilder, skin: Skin, name: str) -> int:
    order = np.argsort(-skin.weights, axis=1, kind="stable")[:, :BONES_PER_VERTEX]
    weights = np.take_along_axis(skin.weights, order, axis=1).astype(np.float64)
    weights /= weights.sum(1, keepdims=True)
    # Bones that hold nothing must be the first, by the specification.
    order = np.where(weights > 0, order, 0)
    linear = np.where(skin.colours <= 0.04045, skin.colours / 12.92, ((skin.colours + 0.055) / 1.055) ** 2.4)
    colours = np.concatenate([linear, np.ones((len(linear), 1))], axis=1)
    attributes = {
        "POSITION": builder.array(skin.vertices, "VEC3", target=ARRAY_BUFFER, bounds=True),
        "NORMAL": builder.array(vertex_normals(skin.vertices, skin.faces), "VEC3", target=ARRAY_BUFFER),
        "COLOR_0": builder.array(
            np.round(255 * colours), "VEC4", UNSIGNED_BYTE, target=ARRAY_BUFFER, normalized=True
        ),
        "JOINTS_0": builder.array(order, "VEC4", UNSIGNED_BYTE, target=ARRAY_BUFFER),
        "WEIGHTS_0": builder.array(weights, "VEC4", target=ARRAY_BUFFER),
    }
    indices = builder.array(skin.faces.reshape(-1, 1), "SCALAR", UNSIGNED_INT, target=ELEMENT_ARRAY_BUFFER)
    material = builder.add(
        "materials",
        {"name": "body", "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.7}},
    )
    # glTF stores matrices by columns.
    binds = builder.array(skin.bind.transpose(0, 2, 1).reshape(-1, 16), "MAT4")
    joints = list(range(JOINT_COUNT + len(skin.extra_bones)))
    builder.add("skins", {"joints": joints, "inverseBindMatrices": binds, "skeleton": 0})
    primitive = {"attributes": attributes, "indices": indices, "material": material}
    return builder.add("meshes", {"name": f"{name} body", "primitives": [primitive]})
