"""glTF to `Motion`: the animations of humanoid rigs.

Joints are found by name, as in BVH, among the joints of the file's skins, or all nodes where it has none; or
by the bones that a VRM file declares. The animation is sampled evenly, because glTF has no frame rate.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.formats.conventions import (
    UpAxis,
    check_scale,
    check_up_axis,
    points_to_y_up,
    recognised_scale,
    snapped_rate,
)
from motiongpt3.motion.formats.gltf import Gltf, numbers, read_gltf
from motiongpt3.motion.formats.joint_names import NAMINGS
from motiongpt3.motion.formats.skeleton_maps import OWN_NAMING, JointMap, map_joints
from motiongpt3.motion.motion import MAX_FRAMES_PER_SECOND, Motion
from motiongpt3.motion.pose import interpolate_rotations
from motiongpt3.motion.rotations import quaternion_to_matrix, unit_vector

MAX_NODES = 20_000
MAX_FRAMES = 1_000_000
_MAX_WORK = 50_000_000
"""Frames times nodes of one file."""
_MAX_KEYS = 20_000_000
SAMPLING_RATE = 30.0
"""Frames per second at which animations are read whose keys are far apart."""
_SLOWEST_KEYS = 12.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Node:
    """A node as the file has it: translation, rotation (w, x, y, z) and scale, or a matrix instead."""

    name: str
    parent: int
    translation: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    matrix: np.ndarray | None


@dataclass(frozen=True, eq=False)
class _Track:
    """The keys of one property of a node: (K,) seconds and (K, width) values; of a spline, three for each."""

    node: int
    path: str
    times: np.ndarray
    values: np.ndarray
    interpolation: str


def read_glb(
    path: str | Path,
    fps: float | None = None,
    joint_map: JointMap | str | Path | None = None,
    scale: float | None = None,
    up: UpAxis | None = None,
    animation: str | None = None,
) -> Motion:
    """Read the animation of a humanoid out of a glTF 2.0 file (``.glb``, ``.gltf``, ``.vrm``).

    Joint positions are those of the file's nodes, so a rig that is posed by constraints or morphs of the mesh
    is not what it looks like. Joints that the rig does not have are interpolated (see `skeleton_maps`).

    Args:
        path: the file.
        fps: frames per second to sample at; by default the rate that the file's keys suggest, or 30 if they
            are further apart than a twelfth of a second.
        joint_map: SMPL joint name to source joint, or a JSON file with such an object; see `map_joints`.
        scale: metres per unit; by default recognised by the length of the legs.
        up: axis that points up; y if not given, as glTF has it.
        animation: name or number (from 0) of the animation; the first if not given.

    Raises:
        InputError: if the file is missing, broken, has no animation, or a skeleton of unknown names.
    """
    gltf = read_gltf(path)
    where = gltf.name
    check_up_axis(up, where)
    if scale is not None:
        check_scale(scale, where)
    nodes = _nodes(gltf)
    chosen = _choose(gltf, animation)
    tracks = _tracks(gltf, chosen, len(nodes))
    rate, step = _rate(chosen, tracks) if fps is None else (fps, 1 / fps if fps else 0.0)
    if not (math.isfinite(rate) and 0 < rate <= MAX_FRAMES_PER_SECOND):
        raise InputError(f"{where}: {rate!r} is no frame rate; give one with fps")
    times = _times(tracks, step, where)

    candidates, bone_map = _joints(gltf, nodes, joint_map)
    mapping = map_joints([nodes[index].name for index in candidates], bone_map, where)
    used = [index for column, index in enumerate(candidates) if bool(mapping.weights[:, column].any())]
    columns = [column for column in range(len(candidates)) if bool(mapping.weights[:, column].any())]
    positions = _positions(nodes, tracks, times, used, where)
    joints = mapping.weights[:, columns] @ positions
    if scale is None:
        scale = recognised_scale(joints, where, mapping.name == OWN_NAMING)
    joints = joints * scale
    if up == "z":
        joints = points_to_y_up(joints)
    return Motion.from_joints(joints, rate, Path(path).stem, str(path))


def _nodes(gltf: Gltf) -> list[_Node]:
    found = gltf.items("nodes")
    if len(found) > MAX_NODES:
        raise InputError(f"{gltf.name}: {len(found)} nodes; up to {MAX_NODES} are read")
    parents = [-1] * len(found)
    for index, node in enumerate(found):
        children = node.get("children", [])
        if not isinstance(children, list):
            raise InputError(f"{gltf.name}: nodes[{index}]: children is no list")
        for child in children:
            gltf.item("nodes", child)
            if parents[child] >= 0 or child == index:
                raise InputError(f"{gltf.name}: nodes[{child}] has two parents; the file is broken")
            parents[child] = index
    _check_tree(parents, gltf.name)
    nodes = []
    for index, node in enumerate(found):
        where = f"{gltf.name}: nodes[{index}]"
        x, y, z, w = numbers(node, "rotation", (0, 0, 0, 1), where)
        matrix = numbers(node, "matrix", (0,) * 16, where).reshape(4, 4).T if "matrix" in node else None
        nodes.append(
            _Node(
                str(node.get("name", f"node {index}"))[:200],
                parents[index],
                numbers(node, "translation", (0, 0, 0), where),
                np.array([w, x, y, z]),
                numbers(node, "scale", (1, 1, 1), where),
                matrix,
            )
        )
    return nodes


def _check_tree(parents: Sequence[int], where: str) -> None:
    """Refuse a hierarchy that goes round in a circle."""
    known = [parent < 0 for parent in parents]
    for index in range(len(parents)):
        trail: list[int] = []
        while not known[index]:
            if len(trail) > len(parents):
                raise InputError(f"{where}: nodes[{index}] is its own ancestor; the file is broken")
            trail.append(index)
            index = parents[index]
        for passed in trail:
            known[passed] = True


def _choose(gltf: Gltf, animation: str | None) -> dict[str, Any]:
    found = gltf.items("animations")
    names = [str(item.get("name", number)) for number, item in enumerate(found)]
    if not found:
        raise InputError(f"{gltf.name}: has no animation")
    if animation is None:
        if len(found) > 1:
            _logger.info("%s: the first of %d animations (%s) is read", gltf.name, len(found), names[0])
        return found[0]
    if animation in names:
        return found[names.index(animation)]
    if animation.isdecimal() and int(animation) < len(found):
        return found[int(animation)]
    listed = ", ".join(repr(name[:40]) for name in names[:30])
    raise InputError(f"{gltf.name}: has no animation {animation!r}; it has {listed}")


def _tracks(gltf: Gltf, animation: dict[str, Any], node_count: int) -> list[_Track]:
    where = f"{gltf.name}: animation {animation.get('name', '')!r}"
    channels, samplers = animation.get("channels"), animation.get("samplers")
    if not isinstance(channels, list) or not isinstance(samplers, list):
        raise InputError(f"{where} has no channels")
    arrays: dict[object, np.ndarray] = {}

    def array(index: object) -> np.ndarray:
        if not isinstance(index, int):
            raise InputError(f"{where}: {str(index)[:40]!r} is no accessor")
        if index not in arrays:
            arrays[index] = gltf.array(index)
        return arrays[index]

    tracks: dict[tuple[int, str], _Track] = {}
    keys = 0
    for channel in channels:
        target = channel.get("target") if isinstance(channel, dict) else None
        index = channel.get("sampler") if isinstance(channel, dict) else None
        if not isinstance(target, dict) or not isinstance(index, int) or not 0 <= index < len(samplers):
            raise InputError(f"{where}: a channel is broken")
        node, path = target.get("node"), target.get("path")
        widths = {"translation": 3, "rotation": 4, "scale": 3}
        if node is None or not isinstance(path, str) or path not in widths:
            continue
        if not isinstance(node, int) or not 0 <= node < node_count:
            raise InputError(f"{where}: there is no nodes[{node!r}]")
        sampler = samplers[index]
        if not isinstance(sampler, dict):
            raise InputError(f"{where}: a sampler is broken")
        interpolation = str(sampler.get("interpolation", "LINEAR"))
        times, values = array(sampler.get("input"))[:, 0], array(sampler.get("output"))
        per_key = {"LINEAR": 1, "STEP": 1, "CUBICSPLINE": 3}.get(interpolation)
        if per_key is None:
            raise InputError(f"{where}: unknown interpolation {interpolation[:40]!r}")
        fits = len(times) and values.shape == (per_key * len(times), widths[path])
        if not fits or (np.diff(times) < 0).any() or times[0] < 0:
            raise InputError(f"{where}: the keys of nodes[{node}] {path} are broken")
        keys += len(times)
        if keys > _MAX_KEYS:
            raise InputError(f"{where} has more than {_MAX_KEYS} keys")
        tracks[node, path] = _Track(node, path, times, values, interpolation)
    if not tracks:
        raise InputError(f"{where} moves no node")
    return list(tracks.values())


def _rate(animation: dict[str, Any], tracks: Sequence[_Track]) -> tuple[float, float]:
    """Frames per second, and the seconds between them that the keys of the densest track suggest."""
    extras = animation.get("extras")
    own = extras.get("fps") if isinstance(extras, dict) else None
    if isinstance(own, int | float) and 0 < own <= MAX_FRAMES_PER_SECOND:
        return float(own), 1 / own
    densest = max(tracks, key=lambda track: len(track.times)).times
    steps = np.diff(densest)
    steps = steps[steps > 1e-5]
    if not len(steps):
        return SAMPLING_RATE, 1 / SAMPLING_RATE
    step = float(np.median(steps))
    rate = snapped_rate(step)
    if not _SLOWEST_KEYS <= rate <= MAX_FRAMES_PER_SECOND:
        return SAMPLING_RATE, 1 / SAMPLING_RATE
    # Even keys are all met, even if their distance is a rounded one.
    step = float(densest[-1] - densest[0]) / (len(densest) - 1) if np.ptp(steps) < 1e-3 * step else step
    return rate, step


def _times(tracks: Sequence[_Track], step: float, where: str) -> np.ndarray:
    start = min(float(track.times[0]) for track in tracks)
    end = max(float(track.times[-1]) for track in tracks)
    # Keys are in single precision, and may fall a little short of the frame they are meant for.
    frames = (end - start) / step + 1e-3
    if frames > MAX_FRAMES:
        rate = 1 / step
        raise InputError(
            f"{where}: {end - start:.3g} s at {rate:.4g} fps; up to {MAX_FRAMES} frames are read"
        )
    return start + np.arange(int(frames) + 1) * step


def _joints(
    gltf: Gltf, nodes: Sequence[_Node], joint_map: JointMap | str | Path | None
) -> tuple[list[int], JointMap | str | Path | None]:
    """The nodes among which joints are looked for, and the map of their names."""
    everything = list(range(len(nodes)))
    declared = _vrm_bones(gltf, len(nodes))
    if declared is not None and joint_map is None:
        wanted = NAMINGS["vrm"]
        if all(name in declared for name in wanted.values()):
            return everything, {joint: nodes[declared[name]].name for joint, name in wanted.items()}
    joints: dict[int, None] = {}
    for skin in gltf.items("skins"):
        listed = skin.get("joints", [])
        if not isinstance(listed, list):
            raise InputError(f"{gltf.name}: the joints of a skin are no list")
        for joint in listed:
            gltf.item("nodes", joint)
            joints[joint] = None
    return (list(joints) or everything), joint_map


def _vrm_bones(gltf: Gltf, node_count: int) -> dict[str, int] | None:
    """Bone name to node, as VRM 1.0 (an object) and VRM 0 (a list) declare them."""
    extensions = gltf.document.get("extensions")
    if not isinstance(extensions, dict):
        return None
    for key in ("VRMC_vrm", "VRM"):
        holder = extensions.get(key)
        humanoid = holder.get("humanoid") if isinstance(holder, dict) else None
        bones = humanoid.get("humanBones") if isinstance(humanoid, dict) else None
        if isinstance(bones, dict):
            pairs = [(name, bone.get("node")) for name, bone in bones.items() if isinstance(bone, dict)]
        elif isinstance(bones, list):
            pairs = [(bone.get("bone"), bone.get("node")) for bone in bones if isinstance(bone, dict)]
        else:
            continue
        return {str(name): node for name, node in pairs if isinstance(node, int) and 0 <= node < node_count}
    return None


def _positions(
    nodes: Sequence[_Node], tracks: Sequence[_Track], times: np.ndarray, wanted: Sequence[int], where: str
) -> Tensor:
    """Places of some nodes in the world: (T, len(wanted), 3) float64."""
    by_node: dict[int, dict[str, _Track]] = {}
    for track in tracks:
        by_node.setdefault(track.node, {})[track.path] = track
    needed: dict[int, None] = {}
    for index in wanted:
        trail = []
        while index >= 0 and index not in needed:
            trail.append(index)
            index = nodes[index].parent
        needed.update(dict.fromkeys(reversed(trail)))
    if len(times) * max(len(needed), 1) > _MAX_WORK:
        raise InputError(f"{where}: {len(times)} frames of {len(needed)} nodes are too many; lower the fps")
    world: dict[int, tuple[Tensor, Tensor]] = {}
    for index in needed:
        linear, place = _local(nodes[index], by_node.get(index, {}), times)
        parent = nodes[index].parent
        if parent >= 0:
            above, above_place = world[parent]
            place = above_place + (above @ place[..., None])[..., 0]
            linear = above @ linear
        world[index] = linear, place
    positions = torch.stack([world[index][1].expand(len(times), 3) for index in wanted], dim=1)
    if not torch.isfinite(positions).all() or positions.abs().max() > 1e6:
        raise InputError(f"{where}: joints are absurdly far away; the file is broken")
    return positions


def _local(node: _Node, tracks: Mapping[str, _Track], times: np.ndarray) -> tuple[Tensor, Tensor]:
    """Linear part (T or 1, 3, 3) and place (T or 1, 3) of a node relative to its parent."""
    if node.matrix is not None and not tracks:
        matrix = torch.from_numpy(node.matrix.copy())
        return matrix[None, :3, :3], matrix[None, :3, 3]
    still = {"translation": node.translation, "rotation": node.rotation, "scale": node.scale}
    values = {
        path: _sample(tracks[path], times) if path in tracks else torch.from_numpy(rest)[None]
        for path, rest in still.items()
    }
    turn = quaternion_to_matrix(unit_vector(values["rotation"]))
    return turn * values["scale"][:, None, :], values["translation"]


def _sample(track: _Track, times: np.ndarray) -> Tensor:
    """Values of a track at some times; rotations as (w, x, y, z)."""
    keys = track.times
    after = np.clip(np.searchsorted(keys, times, side="right"), 1, max(len(keys) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(keys) - 1)
    span = np.maximum(keys[after] - keys[before], 1e-12)
    weight = torch.from_numpy(np.clip((times - keys[before]) / span, 0, 1))[:, None]
    values = torch.from_numpy(track.values)
    if track.path == "rotation":
        values = values.roll(1, -1)
    if track.interpolation == "CUBICSPLINE":
        arriving, at, leaving = values.unflatten(0, (-1, 3)).unbind(1)
        seconds = torch.from_numpy(span)[:, None]
        return (
            (2 * weight**3 - 3 * weight**2 + 1) * at[before]
            + seconds * (weight**3 - 2 * weight**2 + weight) * leaving[before]
            + (3 * weight**2 - 2 * weight**3) * at[after]
            + seconds * (weight**3 - weight**2) * arriving[after]
        )
    if track.interpolation == "STEP":
        return torch.where(weight < 1, values[before], values[after])
    if track.path == "rotation":
        unit = unit_vector(values)
        return interpolate_rotations(unit[before], unit[after], weight)
    return torch.lerp(values[before], values[after], weight)
