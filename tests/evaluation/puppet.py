"""Motions of a simple puppet with known answers: what each does follows from its parameters alone.

Shapes: joints (T, 22, 3) in metres, 20 frames per second, facing +z at the start.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from motiongpt3.motion.skeleton import JOINT_COUNT, JOINT_INDEX, PARENTS, UNIFORM_OFFSETS

FPS = 20.0
ARMS = {side: [JOINT_INDEX[f"{side}_{part}"] for part in ("elbow", "wrist")] for side in ("left", "right")}
LEGS = {
    side: [JOINT_INDEX[f"{side}_{part}"] for part in ("knee", "ankle", "foot")] for side in ("left", "right")
}
UPPER_BODY = [JOINT_INDEX[name] for name in ("spine1", "spine2", "spine3", "neck", "head")]
UPPER_BODY += [
    JOINT_INDEX[f"{side}_{part}"] for side in ARMS for part in ("collar", "shoulder", "elbow", "wrist")
]


def stand(seconds: float = 3.0) -> Tensor:
    """Stands still on the floor, arms down."""
    pose = torch.zeros(JOINT_COUNT, 3, dtype=torch.float64)
    for joint in range(1, JOINT_COUNT):
        pose[joint] = pose[PARENTS[joint]] + UNIFORM_OFFSETS[joint].double()
    # The rest pose has feet straight in front of the ankles; real toe joints lie 9 cm lower.
    pose[[JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]], 1] -= 0.09
    pose[:, 1] -= pose[:, 1].min()
    return pose.repeat(round(seconds * FPS), 1, 1)


def bump(frames: int, start: float = 0.2, end: float = 0.8) -> Tensor:
    """(T,) smooth rise from 0 to 1 and back, up between ``start`` and ``end`` of the time."""
    time = torch.linspace(0, 1, frames, dtype=torch.float64)
    rise = ((time - start + 0.1) / 0.2).clamp(0, 1)
    fall = ((end + 0.1 - time) / 0.2).clamp(0, 1)
    smooth = torch.minimum(rise, fall)
    return smooth * smooth * (3 - 2 * smooth)


def turned(joints: Tensor, members: list[int], pivot: Tensor, axis: str, angle: Tensor) -> Tensor:
    """``joints`` with ``members`` turned about ``pivot`` (T, 3) by ``angle`` (T,) radians about x, y or z."""
    result = joints.clone()
    result[:, members] = pivot[:, None] + rotated(joints[:, members] - pivot[:, None], axis, angle)
    return result


def rotated(vectors: Tensor, axis: str, angle: Tensor) -> Tensor:
    """(T, J, 3) vectors turned about x, y or z by (T,) radians, right-handed."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    result = vectors.clone()
    result[..., first] = cos * vectors[..., first] - sin * vectors[..., second]
    result[..., second] = sin * vectors[..., first] + cos * vectors[..., second]
    return result


def raise_hands(*sides: str, degrees: float = 150.0, waves: float = 0.0, seconds: float = 3.0) -> Tensor:
    """Lifts straight arms sideways by ``degrees`` from hanging; ``waves`` a second by 15° to and fro."""
    joints = stand(seconds)
    frames = len(joints)
    up = bump(frames)
    swing = torch.sin(2 * math.pi * waves * torch.arange(frames) / FPS) * math.radians(15)
    for side in sides:
        sign = 1.0 if side == "left" else -1.0
        angle = sign * up * (math.radians(degrees) + swing)
        joints = turned(joints, ARMS[side], joints[:, JOINT_INDEX[f"{side}_shoulder"]], "z", angle)
    return joints


def walk(
    speed: float = 1.2,
    turn_degrees: float = 0.0,
    sideways: float = 0.0,
    steps_per_second: float = 2.0,
    flight: float = 0.0,
    slide: float = 0.0,
    seconds: float = 4.0,
) -> Tensor:
    """Walks by planting one foot while the other swings.

    Args:
        speed: forward, metres per second; negative is backward.
        turn_degrees: change of the heading over the clip, left positive.
        sideways: speed to the left.
        steps_per_second: how often the feet swap.
        flight: how high the whole body rises in the middle of every step.
        slide: speed of the planted foot over the ground, metres per second.
        seconds: duration.
    """
    joints = stand(seconds)
    frames = len(joints)
    time = torch.arange(frames, dtype=torch.float64) / FPS
    for side, shift in (("left", 0.0), ("right", 0.5)):
        phase = (time * steps_per_second / 2 + shift) % 1
        planted = phase < 0.5
        # From +half to -half a stride while planted, back while it swings.
        along = torch.where(planted, 0.5 - 2 * phase, 2 * phase - 1.5)
        stride = (speed - slide) / steps_per_second
        joints[:, LEGS[side], 2] += (along * stride)[:, None]
        joints[:, LEGS[side], 0] += (along * sideways / steps_per_second)[:, None]
        lift = torch.where(planted, 0.0, 0.1 * torch.sin((phase - 0.5) * 2 * math.pi))
        joints[:, LEGS[side], 1] += lift[:, None]
    joints[..., 1] += (flight * torch.sin(time * steps_per_second * math.pi).abs())[:, None]
    heading = torch.linspace(0, math.radians(turn_degrees), frames, dtype=torch.float64)
    joints = rotated(joints, "y", heading)
    velocity = torch.zeros(frames, 1, 3, dtype=torch.float64)
    velocity[..., 2], velocity[..., 0] = speed / FPS, sideways / FPS
    return joints + rotated(velocity, "y", heading).cumsum(0)


def run() -> Tensor:
    """Runs at 3 m/s with a flight phase."""
    return walk(speed=3.0, steps_per_second=2.8, flight=0.12)


def jump(height: float = 0.35, seconds: float = 2.0) -> Tensor:
    """Rises straight up by ``height`` metres in the middle and comes down again."""
    joints = stand(seconds)
    time = torch.linspace(-1, 1, len(joints), dtype=torch.float64)
    joints[..., 1] += (height * (1 - (time / 0.3).square()).clamp_min(0))[:, None]
    return joints


def bow(degrees: float = 50.0, seconds: float = 3.0) -> Tensor:
    """Leans the upper body forward and comes back up."""
    joints = stand(seconds)
    angle = bump(len(joints)) * math.radians(degrees)
    return turned(joints, UPPER_BODY, joints[:, JOINT_INDEX["pelvis"]], "x", angle)


def kick(side: str = "right", degrees: float = 85.0, seconds: float = 2.0) -> Tensor:
    """Swings one straight leg forward and back within half a second."""
    joints = stand(seconds)
    time = torch.linspace(0, seconds, len(joints), dtype=torch.float64)
    angle = -math.radians(degrees) * (1 - ((time - 1.0) / 0.3).square()).clamp_min(0)
    return turned(joints, LEGS[side], joints[:, JOINT_INDEX[f"{side}_hip"]], "x", angle)


def cartwheel(seconds: float = 2.0) -> Tensor:
    """Lifts both arms and rolls sideways once, the lowest joint always on the floor."""
    joints = raise_hands("left", "right", degrees=170.0, seconds=seconds)
    joints[:] = joints[len(joints) // 2]
    angle = torch.linspace(0, 2 * math.pi, len(joints), dtype=torch.float64)
    joints = turned(joints, list(range(JOINT_COUNT)), joints[:, 0], "z", angle)
    joints[..., 1] -= joints[..., 1].amin(1, keepdim=True)
    joints[..., 0] -= (angle * 0.3)[:, None]
    return joints
