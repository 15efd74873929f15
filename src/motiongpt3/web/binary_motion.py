"""Motion as the viewer reads it: 16 bytes of header, then joint positions as they are in the npy.

Little-endian: ``MG3M``; frames, uint32; joints, uint32; frames per second, float32; then frames × joints × 3
float32 in metres, y up. Ten seconds are 53 kB.
"""

from __future__ import annotations

import struct

import numpy as np

from motiongpt3.motion.motion import Motion

MAGIC = b"MG3M"
HEADER = struct.Struct("<4sIIf")


def pack_motion(motion: Motion) -> bytes:
    """The bytes of a motion."""
    frames, joints, _ = motion.joints.shape
    return HEADER.pack(MAGIC, frames, joints, motion.fps) + motion.joints.numpy().astype("<f4").tobytes()


def unpack_motion(data: bytes) -> Motion:
    """The motion of such bytes.

    Raises:
        InputError: if they hold no motion.
        ValueError: if they are not such bytes.
    """
    magic, frames, joints, fps = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise ValueError("not a motion of the viewer")
    values = np.frombuffer(data, "<f4", offset=HEADER.size).reshape(frames, joints, 3)
    return Motion.from_joints(values, fps)
