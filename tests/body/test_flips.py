from __future__ import annotations

from dataclasses import replace

import torch

from motiongpt3.body.embedded import embedded_body
from motiongpt3.body.fitting import fit_body
from motiongpt3.body.flips import find_flips
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.rotations import axis_angle_to_matrix
from motiongpt3.motion.skeleton import JOINT_INDEX
from tests.figures import raising_arm

BODY = embedded_body("light")


def test_an_upper_arm_that_turns_over_is_found():
    motion = raising_arm("left", 12)
    fitted = fit_body(motion, BODY)
    assert not find_flips(fitted, motion)
    shoulder, elbow = JOINT_INDEX["left_shoulder"], JOINT_INDEX["left_elbow"]
    bone = fitted.body.joints[elbow] - fitted.body.joints[shoulder]
    half = axis_angle_to_matrix(2.0 * bone / bone.norm())
    rotations = fitted.rotations.clone()
    rotations[5, shoulder] = rotations[5, shoulder] @ half
    rotations[5, elbow] = half.T @ rotations[5, elbow]
    found = find_flips(replace(fitted, rotations=rotations), motion)
    assert [(flip.joint, flip.frame) for flip in found] == [("left_shoulder", 4), ("left_shoulder", 5)]
    assert all(100 < flip.degrees < 130 for flip in found)


def test_what_the_motion_does_itself_is_no_flip():
    joints = raising_arm("left", 6).joints
    # Between two frames the whole figure turns around.
    turned = joints[3:] * torch.tensor([-1.0, 1.0, -1.0])
    motion = Motion(torch.cat([joints[:3], turned]))
    assert not find_flips(fit_body(motion, BODY), motion)
