from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from motiongpt3.cli.main import main
from motiongpt3.motion.clean_up import CleanUp
from motiongpt3.motion.formats import read_motion, write_motion
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.standard import standardise
from tests.motion.bodies import wriggling


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    write_motion(Motion.from_joints(wriggling(61), fps=60), tmp_path / "in" / "walk.bvh")
    return tmp_path / "in" / "walk.bvh"


def run(*arguments: object) -> int:
    return main(["convert", *map(str, arguments)])


def test_one_file_with_another_rate(walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out" / "walk.npz"
    assert run(walk, out, "--fps", 30) == 0
    assert capsys.readouterr().out.strip() == str(out)
    back = read_motion(out)
    assert (len(back), back.fps) == (31, 30)


def test_joints_come_in_other_units_and_axes(walk: Path, tmp_path: Path) -> None:
    joints = read_motion(walk).joints.double().numpy()
    assert run(walk, tmp_path / "cm.npy", "--unit", "cm", "--up", "z") == 0
    stored = np.load(tmp_path / "cm.npy")
    np.testing.assert_allclose(stored, 100 * joints[..., [0, 2, 1]] * [1, -1, 1], atol=1e-3)
    back = ("--input-up", "z", "--input-scale", 0.01, "--input-fps", 60)
    assert run(tmp_path / "cm.npy", tmp_path / "m.npy", *back) == 0
    np.testing.assert_allclose(np.load(tmp_path / "m.npy"), joints, atol=1e-5)


def test_features_of_any_file(walk: Path, tmp_path: Path) -> None:
    assert run(walk, tmp_path / "features.npy", "--to", "features", "--standard") == 0
    expected = standardise(read_motion(walk)).features
    assert expected is not None
    np.testing.assert_allclose(np.load(tmp_path / "features.npy"), expected.numpy(), atol=1e-5)


def test_repairs_are_those_of_the_library(walk: Path, tmp_path: Path) -> None:
    assert run(walk, tmp_path / "clean.npy", "--clean", "smooth,floor", "--fps", 20) == 0
    expected = CleanUp(smooth=True, floor=True)(read_motion(walk)).resample(20)
    np.testing.assert_allclose(np.load(tmp_path / "clean.npy"), expected.joints.numpy(), atol=1e-6)


def test_a_folder_keeps_its_tree_and_says_what_failed(
    walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = walk.parent
    write_motion(read_motion(walk), folder / "deep" / "run.npy")
    (folder / "broken.bvh").write_text("HIERARCHY\nROOT")
    (folder / "readme.txt").write_text("hello")
    assert run(folder, tmp_path / "out", "--to", "bvh") == 2
    captured = capsys.readouterr()
    assert "2 of 3 files" in captured.out
    assert "broken.bvh, line 2" in captured.err
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert written == {"walk.bvh", "deep/run.bvh"}
    (folder / "broken.bvh").unlink()
    assert run(folder, tmp_path / "out", "--to", "bvh") == 2
    assert "is there already; --overwrite replaces it" in capsys.readouterr().err
    assert run(folder, tmp_path / "out", "--to", "bvh", "--overwrite") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{in}/walk.bvh", "{in}/walk.bvh", "--overwrite"), "is the source itself"),
        (("{in}/walk.bvh", "{in}"), "cannot write a file without suffix"),
        (("{in}/walk.bvh", "{in}", "--to", "joints"), "is a folder; name the file"),
        (("{in}/walk.bvh", "{in}/a.npy", "--to", "vhs"), "unknown format 'vhs': use joints, features, bvh"),
        (("{in}/walk.bvh", "{in}/a.npy", "--clean", "polish"), "unknown repair 'polish'"),
        (("{in}/walk.bvh", "{in}/a.xyz"), "cannot write .xyz"),
        (("{in}/walk.bvh", "{in}/a.npz", "--unit", "cm"), "AMASS has no option 'unit'"),
        (("{in}/walk.bvh", "{in}/a.npy", "--to", "features"), "60; resample it first"),
        (("{in}/walk.bvh", "{in}/a.npy", "--fps", "0"), "frame rate must be above 0"),
        (("{in}/none.bvh", "{in}/a.npy"), "none.bvh: no such file"),
        (("{in}", "{out}"), "say with --to what to convert to"),
        (("{in}", "{in}/walk.bvh", "--to", "joints"), "must be a folder"),
        (("{empty}", "{out}", "--to", "joints"), "has no motion file"),
    ],
)
def test_what_cannot_be_done_is_said(
    walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"in": walk.parent, "out": tmp_path / "out", "empty": tmp_path / "empty"}
    assert run(*(argument.format(**places) for argument in arguments)) == 2
    assert message in capsys.readouterr().err


def test_two_files_for_one_name_are_refused(
    walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_motion(read_motion(walk), walk.with_suffix(".npy"))
    assert run(walk.parent, tmp_path / "out", "--to", "amass") == 2
    assert "would both become" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_own_output_inside_the_folder_is_not_read_again(walk: Path) -> None:
    for _ in range(2):
        assert run(walk.parent, walk.parent / "npy", "--to", "joints", "--overwrite") == 0
    assert torch.equal(read_motion(walk.parent / "npy" / "walk.npy").joints, read_motion(walk).joints)
    assert len(list(walk.parent.rglob("*.*"))) == 2
