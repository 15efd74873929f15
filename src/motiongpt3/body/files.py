"""Files of a body in motion: vertices (.npy), one .ply a frame, and parameters as AMASS archives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from motiongpt3.body.fitting import BodyMotion
from motiongpt3.body.smpl import SmplBody
from motiongpt3.files import atomic_file, atomic_folder
from motiongpt3.motion.formats.amass import POSE_VALUES, SHAPE_COUNT, SOFT_TISSUE_COUNT
from motiongpt3.motion.formats.npz import write_npz
from motiongpt3.motion.formats.smpl_parameters import BODY_VALUES, parameters_of_motion, shape_parameters
from motiongpt3.motion.rotations import matrix_to_axis_angle

# Axis-angle values a frame where they are not AMASS's: its later release has SMPL-X's 55 joints.
_POSE_VALUES = {"smplx": 165}
# Vertices of so many frames are made at once: bounds memory.
_CHUNK = 64


def vertex_chunks(fitted: BodyMotion) -> Iterator[Tensor]:
    """The vertices of a sequence, some frames (t, V, 3) at a time, on the CPU."""
    for start in range(0, len(fitted), _CHUNK):
        yield fitted.vertices(slice(start, start + _CHUNK)).cpu()


def write_mesh(fitted: BodyMotion, path: str | Path, progress: Callable[[int], None] | None = None) -> None:
    """Write all vertices as float32 (T, V, 3), metres, y up; nothing is ever half-written.

    Args:
        fitted: the body.
        path: ``.npy`` file.
        progress: called with the number of frames written, now and then.
    """
    shape = (len(fitted), fitted.body.vertex_count, 3)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        done = 0
        for chunk in vertex_chunks(fitted):
            file.write(np.ascontiguousarray(chunk.numpy(), dtype="<f4").tobytes())
            done += len(chunk)
            if progress:
                progress(done)


def write_ply_frames(fitted: BodyMotion, folder: str | Path) -> None:
    """Write ``frame_0000.ply``, ... into a folder, which is replaced as a whole."""
    with atomic_folder(folder) as temporary:
        index = 0
        for chunk in vertex_chunks(fitted):
            for vertices in chunk:
                write_ply(vertices, fitted.body.faces, temporary / f"frame_{index:04d}.ply")
                index += 1


def write_ply(vertices: Tensor, faces: Tensor, path: str | Path) -> None:
    """Write a mesh as binary PLY (little-endian): vertices (V, 3) metres, faces (F, 3)."""
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment metres, y up\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<i4", (3,))])
    rows["count"] = 3
    rows["corners"] = faces.cpu().numpy()
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        file.write(header.encode("ascii"))
        file.write(vertices.cpu().numpy().astype("<f4").tobytes())
        file.write(rows.tobytes())


def write_parameters(fitted: BodyMotion, path: str | Path) -> None:
    """Write an AMASS archive: z up, SMPL's rotations as axis-angles, both names for the frame rate.

    ``poses`` is (T, 156) as SMPL-H has it, or (T, 165) for an SMPL-X body; the first 66 values are the 22
    body joints. Hands are the model's mean pose. Our own body has no shape parameters: its ``betas`` are
    zero, and its proportions are in ``rest_joints`` (22, 3), metres, y up, which AMASS does not have.
    """
    body = fitted.body
    angles, trans, pose = parameters_of_motion(fitted.motion(), "z")
    poses = np.zeros((len(fitted), _POSE_VALUES.get(body.name, POSE_VALUES)))
    poses[:, :BODY_VALUES] = angles
    if isinstance(body, SmplBody) and body.name != "smpl":
        poses[:, BODY_VALUES:] = matrix_to_axis_angle(body.hand_rotations).flatten().cpu().numpy()
    arrays: dict[str, np.ndarray | str | float] = {
        "trans": trans,
        "gender": pose.gender,
        "mocap_framerate": fitted.fps,
        "mocap_frame_rate": fitted.fps,
        "betas": shape_parameters(pose, SHAPE_COUNT),
        "dmpls": np.zeros((len(fitted), SOFT_TISSUE_COUNT)),
        "poses": poses,
    }
    if not isinstance(body, SmplBody):
        arrays["rest_joints"] = body.joints.cpu().double().numpy()
    write_npz(path, arrays)
