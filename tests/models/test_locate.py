from __future__ import annotations

from pathlib import Path

import pytest

from motiongpt3.errors import InputError
from motiongpt3.models.locate import find_model


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOTIONGPT3_MODEL", raising=False)


def test_a_folder_is_itself(tmp_path):
    folder = make_model(tmp_path / "mine")
    assert find_model(str(folder)) == folder
    assert find_model("mine") == Path("mine")
    assert find_model("./mine") == Path("mine")


def test_a_short_name_is_a_folder_in_models():
    make_model(Path("models/tiny"))
    assert find_model("tiny") == Path("models/tiny")


def test_a_folder_comes_before_a_hub_id():
    assert find_model("someone/their-model") == "someone/their-model"
    make_model(Path("someone/their-model"))
    assert find_model("someone/their-model") == Path("someone/their-model")


def test_the_default_can_be_set(tmp_path, monkeypatch):
    make_model(tmp_path / "models" / "mini")
    assert find_model() == Path("models/mini")
    folder = make_model(tmp_path / "other")
    monkeypatch.setenv("MOTIONGPT3_MODEL", str(folder))
    assert find_model() == folder


@pytest.mark.parametrize(
    "name", ["nowhere", "./owner/name", "/nowhere/at/all", "models/nowhere", "a/b/c", "a b/c"]
)
def test_an_unknown_model_says_where_it_was_looked_for(name):
    with pytest.raises(InputError, match="looked for"):
        find_model(name)


def test_a_file_or_an_empty_folder_is_no_model(tmp_path):
    (tmp_path / "weights.ckpt").write_bytes(b"")
    with pytest.raises(InputError, match="import-official"):
        find_model("weights.ckpt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"config\.json"):
        find_model("empty")
    with pytest.raises(InputError, match="empty"):
        find_model(" ")
