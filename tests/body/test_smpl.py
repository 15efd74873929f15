from __future__ import annotations

import numpy as np
import pytest
import torch

from motiongpt3.body.model import joint_offsets, posed_joints
from motiongpt3.body.smpl import FAMILY, read_smpl, smpl_from_arrays
from motiongpt3.errors import InputError, MissingDependencyError
from motiongpt3.motion.rotations import axis_angle_to_matrix
from tests.body.smpl_arrays import smpl_arrays

MODELS = tuple(FAMILY)


def random_pose(seed: int = 0, frames: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    turns = 0.5 * torch.randn(frames, 22, 3, generator=generator)
    return axis_angle_to_matrix(turns), torch.randn(frames, 3, generator=generator)


def reference_vertices(
    arrays: dict[str, np.ndarray], betas: np.ndarray, rotations: np.ndarray, translation: np.ndarray
) -> np.ndarray:
    """SMPL by its paper, equations 2 to 10, one frame, a loop over joints; rotations (J, 3, 3)."""
    shaped = arrays["v_template"] + arrays["shapedirs"][..., : len(betas)] @ betas
    joints = arrays["J_regressor"] @ shaped
    posed = shaped + arrays["posedirs"] @ (rotations[1:] - np.eye(3)).ravel()
    parents = arrays["kintree_table"][0]
    world = []
    for joint in range(len(joints)):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parents[joint]] if joint else 0)
        world.append(local if joint == 0 else world[parents[joint]] @ local)
    result = np.zeros_like(posed)
    for joint, transform in enumerate(world):
        moved = (posed - joints[joint]) @ transform[:3, :3].T + transform[:3, 3]
        result += arrays["weights"][:, [joint]] * moved
    return result + translation


@pytest.mark.parametrize("model", MODELS)
def test_vertices_are_those_of_the_paper(model):
    arrays = smpl_arrays(model)
    betas = np.array([0.8, -1.2, 0.5])
    body = smpl_from_arrays(arrays, "test").with_betas(torch.from_numpy(betas))
    rotations, translation = random_pose()
    vertices = body.vertices(rotations, translation)
    for frame in range(2):
        full = np.tile(np.eye(3), (FAMILY[model], 1, 1))
        full[:22] = rotations[frame].numpy()
        if model != "smpl":
            first = FAMILY[model] - 30
            means = np.concatenate([arrays["hands_meanl"], arrays["hands_meanr"]]).reshape(30, 3)
            full[first:] = axis_angle_to_matrix(torch.from_numpy(means)).numpy()
        expected = reference_vertices(arrays, betas, full, translation[frame].numpy())
        assert vertices[frame].numpy() == pytest.approx(expected, abs=2e-5)


def test_a_file_of_the_real_size_is_read(tmp_path):
    arrays = smpl_arrays("smpl", vertices=6890)
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **{k: v.astype(np.float32) for k, v in arrays.items()})
    body = read_smpl(tmp_path)
    assert (body.name, body.vertex_count, len(body.parents)) == ("smpl", 6890, 24)


@pytest.mark.parametrize(
    ("model", "name"),
    [("smplh", "neutral/model.npz"), ("smplx", "smplx/SMPLX_NEUTRAL.npz"), ("smpl", "smpl_neutral.npz")],
)
def test_files_are_found_by_their_published_names(model, name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **smpl_arrays(model))
    body = read_smpl(tmp_path, model)
    assert (body.name, body.gender) == (model, "neutral")


def test_shape_follows_the_lengths_of_bones():
    body = smpl_from_arrays(smpl_arrays("smplh"), "test")
    wanted = body.with_betas(torch.tensor([1.5, -2.0]))
    fitted = body.with_proportions(joint_offsets(wanted.joints))
    lengths, goal, before = (joint_offsets(one.joints)[1:].norm(dim=-1) for one in (fitted, wanted, body))
    assert (lengths - goal).abs().mean() < 0.1 * (before - goal).abs().mean()
    assert posed_joints(fitted, torch.eye(3).repeat(22, 1, 1), torch.zeros(3)) == pytest.approx(fitted.joints)


def test_a_missing_model_says_where_to_get_it(tmp_path):
    with pytest.raises(MissingDependencyError, match=r"licence, from https://smpl\.is"):
        read_smpl(tmp_path, "smpl")
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(b"x")
    with pytest.raises(MissingDependencyError, match="convert-smpl"):
        read_smpl(tmp_path, "smpl")
    with pytest.raises(InputError, match="convert-smpl"):
        read_smpl(tmp_path / "SMPL_NEUTRAL.pkl")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("weights", lambda a: a[:, :-1], "weights has shape"),
        ("J_regressor", lambda a: a[:-1], "J_regressor has shape"),
        ("posedirs", lambda a: a[..., :9], "posedirs has shape"),
        ("f", lambda a: a + 1000, "faces name vertices"),
        ("kintree_table", lambda a: a[:, ::-1], "not connected as in SMPL"),
        ("v_template", lambda a: a[..., 0], "v_template has shape"),
    ],
)
def test_arrays_that_do_not_fit_are_named(name, change, message):
    arrays = smpl_arrays()
    arrays[name] = change(arrays[name])
    with pytest.raises(InputError, match=message):
        smpl_from_arrays(arrays, "test")


def test_another_model_than_asked_for_is_refused():
    with pytest.raises(InputError, match="this is smpl, not smplx"):
        smpl_from_arrays(smpl_arrays("smpl"), "test", "smplx")


def test_missing_arrays_are_named(tmp_path):
    arrays = smpl_arrays()
    del arrays["weights"]
    np.savez(tmp_path / "body.npz", **arrays)
    with pytest.raises(InputError, match="'weights'"):
        read_smpl(tmp_path / "body.npz")
