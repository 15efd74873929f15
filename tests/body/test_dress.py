from __future__ import annotations

import numpy as np
import pytest
import torch
from pygltflib import GLTF2

from motiongpt3.body.dress import dressed
from motiongpt3.body.embedded import embedded_body
from motiongpt3.body.fitting import fit_body
from motiongpt3.motion.formats import WriteOptions, read_motion, write_motion
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import T_POSE_OFFSETS, BodyPose
from motiongpt3.motion.skeleton import JOINT_INDEX
from tests.figures import raising_arm
from tests.motion.formats.gltf_files import accessor, played, skinned


def test_a_dressed_motion_is_the_motion():
    motion = raising_arm("left", 6)
    worn, _ = dressed(motion, "light")
    assert worn.pose is not None
    torch.testing.assert_close(worn.joints, motion.joints, atol=5e-3, rtol=0)


def test_rotations_of_the_source_are_in_the_file(tmp_path):
    rotations = torch.zeros(4, 22, 4, dtype=torch.float64)
    rotations[..., 0] = 1
    rotations[1:, JOINT_INDEX["left_wrist"]] = torch.tensor([0.8, 0.6, 0.0, 0.0], dtype=torch.float64)
    motion = Motion.from_pose(
        BodyPose(rotations, T_POSE_OFFSETS), torch.tensor([0.0, 0.95, 0.0]).expand(4, 3)
    )
    write_motion(motion, tmp_path / "clip.glb", options=WriteOptions(skin="light"))
    _, world, nodes = played(tmp_path / "clip.glb")
    hand = world[1, nodes["left_wrist"], :3, :3]
    np.testing.assert_allclose(hand, [[1, 0, 0], [0, 0.28, -0.96], [0, 0.96, 0.28]], atol=1e-4)
    torch.testing.assert_close(read_motion(tmp_path / "clip.glb").joints, motion.joints, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("skin", "detail"), [("light", "light"), ("body", "full")])
def test_a_file_shows_the_body_that_was_fitted(tmp_path, skin, detail):
    motion = raising_arm("left", 4)
    path = tmp_path / "clip.glb"
    write_motion(motion, path, options=WriteOptions(skin=skin))
    body = fit_body(motion, embedded_body(detail))
    shown = skinned(path)
    expected = body.vertices().numpy()
    # Files split no vertices of a smooth mesh.
    assert shown.shape == expected.shape
    assert np.linalg.norm(shown - expected, axis=-1).max() < 2e-3
    torch.testing.assert_close(read_motion(path).joints, body.joints(), atol=1e-3, rtol=0)
    gltf = GLTF2.load(str(path))
    faces = accessor(gltf, gltf.meshes[0].primitives[0].indices).reshape(-1, 3)
    assert (faces == body.body.faces.numpy()).all()
