from __future__ import annotations

import pickle

import numpy as np
import pytest

from motiongpt3.cli.fit import BODY_FILES_VARIABLE, motion_files
from motiongpt3.cli.main import main
from motiongpt3.errors import InputError
from tests.body.smpl_arrays import smpl_arrays
from tests.figures import raising_arm, standing


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clips" / "wave.npy"
    path.parent.mkdir()
    np.save(path, raising_arm("left", 6).joints.numpy())
    return path


def test_a_file_becomes_a_body(clip, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["fit", str(clip), "--out", str(out), "--body", "light", "--format", "mesh,ply,npz"]) == 0
    mesh, faces = np.load(out / "wave_mesh.npy"), np.load(out / "wave_faces.npy")
    assert mesh.shape[0] == 6
    assert mesh.shape[2] == 3
    assert faces.max() == mesh.shape[1] - 1
    assert len(list((out / "wave_ply").glob("*.ply"))) == 6
    assert np.load(out / "wave_params.npz")["poses"].shape == (6, 156)
    captured = capsys.readouterr()
    assert str(out / "wave_mesh.npy") in captured.out
    assert "mm off" in captured.err


def test_a_folder_of_files(clip, tmp_path):
    np.save(clip.with_name("stand.npy"), standing(4).joints.numpy())
    folder = clip.parent
    assert main(["fit", str(folder), "--out", str(folder), "--body", "light"]) == 0
    # A second run does not take the meshes for motions.
    assert [file.name for file in motion_files(folder)] == ["stand.npy", "wave.npy"]
    assert np.load(folder / "stand_mesh.npy").shape[0] == 4


@pytest.mark.parametrize("found_by", ["option", "variable"])
def test_a_licensed_body_is_used(clip, tmp_path, monkeypatch, found_by):
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **smpl_arrays("smpl"))
    words = ["fit", str(clip), "--out", str(tmp_path), "--body", "smpl", "--refine", "3"]
    if found_by == "option":
        words += ["--body_model", str(tmp_path)]
    else:
        monkeypatch.setenv(BODY_FILES_VARIABLE, str(tmp_path))
    assert main(words) == 0
    assert np.load(tmp_path / "wave_mesh.npy").shape[1] == len(smpl_arrays("smpl")["v_template"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--body", "smplx"], "licensed body model"),
        (["--body", "smplx", "--body_model", "{tmp}"], "smpl-x.is.tue.mpg.de"),
        (["--format", "obj"], "unknown format 'obj'"),
        (["--format", ","], "no format"),
        (["--refine", "-2"], "steps"),
        (["--body_model", "{tmp}"], "comes with this project"),
        (["--fps", "0"], "frame rate"),
    ],
)
def test_what_cannot_be_done_is_one_line(clip, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.delenv(BODY_FILES_VARIABLE, raising=False)
    words = [word.format(tmp=tmp_path) for word in words]
    assert main(["fit", str(clip), "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_folders_without_motions_are_named(tmp_path):
    with pytest.raises(InputError, match="no motion file"):
        motion_files(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        motion_files(tmp_path / "nowhere")


def test_files_of_one_name_are_refused(clip, capsys):
    clip.with_suffix(".bvh").write_text("")
    assert main(["fit", str(clip.parent)]) == 2
    assert "two files named wave" in capsys.readouterr().err


def test_a_pickle_is_converted(tmp_path, capsys):
    arrays = smpl_arrays("smplh")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(arrays, protocol=2))
    assert main(["convert-smpl", str(tmp_path / "a.pkl"), str(tmp_path / "smplh_neutral.npz")]) == 0
    assert "smplh, 330 vertices, 52 joints" in capsys.readouterr().out
    with np.load(tmp_path / "smplh_neutral.npz", allow_pickle=False) as written:
        for name, array in arrays.items():
            assert (written[name] == array).all()


def test_a_pickle_is_not_converted_into_anything(tmp_path, capsys):
    assert main(["convert-smpl", str(tmp_path / "a.pkl"), str(tmp_path / "b.pkl")]) == 2
    assert ".npz" in capsys.readouterr().err
