from __future__ import annotations

from pathlib import Path

import pytest
import torch

from motiongpt3.errors import InputError
from motiongpt3.motion.features import features_to_joints, joints_to_features
from motiongpt3.motion.formats import read_motion, write_motion
from motiongpt3.motion.kinematics import forward_direction
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.skeleton import PARENTS, UNIFORM_OFFSETS
from motiongpt3.motion.standard import standardise
from tests.motion.bodies import travelling, wriggling


def test_gives_the_body_the_floor_and_the_heading_of_the_models() -> None:
    body = wriggling(121, offsets=UNIFORM_OFFSETS * 1.3)
    standard = standardise(Motion.from_joints(body, fps=60, name="clip", source="clip.bvh"))
    assert (len(standard), standard.fps, standard.name, standard.source) == (40, 20, "clip", "clip.bvh")
    lengths = torch.linalg.vector_norm(standard.joints[:, 1:] - standard.joints[:, PARENTS[1:]], dim=-1)
    expected = torch.linalg.vector_norm(UNIFORM_OFFSETS[1:], dim=-1).expand_as(lengths)
    torch.testing.assert_close(lengths, expected, atol=1e-3, rtol=0)
    assert -1e-5 <= float(standard.joints[..., 1].min()) < 0.05
    torch.testing.assert_close(standard.joints[0, 0, [0, 2]], torch.zeros(2))
    forward = forward_direction(standard.joints)[0]
    torch.testing.assert_close(forward, torch.tensor([0.0, 0.0, 1.0]), atol=1e-3, rtol=0)


def test_features_are_those_of_every_third_frame() -> None:
    body = wriggling(91)
    standard = standardise(Motion.from_joints(body, fps=60))
    # As stored: in single precision, from positions in single precision.
    expected = joints_to_features(body.float()[::3].double(), continuous_heading=True).float()
    assert standard.features is not None
    torch.testing.assert_close(standard.features, expected, atol=2e-4, rtol=0)
    assert torch.equal(standard.joints, features_to_joints(standard.features))


def test_a_full_turn_keeps_its_sign() -> None:
    yaw = torch.linspace(0, 6.5, 120)
    standard = standardise(Motion.from_joints(travelling(yaw, torch.zeros(120, 3))))
    forward = forward_direction(standard.joints)
    expected = torch.stack([yaw.sin(), torch.zeros(120), yaw.cos()], dim=-1)[:-1]
    torch.testing.assert_close(forward, expected, atol=1e-3, rtol=0)


def test_what_is_standard_already_stays() -> None:
    motion = Motion.from_features(joints_to_features(wriggling(40)))
    assert standardise(motion) is motion
    again = standardise(Motion.from_features(motion.features, fps=10))
    assert (again.fps, len(again)) == (20, 76)


def test_reads_what_other_formats_hold(tmp_path: Path) -> None:
    body = Motion.from_joints(wriggling(60), fps=20)
    direct = standardise(body)
    for name in ("clip.npy", "clip.bvh"):
        write_motion(body, tmp_path / name)
        standard = standardise(read_motion(tmp_path / name))
        torch.testing.assert_close(standard.joints, direct.joints, atol=5e-3, rtol=0)


def test_refuses_what_is_too_short_or_no_body() -> None:
    with pytest.raises(InputError, match=r"blink.npy: 0.0333 s are too short"):
        standardise(Motion.from_joints(wriggling(4), fps=120, source="blink.npy"))
    with pytest.raises(InputError, match=r"two.npy: 0.1 s are too short; a motion needs 3"):
        standardise(Motion.from_joints(wriggling(2), source="two.npy"))
    with pytest.raises(InputError, match=r"point.npy: the right leg has no length"):
        standardise(Motion.from_joints(torch.zeros(10, 22, 3), source="point.npy"))
