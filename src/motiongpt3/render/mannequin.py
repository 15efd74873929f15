"""What the 22 joints look like: a mannequin of tapered capsules, warm on its left and cool on its right.

Shapes: T frames, P points (joints and added points), L limbs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from motiongpt3.motion.skeleton import JOINT_INDEX, JOINT_NAMES

Array = NDArray[np.float32]

LEFT_COLOUR = (238, 122, 52)
RIGHT_COLOUR = (42, 124, 205)
MIDDLE_COLOUR = (226, 224, 220)
FACE_COLOUR = (70, 74, 84)

# Points that no joint gives: the ball of the head, where it looks, finger tips, heels and toes.
ADDED_POINTS = (
    "skull",
    "face_left",
    "face_right",
    "left_hand",
    "right_hand",
    "left_heel",
    "right_heel",
    "left_toe",
    "right_toe",
    "chest",
)
POINT_INDEX = JOINT_INDEX | {name: len(JOINT_NAMES) + k for k, name in enumerate(ADDED_POINTS)}

# Length of hip-knee-ankle, in metres, of the body that the radii below are for.
REFERENCE_LEG = 0.82


class Limb(NamedTuple):
    """A tapered capsule between two points."""

    start: str
    end: str
    start_radius: float
    end_radius: float


_MIDDLE_LIMBS = (
    Limb("left_hip", "right_hip", 0.07, 0.07),
    Limb("pelvis", "spine1", 0.09, 0.1),
    Limb("spine1", "chest", 0.1, 0.128),
    Limb("chest", "left_shoulder", 0.098, 0.046),
    Limb("chest", "right_shoulder", 0.098, 0.046),
    Limb("chest", "skull", 0.052, 0.046),
    Limb("skull", "skull", 0.112, 0.112),
)
_SIDE_LIMBS = (
    Limb("hip", "knee", 0.086, 0.06),
    Limb("knee", "ankle", 0.058, 0.04),
    Limb("ankle", "foot", 0.042, 0.04),
    Limb("heel", "foot", 0.043, 0.043),
    Limb("foot", "toe", 0.04, 0.034),
    Limb("shoulder", "elbow", 0.058, 0.044),
    Limb("elbow", "wrist", 0.043, 0.032),
    Limb("wrist", "hand", 0.04, 0.034),
)


def _sided(side: str) -> tuple[Limb, ...]:
    return tuple(Limb(f"{side}_{limb.start}", f"{side}_{limb.end}", *limb[2:]) for limb in _SIDE_LIMBS)


FACE = Limb("face_left", "face_right", 0.036, 0.036)
LIMBS = (*_MIDDLE_LIMBS, *_sided("left"), *_sided("right"), FACE)
LIMB_STARTS = np.array([POINT_INDEX[limb.start] for limb in LIMBS])
LIMB_ENDS = np.array([POINT_INDEX[limb.end] for limb in LIMBS])


def _colour(limb: Limb) -> tuple[int, int, int]:
    if limb is FACE:
        return FACE_COLOUR
    if limb in _MIDDLE_LIMBS:
        return MIDDLE_COLOUR
    return LEFT_COLOUR if limb.start.startswith("left") else RIGHT_COLOUR


LIMB_COLOURS: Array = np.array([_colour(limb) for limb in LIMBS], dtype=np.float32)


@dataclass(frozen=True)
class Mannequin:
    """Capsules of a moving body.

    Attributes:
        points: (T, P, 3) positions, metres.
        radii: (L, 2) radius at each capsule's start and end, metres.
        size: how much larger this body is than one with legs of 0.82 m.
    """

    points: Array
    radii: Array
    size: float

    @property
    def starts(self) -> Array:
        """(T, L, 3) where each capsule starts."""
        return self.points[:, LIMB_STARTS]

    @property
    def ends(self) -> Array:
        """(T, L, 3) where each capsule ends."""
        return self.points[:, LIMB_ENDS]


def build_mannequin(joints: Array) -> Mannequin:
    """Dress joints (T, 22, 3), metres, in capsules whose thickness goes with the length of the legs."""
    joint = {name: joints[:, index] for name, index in JOINT_INDEX.items()}
    legs = [
        np.linalg.norm(joint[f"{side}_{upper}"] - joint[f"{side}_{lower}"], axis=-1)
        for side in ("left", "right")
        for upper, lower in (("hip", "knee"), ("knee", "ankle"))
    ]
    size = max(float(np.median(np.sum(legs, axis=0))) / 2 / REFERENCE_LEG, 1e-2)

    neck_up = _unit(joint["head"] - joint["spine3"])
    shoulders = _unit(joint["left_shoulder"] - joint["right_shoulder"])
    forward = _unit(np.cross(shoulders, neck_up))
    skull = joint["head"] + size * (0.075 * neck_up + 0.01 * forward)
    across = np.cross(neck_up, forward)
    face = skull + size * (0.099 * forward + 0.018 * neck_up)
    added = {
        "skull": skull,
        "face_left": face + size * 0.03 * across,
        "face_right": face - size * 0.03 * across,
        "chest": joint["spine3"] + size * (0.03 * neck_up + 0.012 * forward),
    }
    for side in ("left", "right"):
        ankle, foot = joint[f"{side}_ankle"], joint[f"{side}_foot"]
        along = _unit(foot - ankle)
        shin = _unit(ankle - joint[f"{side}_knee"])
        flat = _unit(along - 0.6 * shin * np.sum(along * shin, axis=-1, keepdims=True))
        added[f"{side}_heel"] = ankle + size * (0.03 * shin - 0.035 * flat)
        added[f"{side}_toe"] = foot + size * 0.055 * flat
        forearm = _unit(joint[f"{side}_wrist"] - joint[f"{side}_elbow"])
        added[f"{side}_hand"] = joint[f"{side}_wrist"] + size * 0.085 * forearm
    points = np.concatenate([joints, np.stack([added[name] for name in ADDED_POINTS], axis=1)], axis=1)
    radii = size * np.array([(limb.start_radius, limb.end_radius) for limb in LIMBS])
    return Mannequin(points.astype(np.float32), radii.astype(np.float32), size)


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-8)
