"""BVH files as other people's tools write them, made up here, with joint positions worked out by scipy.

A skeleton is written as an indented tree of ``name role``; the role says where the joint is in the rest pose
(`REST`, centimetres, y up; ``-role`` is the same point on the right).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

REST = {
    "floor": (0, 0, 0),
    "hips": (0, 95, 0),
    "low": (0, 105, 0),
    "middle": (0, 118, 0),
    "high": (0, 131, 0),
    "neck": (0, 150, 2),
    "head": (0, 160, 4),
    "top": (0, 178, 4),
    "collar": (5, 146, 0),
    "shoulder": (18, 146, 0),
    "elbow": (44, 146, 0),
    "wrist": (70, 146, 0),
    "fingers": (80, 146, 0),
    "hip": (9, 90, 0),
    "knee": (9, 50, 0),
    "ankle": (9, 8, 0),
    "toe": (9, 2, 13),
    "tip": (9, 2, 20),
}

LEG = "{hip} hip\n {knee} knee\n  {ankle} ankle\n   {toe} toe\n    End tip"
ARM = "{collar} collar\n {shoulder} shoulder\n  {elbow} elbow\n   {wrist} wrist\n    End fingers"
MOTIONBUILDER = {
    "hip": "LeftUpLeg",
    "knee": "LeftLeg",
    "ankle": "LeftFoot",
    "toe": "LeftToeBase",
    "collar": "LeftShoulder",
    "shoulder": "LeftArm",
    "elbow": "LeftForeArm",
    "wrist": "LeftHand",
}


def indent(tree: str, depth: int) -> str:
    return "\n".join(" " * depth + line for line in tree.splitlines())


def sides(tree: str, depth: int, left: str, right: str) -> str:
    """A tree of the left side, followed by the same on the right."""
    lines = [line.rpartition(" ") for line in tree.splitlines()]
    other = "\n".join(f"{name.replace(left, right, 1)} -{role}" for name, _, role in lines)
    return indent(f"{tree}\n{other}", depth)


def trunk(names: str, depth: int = 1) -> str:
    """A chain out of ``name role, name role, ...``."""
    return "\n".join(" " * (depth + level) + joint for level, joint in enumerate(names.split(", ")))


def cmu() -> str:
    leg = "LHipJoint hips\n" + indent(LEG.format(**MOTIONBUILDER), 1)
    left, _, right = sides(leg, 1, "Left", "Right").replace("-hips", "hips").rpartition("LHipJoint")
    arm = ARM.format(**MOTIONBUILDER).replace("collar", "high")
    return "\n".join(
        [
            "Hips hips",
            f"{left}RHipJoint{right}",
            trunk("LowerBack hips, Spine middle, Spine1 high"),
            trunk("Neck high, Neck1 neck, Head head, End top", 4),
            sides(arm, 4, "Left", "Right").replace("-high", "high"),
        ]
    )


def lafan(toe: str = "LeftToe") -> str:
    """Also Mixamo's, with its own name for the toes."""
    names = {**MOTIONBUILDER, "toe": toe}
    return "\n".join(
        [
            "Hips hips",
            sides(LEG.format(**names), 1, "Left", "Right"),
            trunk("Spine low, Spine1 middle, Spine2 high"),
            trunk("Neck neck, Head head, End top", 4),
            sides(ARM.format(**names), 4, "Left", "Right"),
        ]
    )


def mixamo(prefix: str = "mixamorig:") -> str:
    lines = []
    for line in lafan("LeftToeBase").splitlines():
        name = line.lstrip()
        lines.append(line if name.startswith("End") else line[: len(line) - len(name)] + prefix + name)
    return "\n".join(lines)


def bandai() -> str:
    leg = LEG.format(hip="UpperLeg_L", knee="LowerLeg_L", ankle="Foot_L", toe="Toes_L")
    arm = ARM.format(collar="Shoulder_L", shoulder="UpperArm_L", elbow="LowerArm_L", wrist="Hand_L")
    return "\n".join(
        [
            "joint_Root floor",
            " Hips hips",
            trunk("Spine low, Chest high", 2),
            trunk("Neck neck, Head head, End top", 4),
            sides(arm, 4, "_L", "_R"),
            sides(leg, 2, "_L", "_R"),
        ]
    )


def biovision() -> str:
    leg = "LeftHip hip\n LeftKnee knee\n  LeftAnkle ankle\n   End toe"
    arm = "LeftCollar high\n LeftShoulder shoulder\n  LeftElbow elbow\n   LeftWrist wrist\n    End fingers"
    return "\n".join(
        [
            "Hips hips",
            trunk("Chest low, Neck neck, Head head, End top"),
            sides(arm, 2, "Left", "Right").replace("-high", "high"),
            sides(leg, 1, "Left", "Right"),
        ]
    )


def daz() -> str:
    leg = "lButtock hips\n lThigh hip\n  lShin knee\n   lFoot ankle\n    End toe"
    arm = "lCollar collar\n lShldr shoulder\n  lForeArm elbow\n   lHand wrist\n    End fingers"
    return "\n".join(
        [
            "hip hips",
            trunk("abdomen low, chest high, neck neck, head head, End top"),
            sides(arm, 3, "l", "r"),
            sides(leg, 1, "l", "r").replace("-hips", "hips"),
        ]
    )


@dataclass
class Foreign:
    """A made-up file: its text, and where every joint is, (T, 3) each, in file units."""

    text: str
    positions: dict[str, np.ndarray]


def foreign(
    tree: str,
    order: str = "ZYX",
    frames: int = 5,
    seed: int = 0,
    unit: float = 1.0,
    six_channels: bool = False,
    z_up: bool = False,
    newline: str = "\n",
) -> Foreign:
    """Write a skeleton in a random motion.

    Args:
        tree: as the functions above give it.
        order: rotation channels, the same for every joint.
        frames: how many.
        seed: of the motion.
        unit: file units per centimetre.
        six_channels: give every joint position channels, which replace its offset.
        z_up: turn the whole file so that z points up.
        newline: how lines end.
    """
    random = np.random.default_rng(seed)
    lines, columns = ["HIERARCHY"], []
    positions: dict[str, np.ndarray] = {}
    open_joints: list[tuple[str, np.ndarray, np.ndarray, Rotation]] = []
    for line in tree.splitlines():
        depth = len(line) - len(line.lstrip())
        name, role = line.split()
        while len(open_joints) > depth:
            open_joints.pop()
            lines.append("\t" * len(open_joints) + "}")
        side = np.array([-1 if role.startswith("-") else 1, 1, 1])
        rest = side * np.array(REST[role.removeprefix("-")], float) * unit
        if z_up:
            rest = rest[[0, 2, 1]] * [1, -1, 1]
        offset = rest - open_joints[-1][1] if open_joints else rest
        place = np.repeat(offset[None], frames, 0)
        turn = Rotation.identity(frames)
        indent = "\t" * depth
        if name == "End":
            name = f"{open_joints[-1][0]}/End"
            lines += [
                f"{indent}End Site",
                indent + "{",
                f"{indent}\tOFFSET  {offset[0]} {offset[1]}\t{offset[2]:e}",
            ]
        else:
            channels = [f"{axis}rotation" for axis in order]
            if six_channels or not open_joints:
                place = place + random.normal(0, unit, (frames, 3))
                channels = ["Xposition", "Yposition", "Zposition", *channels]
                columns.append(place)
            degrees = random.normal(0, 8, (frames, 3))
            columns.append(degrees)
            turn = Rotation.from_euler(order, degrees, degrees=True)
            lines += [f"{indent}{'JOINT' if open_joints else 'ROOT'} {name}", indent + "{"]
            lines += [f"{indent}\tOFFSET {offset[0]} {offset[1]} {offset[2]}"]
            lines += [f"{indent}\tCHANNELS {len(channels)} {' '.join(channels)}"]
        if open_joints:
            _, _, parent_place, parent_turn = open_joints[-1]
            place = parent_place + parent_turn.apply(place)
            turn = parent_turn * turn
        positions[name] = place
        open_joints.append((name, rest, place, turn))
    while open_joints:
        open_joints.pop()
        lines.append("\t" * len(open_joints) + "}")
    rows = np.concatenate(columns, axis=1)
    lines += ["MOTION", f"Frames:\t{frames}", "Frame Time: 0.0083333"]
    lines += ["  ".join(f"{value:.9g}" for value in row) for row in rows]
    return Foreign(newline.join(lines) + newline, positions)
