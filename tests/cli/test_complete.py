from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from motiongpt3.cli import complete as verbs
from motiongpt3.cli.main import VERBS, _parser, main
from motiongpt3.generation.conversation import cut, ends_of
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.motion.formats import read_motion, write_motion
from tests.cli.test_caption import made

__all__ = ["made"]


@pytest.fixture
def model(made: tuple[MotionGPT3, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MotionGPT3:
    """The model that the commands find, and a clip of 24 frames in the current folder."""
    model, folder = made
    monkeypatch.setenv("MOTIONGPT3_MODEL", str(folder))
    monkeypatch.chdir(tmp_path)
    write_motion(model.generate(["jump"], 24)[0], "clip.npy")
    return model


def complete(*words: str) -> int:
    return main([*words, "--format", "npy"])


def written(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(("verb", "own"), [("predict", {"given"}), ("inbetween", {"end"})])
def test_the_options_are_these(verb: str, own: set[str]) -> None:
    _, options = _parser(getattr(verbs, verb), f"motiongpt3 {verb}", VERBS[verb])
    shared = {"length", "prompt", "seed", "count", "model", "out", "format", "device"}
    others = {"help", "config", "print_config", "debug"}
    assert options == {f"--{name}" for name in own | shared | others} | {"-h"}


def test_a_prediction_is_the_models_own(model: MotionGPT3, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--given", "16", "--length", "2s", "--prompt", "go on", "--seed", "4", "--count", "2")
    assert complete("predict", "clip.npy", *options, "--out", "there") == 0
    paths = written(capsys)
    assert paths == [f"there/continue-clip-go-on-seed{seed}.npy" for seed in (4, 5)]
    head = cut(read_motion("clip.npy"), 0, 16)
    expected = model.predict([head] * 2, 40, "go on", [4, 5])
    for path, motion in zip(paths, expected):
        torch.testing.assert_close(read_motion(path).joints, motion.joints, rtol=0, atol=0)


def test_the_middle_of_a_file_is_filled(model: MotionGPT3, capsys: pytest.CaptureFixture[str]) -> None:
    assert complete("inbetween", "clip.npy") == 0
    clip = read_motion("clip.npy")
    head, tail = ends_of(clip)
    (expected,) = model.inbetween([head], [tail], 24, seeds=[0])
    torch.testing.assert_close(read_motion(written(capsys)[0]).joints, expected.joints, rtol=0, atol=0)


def test_both_ends_may_be_files(model: MotionGPT3, capsys: pytest.CaptureFixture[str]) -> None:
    assert complete("inbetween", "clip.npy", "--end", "clip.npy", "--length", "60") == 0
    made = read_motion(written(capsys)[0]).joints
    clip = read_motion("clip.npy").joints
    assert len(made) == 60
    assert torch.equal(made[:24], clip)
    assert torch.equal(made[36:], clip)


def test_what_is_made_from_other_frames_gets_a_number(
    model: MotionGPT3, capsys: pytest.CaptureFixture[str]
) -> None:
    for given in ("16", "20", "16"):
        assert complete("predict", "clip.npy", "--given", given, "--length", "40") == 0
    write_motion(model.generate(["sit"], 24)[0], "clip.npy")
    assert complete("predict", "clip.npy", "--given", "16", "--length", "40") == 0
    names = ["", "-2", "", "-3"]
    assert written(capsys) == [f"out/continue-clip-seed0{name}.npy" for name in names]
    marks = [json.loads(Path(f"out/continue-clip-seed0{name}.json").read_text())["given"] for name in names]
    assert len(set(marks)) == 3


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("inbetween", "clip.npy", "--length", "60"), "go together"),
        (("predict", "nowhere.npy"), "no such file"),
        (("predict", "clip.npy", "--given", "30"), "clip.npy has 2 to 24 frames"),
        (("predict", "clip.npy", "--length", "24"), "none is left"),
        (("predict", "clip.npy", "--count", "0"), "at least 1"),
        (("predict", "clip.npy", "--seed", "-1"), "not between"),
    ],
)
def test_what_cannot_be_done_is_said(
    model: MotionGPT3, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reason: str
) -> None:
    assert complete(*words) == 2
    assert reason in capsys.readouterr().err
