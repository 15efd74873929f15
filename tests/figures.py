"""Simple motions for tests that draw or write them: a figure at rest, and variations on it."""

from __future__ import annotations

import torch

from motiongpt3.motion.motion import Motion
from motiongpt3.motion.skeleton import JOINT_INDEX, PARENTS, UNIFORM_OFFSETS


def rest_pose() -> torch.Tensor:
    """(22, 3) joints of a figure that stands on the floor, faces +z and lets its arms hang."""
    joints = torch.zeros(22, 3)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            joints[joint] = joints[parent] + UNIFORM_OFFSETS[joint]
    joints[:, 1] -= joints[:, 1].min()
    return joints


def standing(frames: int = 8, fps: float = 20.0) -> Motion:
    """A figure that does nothing."""
    return Motion(rest_pose().repeat(frames, 1, 1), fps=fps, name="standing")


def walking(frames: int = 12, metres_per_frame: float = 0.08, fps: float = 20.0) -> Motion:
    """A figure that glides forward."""
    joints = rest_pose().repeat(frames, 1, 1)
    joints[..., 2] += metres_per_frame * torch.arange(frames)[:, None]
    return Motion(joints, fps=fps, name="walking")


def raising_arm(side: str, frames: int = 8) -> Motion:
    """A figure that lifts one stretched arm sideways and up."""
    joints = rest_pose().repeat(frames, 1, 1)
    shoulder = JOINT_INDEX[f"{side}_shoulder"]
    outward = 1.0 if side == "left" else -1.0
    for frame in range(frames):
        angle = torch.tensor(2.6 * frame / (frames - 1))
        direction = torch.stack([outward * angle.sin(), -angle.cos(), torch.tensor(0.0)])
        for reach, joint in ((0.26, f"{side}_elbow"), (0.52, f"{side}_wrist")):
            joints[frame, JOINT_INDEX[joint]] = joints[frame, shoulder] + reach * direction
    return Motion(joints, name=f"raising {side} arm")
