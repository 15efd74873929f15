"""The body that moves in the viewer, as bytes: its mesh, once, and how it moves, for each motion.

Both are little-endian and start with 16 bytes: a mark of four letters and three numbers of four bytes each.

=========  ==================================================================================================
``MG3B``   vertices V, faces F, bones B: uint32
positions  (V, 3) float32, metres, of the mesh at rest
faces      (F, 3) uint16 corners, counter-clockwise from outside
bones      (V, 4) uint8 that move each vertex
weights    (V, 4) uint8 of these
parents    (B) uint8: the bone to which each is relative; of the root, itself
=========  ==================================================================================================

=========  ==================================================================================================
``MG3P``   frames T, bones B: uint32; frames per second: float32
binds      (B, 3, 4) float32 from the mesh at rest to the frame of each bone, for the proportions of this clip
offsets    (B, 3) float32 of each bone from its parent, metres; of the root, zero
places     (T, 3) float32 of the root, metres, y up
rotations  (T, B, 4) int16: quaternions (x, y, z, w) relative to the parent, in steps of 1/32767
=========  ==================================================================================================

A bone's frame is its parent's, moved by the offset and turned by the rotation. Ten seconds are 62 kB.
"""

from __future__ import annotations

import struct

import numpy as np
import torch

from motiongpt3.body.embedded import EXTRA_BONES, EmbeddedBody, strongest_bones
from motiongpt3.body.fitting import BodyMotion
from motiongpt3.body.model import joint_offsets
from motiongpt3.body.twist import twist_bone_rotations
from motiongpt3.motion.pose import continuous_quaternions
from motiongpt3.motion.rotations import matrix_to_quaternion
from motiongpt3.motion.skeleton import JOINT_COUNT, PARENTS

MESH_HEADER = struct.Struct("<4sIII")
POSE_HEADER = struct.Struct("<4sIIf")
QUATERNION_STEPS = 32767

_PARENTS = (0, *PARENTS[1:], *(parent for _, parent, _ in EXTRA_BONES))
_SEATS = (*range(JOINT_COUNT), *(joint for _, _, joint in EXTRA_BONES))


def pack_body(body: EmbeddedBody) -> bytes:
    """The mesh of a body."""
    bones, weights = strongest_bones(body.weights.numpy())
    return b"".join(
        [
            MESH_HEADER.pack(b"MG3B", body.vertex_count, len(body.faces), len(_PARENTS)),
            body.template.numpy().astype("<f4").tobytes(),
            body.faces.numpy().astype("<u2").tobytes(),
            bones.tobytes(),
            weights.tobytes(),
            bytes(_PARENTS),
        ]
    )


def pack_pose(fitted: BodyMotion) -> bytes:
    """The movement of one of this project's bodies."""
    body = fitted.body
    assert isinstance(body, EmbeddedBody)
    turns = torch.cat([fitted.rotations, twist_bone_rotations(fitted.rotations, body.joints)], dim=1)
    quaternions = continuous_quaternions(matrix_to_quaternion(turns.double())).roll(-1, -1)
    offsets = joint_offsets(body.joints)[list(_SEATS)]
    offsets[0] = 0
    return b"".join(
        [
            POSE_HEADER.pack(b"MG3P", len(fitted), len(_PARENTS), fitted.fps),
            body.bind.numpy().astype("<f4").tobytes(),
            offsets.numpy().astype("<f4").tobytes(),
            (fitted.translation + body.joints[0]).numpy().astype("<f4").tobytes(),
            np.round(QUATERNION_STEPS * quaternions.numpy()).astype("<i2").tobytes(),
        ]
    )
