from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from motiongpt3.cli.main import main
from motiongpt3.data.check import check_dataset
from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.sources.humanml3d import prepare_humanml3d
from motiongpt3.errors import InputError, MissingDependencyError
from motiongpt3.motion.features import joints_to_features
from motiongpt3.motion.skeleton import mirror_joints
from tests.motion.bodies import wriggling
from tests.motion.formats.smpl_files import body_model, recording, smpl_joints

INDEX = """source_path,start_frame,end_frame,new_name
./pose_data/KIT/3/walk_poses.npy,0,30,000000.npy
./pose_data/humanact12/humanact12/P01G01R01F0001T0064A0101.npy,0,-1,000001.npy
./pose_data/MPI_HDM05/bk/HDM_poses.npy,2,40,000002.npy
./pose_data/KIT/3/walk_poses.npy,5,45,000003.npy
./pose_data/KIT/3/walk_poses.npy,49,90,000004.npy
./pose_data/KIT/3/walk_poses.npy,10,40,000005.npy
"""
LISTS = {
    "train": "000000\nM000000\n000002\nM000002\n000004\n",
    "val": "000001\nM000001\n",
    "test": "000003\n",
}
ARRAYS = {
    "walk": recording(150, 1) | {"mocap_framerate": np.array(60.0), "gender": np.array("male")},
    "hdm": recording(1300, 2) | {"mocap_framerate": np.array(250.0), "gender": np.array("neutral")},
}


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A repository, AMASS and SMPL-H with a few recordings each."""
    repository, amass, bodies = tmp_path / "repository", tmp_path / "amass", tmp_path / "smplh"
    for name in ("walk", "hdm"):
        path = amass / {"walk": "KIT/3/walk_poses.npz", "hdm": "MPI_HDM05/bk/HDM_poses.npz"}[name]
        path.parent.mkdir(parents=True)
        np.savez(path, **ARRAYS[name])  # type: ignore[arg-type]
    for seed, gender in enumerate(("male", "female")):
        body_model(bodies / gender / "model.npz", seed)
    act = repository / "pose_data" / "humanact12" / "humanact12"
    act.mkdir(parents=True)
    np.save(act / "P01G01R01F0001T0064A0101.npy", np.pad(human_act().numpy(), ((0, 0), (0, 2), (0, 0))))
    (repository / "index.csv").write_text(INDEX)
    texts = repository / "HumanML3D" / "texts"
    texts.mkdir(parents=True)
    for number in (0, 1, 2, 3, 4):
        (texts / f"00000{number}.txt").write_text("a man waves his left hand.#a/DET man/NOUN#0.0#0.0\n")
    (texts / "M000000.txt").write_text("the mirror image has words of its own##0.0#1.0\n")
    for split, names in LISTS.items():
        (repository / "HumanML3D" / f"{split}.txt").write_text(names)
    return {"repository": repository, "amass": amass, "bodies": bodies}


def human_act() -> torch.Tensor:
    return wriggling(45, 9)


def expected(name: str, places: dict[str, Path], start: int, end: int, lead_in: int = 0) -> torch.Tensor:
    """Joints as the published notebooks make them, with scipy and one frame at a time."""
    gender = "male" if name == "walk" else "female"
    with np.load(places["bodies"] / gender / "model.npz") as model:
        # Ten of the sixteen shapes.
        cut = dict(model) | {"shapedirs": model["shapedirs"][..., :10]}
    stride = {"walk": 3, "hdm": 12}[name]
    arrays = {key: np.asarray(value) for key, value in ARRAYS[name].items()}
    sampled = {key: arrays[key][::stride] for key in ("poses", "trans")}
    joints = smpl_joints(cut, sampled | {"betas": arrays["betas"][:10]})
    swapped = joints[..., [0, 2, 1]] * [-1, 1, 1]
    return torch.from_numpy(swapped[lead_in:][start:end])


def test_clips_are_those_of_the_recipe(places: dict[str, Path], tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    written = prepare_humanml3d(**places, out=tmp_path / "out", progress=lambda *step: done.append(step))
    dataset = HumanML3DDataset(tmp_path / "out")
    assert {clip.name: clip.reason for clip in written.skipped} == {
        "000004": "1 frames",
        "M000004": "1 frames",
        "000005": "no captions",
        "M000005": "no captions",
    }
    assert written.clips == {"train": 4, "val": 2, "test": 1}
    assert done[-1] == (12, 12)
    # M000003 is in no list, but in the dataset.
    assert "M000003" in dataset.split("all")
    wanted = {
        "000000": expected("walk", places, 0, 30),
        "000001": human_act(),
        "000002": expected("hdm", places, 2, 40, lead_in=60),
        "000003": expected("walk", places, 5, 45),
    }
    for name, joints in wanted.items():
        for clip, seen in ((name, joints), (f"M{name}", mirror_joints(joints))):
            features = dataset.clip(clip).features
            np.testing.assert_allclose(features, joints_to_features(seen).numpy(), atol=1e-4)
    assert dataset.metadata["M000002"].mirrored_from == "000002"
    assert dataset.metadata["000002"].source == "pose_data/MPI_HDM05/bk/HDM_poses.npy"
    assert not check_dataset(tmp_path / "out").errors


def test_captions_of_mirror_images(places: dict[str, Path], tmp_path: Path) -> None:
    prepare_humanml3d(**places, out=tmp_path / "out")
    dataset = HumanML3DDataset(tmp_path / "out")
    assert [c.text for c in dataset.captions("M000000")] == ["the mirror image has words of its own"]
    (caption,) = dataset.captions("M000002")
    assert caption.text == "a man waves his right hand."
    assert caption.tokens == ("a/DET", "man/NOUN")


def test_the_archive_of_captions_needs_no_unpacking(places: dict[str, Path], tmp_path: Path) -> None:
    folder = places["repository"] / "HumanML3D"
    with zipfile.ZipFile(folder / "texts.zip", "w") as archive:
        for path in sorted((folder / "texts").iterdir()):
            archive.write(path, f"texts/{path.name}")
            path.unlink()
        archive.writestr("__MACOSX/texts/._000000.txt", b"\x00\x05\x16\x07")
    (folder / "texts").rmdir()
    written = prepare_humanml3d(**places, out=tmp_path / "out", mirror=False)
    assert written.clips == {"train": 2, "val": 1, "test": 1}
    (folder / "texts.zip").unlink()
    with pytest.raises(InputError, match="no captions: neither"):
        prepare_humanml3d(**places, out=tmp_path / "other")


def test_missing_recordings_are_counted(places: dict[str, Path], tmp_path: Path) -> None:
    (places["amass"] / "MPI_HDM05/bk/HDM_poses.npz").unlink()
    with pytest.raises(InputError, match=r"1 of 6 recordings are missing, .*HDM_poses.npy .*--allow-missing"):
        prepare_humanml3d(**places, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    written = prepare_humanml3d(**places, out=tmp_path / "out", allow_missing=True)
    assert written.clips == {"train": 2, "val": 2, "test": 1}
    assert sum(clip.reason.endswith("is missing") for clip in written.skipped) == 2


def test_missing_bodies_and_lists_are_named(places: dict[str, Path], tmp_path: Path) -> None:
    (places["bodies"] / "female/model.npz").unlink()
    with pytest.raises(MissingDependencyError, match="no female body model"):
        prepare_humanml3d(**places, out=tmp_path / "out")
    (places["repository"] / "HumanML3D/test.txt").unlink()
    with pytest.raises(InputError, match=r"no such file: .*test.txt"):
        prepare_humanml3d(**places, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (None, "is this a copy of github"),
        ("a,b\n1,2\n", r"index.csv, line 2: not a clip"),
        (INDEX.replace(",30,", ",thirty,"), "line 2: not a clip"),
        (INDEX.replace("./pose_data/KIT", "../../KIT"), "leaves the folder"),
        (INDEX.replace("000003", "000000"), "lists no clip, or one twice"),
        (INDEX.splitlines()[0], "lists no clip, or one twice"),
    ],
)
def test_a_broken_index_is_refused(
    places: dict[str, Path], tmp_path: Path, index: str | None, message: str
) -> None:
    path = places["repository"] / "index.csv"
    path.unlink() if index is None else path.write_text(index)
    with pytest.raises(InputError, match=message):
        prepare_humanml3d(**places, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mocap_framerate": np.array(15.0)}, "15 frames a second; 20 or more are needed"),
        ({"poses": np.zeros((150, 60))}, r"poses \(150, 60\) and trans"),
        ({"trans": np.zeros((10, 3))}, r"and trans \(10, 3\)"),
    ],
)
def test_a_broken_recording_is_named(
    places: dict[str, Path], tmp_path: Path, changes: dict[str, np.ndarray], message: str
) -> None:
    np.savez(places["amass"] / "KIT/3/walk_poses.npz", **(ARRAYS["walk"] | changes))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"walk_poses.npz: .*{message}"):
        prepare_humanml3d(**places, out=tmp_path / "out")


def test_the_command(places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(places[name]) for name in ("repository", "amass", "bodies")]
    assert main(["data", "prepare", "humanml3d", *words, str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "7 clips (4 train, 2 val, 1 test)" in captured.out
    assert "left out 000005: no captions" in captured.err
