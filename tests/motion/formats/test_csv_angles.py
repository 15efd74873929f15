from __future__ import annotations

import contextlib
import csv
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from motiongpt3.errors import InputError
from motiongpt3.motion.formats import read_csv, read_motion, write_csv, write_motion
from motiongpt3.motion.formats.csv_angles import ANGLE_COLUMNS, COLUMNS
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.pose import T_POSE_OFFSETS, BodyPose
from motiongpt3.motion.skeleton import JOINT_NAMES, PARENTS
from tests.motion.bodies import travelling, wriggling
from tests.motion.test_pose import turning, walk


def dancing(frames: int = 20) -> Motion:
    return Motion.from_pose(BodyPose(turning(frames), T_POSE_OFFSETS), walk(frames), fps=50, name="dance")


def table(path: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    lines = path.read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return lines, {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_rotations_and_joints_come_back(tmp_path: Path) -> None:
    motion = dancing()
    write_motion(motion, tmp_path / "dance.csv")
    back = read_motion(tmp_path / "dance.csv")
    torch.testing.assert_close(back.joints, motion.joints, atol=2e-5, rtol=0)
    assert (back.fps, back.name) == (50, "dance")
    assert back.pose is not None
    assert motion.pose is not None
    agreement = (back.pose.rotations * motion.pose.rotations).sum(-1).abs()
    assert float(agreement.min()) > 1 - 1e-9


def test_columns_mean_what_they_say(tmp_path: Path) -> None:
    motion = dancing(6)
    write_csv(motion, tmp_path / "dance.csv")
    lines, columns = table(tmp_path / "dance.csv")
    assert tuple(columns) == COLUMNS
    assert lines[1] == "# fps 50.0"
    np.testing.assert_allclose(columns["time"], np.arange(6) / 50)
    # Forward kinematics in the axes of ROS: x forward, y left, z up.
    rest = {line.split()[2]: np.array(line.split()[3:], float) for line in lines if line.startswith("# rest")}
    for frame in range(6):
        row = {name: values[frame] for name, values in columns.items()}
        world = [Rotation.from_quat([row[f"root_q{axis}"] for axis in "xyzw"])]
        places = [np.array([row[f"root_{axis}"] for axis in "xyz"])]
        for joint, name in list(enumerate(JOINT_NAMES))[1:]:
            angles = [row[f"{name}_{angle}"] for angle in ("yaw", "pitch", "roll")]
            places.append(places[PARENTS[joint]] + world[PARENTS[joint]].apply(rest[name]))
            world.append(world[PARENTS[joint]] * Rotation.from_euler("ZYX", angles))
        ours = motion.joints[frame].numpy()[:, [2, 0, 1]]
        np.testing.assert_allclose(np.stack(places), ours, atol=2e-5)


def test_angles_have_no_jumps(tmp_path: Path) -> None:
    yaw = torch.linspace(0, 9, 200)
    write_csv(Motion.from_joints(travelling(yaw, torch.zeros(200, 3))), tmp_path / "spin.csv")
    _, columns = table(tmp_path / "spin.csv")
    assert max(np.abs(np.diff(columns[name])).max() for name in ANGLE_COLUMNS) < 0.2
    turns = np.stack([columns[f"root_q{axis}"] for axis in "xyzw"])
    assert ((turns[:, 1:] * turns[:, :-1]).sum(0) > 0).all()
    facing = Rotation.from_quat(turns.T).apply([1, 0, 0])
    np.testing.assert_allclose(facing[:, :2], np.stack([yaw.cos().numpy(), yaw.sin().numpy()], 1), atol=0.02)


def test_constant_lengths_cost_some_millimetres_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    motion = Motion.from_joints(wriggling(40))
    with caplog.at_level(logging.INFO):
        write_csv(motion, tmp_path / "clip.csv")
    assert "bones of constant length; joints are up to" in caplog.text
    back = read_csv(tmp_path / "clip.csv")
    assert float(torch.linalg.vector_norm(back.joints - motion.joints, dim=-1).max()) < 0.2
    lengths = torch.linalg.vector_norm(back.joints[:, 1:] - back.joints[:, PARENTS[1:]], dim=-1)
    torch.testing.assert_close(lengths, lengths[:1].expand_as(lengths), atol=1e-5, rtol=0)


def test_tables_of_others_are_read(tmp_path: Path) -> None:
    motion = dancing()
    write_csv(motion, tmp_path / "dance.csv")
    _, columns = table(tmp_path / "dance.csv")
    names = ["note", *reversed(columns)]
    rows = [",".join(names)]
    for frame in range(20):
        rows.append(",".join(["hello", *(f"{columns[name][frame]:.6f}" for name in names[1:])]))
    (tmp_path / "bare.csv").write_text("\ufeff" + "\r\n".join(rows))
    back = read_csv(tmp_path / "bare.csv")
    assert back.fps == 50
    torch.testing.assert_close(back.joints, motion.joints, atol=5e-5, rtol=0)
    assert read_csv(tmp_path / "bare.csv", fps=25).fps == 25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "no line with the names"),
        (lambda text: text.replace("root_qw", "root_w"), r"no column 'root_qw' \(and 0 others\)"),
        (lambda text: text.replace("root_qw", "root_qx"), "named twice"),
        (lambda text: text.replace("time,", "time,,", 1), "71 cells for 72 columns"),
        (lambda text: text[: len(text) - 200], r"line 44: .* cells for 71 columns"),
        (lambda text: text.replace("0.020000,", "nan,", 1), "line 26: 'nan' in time is not a finite"),
        (lambda text: text.replace("0.020000,", "1e99,", 1), "not a finite number"),
        (lambda text: text.replace("0.020000,", "fast,", 1), "not a finite number"),
        (lambda text: text.replace("0.020000,", '"0.02\n,', 1), "goes over the end|cells for|finite"),
        (lambda text: text.replace("# fps 50.0", "# fps 0"), "frame rate must be above 0"),
        (lambda text: text.replace("# rest neck -", "# rest neck x"), "is not the offset of a joint"),
    ],
)
def test_broken_tables_are_refused(tmp_path: Path, change: object, message: str) -> None:
    write_csv(dancing(), tmp_path / "dance.csv")
    text = (tmp_path / "dance.csv").read_text()
    (tmp_path / "dance.csv").write_text(change(text))  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        read_csv(tmp_path / "dance.csv")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_an_input_error_or_harmless(tmp_path: Path, data: st.DataObject) -> None:
    good = tmp_path / "good.csv"
    if not good.exists():
        write_csv(dancing(4), good)
    contents = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.csv"
    path.write_bytes(bytes(contents[: data.draw(st.integers(len(contents) // 2, len(contents)))]))
    with contextlib.suppress(InputError):
        assert read_csv(path).joints.isfinite().all()
