from __future__ import annotations

import numpy as np
import pytest
import torch

from motiongpt3.body.embedded import embedded_body
from motiongpt3.body.files import write_mesh, write_parameters, write_ply, write_ply_frames
from motiongpt3.body.fitting import BodyMotion, fit_body
from motiongpt3.body.model import joint_transforms
from motiongpt3.body.smpl import smpl_from_arrays
from motiongpt3.motion.rotations import axis_angle_to_matrix
from tests.body.smpl_arrays import smpl_arrays
from tests.figures import raising_arm

BODY = embedded_body("light")


@pytest.fixture(scope="module")
def fitted() -> BodyMotion:
    return fit_body(raising_arm("right", 70), BODY)


def read_ply(path) -> tuple[np.ndarray, np.ndarray]:
    """A PLY reader of few lines, for files with vertices and triangles alone."""
    header, _, rest = path.read_bytes().partition(b"end_header\n")
    words = header.decode("ascii").split()
    assert words[:3] == ["ply", "format", "binary_little_endian"]
    counts = [int(words[k + 2]) for k, word in enumerate(words) if word == "element"]
    vertices = np.frombuffer(rest, "<f4", 3 * counts[0]).reshape(-1, 3)
    rows = np.frombuffer(rest[vertices.nbytes :], np.dtype([("n", "u1"), ("c", "<i4", 3)]))
    assert len(rows) == counts[1]
    assert (rows["n"] == 3).all()
    return vertices, rows["c"]


def test_meshes_are_all_frames(fitted, tmp_path):
    seen: list[int] = []
    write_mesh(fitted, tmp_path / "a_mesh.npy", seen.append)
    array = np.load(tmp_path / "a_mesh.npy", allow_pickle=False)
    assert array.dtype == np.float32
    assert array.shape == (70, BODY.vertex_count, 3)
    assert array == pytest.approx(fitted.vertices().numpy(), abs=1e-6)
    assert seen[-1] == 70


def test_a_ply_holds_the_mesh(fitted, tmp_path):
    write_ply(fitted.vertices([3])[0], BODY.faces, tmp_path / "a.ply")
    vertices, faces = read_ply(tmp_path / "a.ply")
    assert vertices == pytest.approx(fitted.vertices([3])[0].numpy(), abs=1e-6)
    assert (faces == BODY.faces.numpy()).all()


def test_a_ply_of_every_frame(fitted, tmp_path):
    write_ply_frames(fitted, tmp_path / "plys")
    names = sorted(path.name for path in (tmp_path / "plys").iterdir())
    assert names[0] == "frame_0000.ply"
    assert len(names) == 70
    vertices, _ = read_ply(tmp_path / "plys" / "frame_0069.ply")
    assert vertices == pytest.approx(fitted.vertices([69])[0].numpy(), abs=1e-6)


def joints_of_amass(path, rest: torch.Tensor) -> torch.Tensor:
    """Joints, y up, that someone else gets from an archive and a body at rest in its own axes."""
    with np.load(path, allow_pickle=False) as arrays:
        poses = torch.from_numpy(arrays["poses"]).reshape(len(arrays["poses"]), -1, 3)[:, :22]
        trans = torch.from_numpy(arrays["trans"])
    placed = joint_transforms(axis_angle_to_matrix(poses), rest.double(), trans)[..., 3]
    return torch.stack([placed[..., 0], placed[..., 2], -placed[..., 1]], dim=-1)


def test_parameters_give_the_joints_back(fitted, tmp_path):
    write_parameters(fitted, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["poses"].shape == (70, 156)
        assert arrays["betas"].shape == (16,)
        assert arrays["dmpls"].shape == (70, 8)
        assert arrays["mocap_framerate"] == arrays["mocap_frame_rate"] == 20
        assert str(arrays["gender"]) == "neutral"
        rest = torch.from_numpy(arrays["rest_joints"])
    assert joints_of_amass(tmp_path / "a.npz", rest) == pytest.approx(fitted.joints(), abs=1e-5)


@pytest.mark.parametrize(("model", "width"), [("smpl", 156), ("smplh", 156), ("smplx", 165)])
def test_licensed_bodies_keep_shape_and_hands(model, width, tmp_path):
    body = smpl_from_arrays(smpl_arrays(model), "test", gender="female")
    fitted = fit_body(raising_arm("left", 8), body)
    write_parameters(fitted, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["poses"].shape == (8, width)
        assert "rest_joints" not in arrays
        assert str(arrays["gender"]) == "female"
        assert arrays["betas"][:10] == pytest.approx(fitted.body.betas[:10].numpy(), abs=1e-6)
        hands = arrays["poses"][:, 66:]
    if model == "smplh":
        means = smpl_arrays(model)
        assert hands[0] == pytest.approx(
            np.concatenate([means["hands_meanl"], means["hands_meanr"]]), abs=1e-5
        )
    assert joints_of_amass(tmp_path / "a.npz", fitted.body.joints) == pytest.approx(fitted.joints(), abs=1e-5)
