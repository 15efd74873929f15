from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from motiongpt3.cli.main import main
from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.sources.clips import assign_splits
from motiongpt3.data.sources.folder import prepare_folder
from motiongpt3.errors import InputError
from motiongpt3.motion.formats import read_motion, write_motion
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.standard import standardise
from tests.motion.bodies import wriggling

TABLE = """file,caption,start,end,split,label,licence,note
walk.bvh,a person walks to the left,,,train,walk,CC0,x
walk.bvh,they stop,0.5,1,,,,
deep/run.npz,someone runs,,,val,,,
deep/jump,someone jumps,,,test,,,
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "motions"
    for seed, (name, fps) in enumerate((("walk.bvh", 60), ("deep/run.npz", 30), ("deep/jump.glb", 20))):
        write_motion(Motion.from_joints(wriggling(90, seed), fps), root / name)
    return root


def test_a_table_of_captions(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("\ufeff" + TABLE)
    written = prepare_folder(folder, tmp_path / "out", tmp_path / "captions.csv")
    assert written.clips == {"train": 2, "val": 2, "test": 2}
    dataset = HumanML3DDataset(tmp_path / "out")
    assert dataset.split("train") == ["Mwalk", "walk"]
    assert dataset.split("test") == ["Mdeep_jump", "deep_jump"]
    first, second = dataset.captions("walk")
    assert (first.text, second.text, second.start, second.end) == (
        "a person walks to the left",
        "they stop",
        0.5,
        1.0,
    )
    assert dataset.captions("Mwalk")[0].text == "a person walks to the right"
    metadata = dataset.metadata["walk"]
    assert (metadata.label, metadata.licence, metadata.source) == ("walk", "CC0", "walk.bvh")
    for name, motion in (
        ("walk", read_motion(folder / "walk.bvh")),
        ("Mdeep_jump", read_motion(folder / "deep" / "jump.glb").mirrored()),
    ):
        standard = standardise(motion).features
        assert standard is not None
        np.testing.assert_allclose(dataset.clip(name).features, standard.numpy(), atol=1e-5)


def test_text_files_beside_the_motions(folder: Path, tmp_path: Path) -> None:
    (folder / "walk.txt").write_text("a person walks\n\nthey stop#they/PRON stop/VERB#0.5#1.0\n")
    (folder / "deep/run.txt").write_text("someone runs")
    with pytest.raises(InputError, match=r"jump.glb: no captions"):
        prepare_folder(folder, tmp_path / "out")
    written = prepare_folder(folder, tmp_path / "out", mirror=False, skip_broken=True)
    assert [clip.name for clip in written.skipped] == ["deep_jump"]
    captions = HumanML3DDataset(tmp_path / "out").captions("walk")
    assert [(c.text, c.tokens, c.end) for c in captions] == [
        ("a person walks", (), 0.0),
        ("they stop", ("they/PRON", "stop/VERB"), 1.0),
    ]
    texts = tmp_path / "texts" / "deep"
    texts.mkdir(parents=True)
    (texts / "jump.txt").write_text("someone jumps")
    written = prepare_folder(folder, tmp_path / "other", tmp_path / "texts", mirror=False, skip_broken=True)
    assert len(written.skipped) == 2
    assert HumanML3DDataset(tmp_path / "other").split("train") == ["deep_jump"]


def test_broken_files_are_named_or_left_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text(TABLE)
    (folder / "walk.bvh").write_text("HIERARCHY")
    with pytest.raises(InputError, match=r"walk.bvh, line 1"):
        prepare_folder(folder, tmp_path / "out", tmp_path / "captions.csv")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="needs clips in its training split"):
        prepare_folder(folder, tmp_path / "out", tmp_path / "captions.csv", skip_broken=True)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,caption\na,b\n", "a column 'file'"),
        ("", "a column 'caption'"),
        ("file,caption\nswim.bvh,someone swims\n", r"line 2: there is no motion file 'swim.bvh'"),
        ("file,caption\nwalk.bvh,\n", "line 2: no caption"),
        ("file,caption,start\nwalk.bvh,x,soon\n", "'soon' is not a number of seconds"),
        ("file,caption,start\nwalk.bvh,x,nan\n", "'nan' is not a number of seconds"),
        ("file,caption,start,end\nwalk.bvh,x,2,1\n", "ends before it starts"),
        ("file,caption,split\nwalk.bvh,x,exam\n", "split 'exam' is not one of"),
        ("file,caption,split\nwalk.bvh,x,val\nwalk.bvh,y,test\n", "line 3: the file is in split val"),
    ],
)
def test_broken_tables_are_refused(folder: Path, tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "captions.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        prepare_folder(folder, tmp_path / "out", tmp_path / "captions.csv")


def test_what_is_not_there_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        prepare_folder(tmp_path / "none", tmp_path / "out")
    with pytest.raises(InputError, match=r"no such file or folder: .*none.csv"):
        prepare_folder(folder, tmp_path / "out", tmp_path / "none.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no motion file"):
        prepare_folder(tmp_path / "empty", tmp_path / "out")
    write_motion(read_motion(folder / "walk.bvh"), folder / "walk.npy")
    with pytest.raises(InputError, match="would both be the clip 'walk'"):
        prepare_folder(folder, tmp_path / "out")


def test_splits_are_by_name_alone() -> None:
    names = [f"clip{number}" for number in range(200)]
    splits = assign_splits(names)
    assert splits == assign_splits(reversed(names))
    counts = [list(splits.values()).count(split) for split in ("train", "val", "test")]
    assert counts == [160, 10, 30]
    assert assign_splits(["one"]) == {"one": "train"}


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "captions.csv").write_text(TABLE)
    words = [str(folder), str(tmp_path / "out"), "--captions", str(tmp_path / "captions.csv"), "--no-mirror"]
    assert main(["data", "prepare", "folder", *words]) == 0
    assert "3 clips (1 train, 1 val, 1 test)" in capsys.readouterr().out
