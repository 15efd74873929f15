from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from motiongpt3.cli.main import main
from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.sources.humanact12 import ACTIONS, prepare_humanact12
from motiongpt3.errors import InputError
from motiongpt3.motion.features import joints_to_features
from tests.motion.bodies import wriggling


def write(folder: Path, name: str, frames: int = 40) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.npy", np.pad(wriggling(frames).numpy(), ((0, 0), (0, 2), (0, 0))))
    return folder / f"{name}.npy"


def test_labels_become_captions_and_people_stay_in_one_split(tmp_path: Path) -> None:
    source = tmp_path / "humanact12" / "humanact12"
    for name in ("P01G01R01F0001T0064A0101", "P11G01R01F0001T0064A0402", "P12G02R01F0001T0064A1201"):
        write(source, name)
    write(source, "P02G01R01F0001T0002A0201", frames=2)
    write(source, "notes")
    written = prepare_humanact12(tmp_path, tmp_path / "out")
    assert written.clips == {"train": 2, "val": 2, "test": 2}
    assert [clip.name for clip in written.skipped] == [
        "P02G01R01F0001T0002A0201",
        "MP02G01R01F0001T0002A0201",
    ]
    dataset = HumanML3DDataset(tmp_path / "out")
    assert [c.text for c in dataset.captions("P11G01R01F0001T0064A0402")] == ["a person jumps"]
    assert dataset.metadata["MP12G02R01F0001T0064A1201"].label == "throw"
    expected = joints_to_features(wriggling(40), continuous_heading=True).numpy()
    np.testing.assert_allclose(dataset.clip("P01G01R01F0001T0064A0101").features, expected, atol=1e-4)
    assert len(ACTIONS) == 12


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no file named as in HumanAct12"):
        prepare_humanact12(tmp_path, tmp_path / "out")
    path = write(tmp_path, "P01G01R01F0001T0064A1301")
    with pytest.raises(InputError, match="has no action 13"):
        prepare_humanact12(tmp_path, tmp_path / "out")
    path.unlink()
    np.save(tmp_path / "P01G01R01F0001T0064A0101.npy", np.zeros((40, 21, 3)))
    with pytest.raises(InputError, match="expected joints"):
        prepare_humanact12(tmp_path, tmp_path / "out")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", "P01G01R01F0001T0064A0101")
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "--no-mirror"]
    assert main(["data", "prepare", "humanact12", *words]) == 0
    assert "1 clips (1 train, 0 val, 0 test)" in capsys.readouterr().out
