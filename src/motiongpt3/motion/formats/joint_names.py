"""What other tools call the 22 joints, for files that are to be retargeted by name."""

from __future__ import annotations

from typing import Literal

from motiongpt3.errors import InputError
from motiongpt3.motion.skeleton import JOINT_NAMES

Naming = Literal["smpl", "mixamo", "unreal", "vrm"]

_MIDDLE = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
_SIDE = ("hip", "knee", "ankle", "foot", "collar", "shoulder", "elbow", "wrist")

_MIXAMO_MIDDLE = ("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head")
_MIXAMO_SIDE = ("UpLeg", "Leg", "Foot", "ToeBase", "Shoulder", "Arm", "ForeArm", "Hand")
_UNREAL_MIDDLE = ("pelvis", "spine_01", "spine_02", "spine_03", "neck_01", "head")
_UNREAL_SIDE = ("thigh", "calf", "foot", "ball", "clavicle", "upperarm", "lowerarm", "hand")
_VRM_MIDDLE = ("hips", "spine", "chest", "upperChest", "neck", "head")
_VRM_SIDE = ("UpperLeg", "LowerLeg", "Foot", "Toes", "Shoulder", "UpperArm", "LowerArm", "Hand")


def _table(middle: tuple[str, ...], side: tuple[str, ...], left: str, right: str) -> dict[str, str]:
    names = dict(zip(_MIDDLE, middle, strict=True))
    for ours, theirs in zip(_SIDE, side, strict=True):
        names[f"left_{ours}"] = left.format(theirs)
        names[f"right_{ours}"] = right.format(theirs)
    return {joint: names[joint] for joint in JOINT_NAMES}


NAMINGS: dict[str, dict[str, str]] = {
    "smpl": {joint: joint for joint in JOINT_NAMES},
    "mixamo": {
        joint: f"mixamorig:{name}"
        for joint, name in _table(_MIXAMO_MIDDLE, _MIXAMO_SIDE, "Left{}", "Right{}").items()
    },
    "unreal": _table(_UNREAL_MIDDLE, _UNREAL_SIDE, "{}_l", "{}_r"),
    "vrm": _table(_VRM_MIDDLE, _VRM_SIDE, "left{}", "right{}"),
}
"""The name of each joint, by naming: SMPL's (ours), Mixamo's, Unreal's mannequin's, VRM's humanoid bones."""


def names_of(naming: str) -> dict[str, str]:
    """One of `NAMINGS`.

    Raises:
        InputError: for another.
    """
    if naming not in NAMINGS:
        raise InputError(f"unknown naming of joints {naming!r}: use {', '.join(NAMINGS)}")
    return NAMINGS[naming]
