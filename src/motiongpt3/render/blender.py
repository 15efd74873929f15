"""Films and pictures made by Blender (Cycles on the CPU): slower than the fast engine, with real light.

Blender runs as a process of its own, either the program ``blender`` or this Python with the module ``bpy``.
It gets a folder with arrays, builds the scene (`blender_scene`), and leaves a picture a frame. The camera is
the fast engine's, so that both show the same. The scene can be saved for work in Blender.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from motiongpt3.errors import InputError, MissingDependencyError
from motiongpt3.motion.motion import Motion
from motiongpt3.render.camera import FOCAL_LENGTH
from motiongpt3.render.figures import CapsuleFigure, MeshFigure, Style, make_figure
from motiongpt3.render.film import CameraPath, film_shot
from motiongpt3.render.mesh_painter import light_direction
from motiongpt3.render.staging import Shot, checked_joints, checked_size
from motiongpt3.render.stills import MAX_POSES, frame_pose, sequence_poses, still_shot, write_picture
from motiongpt3.render.video import video_encoder

Mode = Literal["video", "sequence", "frame"]
BLENDER_VARIABLE = "MOTIONGPT3_BLENDER"
SCRIPT = Path(__file__).with_name("blender_scene.py")

_MAX_SAMPLES = 4096
_MARK = "MOTIONGPT3 frame "
# Of what Blender printed, the end that is shown when it fails.
_SHOWN_LINES = 6


def blender_command() -> list[str]:
    """How to start Blender on a script: the program named by MOTIONGPT3_BLENDER, ``bpy``, or ``blender``.

    Raises:
        MissingDependencyError: none of them is here.
    """
    named = os.environ.get(BLENDER_VARIABLE)
    if named:
        program = shutil.which(named)
        if program is None:
            raise MissingDependencyError(f"{BLENDER_VARIABLE} names {named}, which cannot be run")
        return [program, "--background", "--factory-startup", "--python"]
    if importlib.util.find_spec("bpy") is not None:
        return [sys.executable]
    program = shutil.which("blender")
    if program is not None:
        return [program, "--background", "--factory-startup", "--python"]
    raise MissingDependencyError(
        "Blender is not here: pip install 'motiongpt3[blender]', or install Blender and put it on the PATH "
        f"(or name the program in {BLENDER_VARIABLE}); --engine fast needs nothing"
    )


def render_with_blender(
    motion: Motion,
    path: str | Path,
    mode: Mode = "video",
    style: Style = "mesh",
    size: int | tuple[int, int] = 512,
    poses: int = 8,
    at: float = 0.5,
    samples: int = 24,
    camera: CameraPath = "follow",
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
        poses: of a sequence.
        at: of a frame, 0 (the first) to 1 (the last).
        samples: paths that Cycles follows through each pixel, 1 to 4096; noise is taken out afterwards.
        camera: of a video: follow or fixed.
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
    pixels = checked_size(size)
    encode = video_encoder(path) if mode == "video" else None
    command = blender_command()
    with tempfile.TemporaryDirectory(prefix="motiongpt3-blender-") as name:
        folder = Path(name)
        frames = _write_job(folder, motion, mode, style, pixels, poses, at, samples, camera, blend)
        _run(command, folder, frames, progress)
        if encode is not None:
            encode(_pictures(folder, frames), path, float(motion.fps), pixels)
        else:
            write_picture(next(_pictures(folder, 1)), path)
        if blend is not None:
            Path(blend).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder / "scene.blend", blend)


def _write_job(
    folder: Path,
    motion: Motion,
    mode: Mode,
    style: Style,
    size: tuple[int, int],
    poses: int,
    at: float,
    samples: int,
    camera_path: CameraPath,
    blend: str | Path | None,
) -> int:
    """Write what Blender needs into a folder; returns how many frames it will render."""
    joints = checked_joints(motion)
    figure = make_figure(motion, style)
    if mode == "video":
        shot = film_shot(figure, joints, float(motion.fps), size, 0.0, camera_path)
        standing = [(frame, np.zeros(3, dtype=np.float32), 0.0) for frame in range(len(joints))]
        shifts = np.zeros((len(joints), 3), dtype=np.float32)
        looked_at, ground = shot.targets, shot.ground + float(shot.targets[0, 1])
    else:
        if not 1 <= poses <= MAX_POSES:
            raise InputError(f"a sequence takes 1 to {MAX_POSES} poses, got {poses}")
        if not 0 <= at <= 1:
            raise InputError(f"a pose is from 0 (the first frame) to 1 (the last), not {at}")
        size_of_body = figure.mannequin.size
        azimuth, standing = (
            frame_pose(joints, at) if mode == "frame" else sequence_poses(joints, poses, size_of_body)
        )
        shot = still_shot(figure, joints, standing, azimuth, size, 0.0)
        shifts, looked_at, ground = -shot.targets, np.zeros((1, 3), dtype=np.float32), shot.ground
    frames = [frame for frame, _, _ in standing]
    fades = np.array([fade for _, _, fade in standing], dtype=np.float32)
    arrays = _arrays_of(figure, frames, shifts, fades[:1] if mode == "video" else fades)
    np.savez(folder / "job.npz", targets=looked_at, **arrays)
    job = {
        "size": list(size),
        "fps": float(motion.fps),
        "frames": len(frames) if mode == "video" else 1,
        "animated": mode == "video",
        "samples": samples,
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0") or 0),
        "render": True,
        "blend": str(folder / "scene.blend") if blend is not None else None,
        "ground": ground,
        "light": light_direction(shot.camera.axes).tolist(),
        "camera": _camera_of(shot, size),
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    return len(frames) if mode == "video" else 1


def _arrays_of(
    figure: object, frames: list[int], shifts: NDArray[np.float32], fades: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """What acts: vertices (K, V, 3), or capsules (K, L, ...), with colours for each fade."""
    if isinstance(figure, MeshFigure):
        vertices = np.stack([figure.vertices(frame) for frame in frames]) + shifts[:, None]
        return {"vertices": vertices, "faces": figure.faces, "colours": figure.faded_colours(fades)}
    assert isinstance(figure, CapsuleFigure)
    starts, ends = figure.capsules(frames)
    return {
        "starts": starts + shifts[:, None],
        "ends": ends + shifts[:, None],
        "radii": figure.radii,
        "colours": figure.faded_colours(fades),
    }


def _camera_of(shot: Shot, size: tuple[int, int]) -> dict[str, object]:
    width, height = size
    camera = shot.camera
    # The target may lie above or below the middle: the lens is shifted, in heights of the picture.
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
    words = [*command, str(SCRIPT), *(["--"] if len(command) > 1 else []), str(folder)]
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


def _pictures(folder: Path, frames: int) -> Iterator[NDArray[np.uint8]]:
    for frame in range(frames):
        with Image.open(folder / f"{frame:05d}.png") as image:
            yield np.asarray(image.convert("RGB"))
