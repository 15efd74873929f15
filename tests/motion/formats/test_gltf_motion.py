from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from pygltflib import GLTF2
from scipy.spatial.transform import Rotation, Slerp

from motiongpt3.errors import InputError
from motiongpt3.motion.formats import WriteOptions, read_glb, read_motion, write_glb, write_motion
from motiongpt3.motion.formats.joint_names import NAMINGS
from motiongpt3.motion.formats.skin import mannequin_skin, rest_joints, skin_of_body, vertex_normals
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import T_POSE_OFFSETS, BodyPose
from motiongpt3.motion.rig import joint_tracks
from motiongpt3.motion.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS
from tests.motion.bodies import standing, wriggling
from tests.motion.formats.gltf_files import Made, accessor, played, skinned
from tests.motion.test_pose import turning, walk


def largest_error(motion: Motion, back: Motion) -> float:
    """Metres."""
    assert len(back) == len(motion)
    return float(torch.linalg.vector_norm(back.joints - motion.joints, dim=-1).max())


@pytest.mark.parametrize("naming", ["smpl", "mixamo", "unreal", "vrm"])
@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_joints_come_back(tmp_path: Path, naming: str, suffix: str) -> None:
    motion = Motion.from_joints(wriggling(40), fps=30, name="wriggle")
    path = tmp_path / f"wriggle{suffix}"
    write_motion(motion, path, options=WriteOptions(naming=naming))  # type: ignore[arg-type]
    back = read_motion(path, scale=1)
    assert largest_error(motion, back) < 1e-4
    assert (back.fps, back.name) == (30, "wriggle")


def test_another_reader_plays_the_same_joints(tmp_path: Path) -> None:
    motion = Motion.from_joints(wriggling(20), fps=24)
    write_glb(motion, tmp_path / "clip.glb", naming="mixamo")
    times, world, nodes = played(tmp_path / "clip.glb")
    np.testing.assert_allclose(times, np.arange(20) / 24, atol=1e-6)
    joints = world[:, [nodes[name] for name in NAMINGS["mixamo"].values()]][..., :3, 3]
    np.testing.assert_allclose(joints, motion.joints.numpy(), atol=1e-4)


def test_rotations_never_take_the_long_way(tmp_path: Path) -> None:
    write_glb(Motion.from_joints(wriggling(200, seed=3)), tmp_path / "clip.glb")
    gltf = GLTF2.load(str(tmp_path / "clip.glb"))
    for channel in gltf.animations[0].channels:
        if channel.target.path == "rotation":
            turns = accessor(gltf, gltf.animations[0].samplers[channel.sampler].output)
            assert ((turns[1:] * turns[:-1]).sum(1) > 0).all()
            np.testing.assert_allclose(np.linalg.norm(turns, axis=1), 1, atol=1e-6)


def test_bones_keep_their_length_if_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    breathing = wriggling(30) * (1 + 0.05 * torch.linspace(0, 6, 30).sin().double())[:, None, None]
    motion = Motion.from_joints(breathing)
    for stretch in (None, True):
        write_glb(motion, tmp_path / "a.glb", stretch=stretch)
        assert largest_error(motion, read_glb(tmp_path / "a.glb")) < 1e-3
    with caplog.at_level(logging.INFO):
        write_glb(motion, tmp_path / "b.glb", stretch=False)
    assert "bone lengths vary" in caplog.text
    joints = read_glb(tmp_path / "b.glb").joints
    lengths = torch.linalg.vector_norm(joints[:, 1:] - joints[:, PARENTS[1:]], dim=-1)
    torch.testing.assert_close(lengths, lengths[:1].expand_as(lengths), atol=1e-4, rtol=0)


def test_rotations_of_a_motion_are_written(tmp_path: Path) -> None:
    pose = BodyPose(turning(15), T_POSE_OFFSETS)
    write_glb(Motion.from_pose(pose, walk(15)), tmp_path / "clip.glb")
    _, world, nodes = played(tmp_path / "clip.glb")
    wrist, elbow = world[:, nodes["left_wrist"], :3, :3], world[:, nodes["left_elbow"], :3, :3]
    expected = Rotation.from_quat(pose.rotations[:, JOINT_INDEX["left_wrist"]].numpy(), scalar_first=True)
    np.testing.assert_allclose(elbow.transpose(0, 2, 1) @ wrist, expected.as_matrix(), atol=1e-5)


def test_the_skin_stands_where_the_joints_are(tmp_path: Path) -> None:
    motion = Motion.from_joints(wriggling(6))
    write_glb(motion, tmp_path / "clip.glb")
    shown = skinned(tmp_path / "clip.glb")
    tracks = joint_tracks(motion)
    skin = mannequin_skin(tracks.rest)
    for joint in ("left_knee", "right_elbow", "left_ankle"):
        # The cap of the limb that begins at a joint surrounds it, whatever the pose.
        own = skin.weights[:, JOINT_INDEX[joint]] == 1
        distance = np.linalg.norm(shown[:, own] - motion.joints[:, None, JOINT_INDEX[joint]].numpy(), axis=-1)
        assert distance.min(axis=1).max() < 0.07
        assert distance.min(axis=1).min() > 0.02
    nearest = np.linalg.norm(shown[:, :, None] - motion.joints.numpy()[:, None], axis=-1).min(axis=2)
    assert nearest.max() < 0.3


def test_trimesh_reads_the_mesh_as_closed_solids(tmp_path: Path) -> None:
    write_glb(Motion.from_joints(standing(3)), tmp_path / "clip.glb")
    scene = trimesh.load_scene(tmp_path / "clip.glb")
    (mesh,) = scene.geometry.values()
    mesh.merge_vertices()
    parts = mesh.split(only_watertight=False)
    assert len(parts) == 24
    assert all(part.is_watertight and part.volume > 0 for part in parts)
    low, high = mesh.bounds
    assert 1.5 < high[1] - low[1] < 2.0
    assert 1.3 < high[0] - low[0] < 2.0


def test_nothing_is_worn_if_not_asked(tmp_path: Path) -> None:
    motion = Motion.from_joints(standing(3))
    write_motion(motion, tmp_path / "clip.glb", options=WriteOptions(skin="none"))
    gltf = GLTF2.load(str(tmp_path / "clip.glb"))
    assert not gltf.meshes
    assert not gltf.skins
    assert len(gltf.nodes) == 22
    assert largest_error(motion, read_motion(tmp_path / "clip.glb")) < 1e-4
    with pytest.raises(InputError, match="unknown skin 'suit': use mannequin, none, body, light"):
        write_motion(motion, tmp_path / "b.glb", options=WriteOptions(skin="suit"))  # type: ignore[arg-type]


class Baked:
    """A body of three vertices with one bone of its own, halfway down the left forearm's twist."""

    def __init__(self, offsets: torch.Tensor) -> None:
        self.joints = torch.from_numpy(rest_joints(offsets)).float()
        self.template = self.joints[[0, 18, 20]] + 0.01
        self.faces = torch.tensor([[0, 1, 2]])
        places = torch.cat([self.joints, self.joints[18:19]])
        self.bind = torch.cat([torch.eye(3).expand(23, 3, 3), -places[..., None]], dim=-1)
        self.weights = torch.zeros(3, 23)
        self.weights[torch.arange(3), torch.tensor([0, 22, 20])] = 1

    def with_proportions(self, offsets: torch.Tensor) -> Baked:
        return Baked(offsets)

    def bone_transforms(self, rotations: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
        world = [rotations[:, 0]]
        for joint in range(1, 22):
            world.append(world[PARENTS[joint]] @ rotations[:, joint])
        # The extra bone turns as the elbow does.
        turned = torch.stack([*world, world[18]], dim=1)
        return torch.cat([turned, translation[:, None, :, None].expand(-1, 23, 3, 1)], dim=-1)


def test_a_body_can_be_worn_with_bones_of_its_own(tmp_path: Path) -> None:
    motion = Motion.from_joints(wriggling(12))
    elbow = JOINT_INDEX["left_elbow"]
    maker = skin_of_body(Baked(T_POSE_OFFSETS), (("left_forearm_twist", PARENTS[elbow], elbow),))
    write_glb(motion, tmp_path / "clip.glb", skin=maker)
    _, world, nodes = played(tmp_path / "clip.glb")
    np.testing.assert_allclose(
        world[:, nodes["left_forearm_twist"], :3, :3], world[:, nodes["left_elbow"], :3, :3], atol=1e-5
    )
    shown = skinned(tmp_path / "clip.glb")
    for vertex, joint in enumerate(("pelvis", "left_elbow", "left_wrist")):
        distance = np.linalg.norm(shown[:, vertex] - motion.joints[:, JOINT_INDEX[joint]].numpy(), axis=-1)
        np.testing.assert_allclose(distance, math.sqrt(3) * 0.01, atol=2e-3)
    assert largest_error(motion, read_glb(tmp_path / "clip.glb")) < 1e-4


def test_normals_point_outward() -> None:
    skin = mannequin_skin(T_POSE_OFFSETS)
    normals = vertex_normals(skin.vertices, skin.faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    calf = skin.weights[:, JOINT_INDEX["left_knee"]] == 1
    outward = skin.vertices[calf] - skin.vertices[calf].mean(0)
    assert ((outward * normals[calf]).sum(1) > 0).all()


def rig(scale: float = 1.0, names: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """A root that scales, and the 22 joints standing below it."""
    names = names or {name: f"mixamorig:{name}" for name in JOINT_NAMES}
    nodes: list[dict[str, Any]] = [{"name": "Armature", "scale": [scale] * 3, "children": [1]}]
    for joint, name in enumerate(JOINT_NAMES):
        offset = T_POSE_OFFSETS[joint] if joint else torch.tensor([0, 0.95, 0])
        children = [child + 1 for child in range(22) if PARENTS[child] == joint]
        node = {"name": names[name], "translation": (offset / scale).tolist()}
        nodes.append(node | ({"children": children} if children else {}))
    return nodes


def test_scaled_armatures_and_unequal_keys(tmp_path: Path) -> None:
    made = Made(rig(0.01, NAMINGS["mixamo"]))
    knee = 1 + JOINT_INDEX["left_knee"]
    turns = Rotation.from_euler("x", [[0], [80], [20]], degrees=True)
    keys = [0.0, 0.5, 2.0]
    made.track(knee, "rotation", keys, turns.as_quat())
    made.track(1, "translation", [0.0, 2.0], [[0, 95, 0], [0, 95, 100]])
    made.write(tmp_path / "clip.gltf", inside=False)
    motion = read_motion(tmp_path / "clip.gltf")
    assert (len(motion), motion.fps) == (61, 30)
    times = np.arange(61) / 30
    np.testing.assert_allclose(motion.joints[:, 0, 2], times / 2, atol=1e-5)
    bone = T_POSE_OFFSETS[JOINT_INDEX["left_ankle"]].numpy()
    seen = motion.joints[:, JOINT_INDEX["left_ankle"]] - motion.joints[:, JOINT_INDEX["left_knee"]]
    np.testing.assert_allclose(seen, Slerp(keys, turns)(times).apply(bone), atol=1e-5)
    assert len(read_motion(tmp_path / "clip.gltf", fps=10)) == 21


@pytest.mark.parametrize("dtype", ["<i2", "<i1"])
def test_integers_stand_for_fractions(tmp_path: Path, dtype: str) -> None:
    made = Made(rig(names=NAMINGS["vrm"]))
    limit = np.iinfo(dtype).max
    turn = Rotation.from_euler("z", 90, degrees=True)
    made.track(1, "rotation", [0, 1], np.round(np.stack([turn.as_quat()] * 2) * limit), dtype=dtype)
    motion = read_glb(made.write(tmp_path / "clip.gltf"))
    torch.testing.assert_close(
        motion.joints[0, JOINT_INDEX["left_hip"]] - motion.joints[0, 0],
        torch.from_numpy(turn.apply(T_POSE_OFFSETS[1])).float(),
        atol=2e-3,
        rtol=0,
    )


def test_steps_and_splines(tmp_path: Path) -> None:
    made = Made(rig(names=NAMINGS["unreal"]))
    # y(t) = t^3 in one piece, with its slopes 0 and 3; z jumps at t = 0.5.
    zero = [0, 0, 0]
    made.track(
        1, "translation", [0, 1], [zero, zero, [0, 3 * 0, 0], [0, 3, 0], [0, 1, 0], zero], "CUBICSPLINE"
    )
    made.track(0, "translation", [0, 0.5, 1], [[0, 1, 0], [0, 1, 2], [0, 1, 2]], "STEP")
    motion = read_glb(made.write(tmp_path / "clip.gltf"), fps=20)
    times = np.arange(21) / 20
    np.testing.assert_allclose(motion.joints[:, 0, 1], 1 + times**3, atol=1e-5)
    np.testing.assert_allclose(motion.joints[:, 0, 2], np.where(times < 0.5, 0, 2), atol=1e-6)


def test_matrices_are_transforms_too(tmp_path: Path) -> None:
    nodes = rig(names=NAMINGS["smpl"])
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("x", -90, degrees=True).as_matrix()
    turn[:3, 3] = (0, 0, 1)
    nodes[0] = {"name": "z up", "matrix": turn.T.ravel().tolist(), "children": [1]}
    made = Made(nodes)
    made.track(1, "translation", [0, 1], [[0, 0, 0.9], [0, 0, 0.9]])
    motion = read_glb(made.write(tmp_path / "clip.gltf"))
    torch.testing.assert_close(motion.joints[0, 0], torch.tensor([0, 0.9, 1.0]), atol=1e-6, rtol=0)
    turned = read_glb(tmp_path / "clip.gltf", up="z")
    torch.testing.assert_close(turned.joints[0, 0], torch.tensor([0, 1.0, -0.9]), atol=1e-6, rtol=0)


def test_bones_that_a_vrm_file_declares_and_names_of_meshes(tmp_path: Path) -> None:
    names = {name: f"b{index}" for index, name in enumerate(JOINT_NAMES)}
    bones = {vrm: {"node": 1 + JOINT_INDEX[ours]} for ours, vrm in NAMINGS["vrm"].items()}
    old = [{"bone": name, "node": bone["node"]} for name, bone in bones.items()]
    for version, extension in (
        ("1", {"VRMC_vrm": {"humanoid": {"humanBones": bones}}}),
        ("0", {"VRM": {"humanoid": {"humanBones": old}}}),
    ):
        made = Made(rig(names=names))
        made.document["extensions"] = extension
        made.track(1, "translation", [0, 1], [[0, 1, 0], [0, 1, 1]])
        motion = read_glb(made.write(tmp_path / f"{version}.vrm"))
        assert float(motion.joints[0, JOINT_INDEX["head"], 1]) > 1.4
        assert read_motion(tmp_path / f"{version}.vrm").joints.equal(motion.joints)
    # A mesh called like a joint is no joint, where there is a skin to tell.
    made = Made([*rig(names=NAMINGS["smpl"]), {"name": "head"}])
    made.track(1, "translation", [0, 1], [[0, 1, 0], [0, 1, 1]])
    with pytest.raises(InputError, match="2 joints are called 'head'"):
        read_glb(made.write(tmp_path / "a.gltf"))
    made.document["skins"] = [{"joints": list(range(1, 23))}]
    assert len(read_glb(made.write(tmp_path / "a.gltf"))) == 31


def test_one_of_several_animations(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = Made(rig(names=NAMINGS["smpl"]))
    made.track(1, "translation", [0, 1], [[0, 1, 0], [0, 1, 1]])
    made.document["animations"].append({"name": "second", "channels": [], "samplers": []})
    made.track(1, "translation", [0, 2], [[0, 1, 0], [5, 1, 0]])
    path = made.write(tmp_path / "clip.gltf")
    with caplog.at_level(logging.INFO):
        assert len(read_motion(path)) == 31
    assert "the first of 2 animations (first)" in caplog.text
    for choice in ("second", "1"):
        assert len(read_motion(path, animation=choice)) == 61
    with pytest.raises(InputError, match="no animation 'third'; it has 'first', 'second'"):
        read_motion(path, animation="third")


@pytest.mark.parametrize(
    ("step", "expected"), [(1 / 60, 60), (0.0333, 30), (1 / 24, 24), (0.2, 30), (1 / 12, 12)]
)
def test_the_rate_is_that_of_the_keys(tmp_path: Path, step: float, expected: float) -> None:
    made = Made(rig(names=NAMINGS["smpl"]))
    times = step * np.arange(13)
    made.track(1, "translation", times, np.stack([0 * times, 0 * times + 1, times], 1))
    motion = read_motion(made.write(tmp_path / "clip.gltf"))
    assert motion.fps == expected
    assert len(motion) == round(12 * step * expected) + 1
    assert read_motion(tmp_path / "clip.gltf", fps=20).fps == 20


def test_a_joint_map_names_the_joints_of_any_rig(tmp_path: Path) -> None:
    names = {name: f"bone {index}" for index, name in enumerate(JOINT_NAMES)}
    made = Made(rig(names=names))
    made.track(1, "translation", [0, 1], [[0, 1, 0], [0, 1, 1]])
    path = made.write(tmp_path / "clip.gltf")
    with pytest.raises(InputError, match=r"no source for .*the file has Armature, bone 0, bone 1"):
        read_motion(path)
    assert len(read_motion(path, joint_map=names)) == 31


def test_recordings_round_trip(local_data: Any, tmp_path: Path) -> None:
    with np.load(local_data("data/mocap/motions_free.npz")) as arrays:
        for start in arrays["offsets"][[0, 90, 250]]:
            motion = Motion.from_joints(arrays["pos"][start : start + 60])
            write_glb(motion, tmp_path / "clip.glb")
            assert largest_error(motion, read_glb(tmp_path / "clip.glb")) < 1e-3
