from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pybvh
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from motiongpt3.errors import InputError
from motiongpt3.motion.formats import WriteOptions, read_motion, write_motion
from motiongpt3.motion.formats.bvh import BVH, joint_positions, parse_bvh, rest_positions, serialise_bvh
from motiongpt3.motion.formats.bvh_motion import (
    bvh_to_motion,
    read_bvh,
    tracks_to_bvh,
    write_bvh,
)
from motiongpt3.motion.kinematics import uniform_skeleton
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import T_POSE_OFFSETS, BodyPose
from motiongpt3.motion.rig import joint_tracks
from motiongpt3.motion.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS
from tests.motion.bodies import standing, travelling, wriggling
from tests.motion.formats.foreign import bandai, foreign, lafan, mixamo
from tests.motion.test_pose import turning, walk


def motion_to_bvh(motion: Motion) -> BVH:
    return tracks_to_bvh(joint_tracks(motion, stretch=False), motion.fps)


def largest_error(motion: Motion, back: Motion) -> float:
    """Metres."""
    assert len(back) == len(motion)
    return float(torch.linalg.vector_norm(back.joints - motion.joints, dim=-1).max())


def rigid(frames: int = 60) -> torch.Tensor:
    """A clip of a body whose hips and collars are rigid, so that rotations alone suffice."""
    made = foreign(lafan(), frames=frames)
    return bvh_to_motion(parse_bvh(made.text)).joints


def channel_counts(bvh: BVH) -> dict[str, int]:
    return {joint.name: len(joint.channels) for joint in bvh.joints if not joint.is_end_site}


def rotation_columns(bvh: BVH) -> list[int]:
    channels = [channel for joint in bvh.joints for channel in joint.channels]
    return [index for index, channel in enumerate(channels) if channel.endswith("rotation")]


@pytest.mark.parametrize("unit", ["m", "cm"])
@pytest.mark.parametrize("stretch", [False, True])
def test_round_trip_within_a_millimetre(tmp_path: Path, unit: str, stretch: bool) -> None:
    motion = Motion.from_joints(wriggling(80), fps=30, name="wriggle")
    write_bvh(motion, tmp_path / "wriggle.bvh", unit=unit, stretch=stretch)  # type: ignore[arg-type]
    back = read_motion(tmp_path / "wriggle.bvh")
    assert largest_error(motion, back) < 3e-4
    assert (back.fps, back.name) == (30, "wriggle")


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 3.0))
def test_round_trip_of_any_pose(seed: int, amount: float) -> None:
    motion = Motion.from_joints(wriggling(6, seed=seed, amount=amount))
    assert largest_error(motion, bvh_to_motion(parse_bvh(serialise_bvh(motion_to_bvh(motion))))) < 1e-3


def test_a_rigid_body_is_written_with_rotations_alone() -> None:
    motion = Motion.from_joints(rigid())
    bvh = motion_to_bvh(motion)
    counts = channel_counts(bvh)
    assert counts.pop("pelvis") == 6
    assert set(counts.values()) == {3}
    assert largest_error(motion, bvh_to_motion(bvh)) < 1e-3


def test_hips_that_are_not_rigid_get_position_channels_at_constant_length() -> None:
    counts = channel_counts(motion_to_bvh(Motion.from_joints(wriggling(40))))
    assert {name for name, count in counts.items() if count == 6} <= {
        *("pelvis", "left_hip", "right_hip", "spine1", "neck", "left_collar", "right_collar")
    }
    assert counts["left_hip"] == 6


def test_bones_that_change_length_are_written_so_unless_forbidden(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    joints = rigid(60)
    growth = torch.linspace(0.9, 1.1, 60)[:, None]
    shin = JOINT_INDEX["left_ankle"]
    knee = joints[:, PARENTS[shin]]
    move = (joints[:, shin] - knee) * (growth - 1)
    joints[:, shin] += move
    joints[:, JOINT_INDEX["left_foot"]] += move
    motion = Motion.from_joints(joints)
    with caplog.at_level(logging.INFO):
        write_bvh(motion, tmp_path / "constant.bvh", stretch=False)
    assert "bone lengths vary" in caplog.text
    back = read_bvh(tmp_path / "constant.bvh")
    assert 0.03 < largest_error(motion, back) < 0.05
    lengths = torch.linalg.vector_norm(back.joints[:, shin] - back.joints[:, PARENTS[shin]], dim=-1)
    assert lengths.max() - lengths.min() < 1e-4
    write_bvh(motion, tmp_path / "stretched.bvh")
    assert largest_error(motion, read_bvh(tmp_path / "stretched.bvh")) < 3e-4


def test_the_file_has_a_figure_of_the_right_size_standing_up_at_the_right_rate(tmp_path: Path) -> None:
    motion = Motion.from_joints(standing(5), fps=20)
    write_motion(motion, tmp_path / "clip.bvh")
    text = (tmp_path / "clip.bvh").read_text()
    assert text.startswith(
        "HIERARCHY\nROOT pelvis\n{\n\tOFFSET 0.000000 0.000000 0.000000\n\tCHANNELS 6 Xposition"
    )
    assert "\nFrames: 5\nFrame Time: 0.05\n" in text
    bvh = parse_bvh(text)
    positions = {joint.name: place for joint, place in zip(bvh.joints, joint_positions(bvh)[0])}
    # Y up, metres: the head is above the feet by the height of a person.
    assert 1.3 < positions["head"][1] - positions["left_ankle"][1] < 1.7
    assert positions["head/End"][1] > positions["head"][1]
    assert positions["left_wrist"][0] > 0
    assert positions["left_foot/End"][2] > positions["left_foot"][2]
    write_bvh(motion, tmp_path / "clip.bvh", unit="cm")
    centimetres = joint_positions(parse_bvh((tmp_path / "clip.bvh").read_text()))
    assert torch.allclose(centimetres, 100 * joint_positions(bvh), atol=1e-3)


def test_the_rest_pose_is_a_t_pose_with_the_bone_lengths_of_the_clip() -> None:
    joints = travelling(torch.linspace(0, 5, 30), torch.randn(30, 3))
    bvh = motion_to_bvh(Motion.from_joints(joints))
    rest = {joint.name: place for joint, place in zip(bvh.joints, rest_positions(bvh))}
    for side, sign in (("left", 1), ("right", -1)):
        arm = rest[f"{side}_wrist"] - rest[f"{side}_shoulder"]
        assert sign * arm[0] > 0.5
        assert arm[1:].abs().max() < 1e-6
        leg = rest[f"{side}_ankle"] - rest[f"{side}_hip"]
        assert leg[1] < -0.8
        assert leg[[0, 2]].abs().max() < 1e-6
        foot = rest[f"{side}_foot"] - rest[f"{side}_ankle"]
        assert foot[2] > 0.1
        assert sign * rest[f"{side}_hip"][0] > 0.05
    assert rest["head"][1] > rest["neck"][1] > rest["spine3"][1] > rest["spine1"][1] > 0
    for child in range(1, 22):
        bone = torch.linalg.vector_norm(rest[JOINT_NAMES[child]] - rest[JOINT_NAMES[PARENTS[child]]])
        seen = torch.linalg.vector_norm(joints[0, child] - joints[0, PARENTS[child]])
        assert bone == pytest.approx(float(seen), abs=1e-5)


def test_other_programs_place_the_joints_alike() -> None:
    """Channel by channel with scipy, as a program would that has never seen this code."""
    motion = Motion.from_joints(wriggling(20))
    bvh = motion_to_bvh(motion)
    places: list[np.ndarray] = []
    turns: list[Rotation] = []
    column = 0
    for joint in bvh.joints:
        place, turn = np.repeat(np.array([joint.offset]), 20, 0), Rotation.identity(20)
        if len(joint.channels) == 6:
            place = bvh.values[:, column : column + 3].numpy()
            column += 3
        if joint.channels:
            assert joint.channels[-3:] == ("Zrotation", "Xrotation", "Yrotation")
            turn = Rotation.from_euler("ZXY", bvh.values[:, column : column + 3].numpy(), degrees=True)
            column += 3
        if joint.parent >= 0:
            place = places[joint.parent] + turns[joint.parent].apply(place)
            turn = turns[joint.parent] * turn
        places.append(place)
        turns.append(turn)
        if not joint.is_end_site:
            assert np.allclose(place, motion.joints[:, JOINT_NAMES.index(joint.name)], atol=3e-4)


def test_angles_do_not_jump_when_the_body_turns_round_and_round() -> None:
    yaw = torch.linspace(0, 6 * math.pi, 121)
    bvh = motion_to_bvh(Motion.from_joints(travelling(yaw, torch.zeros(121, 3))))
    columns = bvh.values[:, rotation_columns(bvh)]
    assert columns.diff(dim=0).abs().max() < 10
    # The root's Y channel goes on to three turns instead of starting again.
    assert columns[-1, 2] - columns[0, 2] == pytest.approx(1080, abs=1)


def test_angles_follow_a_smooth_motion_smoothly() -> None:
    bvh = motion_to_bvh(Motion.from_joints(wriggling(200, seed=3)))
    assert bvh.values[:, rotation_columns(bvh)].diff(dim=0).abs().max() < 90


def test_a_degenerate_body_still_gives_finite_numbers(tmp_path: Path) -> None:
    joints = torch.zeros(3, 22, 3)
    write_bvh(Motion.from_joints(joints), tmp_path / "point.bvh")
    assert torch.allclose(read_bvh(tmp_path / "point.bvh").joints, joints)


@pytest.mark.parametrize(
    ("unit", "metres"),
    [(1.0, 0.01), (0.01, 1.0), (10.0, 0.001), (1 / 2.54, 0.0254), (0.45 / 2.54, 0.0254 / 0.45)],
)
def test_units_are_recognised_by_the_legs(unit: float, metres: float) -> None:
    made = foreign(lafan(), unit=unit)
    joints = bvh_to_motion(parse_bvh(made.text)).joints
    assert np.allclose(joints[:, JOINT_INDEX["left_wrist"]], made.positions["LeftHand"] * metres, atol=1e-4)
    assert (
        1.2
        < float((joints[:, JOINT_INDEX["head"], 1] - joints[:, JOINT_INDEX["left_ankle"], 1]).mean())
        < 1.8
    )


def test_an_unknown_unit_needs_a_scale() -> None:
    made = foreign(lafan(), unit=30)
    with pytest.raises(InputError, match=r"legs of 2.46e\+03 units fit no known unit.*give the scale"):
        bvh_to_motion(parse_bvh(made.text))
    joints = bvh_to_motion(parse_bvh(made.text), scale=0.01 / 30).joints
    assert np.allclose(joints[:, 0], made.positions["Hips"] * 0.01 / 30, atol=1e-4)
    for scale in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="scale"):
            bvh_to_motion(parse_bvh(made.text), scale=scale)


def test_z_up_files_are_stood_up() -> None:
    made = foreign(mixamo(), z_up=True)
    joints = bvh_to_motion(parse_bvh(made.text)).joints
    x, y, z = made.positions["mixamorig:Head"].T * 0.01
    assert np.allclose(joints[:, JOINT_INDEX["head"]], np.stack([x, z, -y], -1), atol=1e-5)
    as_it_is = bvh_to_motion(parse_bvh(made.text), up="y").joints
    assert np.allclose(as_it_is[:, JOINT_INDEX["head"]], np.stack([x, y, z], -1), atol=1e-5)
    with pytest.raises(InputError, match="up axis 'x'"):
        bvh_to_motion(parse_bvh(made.text), up="x")  # type: ignore[arg-type]


def test_someone_crawling_towards_z_is_not_stood_up() -> None:
    x, y, z = standing(30).unbind(-1)
    motion = Motion.from_joints(torch.stack([x, -z, y], dim=-1))
    assert largest_error(motion, bvh_to_motion(motion_to_bvh(motion))) < 1e-3
    made = foreign(lafan())
    first, rows = made.text.split("Frame Time: 0.0083333\n")
    lying = [f"0 20 0 0 0 90 {row.split(maxsplit=6)[6]}" for row in rows.splitlines()]
    joints = bvh_to_motion(parse_bvh(first + "Frame Time: 0.0083333\n" + "\n".join(lying))).joints
    assert (joints[:, JOINT_INDEX["head"], 2] - joints[:, 0, 2]).min() > 0.4


@pytest.mark.parametrize(
    ("frame_time", "fps"),
    [
        ("0.0083333", 120),
        ("0.00833", 120),
        ("0.033333", 30),
        ("0.0333", 30),
        ("0.0333667", 1 / 0.0333667),
        ("0.05", 20),
        ("2.5", 0.4),
        ("0.016667", 60),
    ],
)
def test_frame_times_of_few_digits_mean_whole_rates(frame_time: str, fps: float) -> None:
    text = foreign(lafan()).text.replace("0.0083333", frame_time)
    assert bvh_to_motion(parse_bvh(text)).fps == fps
    assert bvh_to_motion(parse_bvh(text), fps=50).fps == 50


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_bvh(tmp_path / "none.bvh")
    with pytest.raises(InputError, match="cannot be read"):
        read_bvh(tmp_path)
    (tmp_path / "noise.bvh").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(InputError, match=r"noise\.bvh, line 1: a BVH file begins with HIERARCHY"):
        read_bvh(tmp_path / "noise.bvh")
    with (tmp_path / "huge.bvh").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(InputError, match="1024 MiB"):
        read_bvh(tmp_path / "huge.bvh")
    (tmp_path / "single.bvh").write_text(foreign(lafan(), frames=1).text)
    with pytest.raises(InputError, match=r"single\.bvh: a motion needs at least 2 frames"):
        read_bvh(tmp_path / "single.bvh")
    absurd = foreign(lafan()).text.split("Frame Time: 0.0083333\n")
    rows = [" ".join(["1e308"] * len(row.split())) for row in absurd[1].splitlines()]
    (tmp_path / "absurd.bvh").write_text(absurd[0] + "Frame Time: 0.0083333\n" + "\n".join(rows))
    with pytest.raises(InputError, match=r"absurd\.bvh"):
        read_bvh(tmp_path / "absurd.bvh")


def test_motion_files_are_recognised_by_suffix_then_contents(tmp_path: Path) -> None:
    motion = Motion.from_joints(wriggling(5))
    write_motion(motion, tmp_path / "clip.BVH")
    write_motion(motion, tmp_path / "clip.npy")
    (tmp_path / "clip.BVH").rename(tmp_path / "clip.txt")
    (tmp_path / "clip.npy").rename(tmp_path / "clip")
    assert largest_error(motion, read_motion(tmp_path / "clip.txt")) < 1e-3
    assert largest_error(motion, read_motion(tmp_path / "clip")) == 0
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"picture\.png: not a motion file.*\.npy or \.bvh"):
        read_motion(tmp_path / "picture.png")
    with pytest.raises(InputError, match="no such file"):
        read_motion(tmp_path / "none")
    with pytest.raises(InputError, match=r"cannot write \.xyz"):
        write_motion(motion, tmp_path / "clip.xyz")
    with pytest.raises(InputError, match="unit"):
        write_bvh(motion, tmp_path / "clip.bvh", unit="inch")  # type: ignore[arg-type]
    assert not (tmp_path / "clip.bvh").exists()


def test_six_channel_files_keep_their_moving_offsets(tmp_path: Path) -> None:
    made = foreign(bandai(), six_channels=True, newline="\r\n")
    (tmp_path / "clip.bvh").write_bytes(made.text.encode())
    joints = read_bvh(tmp_path / "clip.bvh").joints
    assert np.allclose(joints[:, JOINT_INDEX["left_foot"]], made.positions["Toes_L"] * 0.01, atol=1e-5)


def test_motion_capture_round_trip(local_data, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with np.load(local_data("data/mocap/motions_free.npz")) as clips:
        positions, offsets = clips["pos"], clips["offsets"]
    for index in range(0, len(offsets) - 1, 90):
        joints = torch.from_numpy(positions[offsets[index] : offsets[index + 1]])[:100]
        uniform = Motion.from_joints(uniform_skeleton(joints))
        write_motion(uniform, tmp_path / "clip.bvh")
        assert largest_error(uniform, read_motion(tmp_path / "clip.bvh")) < 1e-3
        recorded = Motion.from_joints(joints)
        write_motion(recorded, tmp_path / "clip.bvh")
        assert largest_error(recorded, read_motion(tmp_path / "clip.bvh")) < 1e-3


@pytest.mark.parametrize("naming", ["smpl", "mixamo", "unreal", "vrm"])
@pytest.mark.parametrize("up", ["y", "z"])
@pytest.mark.parametrize("unit", ["m", "cm"])
def test_names_axes_and_units_of_other_tools(tmp_path: Path, naming: str, up: str, unit: str) -> None:
    motion = Motion.from_joints(uniform_skeleton(wriggling(30, amount=0.1)) + torch.tensor([0, 2.0, 0]), 30)
    options = WriteOptions(naming=naming, up=up, unit=unit)  # type: ignore[arg-type]
    write_motion(motion, tmp_path / "clip.bvh", options=options)
    text = (tmp_path / "clip.bvh").read_text()
    joint = {"smpl": "left_knee", "mixamo": "mixamorig:LeftLeg", "unreal": "calf_l", "vrm": "leftLowerLeg"}
    assert f"JOINT {joint[naming]}\n" in text
    assert largest_error(motion, read_motion(tmp_path / "clip.bvh")) < 1e-3


def test_a_file_with_z_up_is_the_same_figure_seen_in_other_axes() -> None:
    motion = Motion.from_joints(wriggling(12))
    tracks = joint_tracks(motion, stretch=True)
    y_up, z_up = (tracks_to_bvh(tracks, 20, up=up) for up in ("y", "z"))  # type: ignore[arg-type]
    x, y, z = joint_positions(y_up).unbind(-1)
    torch.testing.assert_close(joint_positions(z_up), torch.stack([x, -z, y], -1), atol=1e-9, rtol=0)
    x, y, z = rest_positions(y_up).unbind(-1)
    torch.testing.assert_close(rest_positions(z_up), torch.stack([x, -z, y], -1), atol=1e-9, rtol=0)


def test_rotations_that_the_motion_has_are_written(tmp_path: Path) -> None:
    # Twist of the forearm moves no joint, so that only the rotations tell it.
    rotations = torch.zeros(5, 22, 4, dtype=torch.float64)
    rotations[..., 0] = 1
    rotations[:, JOINT_INDEX["left_wrist"]] = torch.tensor([0.8, 0.6, 0, 0], dtype=torch.float64)
    root = torch.tensor([0, 0.9, 0], dtype=torch.float64).expand(5, 3)
    write_bvh(Motion.from_pose(BodyPose(rotations, T_POSE_OFFSETS), root), tmp_path / "twist.bvh")
    bvh = parse_bvh((tmp_path / "twist.bvh").read_text())
    column = 0
    for joint in bvh.joints:
        values = bvh.values[:, column : column + len(joint.channels)][:, -3:].numpy()
        if joint.channels:
            turn = Rotation.from_euler("ZXY", values, degrees=True)
            expected = 2 * math.acos(0.8) if joint.name == "left_wrist" else 0
            np.testing.assert_allclose(turn.magnitude(), expected, atol=1e-6)
        column += len(joint.channels)
    assert set(channel_counts(bvh).values()) == {3, 6}
    assert [name for name, count in channel_counts(bvh).items() if count == 6] == ["pelvis"]


def test_another_reader_finds_the_same_joints(tmp_path: Path) -> None:
    # pybvh knows no position channels but the root's, so the body must be rigid.
    motion = Motion.from_pose(BodyPose(turning(12), T_POSE_OFFSETS), walk(12), fps=25)
    write_bvh(motion, tmp_path / "clip.bvh", unit="cm")
    read = pybvh.read_bvh_file(tmp_path / "clip.bvh", world_up="+y")
    positions = read.joint_positions()[:, [read.joint_index[name] for name in JOINT_NAMES]]
    np.testing.assert_allclose(positions / 100, motion.joints.numpy(), atol=1e-4)
    assert read.fps == pytest.approx(25)
