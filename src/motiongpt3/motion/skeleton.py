"""The 22-joint SMPL body skeleton as HumanML3D uses it: names, tree, mirror pairs, and one uniform size.

Axes: x to the body's left, y up, z forward. Everything here is constant; nothing depends on a motion.
"""

from __future__ import annotations

import torch
from torch import Tensor

JOINT_NAMES: tuple[str, ...] = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
)
JOINT_COUNT = len(JOINT_NAMES)
JOINT_INDEX: dict[str, int] = {name: index for index, name in enumerate(JOINT_NAMES)}

PARENTS: tuple[int, ...] = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
"""Parent of each joint; -1 for the root. A parent always comes before its children."""

CHAINS: tuple[tuple[int, ...], ...] = (
    (0, 2, 5, 8, 11),
    (0, 1, 4, 7, 10),
    (0, 3, 6, 9, 12, 15),
    (9, 14, 17, 19, 21),
    (9, 13, 16, 18, 20),
)
"""Right leg, left leg, spine, right arm, left arm, each from its first joint to its last."""


def _other_side(name: str) -> str:
    side, _, part = name.partition("_")
    return {"left": f"right_{part}", "right": f"left_{part}"}.get(side, name)


MIRROR: tuple[int, ...] = tuple(JOINT_INDEX[_other_side(name)] for name in JOINT_NAMES)
"""Joint that takes each joint's place when left and right are swapped."""

RAW_DIRECTIONS: Tensor = torch.tensor(
    [
        [0, 0, 0],
        [1, 0, 0],
        [-1, 0, 0],
        [0, 1, 0],
        [0, -1, 0],
        [0, -1, 0],
        [0, 1, 0],
        [0, -1, 0],
        [0, -1, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 0, 1],
        [0, 1, 0],
        [1, 0, 0],
        [-1, 0, 0],
        [0, 0, 1],
        [0, -1, 0],
        [0, -1, 0],
        [0, -1, 0],
        [0, -1, 0],
        [0, -1, 0],
        [0, -1, 0],
    ],
    dtype=torch.float32,
)
"""(22, 3) unit direction of each joint from its parent in HumanML3D's rest pose; zero for the root.

In that pose the arms hang down and the feet and the head point forward.
"""

_UNIFORM_BONE_LENGTHS = (
    0.0,
    0.10307395,
    0.10988335,
    0.13156825,
    0.39362314,
    0.39018813,
    0.14319026,
    0.43243298,
    0.42564332,
    0.057364706,
    0.14338174,
    0.14941867,
    0.21936,
    0.13748683,
    0.14338283,
    0.10303927,
    0.13161398,
    0.122984305,
    0.25683984,
    0.26309186,
    0.26601186,
    0.2698763,
)

UNIFORM_OFFSETS: Tensor = RAW_DIRECTIONS * torch.tensor(_UNIFORM_BONE_LENGTHS, dtype=torch.float32)[:, None]
"""(22, 3) offset of each joint from its parent, metres: the one body that every clip is fitted to.

The bone lengths are those of HumanML3D's sample clip 012314, laid along HumanML3D's raw directions.
"""


def mirror_joints(joints: Tensor) -> Tensor:
    """Swap left and right: x becomes -x, and paired joints take each other's place.

    Args:
        joints: (..., 22, 3) positions.

    Returns:
        (..., 22, 3); mirroring twice gives the input again.
    """
    order = torch.tensor(MIRROR, device=joints.device)
    return joints.index_select(-2, order) * joints.new_tensor([-1.0, 1.0, 1.0])
