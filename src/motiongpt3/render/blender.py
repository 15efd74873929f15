"""Films and pictures made by Blender (Cycles on the CPU): slower than drawing in software, with real light.

Blender runs as a process of its own (`motiongpt3.blender`). It gets a folder with a description and arrays,
builds the scene (`blender_scene`), and leaves a picture a frame.
The camera is that of `film` and `stills`, so that both engines show the same. The scene can be saved for work
in Blender.

Shapes: T frames, K poses, L capsules, V vertices, F faces.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motiongpt3.blender import find_blender
from motiongpt3.errors import InputError
from motiongpt3.motion.motion import Motion
from motiongpt3.render.camera import FOCAL_LENGTH
from motiongpt3.render.figures import CapsuleFigure, Figure, MeshFigure, Pose, Style, make_figure
from motiongpt3.render.film import CameraPath, film_shot
from motiongpt3.render.lettering import Caption
from motiongpt3.render.mesh_painter import light_direction
from motiongpt3.render.staging import Shot, checked_joints, checked_size
from motiongpt3.render.stills import frame_pose, sequence_poses, still_shot, write_picture
from motiongpt3.render.video import video_encoder

Mode = Literal["video", "sequence", "frame"]
SCRIPT = Path(__file__).with_name("blender_scene.py")

_MAX_SAMPLES = 4096
_MARK = "MOTIONGPT3 frame "
# Of what Blender printed, the end that is shown when it fails.
_SHOWN_LINES = 6


@dataclass(frozen=True, eq=False)
class Scene:
    """What Blender is to show.

    Attributes:
        frames: how many pictures.
        settings: ``size``, ``fps``, ``frames``, ``animated``, ``ground`` (height of the floor), ``light``
            (3,) towards the sun, and ``camera``: ``axes`` (3, 3), ``distance``, ``focal`` and ``shift`` in
            heights of the picture.
        arrays: ``targets`` (frames, 3) that the camera looks at; and ``vertices`` (K, V, 3) and ``faces``
            (F, 3), or ``starts`` and ``ends`` (K, L, 3) and ``radii`` (L, 2); and their ``colours``. K is
            the number of frames if the scene is animated, else of poses that stand in it together. Metres,
            y up.
    """

    frames: int
    settings: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def render_with_blender(
    motion: Motion,
    path: str | Path,
    mode: Mode = "video",
    style: Style = "mesh",
    size: int | tuple[int, int] = 512,
    caption: str | None = None,
    poses: int = 8,
    at: float = 0.5,
    camera: CameraPath = "follow",
    samples: int = 24,
    blend: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Render a motion.

    Args:
        motion: joints (T, 22, 3) in metres, y up, floor at y = 0.
        path: file to write, by its ending; it appears only when it is complete.
        mode: video, sequence (the whole motion in one picture) or frame (one pose).
        style: skeleton, cylinders or mesh.
        size: width and height in pixels, or one number for a square.
        caption: text at the top.
        poses: of a sequence.
        at: of a frame, 0 (the first) to 1 (the last).
        camera: of a video: follow or fixed.
        samples: paths that Cycles follows through each pixel, 1 to 4096; noise is taken out afterwards.
        blend: also save the scene to this .blend file.
        progress: called with (frames rendered, frames in all).

    Raises:
        MissingDependencyError: no Blender here.
        InputError: a request that cannot be done, or Blender failed; the message has the end of what it said.
    """
    path = Path(path)
    if not 1 <= samples <= _MAX_SAMPLES:
        raise InputError(f"samples are from 1 to {_MAX_SAMPLES}, not {samples}")
    if blend is not None and Path(blend).suffix.lower() != ".blend":
        raise InputError(f"{blend}: the scene is saved as .blend")
    encode = video_encoder(path) if mode == "video" else None
    pixels = checked_size(size)
    title = Caption(caption, pixels)
    scene = describe_scene(motion, mode, style, pixels, title.above, poses, at, camera)
    command = find_blender("--engine blender")
    with tempfile.TemporaryDirectory(prefix="motiongpt3-blender-") as name:
        folder = Path(name)
        saved = folder / "scene.blend"
        extra = {
            "samples": samples,
            "threads": int(os.environ.get("OMP_NUM_THREADS", "0") or 0),
            "blend": None if blend is None else str(saved),
        }
        (folder / "job.json").write_text(json.dumps(scene.settings | extra), encoding="utf-8")
        arrays: dict[str, Any] = scene.arrays
        np.savez(folder / "job.npz", **arrays)
        _run(command, folder, scene.frames, progress)
        pictures = _pictures(folder, scene.frames, title)
        if encode is not None:
            encode(pictures, path, float(motion.fps), pixels)
        else:
            write_picture(next(pictures), path)
        if blend is not None:
            Path(blend).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(saved, blend)


def describe_scene(
    motion: Motion,
    mode: Mode,
    style: Style,
    size: tuple[int, int],
    above: float = 0.0,
    poses: int = 8,
    at: float = 0.5,
    camera: CameraPath = "follow",
) -> Scene:
    """What Blender is to show of a motion.

    Args:
        motion: see `render_with_blender`, as for ``mode``, ``style``, ``poses``, ``at`` and ``camera``.
        size: width and height in pixels.
        above: pixels at the top kept free.

    Raises:
        InputError: a request that cannot be done.
    """
    joints = checked_joints(motion)
    figure = make_figure(motion, style)
    animated = mode == "video"
    if animated:
        # The body moves through the world, and the camera with it.
        shot = film_shot(figure, joints, float(motion.fps), size, above, camera)
        standing = [Pose(frame, np.zeros(3, dtype=np.float32)) for frame in range(len(joints))]
        targets, ground = shot.targets, shot.ground + float(shot.targets[0, 1])
    else:
        azimuth, standing = frame_pose(joints, at) if mode == "frame" else sequence_poses(joints, poses)
        shot = still_shot(figure, joints, standing, azimuth, size, above)
        standing = [pose._replace(shift=-target) for pose, target in zip(standing, shot.targets, strict=True)]
        targets, ground = np.zeros((1, 3), dtype=np.float32), shot.ground
    settings = {
        "size": list(size),
        "fps": float(motion.fps),
        "frames": len(targets),
        "animated": animated,
        "ground": ground,
        "light": light_direction(shot.camera.axes).tolist(),
        "camera": _camera_settings(shot, size),
    }
    return Scene(len(targets), settings, {"targets": targets, **_shapes(figure, standing, animated)})


def _shapes(figure: Figure, poses: list[Pose], animated: bool) -> dict[str, NDArray[Any]]:
    """The arrays of a scene that are not the camera's; a film has the colours of one pose."""
    shifts = np.stack([pose.shift for pose in poses])[:, None]
    fades = np.array([pose.fade for pose in poses], dtype=np.float32)[: 1 if animated else None]
    if isinstance(figure, MeshFigure):
        vertices = np.stack([figure.vertices(pose.frame) for pose in poses]) + shifts
        return {"vertices": vertices, "faces": figure.faces, "colours": figure.faded_colours(fades)}
    assert isinstance(figure, CapsuleFigure)
    starts, ends = figure.capsules([pose.frame for pose in poses])
    return {
        "starts": starts + shifts,
        "ends": ends + shifts,
        "radii": figure.radii,
        "colours": figure.faded_colours(fades),
    }


def _camera_settings(shot: Shot, size: tuple[int, int]) -> dict[str, Any]:
    width, height = size
    camera = shot.camera
    # The target may lie above or below the middle: the lens is shifted.
    across = (width / 2 - camera.centre[0]) / height
    upward = (camera.centre[1] - height / 2) / height
    return {
        "axes": camera.axes.tolist(),
        "distance": camera.distance,
        "focal": FOCAL_LENGTH,
        "shift": [across, upward],
    }


def _run(command: list[str], folder: Path, frames: int, progress: Callable[[int, int], None] | None) -> None:
    """Run Blender on a job, reporting its frames."""
    words = [*command, str(SCRIPT), "--", str(folder)]
    said: list[str] = []
    done = 0
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout or ():
                if line.startswith(_MARK):
                    done += 1
                    if progress:
                        progress(done, frames)
                elif line.strip():
                    said = [*said[-(_SHOWN_LINES - 1) :], line.strip()]
        except BaseException:
            process.kill()
            raise
    if process.returncode or done < frames:
        raise InputError(f"Blender stopped after {done} of {frames} frames: {' | '.join(said)[-300:]}")


def _pictures(folder: Path, frames: int, title: Caption) -> Iterator[NDArray[np.uint8]]:
    for frame in range(frames):
        with Image.open(folder / f"{frame:05d}.png") as image:
            picture = np.asarray(image.convert("RGB"), dtype=np.float32).copy()
        title.lay(picture)
        yield picture.astype(np.uint8)
