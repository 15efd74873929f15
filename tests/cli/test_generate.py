from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from motiongpt3.body.embedded import BONE_NAMES
from motiongpt3.cli import generate as verb
from motiongpt3.cli.main import main
from motiongpt3.errors import InputError
from motiongpt3.motion.formats import read_motion
from motiongpt3.motion.formats.gltf import read_gltf
from motiongpt3.motion.motion import Motion
from tests.figures import rest_pose

TINY = "npy"


class FakeModel:
    """Answers like a model; the motion shows what was asked: the seed is the height of the floor, in mm."""

    fps = 20.0
    frame_range = (4, 40)

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def validate_prompt(self, prompt: str) -> None:
        if "<|im_start|>" in prompt:
            raise InputError("the prompt contains a special token")

    def generate(
        self,
        prompts: list[str],
        frames: int | None,
        seeds: list[int],
        guidance: float | None,
        steps: int | None,
        scheduler: str | None,
        progress: Callable[[int, int], None],
    ) -> list[Motion]:
        self.calls.append(
            {
                "prompts": prompts,
                "frames": frames,
                "seeds": seeds,
                "guidance": guidance,
                "steps": steps,
                "scheduler": scheduler,
            }
        )
        progress(1, 2)
        progress(2, 2)
        joints = rest_pose().repeat(frames or 6, 1, 1)
        return [Motion(joints + seed / 1000, fps=self.fps, name=text) for text, seed in zip(prompts, seeds)]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeModel:
    fake = FakeModel()
    monkeypatch.setattr(verb, "load_model", lambda where, device, progress=None: fake)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOTIONGPT3_MODEL", str(folder))
    return fake


def generate(*arguments: str) -> int:
    return main(["generate", *arguments])


def names(folder: str = "out") -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def test_the_options_are_these():
    from motiongpt3.cli.main import VERBS, _parser

    _, options = _parser(verb.generate, "motiongpt3 generate", VERBS["generate"])
    own = {
        "prompts",
        "length",
        "seed",
        "count",
        "guidance",
        "steps",
        "scheduler",
        "model",
        "out",
        "format",
        "clean",
        "style",
        "device",
    }
    assert options == {f"--{name}" for name in own | {"help", "config", "print_config", "debug"}} | {"-h"}


def test_every_format_is_written_and_listed(model, capsys):
    formats = ("npy", "bvh", "glb", "gltf", "npz", "csv", "mp4", "gif", "png")
    code = generate("A person waves!", "--format", ",".join(formats), "--length", "6")
    captured = capsys.readouterr()
    assert code == 0, captured.err
    stem = "a-person-waves-seed0"
    paths = [f"out/{stem}.{name}" for name in formats]
    assert captured.out.splitlines() == paths
    assert names() == {Path(path).name for path in paths} | {f"{stem}.json"}
    joints = np.load(f"out/{stem}.npy")
    assert joints.shape == (6, 22, 3)
    assert joints.dtype == np.float32
    for name in formats[1:6]:
        assert len(read_motion(f"out/{stem}.{name}")) == 6
    with Image.open(f"out/{stem}.png") as image:
        assert image.width > image.height
    record = json.loads(Path(f"out/{stem}.json").read_text())
    assert record["prompt"] == "A person waves!"
    assert (record["seed"], record["frames"], record["fps"]) == (0, 6, 20.0)


def test_the_request_reaches_the_model(model):
    options = "--length 1.5s --seed 5 --count 2 --guidance 2.5 --steps 7 --scheduler euler --device cpu"
    assert generate("walk", "jump", "--format", TINY, *options.split()) == 0
    assert model.calls == [
        {
            "prompts": ["walk", "walk", "jump", "jump"],
            "frames": 30,
            "seeds": [5, 6, 5, 6],
            "guidance": 2.5,
            "steps": 7,
            "scheduler": "euler",
        }
    ]
    expected = {"walk-0-seed5", "walk-0-seed6", "jump-1-seed5", "jump-1-seed6"}
    assert {name.removesuffix(".npy") for name in names() if name.endswith("npy")} == expected
    height = np.load("out/jump-1-seed6.npy")[..., 1].min()
    assert height == pytest.approx(0.006)


def test_without_options_the_model_decides(model):
    assert generate("walk", "--format", TINY) == 0
    asked = model.calls[0]
    assert [asked[name] for name in ("frames", "guidance", "steps", "scheduler")] == [None] * 4


def test_many_samples_are_made_in_batches(model, monkeypatch):
    monkeypatch.setattr(verb, "BATCH", 3)
    assert generate("walk", "--count", "7", "--format", TINY) == 0
    assert [call["seeds"] for call in model.calls] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len([name for name in names() if name.endswith(".npy")]) == 7


def test_prompts_are_read_from_a_file(model):
    Path("prompts.txt").write_text("\ufeffwalk  slowly\n\n  jump \n", encoding="utf-8")
    assert generate("run", "--prompts", "prompts.txt", "--format", TINY) == 0
    assert model.calls[0]["prompts"] == ["run", "walk slowly", "jump"]


def test_the_same_request_writes_the_same_files(model):
    for _ in range(2):
        assert generate("walk", "--format", TINY) == 0
    assert names() == {"walk-seed0.npy", "walk-seed0.json"}


def test_files_of_another_request_are_not_overwritten(model):
    assert generate("walk", "--format", TINY) == 0
    assert generate("walk", "--format", TINY, "--length", "9") == 0
    assert generate("Walk", "--format", TINY) == 0
    assert {name for name in names() if name.endswith("npy")} == {
        "walk-seed0.npy",
        "walk-seed0-2.npy",
        "walk-seed0-3.npy",
    }
    assert len(np.load("out/walk-seed0.npy")) == 6
    assert len(np.load("out/walk-seed0-2.npy")) == 9


def test_motions_are_repaired_if_asked_and_kept_apart_from_others(model):
    assert generate("walk", "--format", TINY, "--seed", "70") == 0
    assert generate("walk", "--format", TINY, "--seed", "70", "--clean", "floor") == 0
    raw, clean = (np.load(f"out/walk-seed70{end}.npy") for end in ("", "-2"))
    assert clean[..., 1].min() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(clean, raw - raw[..., 1].min() * np.array([0, 1, 0]), atol=1e-5)
    assert json.loads(Path("out/walk-seed70-2.json").read_text())["clean"] == "floor"


def test_fbx_without_blender_is_refused_before_anything_is_made(model, monkeypatch, capsys):
    monkeypatch.setenv("MOTIONGPT3_BLENDER", "no-such-blender")
    assert generate("walk", "--format", "fbx") == 2
    assert "no-such-blender" in capsys.readouterr().err
    assert not model.calls


def test_a_body_is_shown_if_asked(model, monkeypatch):
    drawn: list[tuple[str, str]] = []
    for name in ("write_video", "render_with_blender"):
        monkeypatch.setattr(
            f"motiongpt3.cli.samples.{name}",
            lambda motion, path, *rest, **options: drawn.append((path.name, options.get("style", rest[-1:]))),
        )
    monkeypatch.setattr("motiongpt3.cli.generate.find_blender", lambda purpose: [])
    assert generate("walk", "--format", "glb,mp4,blender", "--style", "mesh") == 0
    assert drawn == [("walk-seed0.mp4", "mesh"), ("walk-seed0.blender.png", ("mesh",))]
    made = read_gltf("out/walk-seed0.glb")
    assert len(made.document["skins"][0]["joints"]) == len(BONE_NAMES)
    assert json.loads(Path("out/walk-seed0.json").read_text())["style"] == "mesh"


def test_a_file_that_is_not_ours_is_not_overwritten(model):
    Path("out").mkdir()
    Path("out/walk-seed0.npy").write_text("precious")
    assert generate("walk", "--format", TINY) == 0
    assert Path("out/walk-seed0.npy").read_text() == "precious"
    assert "walk-seed0-2.npy" in names()


@pytest.mark.parametrize(
    ("prompt", "stem"),
    [
        ("../../etc/passwd", "etc-passwd-seed0"),
        ("踊る", "motion-seed0"),
        ("Écarté, s'il vous plaît", "ecarte-s-il-vous-plait-seed0"),
        ("walk " * 40, "walk" + "-walk" * 11 + "-seed0"),
        ("x" * 300, "x" * 60 + "-seed0"),
    ],
)
def test_file_names_are_safe(model, prompt, stem):
    assert generate(prompt, "--format", TINY) == 0
    assert f"{stem}.npy" in names()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no prompt"),
        ([""], "prompt is empty"),
        (["  \n "], "prompt is empty"),
        (["walk\x00"], "not text"),
        (["walk \udcff"], "not text"),
        (["walk <|im_start|>"], "special token"),
        (["walk", "--prompts", "missing.txt"], "missing.txt"),
        (["--prompts", "empty.txt"], "no prompts"),
        (["--prompts", "binary.txt"], "UTF-8"),
        (["--prompts", "."], "cannot read prompts"),
        (["walk", "--length", "abc"], "length 'abc'"),
        (["walk", "--length", "-3"], "length"),
        (["walk", "--length=-3"], "length '-3'"),
        (["walk", "--length", "1e9"], "length '1e9'"),
        (["walk", "--length", "3"], "4 to 40 frames"),
        (["walk", "--length", "60s"], "4 to 40 frames"),
        (["walk", "--format", "docx"], "unknown format 'docx'"),
        (["walk", "--format", ","], "no format"),
        (["walk", "--clean", "polish"], "unknown repair 'polish'"),
        (["walk", "--count", "0"], "at least 1"),
        (["walk", "--count", "-5"], "at least 1"),
        (["walk", "--count", "1001"], "at most 1000"),
        (["walk", "jump", "--count", "501"], "at most 1000"),
        (["walk", "--seed", "-1"], "seed"),
        (["walk", "--seed", "4294967296"], "seed"),
        (["walk", "--seed", "1.5"], "--seed"),
        (["walk", "--guidance", "nan"], "guidance"),
        (["walk", "--guidance", "-1"], "guidance"),
        (["walk", "--device", "toaster"], "unknown device"),
        (["walk", "--model", "nowhere"], "no model 'nowhere'"),
        (["walk", "--model", ""], "empty"),
        (["walk", "--out", "binary.txt"], "is a file"),
    ],
)
def test_bad_requests_are_one_line_and_leave_nothing(model, arguments, message, capsys):
    Path("empty.txt").write_text("\n \n")
    Path("binary.txt").write_bytes(b"\xff\xfe\x00walk\x80")
    assert generate(*arguments, "--format=npy" if "--format" not in arguments else "--seed=0") == 2
    captured = capsys.readouterr().err
    last = captured.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in captured
    assert not Path("out").exists()


def test_devices_that_are_not_here_are_refused():
    import torch

    assert verb.choose_device("cpu") == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="choose --device cpu"):
            verb.choose_device("cuda")
    with pytest.raises(InputError, match="unknown device"):
        verb.choose_device("cuda:x")
