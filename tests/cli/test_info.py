from __future__ import annotations

from pathlib import Path

import pytest

from motiongpt3.cli import generate
from motiongpt3.cli.info import card_licence
from motiongpt3.cli.main import main


class FakeModel:
    def describe(self) -> dict[str, str]:
        return {"text branch": "134.5 M [bold]parameters[/bold]"}


@pytest.fixture
def model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(generate, "load_model", lambda where, device, progress=None: FakeModel())
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(2_500_000))
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\ntags:\n- motion\n---\n# A model\n")
    return folder


def test_a_model_is_described(model_folder, capsys):
    assert main(["info", str(model_folder)]) == 0
    text = capsys.readouterr().out
    assert "134.5 M [bold]parameters[/bold]" in text
    assert "cc-by-nc-4.0" in text
    assert "2.5 MB in 3 files" in text


def test_the_default_model_is_found(model_folder, monkeypatch, capsys):
    monkeypatch.setenv("MOTIONGPT3_MODEL", str(model_folder))
    assert main(["info"]) == 0
    assert "cc-by-nc-4.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ('---\nlicense: other\nlicense_name: "my-licence"\n---\n', "my-licence"),
        ("---\ntags: []\n---\nlicense: mit\n", None),
        ("license: mit\n", None),
        ("", None),
    ],
)
def test_the_licence_is_read_from_the_front_matter(tmp_path, text, licence):
    card = tmp_path / "README.md"
    card.write_text(text)
    assert card_licence(card) == licence
    assert card_licence(tmp_path / "missing.md") is None
