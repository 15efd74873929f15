from __future__ import annotations

import ast
import stat
import sys

import numpy as np
import pytest
from PIL import Image

from motiongpt3.blender import VARIABLE
from motiongpt3.errors import InputError
from motiongpt3.render import blender
from motiongpt3.render.blender import describe_scene, render_with_blender
from tests.figures import raising_arm, walking

SIZE = (96, 64)

# Stands in for Blender: checks what it is given, and leaves a picture a frame, each brighter.
PROGRAM = """#!{python}
import json, sys, pathlib
import numpy as np
from PIL import Image
folder = pathlib.Path(sys.argv[-1])
job = json.loads((folder / "job.json").read_text())
arrays = np.load(folder / "job.npz")
assert sys.argv[-4:-2] == ["--python", {script!r}], sys.argv
assert len(arrays["targets"]) == job["frames"]
print("Blender says hello")
for frame in range(job["frames"] - {missing}):
    Image.new("RGB", tuple(job["size"]), (90 + 20 * frame,) * 3).save(folder / f"{{frame:05d}}.png")
    print(f"MOTIONGPT3 frame {{frame + 1}}")
if job["blend"]:
    pathlib.Path(job["blend"]).write_bytes(b"BLENDER")
print("it is over")
"""


@pytest.fixture
def blender_program(tmp_path, monkeypatch):
    def make(missing: int = 0) -> None:
        path = tmp_path / "blender"
        path.write_text(PROGRAM.format(python=sys.executable, script=str(blender.SCRIPT), missing=missing))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(VARIABLE, str(path))

    return make


def seen(scene: blender.Scene, frame: int, points: np.ndarray) -> np.ndarray:
    """Pixels of points (N, 3), by the pinhole that Blender's settings describe."""
    camera = scene.settings["camera"]
    width, height = scene.settings["size"]
    across, upward, towards = ((points - scene.arrays["targets"][frame]) @ np.array(camera["axes"]).T).T
    away = camera["distance"] - towards
    x = camera["focal"] * across / away - camera["shift"][0]
    y = camera["focal"] * upward / away - camera["shift"][1]
    return np.stack([width / 2 + height * x, height / 2 - height * y], axis=-1)


def test_a_film_keeps_the_body_in_the_picture_and_on_the_floor():
    motion = walking(12)
    scene = describe_scene(motion, "video", "cylinders", SIZE)
    assert scene.frames == scene.settings["frames"] == len(scene.arrays["starts"]) == 12
    assert scene.settings["animated"]
    assert scene.settings["ground"] == pytest.approx(0, abs=1e-5)
    for frame in range(12):
        pixels = seen(scene, frame, scene.arrays["starts"][frame])
        assert (pixels > 0).all()
        assert (pixels < SIZE).all()
    # Points stay in the world, so the walk is in the scene and not in the camera alone.
    assert np.ptp(scene.arrays["starts"][:, 0, 2]) == pytest.approx(11 * 0.08, abs=0.01)


@pytest.mark.parametrize("style", ["skeleton", "mesh"])
def test_a_sequence_has_its_poses_at_once_and_fades(style):
    scene = describe_scene(walking(12), "sequence", style, SIZE, poses=3)
    assert scene.frames == 1
    assert not scene.settings["animated"]
    name = "vertices" if style == "mesh" else "starts"
    assert len(scene.arrays[name]) == len(scene.arrays["colours"]) == 3
    paleness = scene.arrays["colours"].reshape(3, -1).mean(axis=1)
    assert paleness[0] > paleness[1] > paleness[2]
    pixels = seen(scene, 0, scene.arrays[name].reshape(-1, 3))
    assert (pixels > 0).all()
    assert (pixels < SIZE).all()
    assert scene.arrays[name][..., 1].min() == pytest.approx(scene.settings["ground"], abs=0.08)


def test_a_frame_is_the_moment_asked_for():
    low, high = (
        describe_scene(raising_arm("left", 9), "frame", "skeleton", SIZE, at=at).arrays["starts"]
        for at in (0, 1)
    )
    assert len(low) == 1
    assert np.ptp(high[..., 1]) > np.ptp(low[..., 1])


def test_a_film_is_made_from_what_blender_leaves(blender_program, tmp_path):
    blender_program()
    counted: list[tuple[int, int]] = []
    path, scene = tmp_path / "out" / "film.gif", tmp_path / "out" / "scene.blend"
    render_with_blender(
        walking(3),
        path,
        style="skeleton",
        size=SIZE,
        caption="walks",
        blend=scene,
        progress=lambda *step: counted.append(step),
    )
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (3, SIZE)
        picture = np.asarray(film.convert("RGB"))
    assert picture[:12].min() < 80
    assert (abs(picture[20:].astype(int) - 90) < 4).all()
    assert counted == [(1, 3), (2, 3), (3, 3)]
    assert scene.read_bytes() == b"BLENDER"


def test_when_blender_fails_its_words_are_in_the_error(blender_program, tmp_path):
    blender_program(missing=1)
    with pytest.raises(InputError, match=r"after 2 of 3 frames: .*it is over"):
        render_with_blender(walking(3), tmp_path / "film.gif", style="skeleton", size=SIZE)
    assert not (tmp_path / "film.gif").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples"),
        ({"blend": "scene.obj"}, r"\.blend"),
        ({"mode": "sequence", "poses": 0}, "poses"),
        ({"mode": "frame", "at": 2}, "0 .* to 1"),
    ],
)
def test_what_cannot_be_rendered_is_refused(options, message, tmp_path):
    name = "a.gif" if "mode" not in options else "a.png"
    with pytest.raises(InputError, match=message):
        render_with_blender(walking(3), tmp_path / name, style="skeleton", size=SIZE, **options)


def test_blender_draws_what_the_software_draws(tmp_path):
    """With the real one, where it is: dark below, bright above, the figure in the middle."""
    pytest.importorskip("bpy")
    path = tmp_path / "frame.png"
    render_with_blender(raising_arm("left", 3), path, "frame", "skeleton", 64, samples=1)
    with Image.open(path) as image:
        assert image.size == (64, 64)


def test_the_scene_script_needs_nothing_of_this_project():
    """Blender's own Python runs it."""
    tree = ast.parse(blender.SCRIPT.read_text(encoding="utf-8"))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names - set(sys.stdlib_module_names) == {"bpy", "mathutils", "numpy"}
