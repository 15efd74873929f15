"""The files of one generated sample: motion, film, strip of poses, and the request they were made from.

The request, written as json, is what tells files that may be written again from files that may not.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file
from motiongpt3.motion.formats import WriteOptions, write_motion
from motiongpt3.motion.motion import Motion
from motiongpt3.render.blender import render_with_blender
from motiongpt3.render.figures import Style
from motiongpt3.render.film import write_video
from motiongpt3.render.strips import write_strip

_SLUG_LENGTH = 60
_SKINNED = ("glb", "gltf")
_FILMS = ("mp4", "gif")


@dataclass(frozen=True)
class Request:
    """All that decides what a sample is; written beside it as ``NAME.json``.

    Attributes:
        prompt: the sentence.
        seed: of this sample.
        length: as typed; ``None`` lets the model decide.
        model: as found: folder or hub id.
        guidance, steps, scheduler: as typed; ``None`` is the model's own.
        clean: repairs, as typed; ``None`` for none.
        style: what films and pictures by Blender show.
        given: `mark_of` the motions that it was made from; ``None`` without any.
    """

    prompt: str
    seed: int
    length: str | None
    model: str
    guidance: float | None
    steps: int | None
    scheduler: str | None
    clean: str | None = None
    style: Style = "cylinders"
    given: str | None = None


def mark_of(*motions: Motion) -> str:
    """16 hexadecimal digits that tell given motions from all others, frame for frame."""
    digest = hashlib.sha256()
    for motion in motions:
        digest.update(f"{len(motion)} {motion.fps!r}\n".encode())
        digest.update(motion.joints.numpy().tobytes())
    return digest.hexdigest()[:16]


def sample_name(request: Request, prompt_index: int | None) -> str:
    """File name, without ending: the prompt, its place among several prompts, and the seed."""
    plain = unicodedata.normalize("NFKD", request.prompt).encode("ascii", "ignore").decode().lower()
    slug = "-".join(re.findall(r"[a-z0-9]+", plain))
    if len(slug) > _SLUG_LENGTH:
        slug = slug[:_SLUG_LENGTH].rpartition("-")[0] or slug[:_SLUG_LENGTH]
    place = "" if prompt_index is None else f"-{prompt_index}"
    return f"{slug or 'motion'}{place}-seed{request.seed}"


def write_sample(
    motion: Motion,
    request: Request,
    out: Path,
    stem: str,
    formats: Sequence[str],
    written: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Write one sample in some formats, and its request as json.

    Args:
        motion: the sample.
        request: what it was made from.
        out: folder; created.
        stem: file name without ending. If files of another request have it, ``-2``, ``-3`` ... is appended.
        formats: file name endings, such as ``npy`` or ``mp4``.
        written: called after each file.

    Returns:
        The paths of the sample, without that of the json.
    """
    record = asdict(request)
    stem = _free_stem(out, stem, record)
    with atomic_file(out / f"{stem}.json") as temporary:
        details = {"frames": len(motion.joints), "fps": motion.fps}
        temporary.write_text(
            json.dumps(record | details, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    paths = []
    for name in formats:
        path = out / (f"{stem}.blender.png" if name == "blender" else f"{stem}.{name}")
        if name == "blender":
            render_with_blender(motion, path, "sequence", request.style, caption=request.prompt)
        elif name == "png":
            write_strip(motion, path, [request.prompt])
        elif name in _FILMS:
            write_video(motion, path, caption=request.prompt, style=request.style)
        else:
            worn = WriteOptions(skin="body") if name in _SKINNED and request.style == "mesh" else None
            write_motion(motion, path, options=worn)
        paths.append(path)
        written()
    return paths


def _free_stem(out: Path, stem: str, record: dict[str, Any]) -> str:
    """The first of stem, stem-2, stem-3 ... whose files are missing or were made from the same request."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, but --out is a folder to write to")
    for number in range(1, 10_000):
        candidate = stem if number == 1 else f"{stem}-{number}"
        note = out / f"{candidate}.json"
        if note.exists():
            if _is_same_request(note, record):
                return candidate
        elif not any(out.glob(f"{candidate}.*")):
            return candidate
    raise InputError(f"{out} has thousands of files named {stem}: choose another --out")


def _is_same_request(note: Path, record: dict[str, Any]) -> bool:
    try:
        values = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and record == {name: values.get(name) for name in record}
