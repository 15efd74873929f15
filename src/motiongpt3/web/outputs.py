"""Motions as files for clients: which kinds there are, what they are called, and writing them once."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from motiongpt3.cli.samples import Request, sample_name, write_strip, write_video
from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file
from motiongpt3.motion.formats import FORMATS, write_motion
from motiongpt3.motion.motion import Motion
from motiongpt3.web.store import Entry, Store


@dataclass(frozen=True)
class Output:
    """A kind of file.

    Attributes:
        name: in addresses.
        title: for people.
        suffix: file name ending, with the dot.
    """

    name: str
    title: str
    suffix: str


OUTPUTS: dict[str, Output] = {
    output.name: output
    for output in (
        # Blender, which writes fbx, takes too long for a server and is rarely there.
        *(
            Output(one.name, one.title, one.suffix)
            for one in FORMATS.values()
            if one.write and one.name != "fbx"
        ),
        Output("mp4", "film", ".mp4"),
        Output("gif", "animated picture", ".gif"),
        Output("png", "strip of poses", ".png"),
    )
}
"""Kinds of files by name."""


def output_named(name: str) -> Output:
    """The kind of file called ``name``.

    Raises:
        InputError: if there is none.
    """
    if name not in OUTPUTS:
        raise InputError(f"no format {name!r}: choose from {', '.join(OUTPUTS)}")
    return OUTPUTS[name]


def file_stem(entry: Entry) -> str:
    """What files of a motion are called, as on the command line."""
    return sample_name(Request(entry.title, entry.seed or 0, None, "", None, None, None), None)


def write_output(
    store: Store, entry: Entry, output: Output, progress: Callable[[int, int], None] | None = None
) -> Path:
    """The file of a motion, written the first time it is asked for.

    Args:
        store: where it belongs.
        entry: the motion.
        output: the kind of file.
        progress: told of frames drawn, of a film; may raise to end it.

    Raises:
        InputError: if the motion cannot be written so.
    """
    path = store.folder_of(entry) / f"{output.name}{output.suffix}"
    if not path.exists():
        write_as(entry.motion, path, output, entry.title, progress)
    return path


def write_as(
    motion: Motion,
    path: Path,
    output: Output,
    title: str,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a motion as some kind of file; see `write_output`."""
    if output.name in FORMATS:
        write_motion(motion, path, output.name)
    elif output.name == "png":
        write_strip(motion, path, [title])
    else:
        with atomic_file(path) as temporary:
            write_video(motion, temporary, caption=title, progress=progress)


def command_line(verb: str, *words: str, **options: object) -> str:
    """A ``motiongpt3`` command as typed into a shell; options that are None are left out."""
    typed = ["motiongpt3", verb, *words]
    for name, value in options.items():
        if value is not None:
            typed += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(typed)
