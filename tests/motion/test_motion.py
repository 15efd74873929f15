from __future__ import annotations

import numpy as np
import pytest
import torch

from motiongpt3.errors import InputError
from motiongpt3.motion.features import features_to_joints, joints_to_features
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.skeleton import JOINT_INDEX
from tests.motion.bodies import wriggling


def test_keeps_joints_and_says_how_long_they_last() -> None:
    joints = wriggling(50).float()
    motion = Motion.from_joints(joints.double().numpy(), fps=25, name="walk")
    assert motion.joints.dtype == torch.float32
    assert torch.equal(motion.joints, joints)
    assert len(motion) == 50
    assert motion.duration == 2.0
    assert (motion.name, motion.source, motion.features) == ("walk", None, None)


def test_from_features_follows_the_position_path_and_keeps_the_features() -> None:
    features = joints_to_features(wriggling(60).float())
    motion = Motion.from_features(features)
    assert motion.fps == 20
    assert torch.equal(motion.joints, features_to_joints(features))
    assert motion.features is not None
    assert torch.equal(motion.features, features)


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (torch.zeros(5, 21, 3), "expected joints of shape"),
        (torch.zeros(2, 5, 22, 3), "expected joints of shape"),
        (torch.zeros(1, 22, 3), "at least 2 frames, found 1"),
        (torch.zeros(0, 22, 3), "at least 2 frames, found 0"),
        (torch.zeros(5, 22, 3, dtype=torch.complex64), "complex"),
        (np.full((5, 22, 3), 1e300), "NaN or infinite position in frame 0"),
        (np.full((5, 22, 3), "a"), "not an array of numbers"),
    ],
)
def test_refuses_what_is_not_a_motion_and_names_the_source(joints: object, message: str) -> None:
    with pytest.raises(InputError, match=f"^clip.npy: .*{message}"):
        Motion.from_joints(joints, source="clip.npy")  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_names_the_first_frame_that_is_not_finite(bad: float) -> None:
    joints = wriggling(20).float()
    joints[7, 3, 1] = bad
    joints[9] = bad
    with pytest.raises(InputError, match="frame 7"):
        Motion.from_joints(joints)


@pytest.mark.parametrize("fps", [0, -20, float("nan"), float("inf"), 1e9, "fast"])
def test_refuses_impossible_frame_rates(fps: float) -> None:
    with pytest.raises(InputError, match="frame rate"):
        Motion.from_joints(wriggling(10).float(), fps=fps)


def test_features_must_fit() -> None:
    with pytest.raises(InputError, match="KIT"):
        Motion.from_features(torch.zeros(10, 251))
    with pytest.raises(InputError, match="expected features of shape"):
        Motion.from_features(torch.zeros(1, 10, 263))
    with pytest.raises(InputError, match="NaN"):
        Motion.from_features(torch.full((10, 263), torch.nan))
    with pytest.raises(InputError, match="as its joints"):
        Motion(wriggling(10).float(), features=torch.zeros(9, 263))


def test_resampling_down_by_a_whole_factor_picks_frames() -> None:
    joints = wriggling(121).float()
    slow = Motion.from_joints(joints, fps=120).resample(20)
    assert slow.fps == 20
    assert torch.equal(slow.joints, joints[::6])


def test_resampling_up_interpolates_and_does_not_outlast_the_clip() -> None:
    joints = wriggling(11).float()
    fast = Motion.from_joints(joints, fps=10).resample(25)
    assert len(fast) == 26
    assert torch.allclose(fast.joints[5], joints[2])
    assert torch.allclose(fast.joints[1], 0.6 * joints[0] + 0.4 * joints[1], atol=1e-6)
    assert torch.allclose(fast.joints[-1], joints[-1])


def test_resampling_drops_features_unless_nothing_changes() -> None:
    motion = Motion.from_features(joints_to_features(wriggling(60).float()))
    assert motion.resample(20) is motion
    assert motion.resample(10).features is None
    with pytest.raises(InputError, match="too short"):
        motion.resample(0.1)


def test_mirroring_swaps_the_sides_and_undoes_itself() -> None:
    motion = Motion.from_joints(wriggling(60).float(), name="000021")
    mirrored = motion.mirrored()
    assert mirrored.name == "M000021"
    left, right = JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]
    assert torch.equal(mirrored.joints[:, left], motion.joints[:, right] * torch.tensor([-1.0, 1.0, 1.0]))
    assert torch.equal(mirrored.mirrored().joints, motion.joints)
    assert Motion.from_features(joints_to_features(motion.joints)).mirrored().features is None
