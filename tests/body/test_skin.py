from __future__ import annotations

import pytest
import torch

from motiongpt3.body.embedded import embedded_body
from motiongpt3.body.fitting import fit_body
from motiongpt3.body.skin import body_skin, bone_animation
from motiongpt3.body.smpl import smpl_from_arrays
from motiongpt3.errors import InputError
from tests.body.smpl_arrays import smpl_arrays
from tests.figures import raising_arm


def test_a_rig_rests_where_the_body_does():
    body = embedded_body("light")
    skin = body_skin(body)
    assert len(skin.names) == len(skin.parents) == len(skin.bones) == body.weights.shape[1]
    assert all(parent < bone for bone, parent in enumerate(skin.parents))
    torch.testing.assert_close(skin.bones[:22, :3, 3], body.joints)
    torch.testing.assert_close(skin.bone_weights.sum(1), torch.ones(len(skin.vertices)))
    assert skin.faces.max() < len(skin.vertices)
    turns = skin.bones[:, :3, :3]
    torch.testing.assert_close(
        turns @ turns.transpose(1, 2), torch.eye(3).expand_as(turns), atol=1e-5, rtol=0
    )


def test_a_posed_rig_is_the_posed_body():
    """Skinned by the textbook, parents before children, as a player of the file would."""
    fitted = fit_body(raising_arm("left", 6), embedded_body("light"))
    skin, local = body_skin(fitted.body), bone_animation(fitted)
    world = [local[:, 0]]
    for bone in range(1, len(skin.names)):
        world.append(world[skin.parents[bone]] @ local[:, bone])
    moves = torch.stack(world, dim=1) @ torch.linalg.inv(skin.bones)
    points = torch.cat([skin.vertices, torch.ones(len(skin.vertices), 1)], dim=1)
    chosen = moves[:, skin.bone_indices]
    placed = torch.einsum("tvbij,vj,vb->tvi", chosen, points, skin.bone_weights)[..., :3]
    away = torch.linalg.vector_norm(placed - fitted.vertices(), dim=-1)
    assert away.mean() < 0.002
    assert away.max() < 0.035


def test_other_bodies_have_no_rig():
    with pytest.raises(InputError, match="embedded"):
        bone_animation(fit_body(raising_arm("left", 3), smpl_from_arrays(smpl_arrays(), "made up")))
