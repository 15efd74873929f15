from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motiongpt3.errors import InputError
from motiongpt3.motion.features import (
    FEATURE_SLICES,
    FEATURE_WIDTH,
    Statistics,
    check_features,
    features_to_joints,
    features_to_joints_from_rotations,
    joints_to_features,
    root_trajectory,
)
from motiongpt3.motion.kinematics import bone_offsets, face_forward, put_on_floor, uniform_skeleton
from motiongpt3.motion.rotations import quaternion_rotate, rotate_about_up, yaw_to_quaternion
from motiongpt3.motion.skeleton import JOINT_INDEX, UNIFORM_OFFSETS, mirror_joints
from tests.motion.bodies import standing, travelling, wriggling

GOLDEN_CLIPS = (
    "bn1_walk_active_001",
    "bn1_kick_normal_001",
    "bn2_wave-left-hand_active_004",
    "cmuB_49_02",
    "cmuA_05_03",
)
seeds = st.integers(0, 10_000)


def group(features: torch.Tensor, name: str) -> torch.Tensor:
    return features[..., FEATURE_SLICES[name]]


def random_statistics(seed: int) -> Statistics:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(FEATURE_WIDTH, generator=generator)
    return Statistics(mean, torch.rand(FEATURE_WIDTH, generator=generator) + 0.1)


# Features of motions whose velocities are known


def test_slices_cover_every_feature_once():
    columns = [column for part in FEATURE_SLICES.values() for column in range(part.start, part.stop)]
    assert columns == list(range(FEATURE_WIDTH))


def test_standing_still():
    features = joints_to_features(standing(5), retarget=False)
    assert features.shape == (4, FEATURE_WIDTH)
    for name in ("root_yaw_velocity", "root_linear_velocity", "local_velocities"):
        torch.testing.assert_close(group(features, name), torch.zeros_like(group(features, name)))
    assert (group(features, "foot_contacts") == 1).all()
    upright = torch.tensor([1.0, 0, 0, 0, 1, 0]).double().repeat(4, 21)
    torch.testing.assert_close(group(features, "local_rotations"), upright)
    positions = put_on_floor(standing(5))[:4, 1:].flatten(1)
    torch.testing.assert_close(group(features, "local_positions"), positions)
    torch.testing.assert_close(features[:, 3], put_on_floor(standing(5))[:4, 0, 1])


def test_straight_walk_has_its_velocity_whatever_its_place_and_heading():
    frames, speed, yaw = 30, 0.06, 2.3
    steps = torch.arange(frames)[:, None] * speed
    path = torch.tensor([5.0, 0.3, -7.0]) + steps * torch.tensor([math.sin(yaw), 0, math.cos(yaw)])
    features = joints_to_features(travelling(torch.full((frames,), yaw), path), retarget=False)
    ahead = torch.tensor([0, speed]).double().expand(frames - 1, 2)
    torch.testing.assert_close(group(features, "root_linear_velocity"), ahead, atol=1e-6, rtol=0)
    each_joint = torch.tensor([0, 0, speed]).double().repeat(frames - 1, 22)
    torch.testing.assert_close(group(features, "local_velocities"), each_joint, atol=1e-6, rtol=0)
    assert features[:, 0].abs().max() < 1e-6
    assert (group(features, "foot_contacts") == 0).all()


@pytest.mark.parametrize("turn", [0.01, -0.01])
def test_constant_turn_on_the_spot(turn: float):
    """A turn to the left (positive about +y) is a negative root_yaw_velocity, of half its angle."""
    frames = 200
    features = joints_to_features(
        travelling(torch.arange(frames) * turn, torch.zeros(frames, 3)), retarget=False
    )
    # Smoothing reaches 80 frames, and bends the heading near the ends only.
    middle = features[85:-85]
    torch.testing.assert_close(middle[:, 0], torch.full_like(middle[:, 0], -turn / 2), atol=1e-6, rtol=0)
    assert group(middle, "root_linear_velocity").abs().max() < 1e-6


def test_a_sudden_turn_is_spread_by_the_smoothing_of_the_heading():
    yaw = torch.zeros(200)
    yaw[100:] = 1.0
    features = joints_to_features(travelling(yaw, torch.zeros(200, 3)), retarget=False)
    # Half way, the smoothed vector is cos(1/2) long and moves by 2 sin(1/2) times the Gaussian's peak.
    peak = 2 * math.tan(0.5) / (20 * math.sqrt(2 * math.pi))
    assert features[:, 0].min().item() == pytest.approx(-peak / 2, rel=1e-2)
    assert features[:, 0].argmin() == 99


def test_walk_along_a_circle_reads_back_as_that_circle():
    frames, turn, radius = 120, 0.02, 2.0
    angle = torch.arange(frames).double() * turn
    path = radius * torch.stack([1 - angle.cos(), torch.zeros(frames).double(), angle.sin()], dim=-1)
    joints = travelling(angle, path)
    yaw_half_angle, root = root_trajectory(joints_to_features(joints, retarget=False))
    torch.testing.assert_close(root[:, 0::2], path[:-1, 0::2], atol=1e-9, rtol=0)
    # Its tangent turns once per 2 pi / turn frames; the heading is minus twice the half-angle.
    middle = slice(40, 80)
    torch.testing.assert_close(
        -2 * yaw_half_angle[middle].diff(), torch.full((39,), turn).double(), atol=2e-3, rtol=0
    )


def test_local_velocities_are_seen_from_the_frame_that_they_leave():
    features = joints_to_features(wriggling(30), continuous_heading=True)
    yaw_half_angle, _ = root_trajectory(features)
    seen = group(features, "local_velocities").unflatten(-1, (22, 3))
    velocities = rotate_about_up(seen, -2 * yaw_half_angle[:, None])
    steps = features_to_joints(features).diff(dim=0)
    torch.testing.assert_close(velocities[:-1], steps, atol=1e-6, rtol=0)


def test_a_rising_foot_loses_its_contact_alone():
    joints = standing(3)
    joints[1:, JOINT_INDEX["right_foot"], 1] += 0.1
    contacts = group(joints_to_features(joints, retarget=False), "foot_contacts")
    assert contacts.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


# There and back


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_position_path_gives_the_placed_joints_back(seed: int):
    joints = wriggling(40, seed, UNIFORM_OFFSETS * 1.2)
    features = joints_to_features(joints, continuous_heading=True)
    placed = face_forward(put_on_floor(uniform_skeleton(joints)))[:-1]
    torch.testing.assert_close(features_to_joints(features), placed, atol=1e-6, rtol=0)
    torch.testing.assert_close(features_to_joints_from_rotations(features), placed, atol=1e-6, rtol=0)


@settings(max_examples=10, deadline=None)
@given(seeds, st.floats(-3, 3), st.floats(-50, 50))
def test_features_do_not_depend_on_place_and_heading(seed: int, yaw: float, away: float):
    joints = wriggling(20, seed)
    turned = quaternion_rotate(yaw_to_quaternion(torch.tensor(yaw).double()), joints)
    moved = turned + torch.tensor([away, -away / 2, 2 * away]).double()
    torch.testing.assert_close(joints_to_features(moved), joints_to_features(joints), atol=1e-6, rtol=0)


@settings(max_examples=10, deadline=None)
@given(seeds)
def test_features_of_a_mirrored_motion_read_back_mirrored(seed: int):
    # Left and right bones differ in UNIFORM_OFFSETS, so the body is kept as it is.
    joints = wriggling(20, seed)
    features = joints_to_features(joints, retarget=False, continuous_heading=True)
    mirrored = joints_to_features(mirror_joints(joints), retarget=False, continuous_heading=True)
    torch.testing.assert_close(
        features_to_joints(mirrored), mirror_joints(features_to_joints(features)), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(mirrored[:, 0], -features[:, 0], atol=1e-6, rtol=0)


def test_passing_the_half_turn_flips_one_step_of_humanml3d_and_none_of_the_continuous_heading():
    frames, turn = 400, 0.02
    joints = travelling(torch.arange(frames) * turn, torch.zeros(frames, 3))
    continuous = joints_to_features(joints, retarget=False, continuous_heading=True)
    assert (continuous[:, 0] <= 1e-9).all()
    flipped = joints_to_features(joints, retarget=False)
    differs = (flipped - continuous).abs() > 1e-6
    assert differs.sum() == 1
    step = int(differs[:, 0].nonzero())
    torch.testing.assert_close(flipped[step, 0], -continuous[step, 0])
    assert abs(root_trajectory(continuous)[0][step].item() + math.pi / 2) < turn


def test_rotation_path_has_the_bone_lengths_of_any_skeleton_it_is_given():
    offsets = UNIFORM_OFFSETS * 0.5
    joints = features_to_joints_from_rotations(joints_to_features(wriggling(10)), offsets)
    torch.testing.assert_close(bone_offsets(joints), offsets.double().expand(9, 22, 3))


def test_float32_is_as_good_as_its_precision():
    joints = wriggling(196)
    single = joints_to_features(joints.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), joints_to_features(joints), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        features_to_joints(single).double(), features_to_joints(joints_to_features(joints)), atol=1e-4, rtol=0
    )


def test_leading_dimensions_are_batches():
    clips = torch.stack([wriggling(12, seed) for seed in range(4)]).reshape(2, 2, 12, 22, 3)
    features = joints_to_features(clips)
    assert features.shape == (2, 2, 11, FEATURE_WIDTH)
    torch.testing.assert_close(features[1, 0], joints_to_features(clips[1, 0]))
    for function in (features_to_joints, features_to_joints_from_rotations):
        torch.testing.assert_close(function(features)[0, 1], function(features[0, 1]))


def test_position_path_has_the_right_gradients():
    features = joints_to_features(wriggling(4))[None].repeat(2, 1, 1).requires_grad_()
    assert torch.autograd.gradcheck(features_to_joints, features, fast_mode=True)
    assert torch.autograd.gradcheck(features_to_joints_from_rotations, features, fast_mode=True)


def test_features_have_finite_gradients_even_for_a_body_at_rest():
    joints = standing(4).requires_grad_()
    joints_to_features(joints).square().sum().backward()
    assert torch.isfinite(joints.grad).all()


# What is refused


@pytest.mark.parametrize("shape", [(5, 21, 3), (5, 22, 2), (22, 3), (5, 66), (0,)])
def test_joints_of_another_shape_are_refused(shape: tuple[int, ...]):
    with pytest.raises(InputError, match="22, 3"):
        joints_to_features(torch.zeros(shape))


def test_a_single_frame_is_refused():
    with pytest.raises(InputError, match="2 frames"):
        joints_to_features(standing(1))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_joints_that_are_not_finite_are_refused(value: float):
    joints = standing(4)
    joints[2, 7, 1] = value
    with pytest.raises(InputError, match="NaN"):
        joints_to_features(joints)


@pytest.mark.parametrize("function", [check_features, features_to_joints, features_to_joints_from_rotations])
def test_kit_features_are_named_as_such(function):
    with pytest.raises(InputError, match="KIT-ML"):
        function(torch.zeros(5, 251))
    with pytest.raises(InputError, match="263"):
        function(torch.zeros(5, 264))


def test_check_features_says_whose_values_are_not_finite():
    features = torch.zeros(3, FEATURE_WIDTH)
    check_features(features)
    features[1, 5] = math.nan
    with pytest.raises(InputError, match="clip 000021"):
        check_features(features, "clip 000021")


# Statistics


def test_normalising_there_and_back():
    statistics, other = random_statistics(1), random_statistics(2)
    features = torch.randn(2, 6, FEATURE_WIDTH, dtype=torch.float64)
    normalised = statistics.normalize(features)
    assert normalised.dtype == torch.float64
    torch.testing.assert_close(
        normalised[0, 0, 7], (features[0, 0, 7] - statistics.mean[7]) / statistics.std[7]
    )
    torch.testing.assert_close(statistics.denormalize(normalised), features)
    torch.testing.assert_close(statistics.renormalize(normalised, other), other.normalize(features))


@pytest.mark.parametrize("bias", [1.0, 5.0])
def test_statistics_average_the_deviation_within_each_group(bias: float):
    generator = np.random.default_rng(0)
    scale = generator.uniform(0.1, 3, FEATURE_WIDTH)
    clips = [generator.normal(size=(frames, FEATURE_WIDTH)) * scale + 7 for frames in (30, 1, 55)]
    frames = np.concatenate(clips)
    expected = frames.std(axis=0)
    for columns in FEATURE_SLICES.values():
        expected[columns] = expected[columns].mean()
    expected[:4] /= bias
    expected[259:] /= bias
    statistics = Statistics.of((torch.from_numpy(clip) for clip in clips), feature_bias=bias)
    np.testing.assert_allclose(statistics.mean, frames.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(statistics.std, expected, rtol=1e-6)


def test_a_group_that_never_changes_is_left_at_zero():
    clip = np.random.default_rng(0).normal(size=(9, FEATURE_WIDTH)).astype(np.float32)
    clip[:, FEATURE_SLICES["foot_contacts"]] = 1
    statistics = Statistics.of([clip])
    assert (group(statistics.std, "foot_contacts") == 1).all()
    assert (group(statistics.normalize(torch.from_numpy(clip)), "foot_contacts") == 0).all()


def test_statistics_of_nothing_or_of_broken_clips_are_refused():
    with pytest.raises(InputError, match="empty"):
        Statistics.of([])
    broken = np.zeros((3, FEATURE_WIDTH))
    broken[0, 0] = np.nan
    with pytest.raises(InputError, match="clip 1"):
        Statistics.of([np.zeros((3, FEATURE_WIDTH)), broken])


def test_statistics_are_read_as_written(tmp_path):
    statistics = random_statistics(3)
    statistics.save(tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["Mean.npy", "Std.npy"]
    again = Statistics.load(tmp_path / "new")
    assert torch.equal(again.mean, statistics.mean)
    assert torch.equal(again.std, statistics.std)
    for old, new in (("Mean.npy", "mean.npy"), ("Std.npy", "std.npy")):
        (tmp_path / "new" / old).rename(tmp_path / "new" / new)
    assert torch.equal(Statistics.load(str(tmp_path / "new")).std, statistics.std)
    pair = (tmp_path / "new" / "std.npy", tmp_path / "new" / "mean.npy")
    with pytest.raises(InputError, match="positive"):
        Statistics.load(pair)  # the wrong way round: a mean has negative values


def _vector(**changes: float) -> np.ndarray:
    values = np.ones(FEATURE_WIDTH, dtype=np.float32)
    for index, value in changes.items():
        values[int(index.removeprefix("at"))] = value
    return values


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.ones(251, dtype=np.float32), "KIT-ML"),
        (np.ones(10, dtype=np.float32), "263"),
        (np.ones((1, FEATURE_WIDTH), dtype=np.float32), "shape"),
        (np.float32(1), "263"),
        (_vector(at7=math.nan), "NaN"),
        (_vector(at7=0.0), "feature 7"),
        (np.array(["one"] * FEATURE_WIDTH), "numbers"),
        (np.array([{}] * FEATURE_WIDTH, dtype=object), "cannot read"),
    ],
)
def test_unusable_statistics_are_refused(tmp_path, content, message):
    np.save(tmp_path / "Mean.npy", _vector())
    np.save(tmp_path / "Std.npy", content, allow_pickle=True)
    with pytest.raises(InputError, match=message) as refusal:
        Statistics.load(tmp_path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"not numpy at all"])
def test_truncated_statistics_are_refused(tmp_path, content):
    np.save(tmp_path / "Mean.npy", _vector())
    (tmp_path / "Std.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"Std\.npy"):
        Statistics.load(tmp_path)


def test_missing_statistics_are_named(tmp_path):
    with pytest.raises(InputError, match=r"Mean\.npy and Std\.npy"):
        Statistics.load(tmp_path)
    with pytest.raises(InputError, match=r"gone\.npy"):
        Statistics.load((tmp_path / "gone.npy", tmp_path / "gone.npy"))


# Published numbers


@pytest.mark.parametrize("clip", GOLDEN_CLIPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_are_those_of_humanml3d(local_data, clip: str, dtype: torch.dtype):
    with np.load(local_data("golden/features.npz")) as arrays:
        joints = torch.from_numpy(arrays[f"{clip}__joints"]).to(dtype)
        expected = torch.from_numpy(arrays[f"{clip}__features"]).to(dtype)
        from_rotations = torch.from_numpy(arrays[f"{clip}__joints_from_rotations"]).to(dtype)
    torch.testing.assert_close(joints_to_features(joints), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(features_to_joints_from_rotations(expected), from_rotations, atol=1e-5, rtol=0)


def test_sample_clip_of_humanml3d(local_data):
    folder = local_data("data/humanml3d_reference")
    joints = torch.from_numpy(np.load(folder / "012314_joints.npy"))
    features = torch.from_numpy(np.load(folder / "012314_features.npy"))
    torch.testing.assert_close(features_to_joints(features), joints, atol=1e-5, rtol=0)
    torch.testing.assert_close(features_to_joints_from_rotations(features), joints, atol=1e-5, rtol=0)
    torch.testing.assert_close(bone_offsets(joints[0]), UNIFORM_OFFSETS)
    # The stored features come from unrounded originals, which bounds how near one can get.
    difference = (joints_to_features(joints) - features[:-1]).abs()
    assert group(difference, "local_rotations").max() < 1.4e-2
    assert group(difference, "local_positions").max() < 7e-3
    assert group(difference, "root_yaw_velocity").max() < 5e-4


def test_statistics_and_positions_of_the_official_code(golden, local_data):
    folder = local_data("data/humanml3d_reference")
    statistics = Statistics.load(folder)
    evaluator = Statistics.load((folder / "mean_eval.npy", folder / "std_eval.npy"))
    arrays = {name: torch.from_numpy(array) for name, array in golden("feats2joints").items()}
    joints = features_to_joints(statistics.denormalize(arrays["feats_norm"]))
    torch.testing.assert_close(joints, arrays["joints"], atol=1e-6, rtol=0)
    arrays = {name: torch.from_numpy(array) for name, array in golden("renorm4t2m").items()}
    torch.testing.assert_close(
        statistics.renormalize(arrays["feats_norm"], evaluator), arrays["feats_eval"], atol=0, rtol=1e-6
    )
