from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from motiongpt3.cli import caption as verb
from motiongpt3.cli.given import read_given
from motiongpt3.cli.main import main
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.motion.formats import write_motion
from tests import tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[MotionGPT3, Path]:
    """A model, and its folder."""
    root = tmp_path_factory.mktemp("made")
    model = tiny.model(tiny.save_backbone(root / "backbone"))
    model.save_pretrained(root / "model")
    return model, root / "model"


@pytest.fixture
def model(made: tuple[MotionGPT3, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MotionGPT3:
    """The model that commands find; in the current folder, two clips as npy and one as BVH."""
    model, folder = made
    monkeypatch.setenv("MOTIONGPT3_MODEL", str(folder))
    monkeypatch.chdir(tmp_path)
    first, second = model.generate(["jump", "wave"], [24, 40])
    Path("clips").mkdir()
    write_motion(first, "clips/a.npy")
    write_motion(second, "clips/b.bvh")
    return model


def expected(model: MotionGPT3, path: str, **options: object) -> str:
    return model.caption([read_given(Path(path), model.fps)], **options)[0]  # type: ignore[arg-type]


def test_the_options_are_these() -> None:
    from motiongpt3.cli.main import VERBS, _parser

    _, options = _parser(verb.caption, "motiongpt3 caption", VERBS["caption"])
    own = {"prompt", "count", "temperature", "seed", "out", "model", "device", "batch_size"}
    assert options == {f"--{name}" for name in own | {"help", "config", "print_config", "debug"}} | {"-h"}


def test_one_file_is_one_line(model: MotionGPT3, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", "clips/a.npy"]) == 0
    assert capsys.readouterr().out == expected(model, "clips/a.npy") + "\n"


def test_a_folder_is_a_line_for_each_file(model: MotionGPT3, capsys: pytest.CaptureFixture[str]) -> None:
    Path("clips/notes.md").write_text("not a motion")
    assert main(["caption", "clips", "--out", "said.json"]) == 0
    captions = {name: expected(model, name) for name in ("clips/a.npy", "clips/b.bvh")}
    assert capsys.readouterr().out == "".join(f"{name}\t{text}\n" for name, text in captions.items())
    assert json.loads(Path("said.json").read_text()) == captions


def test_lines_can_be_written(model: MotionGPT3, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["caption", "clips/b.bvh", "--out", "said.txt"]) == 0
    text = capsys.readouterr().out
    assert Path("said.txt").read_text() == f"clips/b.bvh\t{text}"


def test_the_prompt_is_asked(model: MotionGPT3, capsys: pytest.CaptureFixture[str]) -> None:
    asked = "Say <Motion_Placeholder> differently"
    assert main(["caption", "clips/a.npy", "--prompt", asked]) == 0
    text = capsys.readouterr().out.strip()
    assert text == expected(model, "clips/a.npy", prompts=asked)
    assert text != expected(model, "clips/a.npy")


def test_several_captions_are_drawn(model: MotionGPT3, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["caption", "clips", "--temperature", "2", "--out", "said.json"]
    assert main([*arguments, "--count", "3", "--seed", "5"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    several = json.loads(Path("said.json").read_text())
    assert [len(set(texts)) for texts in several.values()] == [3, 3]
    assert main([*arguments, "--seed", "6"]) == 0
    assert json.loads(Path("said.json").read_text()) == {name: texts[1] for name, texts in several.items()}
    assert main(["caption", "clips/a.npy", "--count", "2", "--out", "said.json"]) == 0
    (texts,) = json.loads(Path("said.json").read_text()).values()
    assert len(texts) == 2


def test_a_file_that_cannot_be_used_is_named(model: MotionGPT3, capsys: pytest.CaptureFixture[str]) -> None:
    Path("clips/broken.bvh").write_text("HIERARCHY\nnothing")
    joints = np.load("clips/a.npy")
    np.save("clips/long.npy", np.tile(joints, (4, 1, 1)))
    np.save("clips/short.npy", joints[:5])
    assert main(["caption", "clips"]) == 1
    captured = capsys.readouterr()
    assert [line.split("\t")[0] for line in captured.out.splitlines()] == ["clips/a.npy", "clips/b.bvh"]
    for part in ("clips/broken.bvh", "clips/long.npy: 96 frames", "clips/short.npy: 5 frames"):
        assert f"error: {part}" in captured.err
    assert main(["caption", "clips/broken.bvh"]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no motion file"),
        (["nowhere.bvh"], "nowhere.bvh: no such file"),
        (["."], "no motion files in this folder"),
        (["clips/a.npy", "--count", "0"], "count is 0"),
        (["clips/a.npy", "--temperature", "-1"], "temperature is -1"),
        (["clips/a.npy", "--out", "said.doc"], "as .json or .txt"),
        (["clips/a.npy", "--batch-size", "0"], "batch_size is 0"),
        (["clips/a.npy", "--prompt", f"{tiny.START_OF_TURN} what?"], "meaning of its own"),
        (["clips/a.npy", "--prompt", "<Caption_Placeholder>"], "which nothing has been put in place of"),
        (["clips/a.npy", "--seed", "-1"], "seed: -1"),
    ],
)
def test_mistakes_are_named(
    model: MotionGPT3, arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["caption", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert reason in captured.err
    assert len(captured.err.splitlines()) == 1
