from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motiongpt3.cli import demo as verb
from motiongpt3.cli import generate as generate_verb
from motiongpt3.cli.main import VERBS, _parser, main
from motiongpt3.errors import InputError
from motiongpt3.motion.features import joints_to_features
from motiongpt3.motion.formats import read_npy
from motiongpt3.motion.motion import Motion
from tests import tiny
from tests.evaluation import puppet
from tests.figures import rest_pose


class FakeModel:
    """Answers like a model; a motion that it makes shows its seed: the height of the floor, in mm."""

    fps = 20.0
    frame_range = (4, 100)

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.wordings = {
            "m2t": "<Motion_Placeholder>",
            "pred": "Predict motion:",
            "inbetween": "Complete the masked motion:",
        }

    def request_for(self, task: str) -> str:
        return self.wordings[task]

    def _check(self, requests: Sequence[str]) -> None:
        if any("forbidden" in request for request in requests):
            raise InputError("the request has a forbidden word")

    def generate(self, prompts: list[str], seeds: list[int], batch_size: int) -> list[Motion]:
        self._check(prompts)
        self.calls.append({"prompts": prompts, "seeds": seeds})
        return [Motion(rest_pose().repeat(6, 1, 1) + seed / 1000) for seed in seeds]

    def caption(
        self, motions: list[Motion], prompts: list[str], seeds: list[int], batch_size: int
    ) -> list[str]:
        self._check(prompts)
        self.calls.append({"motions": motions, "prompts": prompts, "seeds": seeds})
        return [f"{len(motion)} frames" for motion in motions]

    def predict(
        self, heads: list[Motion], frames: list[int], prompts: list[str], seeds: list[int], batch_size: int
    ) -> list[Motion]:
        self._check(prompts)
        self.calls.append({"heads": heads, "frames": frames, "prompts": prompts, "seeds": seeds})
        if max(frames) > self.frame_range[1]:
            raise InputError("too long for this model")
        return [self._complete(head, [], total, seed) for head, total, seed in zip(heads, frames, seeds)]

    def inbetween(
        self,
        heads: list[Motion],
        tails: list[Motion],
        frames: list[int],
        prompts: list[str],
        seeds: list[int],
        batch_size: int,
    ) -> list[Motion]:
        self.calls.append({"heads": heads, "tails": tails, "frames": frames, "prompts": prompts})
        return [
            self._complete(head, list(tail.joints), total, seed)
            for head, tail, total, seed in zip(heads, tails, frames, seeds)
        ]

    def _complete(self, head: Motion, tail: list[Any], total: int, seed: int) -> Motion:
        joints = rest_pose().repeat(total, 1, 1) + seed / 1000
        joints[: len(head)] = head.joints
        for place, frame in enumerate(reversed(tail), start=1):
            joints[-place] = frame
        return Motion(joints)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeModel:
    fake = FakeModel()
    monkeypatch.setattr(generate_verb, "load_model", lambda where, device, progress=None: fake)
    monkeypatch.setattr(verb, "read_given_motion", lambda path, fps: read_npy(path, fps))
    monkeypatch.setattr(verb, "answer_text", _answer_text)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOTIONGPT3_MODEL", str(folder))
    return fake


def _answer_text(model: FakeModel, text: str, seed: int) -> str:
    model._check([text])
    return f"{text}? {seed}"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder with joints of 60 frames and features of 44, beside each other."""
    folder = tmp_path / "examples"
    folder.mkdir()
    joints = puppet.walk(seconds=3.05)[:61]
    np.save(folder / "joints.npy", joints[:60].float().numpy())
    np.save(folder / "features.npy", joints_to_features(joints[:45]).float().numpy())
    np.save(folder / "long.npy", rest_pose().repeat(120, 1, 1).numpy())
    return folder


def demo(task: str, lines: str, *arguments: str, folder: str = ".") -> int:
    path = Path(folder) / "lines.txt"
    path.write_text(lines, encoding="utf-8")
    return main(["demo", "--task", task, "--example", str(path), "--out", "out", *arguments])


def names() -> set[str]:
    return {path.name for path in Path("out").iterdir()}


def test_the_options_are_these() -> None:
    _, options = _parser(verb.demo, "motiongpt3 demo", VERBS["demo"])
    own = {"task", "example", "out", "model", "video", "batch", "seed", "device"}
    assert options == {f"--{name}" for name in own | {"help", "config", "print_config", "debug"}} | {"-h"}


def test_text_becomes_motion(model: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    code = demo("t2m", "\ufeffwalk  slowly\r\n\r\njump\r\n", "--seed", "7")
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert names() == {f"{i}{end}" for i in (0, 1) for end in ("_in.txt", "_out.npy", ".json")}
    assert model.calls == [{"prompts": ["walk slowly", "jump"], "seeds": [7, 8]}]
    joints = np.load("out/1_out.npy")
    assert joints.shape == (6, 22, 3)
    assert joints.dtype == np.float32
    assert joints[..., 1].min() == pytest.approx(0.008)
    assert Path("out/0_in.txt").read_text() == "walk slowly\n"
    assert captured.out.splitlines() == ["out/0_in.txt", "out/0_out.npy", "out/1_in.txt", "out/1_out.npy"]


def test_motion_becomes_text(model: FakeModel, clips: Path) -> None:
    lines = "What is <motion>?#joints.npy\n#features.npy#0.25#0.75\nPut it into words#joints.npy#10\n"
    assert demo("m2t", lines, "--video", folder=str(clips)) == 0
    assert model.calls[0]["prompts"] == [
        "What is <Motion_Placeholder>?",
        "<Motion_Placeholder>",
        "Put it into words",
    ]
    assert [Path(f"out/{i}_out.txt").read_text() for i in range(3)] == [
        "60 frames\n",
        "22 frames\n",
        "50 frames\n",
    ]
    assert {"0_in.npy", "0_in.txt", "0_in.mp4"} <= names()
    assert np.array_equal(np.load("out/0_in.npy"), np.load(clips / "joints.npy"))
    stretch = model.calls[0]["motions"][1]
    assert np.array_equal(stretch.features.numpy(), np.load(clips / "features.npy")[11:33])
    assert np.allclose(np.load("out/1_in.npy"), stretch.joints.numpy())


def test_predictions_keep_what_they_are_given(model: FakeModel, clips: Path) -> None:
    lines = (
        "Predict motion: <Motion_Placeholder_s1>#joints.npy\n"
        "go on and jump#joints.npy#10#50\n"
        "#joints.npy##0.5"
    )
    assert demo("pred", lines, folder=str(clips)) == 0
    (call,) = model.calls
    assert call["prompts"] == ["Predict motion:", "go on and jump", "Predict motion:"]
    assert call["frames"] == [60, 40, 30]
    assert [len(head) for head in call["heads"]] == [12, 8, 6]
    given, made = np.load("out/1_in.npy"), np.load("out/1_out.npy")
    assert np.array_equal(given, np.load(clips / "joints.npy")[10:18])
    assert np.array_equal(made[:8], given)
    assert len(made) == 40


def test_inbetweens_keep_both_ends(model: FakeModel, clips: Path) -> None:
    lines = "Complete the masked motion: <Motion_Placeholder_Masked>#joints.npy"
    assert demo("inbetween", lines, folder=str(clips)) == 0
    whole, made = np.load(clips / "joints.npy"), np.load("out/0_out.npy")
    assert model.calls[0]["prompts"] == ["Complete the masked motion:"]
    assert np.array_equal(made[:15], whole[:15])
    assert np.array_equal(made[45:], whole[45:])
    assert not np.array_equal(made[15:45], whole[15:45])


def test_models_that_know_a_task_by_its_markers_get_them(model: FakeModel, clips: Path) -> None:
    model.wordings = {"pred": "Predict motion: <Motion_Placeholder_s1>"}
    lines = "Predict motion:#joints.npy\nDo it for <Motion_Placeholder_s1>!#joints.npy\ngo on#joints.npy"
    assert demo("pred", lines, folder=str(clips)) == 0
    assert model.calls[0]["prompts"] == [
        "Predict motion: <Motion_Placeholder_s1>",
        "Do it for <Motion_Placeholder_s1>!",
        "go on <Motion_Placeholder_s1>",
    ]


def test_text_becomes_text(model: FakeModel) -> None:
    assert demo("t2t", "hello\nwhat now", "--seed", "3", "--video") == 0
    assert Path("out/1_out.txt").read_text() == "what now? 4\n"
    assert names() == {f"{i}{end}" for i in (0, 1) for end in ("_in.txt", "_out.txt", ".json")}


def test_lines_are_answered_in_batches(model: FakeModel) -> None:
    assert demo("t2m", "".join(f"walk {i}\n" for i in range(7)), "--batch", "3") == 0
    assert [call["seeds"] for call in model.calls] == [[0, 1, 2], [3, 4, 5], [6]]


def test_what_is_there_is_not_made_again(model: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo("t2m", "walk\njump\nrun\nbow") == 0
    model.calls.clear()
    Path("out/1_out.npy").unlink()
    Path("out/2.json").write_text("{broken")
    assert demo("t2m", "walk\njump\nrun\nsit") == 0
    assert model.calls == [{"prompts": ["jump", "run", "sit"], "seeds": [1, 2, 3]}]
    assert "3 made, 1 there already, 0 failed" in capsys.readouterr().err
    assert Path("out/3_in.txt").read_text() == "sit\n"
    model.calls.clear()
    assert demo("t2m", "walk\njump\nrun\nsit", "--seed", "1") == 0
    assert len(model.calls[0]["seeds"]) == 4


def test_a_changed_motion_file_is_read_again(model: FakeModel, clips: Path) -> None:
    assert demo("m2t", "#joints.npy\n#long.npy", folder=str(clips)) == 0
    np.save(clips / "long.npy", np.load(clips / "long.npy")[:30])
    model.calls.clear()
    assert demo("m2t", "#joints.npy\n#long.npy", folder=str(clips)) == 0
    assert [len(motion) for motion in model.calls[0]["motions"]] == [30]
    assert Path("out/1_out.txt").read_text() == "30 frames\n"


def test_films_are_made_later_if_asked_for_later(model: FakeModel) -> None:
    assert demo("t2m", "walk") == 0
    assert demo("t2m", "walk", "--video") == 0
    assert "0_out.mp4" in names()
    model.calls.clear()
    assert demo("t2m", "walk") == 0
    assert model.calls == []


def test_bad_lines_are_named_and_the_others_answered(
    model: FakeModel, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "\n".join(
        [
            "#joints.npy",
            "walk#",
            "",
            "no motion at all",
            "#nowhere.npy",
            "#joints.npy#50#70",
            "something forbidden#joints.npy",
            "#long.npy",
            "#joints.npy#10",
        ]
    )
    assert demo("pred", lines, folder=str(clips)) == 1
    captured = capsys.readouterr()
    complaints = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    expected = {
        2: "there is none",
        4: "needs a motion",
        5: "no such file",
        6: "60 frames",
        7: "forbidden",
        8: "long",
    }
    assert len(complaints) == len(expected)
    for number, message in expected.items():
        (complaint,) = [line for line in complaints if f"lines.txt, line {number}:" in line]
        assert message in complaint
    assert {name for name in names() if name.endswith("out.npy")} == {"0_out.npy", "7_out.npy"}
    assert "2 made, 0 there already, 6 failed" in captured.err
    # Numbers, and so seeds and names, are those of the lines, whatever becomes of their neighbours.
    assert json.loads(Path("out/7.json").read_text())["seed"] == 7
    assert demo("pred", lines, folder=str(clips)) == 1
    assert "0 made, 2 there already, 6 failed" in capsys.readouterr().err


def test_files_of_something_else_are_not_overwritten(
    model: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    Path("out/0_out.npy").write_text("precious")
    assert demo("t2m", "walk\njump") == 1
    assert "line 1: out/0_out.npy was not made by this command" in capsys.readouterr().err
    assert Path("out/0_out.npy").read_text() == "precious"
    assert "1_out.npy" in names()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "fly", "--example", "lines.txt"], "no task 'fly'"),
        (["--task", "t2m"], "no example file"),
        (["--example", "missing.txt"], "cannot read examples"),
        (["--example", "lines.txt", "--batch", "0"], "batch is 0"),
        (["--example", "lines.txt", "--seed", "-1"], "seed is -1"),
        (["--example", "lines.txt", "--seed", "4294967296"], "seed is 4294967296"),
        (["--example", "lines.txt", "--out", "lines.txt"], "is a file"),
        (["--example", "lines.txt", "--device", "toaster"], "unknown device"),
        (["--example", "lines.txt", "--model", "nowhere"], "no model 'nowhere'"),
    ],
)
def test_requests_that_cannot_be_done_are_one_line(
    model: FakeModel, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("lines.txt").write_text("walk\n")
    assert main(["demo", *arguments]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("task", "line"), [("t2m", "walk#joints.npy"), ("t2m", "#joints.npy"), ("t2t", "<motion>")]
)
def test_tasks_take_what_they_take(
    model: FakeModel, clips: Path, task: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo(task, line, folder=str(clips)) == 1
    assert f"task {task}" in capsys.readouterr().err


def test_arrays_at_the_rate_of_the_model_are_given_as_they_are(clips: Path) -> None:
    pytest.importorskip("motiongpt3.cli.given")
    given = verb.read_given_motion(clips / "joints.npy", 20.0)
    assert np.array_equal(given.joints.numpy(), np.load(clips / "joints.npy"))


def test_text_is_asked_of_the_language_model(tmp_path: Path) -> None:
    pytest.importorskip("motiongpt3.generation.conversation")
    backbone = tiny.save_backbone(tmp_path / "backbone")
    model = tiny.model(backbone)
    assert isinstance(verb.answer_text(model, "hi", 0), str)
    assert verb.answer_text(model, "hi", 0) == verb.answer_text(model, "hi", 5)
