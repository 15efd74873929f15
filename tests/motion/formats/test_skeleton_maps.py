from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from motiongpt3.errors import InputError
from motiongpt3.motion.formats import read_motion
from motiongpt3.motion.formats.joint_names import NAMINGS
from motiongpt3.motion.formats.skeleton_maps import SKELETON_MAPS, load_joint_map, map_joints
from motiongpt3.motion.skeleton import JOINT_INDEX, JOINT_NAMES
from tests.motion.formats.foreign import bandai, biovision, cmu, daz, foreign, lafan, mixamo

# What the joints that every scheme has are called in each.
MOTIONBUILDER = {
    "pelvis": "Hips",
    "head": "Head",
    "left_hip": "LeftUpLeg",
    "right_knee": "RightLeg",
    "left_ankle": "LeftFoot",
    "right_foot": "RightToeBase",
    "left_shoulder": "LeftArm",
    "right_elbow": "RightForeArm",
    "left_wrist": "LeftHand",
}
LAFAN = {
    **MOTIONBUILDER,
    "right_foot": "RightToe",
    "spine3": "Spine2",
    "neck": "Neck",
    "left_collar": "LeftShoulder",
}
BANDAI = {
    "pelvis": "Hips",
    "spine1": "Spine",
    "spine3": "Chest",
    "head": "Head",
    "left_hip": "UpperLeg_L",
    "right_knee": "LowerLeg_R",
    "left_ankle": "Foot_L",
    "right_foot": "Toes_R",
    "right_collar": "Shoulder_R",
    "left_shoulder": "UpperArm_L",
    "right_elbow": "LowerArm_R",
    "left_wrist": "Hand_L",
}
BIOVISION = {
    "pelvis": "Hips",
    "left_hip": "LeftHip",
    "right_foot": "RightAnkle/End",
    "left_shoulder": "LeftShoulder",
    "right_wrist": "RightWrist",
}
DAZ = {
    "pelvis": "hip",
    "left_knee": "lShin",
    "right_foot": "rFoot/End",
    "left_elbow": "lForeArm",
    "neck": "neck",
}


def both(names: str) -> list[str]:
    """The words of a template for the left and for the right."""
    return list(dict.fromkeys(names.format("L").split() + names.format("R").split()))


def read(tmp_path: Path, text: str, **options: object) -> torch.Tensor:
    (tmp_path / "clip.bvh").write_text(text)
    return read_motion(tmp_path / "clip.bvh", **options).joints  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scheme", "tree", "names"),
    [
        ("cmu", cmu(), {**MOTIONBUILDER, "neck": "Neck1"}),
        ("mixamo", mixamo(), {key: f"mixamorig:{name}" for key, name in MOTIONBUILDER.items()}),
        ("mixamo", mixamo(""), {**MOTIONBUILDER, "spine1": "Spine", "spine2": "Spine1"}),
        ("mixamo", mixamo("mixamorig9:"), {"pelvis": "mixamorig9:Hips"}),
        ("mixamo", mixamo("Character1_"), {"left_wrist": "Character1_LeftHand"}),
        ("lafan1", lafan(), LAFAN),
        ("bandai-namco", bandai(), BANDAI),
        ("biovision", biovision(), BIOVISION),
        ("daz", daz(), DAZ),
    ],
)
def test_known_naming_schemes(tmp_path: Path, scheme: str, tree: str, names: dict[str, str]) -> None:
    made = foreign(tree, six_channels=scheme == "bandai-namco")
    joints = read(tmp_path, made.text)
    assert map_joints(list(made.positions)).name == scheme
    for joint, source in names.items():
        expected = made.positions[source] * 0.01
        assert np.allclose(joints[:, JOINT_INDEX[joint]], expected, atol=1e-5), joint


RIGIFY = (
    "spine spine.001 spine.002 spine.003 spine.004 spine.005 spine.006 "
    "thigh.{0} shin.{0} foot.{0} toe.{0} shoulder.{0} upper_arm.{0} forearm.{0} hand.{0}"
)
VROID = (
    "J_Bip_C_Hips J_Bip_C_Spine J_Bip_C_Chest J_Bip_C_UpperChest J_Bip_C_Neck J_Bip_C_Head "
    "J_Bip_{0}_UpperLeg J_Bip_{0}_LowerLeg J_Bip_{0}_Foot J_Bip_{0}_ToeBase J_Bip_{0}_Shoulder "
    "J_Bip_{0}_UpperArm J_Bip_{0}_LowerArm J_Bip_{0}_Hand"
)


@pytest.mark.parametrize(
    ("scheme", "names", "expected"),
    [
        ("mixamo", [n.replace(":", "") for n in NAMINGS["mixamo"].values()], {"neck": "mixamorigNeck"}),
        ("unreal", ["root", *NAMINGS["unreal"].values()], {"left_ankle": "foot_l", "spine2": "spine_02"}),
        ("vrm", list(NAMINGS["vrm"].values()), {"right_hip": "rightUpperLeg", "spine3": "upperChest"}),
        ("rigify", both(RIGIFY), {"head": "spine.006", "left_wrist": "hand.L"}),
        ("vroid", both(VROID), {"pelvis": "J_Bip_C_Hips", "right_elbow": "J_Bip_R_LowerArm"}),
    ],
)
def test_naming_schemes_of_rigs(scheme: str, names: list[str], expected: dict[str, str]) -> None:
    found = map_joints(names)
    assert found.name == scheme
    for joint, source in expected.items():
        weights = found.weights[JOINT_INDEX[joint]]
        assert names[int(weights.argmax())] == source
        assert float(weights.max()) == 1


def test_missing_spine_joints_lie_between_their_neighbours(tmp_path: Path) -> None:
    made = foreign(bandai())
    joints = read(tmp_path, made.text)
    between = (made.positions["Spine"] + made.positions["Chest"]) / 2
    assert np.allclose(joints[:, JOINT_INDEX["spine2"]], between * 0.01, atol=1e-5)
    # CMU's shoulders begin at the spine, SMPL's collars further out.
    made = foreign(cmu())
    joints = read(tmp_path, made.text)
    outward = 0.6 * made.positions["RightShoulder"] + 0.4 * made.positions["RightArm"]
    assert np.allclose(joints[:, JOINT_INDEX["right_collar"]], outward * 0.01, atol=1e-5)


def test_every_map_is_complete_and_never_mixes_the_sides() -> None:
    for scheme in SKELETON_MAPS:
        assert set(scheme.sources) == set(JOINT_NAMES), scheme.name
        for joint in JOINT_NAMES:
            if joint.startswith("left_"):
                assert scheme.sources[joint] != scheme.sources["right_" + joint.removeprefix("left_")]
            for source in scheme.sources[joint]:
                if not isinstance(source, str):
                    assert sum(source.values()) == pytest.approx(1)


def test_unknown_joints_are_named_with_what_the_file_has(tmp_path: Path) -> None:
    tree = lafan().replace("LeftHand", "Tentacle").replace("RightFoot", "Hoof")
    with pytest.raises(InputError) as error:
        read(tmp_path, foreign(tree).text)
    message = str(error.value)
    assert "no source for right_ankle, left_wrist (closest known naming: lafan1)" in message
    assert "Tentacle" in message
    assert "Hoof" in message
    assert "joint_map" in message
    assert "\n" not in message


def test_a_user_map_fills_in_what_is_missing(tmp_path: Path) -> None:
    made = foreign(lafan().replace("LeftHand", "Tentacle"))
    joints = read(
        tmp_path, made.text, joint_map={"left_wrist": "Tentacle", "neck": {"Neck": 0.25, "Head": 0.75}}
    )
    assert np.allclose(joints[:, JOINT_INDEX["left_wrist"]], made.positions["Tentacle"] * 0.01, atol=1e-5)
    neck = 0.25 * made.positions["Neck"] + 0.75 * made.positions["Head"]
    assert np.allclose(joints[:, JOINT_INDEX["neck"]], neck * 0.01, atol=1e-5)
    assert np.allclose(joints[:, JOINT_INDEX["head"]], made.positions["Head"] * 0.01, atol=1e-5)


def test_a_complete_user_map_from_a_file(tmp_path: Path) -> None:
    made = foreign(lafan())
    renamed = made.text
    joint_map = {}
    for index, (joint, source) in enumerate(
        zip(
            ("pelvis", "spine1", "spine2", "spine3", "neck", "head"),
            ("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"),
        )
    ):
        joint_map[joint] = f"b{index}"
        renamed = renamed.replace(f" {source}\n", f" b{index}\n")
    for part, source in zip(
        ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist"),
        ("UpLeg", "Leg", "Foot", "Toe", "Shoulder", "Arm", "ForeArm", "Hand"),
    ):
        for side in ("left", "right"):
            joint_map[f"{side}_{part}"] = f"{side}{part}bone"
            renamed = renamed.replace(f" {side.capitalize()}{source}\n", f" {side}{part}bone\n")
    (tmp_path / "map.json").write_text(json.dumps(joint_map))
    assert torch.equal(
        read(tmp_path, renamed, joint_map=tmp_path / "map.json"),
        read(tmp_path, made.text),
    )


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("[1, 2]", "expected an object"),
        ("{", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ('{"tail": "Hips"}', "'tail' is not an SMPL joint"),
        ('{"pelvis": 3}', "the source of pelvis"),
        ('{"pelvis": {"A": 0.5}}', "the source of pelvis"),
        ('{"pelvis": {"A": NaN}}', "the source of pelvis"),
        ('{"pelvis": {"A": "1"}}', "the source of pelvis"),
    ],
)
def test_broken_maps_are_refused(tmp_path: Path, contents: str, message: str) -> None:
    (tmp_path / "map.json").write_text(contents)
    with pytest.raises(InputError, match=message):
        load_joint_map(tmp_path / "map.json")


def test_maps_to_joints_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="joint_map takes neck from 'Hals'; the file has Hips"):
        read(tmp_path, foreign(lafan()).text, joint_map={"neck": "Hals"})
    with pytest.raises(InputError, match="cannot be read"):
        load_joint_map(tmp_path / "none.json")
    with pytest.raises(InputError, match="NumPy joints has no option 'joint_map'"):
        read_motion(tmp_path / "clip.npy", joint_map={"neck": "Hals"})


def test_two_figures_in_one_file_are_refused(tmp_path: Path) -> None:
    text = foreign(lafan()).text
    first, motion = text.split("MOTION")
    rows = motion.splitlines()
    doubled = first + first.removeprefix("HIERARCHY\n") + "MOTION"
    doubled += "\n".join(rows[:3] + [f"{row} {row}" for row in rows[3:]])
    with pytest.raises(InputError, match="2 joints are called"):
        read(tmp_path, doubled)


def test_a_flood_of_names_is_cut_short() -> None:
    with pytest.raises(InputError) as error:
        map_joints([f"{'x' * 500}{index}" for index in range(2000)])
    assert len(str(error.value)) < 5000
    assert "1940 more" in str(error.value)
