from __future__ import annotations

import pytest
import torch

from motiongpt3.body.embedded import embedded_body
from motiongpt3.body.fitting import fit_body, joint_error
from motiongpt3.body.model import joint_offsets, posed_joints
from motiongpt3.body.refinement import RefinementWeights, refine_fit
from motiongpt3.body.smpl import smpl_from_arrays
from motiongpt3.errors import InputError
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.skeleton import JOINT_INDEX
from tests.body.smpl_arrays import smpl_arrays
from tests.figures import raising_arm, standing

BODY = embedded_body("light")
FEET = [JOINT_INDEX[name] for name in ("left_ankle", "left_foot", "right_ankle", "right_foot")]


def shaking(amount: float, frames: int = 24) -> Motion:
    noise = torch.randn(frames, 22, 3, generator=torch.Generator().manual_seed(0))
    joints = posed_joints(BODY, torch.eye(3).repeat(frames, 22, 1, 1), torch.zeros(frames, 3))
    return Motion(joints - joints[..., 1].min() * torch.tensor([0.0, 1.0, 0.0]) + amount * noise)


def test_a_body_with_other_bones_comes_nearer():
    body = smpl_from_arrays(smpl_arrays("smpl"), "test").with_betas(torch.tensor([1.0, 4.0]))
    motion = raising_arm("left", 6)
    first = fit_body(motion, body, proportions=False)
    refined = refine_fit(first, motion, 40)
    assert joint_error(refined, motion).mean() < 0.95 * joint_error(first, motion).mean()
    identity = refined.rotations @ refined.rotations.transpose(-1, -2)
    assert (identity - torch.eye(3)).abs().max() < 1e-4


def test_standing_feet_stop_sliding():
    motion = shaking(0.004)
    first = fit_body(motion, BODY)
    refined = refine_fit(first, motion, 80, RefinementWeights(contact=20.0))

    def slide(fitted):
        feet = fitted.joints()[:, FEET]
        return (feet[1:] - feet[:-1]).norm(dim=-1).mean()

    assert slide(refined) < 0.5 * slide(first)
    assert joint_error(refined, motion).mean() < 0.015


def test_jitter_becomes_less():
    motion = shaking(0.004)
    first = fit_body(motion, BODY)
    refined = refine_fit(first, motion, 80, RefinementWeights(smoothness=1.0))

    def jerk(fitted):
        joints = fitted.joints()
        return (joints[2:] - 2 * joints[1:-1] + joints[:-2]).norm(dim=-1).mean()

    assert jerk(refined) < 0.6 * jerk(first)


def test_no_steps_change_nothing():
    motion = standing(6)
    first = fit_body(motion, BODY)
    refined = refine_fit(first, motion, 0)
    assert torch.equal(refined.rotations, first.rotations)
    assert torch.equal(refined.translation, first.translation)


def test_a_perfect_fit_stays_natural():
    motion = standing(6)
    first = fit_body(motion, BODY)
    refined = refine_fit(first, motion, 30)
    assert (refined.rotations - first.rotations).abs().max() < 0.05


def test_two_frames_can_be_refined_and_progress_is_told():
    motion = standing(2)
    seen: list[tuple[int, int]] = []
    refine_fit(fit_body(motion, BODY), motion, 3, progress=lambda *step: seen.append(step))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_impossible_requests_are_refused():
    motion = standing(4)
    fitted = fit_body(motion, BODY)
    for steps in (-1, 10**6):
        with pytest.raises(InputError, match="steps"):
            refine_fit(fitted, motion, steps)
    with pytest.raises(InputError, match="frames"):
        refine_fit(fitted, standing(5), 3)
    assert joint_offsets(fitted.body.joints).shape == (22, 3)
