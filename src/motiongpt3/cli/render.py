"""``motiongpt3 render``: motion files in; films and pictures out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from motiongpt3.cli.fit import motion_files
from motiongpt3.cli.terminal import part_of, say, share_bar
from motiongpt3.errors import InputError

FORMATS = {
    "video": ("mp4", "gif", "webp"),
    "sequence": ("png", "webp", "jpg"),
    "frame": ("png", "webp", "jpg"),
}
SIZES = {"video": (512, 512), "sequence": (1280, 640), "frame": (720, 720)}

Mode = Literal["video", "sequence", "frame"]


def render(
    path: Path,
    mode: Mode = "video",
    style: Literal["skeleton", "cylinders", "mesh"] = "mesh",
    engine: Literal["fast", "blender"] = "fast",
    out: Path = Path("out"),
    format: str | None = None,
    size: str | None = None,
    caption: str | None = None,
    camera: Literal["follow", "fixed"] = "follow",
    poses: int = 8,
    at: float = 0.5,
    fps: float | None = None,
    samples: int = 24,
    blend: bool = False,
) -> int:
    """Draw motions: a film, all of a motion in one picture, or one pose.

    Files are named NAME.mp4, NAME_sequence.png or NAME_frame.png. The fast engine draws in software: it needs
    no display, no OpenGL and no GPU. docs/bodies.md says how to get Blender.

    Args:
        path: motion file (.npy, .bvh, .npz), or a folder of them.
        mode: video, sequence (the whole motion in one picture, earlier poses paler) or frame (one pose).
        style: skeleton (sticks and balls), cylinders (mannequin) or mesh (body).
        engine: fast, or blender, which takes longer and looks better.
        out: folder to write to.
        format: mp4, gif or webp for a video; png, webp or jpg for a picture (default: mp4, png).
        size: width x height in pixels, as in 512x640, or one number for a square.
        caption: text at the top.
        camera: for a video: follow moves with the body, fixed sees the whole way.
        poses: for a sequence: how many.
        at: for a frame: which, from 0 (the first) to 1 (the last).
        fps: frames per second of .npy files (default: 20).
        samples: for blender: paths of light through each pixel.
        blend: for blender: also save the scene as NAME.blend.

    Returns:
        0.

    Raises:
        InputError: anything in the request that cannot be done.
    """
    suffix = _checked_format(mode, format)
    pixels = SIZES[mode] if size is None else parse_size(size)
    files = motion_files(path)
    names = [_result_name(file, mode, suffix) for file in files]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled:
        raise InputError(f"{path}: two files would both become {doubled}; draw them one by one")

    from motiongpt3.motion.formats import read_motion
    from motiongpt3.render.blender import render_with_blender
    from motiongpt3.render.film import write_video
    from motiongpt3.render.stills import render_frame, render_sequence, write_picture

    with share_bar() as bar:
        task = bar.add_task("drawing", total=len(files))
        for number, (file, name) in enumerate(zip(files, names, strict=True)):
            motion = read_motion(file, fps if file.suffix.lower() == ".npy" else None)
            target = out / name
            progress = part_of(bar, task, number, 1)
            if engine == "blender":
                scene = target.with_suffix(".blend") if blend else None
                render_with_blender(
                    motion, target, mode, style, pixels, caption, poses, at, camera, samples, scene, progress
                )
            elif mode == "video":
                write_video(motion, target, pixels, caption, progress, style, camera)
            elif mode == "sequence":
                write_picture(render_sequence(motion, poses, pixels, caption, style), target)
            else:
                write_picture(render_frame(motion, at, pixels, caption, style), target)
            bar.update(task, completed=number + 1)
            say(target)
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """Width and height from ``512x640`` or ``512``.

    Raises:
        InputError: anything else.
    """
    found = re.fullmatch(r"\s*(\d{1,5})(?:\s*[x×]\s*(\d{1,5}))?\s*", text.lower())
    if not found:
        raise InputError(f"size {text!r}: give width x height in pixels, as in 512x640")
    width = int(found[1])
    return width, int(found[2]) if found[2] else width


def _checked_format(mode: str, format: str | None) -> str:
    known = FORMATS[mode]
    suffix = (format or known[0]).lower().removeprefix(".")
    if suffix not in known:
        raise InputError(f"a {mode} is written as {', '.join(known)}, not {suffix!r}")
    return suffix


def _result_name(file: Path, mode: str, suffix: str) -> str:
    return f"{file.stem}.{suffix}" if mode == "video" else f"{file.stem}_{mode}.{suffix}"
