"""Reads the bytes as the viewer does, and compares with the body that they were made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from motiongpt3.body.embedded import EmbeddedBody, embedded_body
from motiongpt3.body.fitting import BodyMotion, fit_body
from motiongpt3.motion.rotations import quaternion_to_matrix
from motiongpt3.web.binary_body import MESH_HEADER, POSE_HEADER, pack_body, pack_pose
from tests.figures import raising_arm


@dataclass
class Mesh:
    positions: np.ndarray
    faces: np.ndarray
    bones: np.ndarray
    weights: np.ndarray
    parents: np.ndarray


def read_mesh(data: bytes) -> Mesh:
    mark, vertices, faces, bones = MESH_HEADER.unpack_from(data)
    assert mark == b"MG3B"
    at = MESH_HEADER.size

    def take(kind: str, *shape: int) -> np.ndarray:
        nonlocal at
        found = np.frombuffer(data, kind, int(np.prod(shape)), at).reshape(shape)
        at += found.nbytes
        return found

    mesh = Mesh(
        take("<f4", vertices, 3),
        take("<u2", faces, 3),
        take("u1", vertices, 4),
        take("u1", vertices, 4),
        take("u1", bones),
    )
    assert at == len(data)
    return mesh


def posed(mesh: Mesh, data: bytes) -> np.ndarray:
    """Vertices (T, V, 3) by the bytes alone."""
    mark, frames, bones, _ = POSE_HEADER.unpack_from(data)
    assert mark == b"MG3P"
    floats = np.frombuffer(data, "<f4", bones * 15 + frames * 3, POSE_HEADER.size)
    binds = floats[: bones * 12].reshape(bones, 3, 4)
    offsets = floats[bones * 12 : bones * 15].reshape(bones, 3)
    places = floats[bones * 15 :].reshape(frames, 3)
    steps = np.frombuffer(data, "<i2", offset=POSE_HEADER.size + floats.nbytes).reshape(frames, bones, 4)
    turns = quaternion_to_matrix(torch.from_numpy(np.roll(steps / 32767, 1, -1))).numpy()
    frame, place = [turns[:, 0]], [places]
    for bone in range(1, bones):
        parent = mesh.parents[bone]
        place.append(place[parent] + frame[parent] @ offsets[bone])
        frame.append(frame[parent] @ turns[:, bone])
    weights = mesh.weights / mesh.weights.sum(1, keepdims=True)
    vertices = np.zeros((frames, *mesh.positions.shape))
    for bone in range(bones):
        resting = mesh.positions @ binds[bone, :, :3].T + binds[bone, :, 3]
        moved = resting @ frame[bone].transpose(0, 2, 1) + place[bone][:, None]
        vertices += (weights * (mesh.bones == bone)).sum(1)[None, :, None] * moved
    return vertices


def fitted() -> BodyMotion:
    return fit_body(raising_arm("left", 5), embedded_body())


def test_the_bytes_are_the_body() -> None:
    body = embedded_body()
    mesh = read_mesh(pack_body(body))
    np.testing.assert_array_equal(mesh.positions, body.template.numpy())
    np.testing.assert_array_equal(mesh.faces, body.faces.numpy())


def test_the_body_stands_where_it_was_fitted() -> None:
    motion = fitted()
    found = posed(read_mesh(pack_body(embedded_body())), pack_pose(motion))
    np.testing.assert_allclose(found, motion.vertices().numpy(), atol=1e-3)


def test_ten_seconds_are_small() -> None:
    motion = fitted()
    assert isinstance(motion.body, EmbeddedBody)
    long = BodyMotion(motion.body, motion.rotations[:1].expand(200, -1, -1, -1), torch.zeros(200, 3), 20.0)
    assert len(pack_pose(long)) < 65_000


def test_neighbouring_frames_have_neighbouring_quaternions() -> None:
    data = pack_pose(fitted())
    steps = np.frombuffer(data[-5 * 36 * 8 :], "<i2").reshape(5, 36, 4).astype(float)
    assert ((steps[1:] * steps[:-1]).sum(-1) > 0).all()
