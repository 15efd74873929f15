"""Motion files that are given to a model: read in any format, and brought to what the model works with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from motiongpt3.errors import InputError
from motiongpt3.motion.formats import FORMATS, read_motion
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.standard import standardise


def read_given(path: Path, fps: float) -> Motion:
    """One motion file as the model takes it.

    What is on 22 joints at the model's rate already is not touched, so that its frames can be kept exactly;
    anything else is resampled, put on the uniform skeleton and on the floor.

    Raises:
        InputError: naming the file and what is wrong with it.
    """
    motion = read_motion(path)
    exact = path.suffix.lower() == ".npy" and motion.fps == fps
    return motion if exact or motion.features is not None else standardise(motion)


def files_in(paths: Sequence[str]) -> list[Path]:
    """The files named, and the motion files in the folders named, in order.

    Raises:
        InputError: if there is no such file, or a folder has none.
    """
    endings = {format_.suffix for format_ in FORMATS.values() if format_.read is not None}
    found: list[Path] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in endings)
            if not inside:
                raise InputError(f"{path}: no motion files in this folder")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file")
    if not found:
        raise InputError("no motion file: name one, such as clip.bvh")
    return found
