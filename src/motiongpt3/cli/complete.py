"""``motiongpt3 predict`` and ``motiongpt3 inbetween``: part of a motion in, the whole of it out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from motiongpt3.cli.length import parse_length
from motiongpt3.errors import InputError

if TYPE_CHECKING:
    from motiongpt3.motion.motion import Motion

FORMATS = "npy,bvh,mp4,png"


def predict(
    file: Path,
    given: str | None = None,
    length: str | None = None,
    prompt: str | None = None,
    seed: int = 0,
    count: int = 1,
    model: str | None = None,
    out: Path = Path("out"),
    format: str = FORMATS,
    device: str = "auto",
) -> int:
    """Continue a motion. The frames of the file stay exactly as they are.

    Args:
        file: how the motion begins, in any format that can be read; it is brought to the model's frame rate.
        given: use only so much of it, from its beginning (2s, or 40 frames); by default all of it.
        length: of the whole motion; by default five times what is given, if the model makes as much.
        prompt: how it should go on, in words.
        seed: of the first sample; sample i has seed + i.
        count: samples.
        model: folder, name in models/, or hub id (default: MOTIONGPT3_MODEL, else models/mini).
        out: folder to write to.
        format: which files, separated by commas: npy, bvh, glb, gltf, npz, csv, fbx, mp4, gif, png.
        device: auto, cpu, cuda or mps.

    Returns:
        0.

    Raises:
        InputError: anything in the request that cannot be done.
    """

    def make(loaded: Any, seeds: list[int]) -> list[Motion]:
        from motiongpt3.cli.given import read_given
        from motiongpt3.generation.conversation import cut

        motion = read_given(file, loaded.fps)
        if given is not None:
            motion = cut(motion, 0, parse_length(given).to_frames(loaded.fps, (2, len(motion))))
        frames = None if length is None else parse_length(length).to_frames(loaded.fps, loaded.frame_range)
        return loaded.predict([motion] * count, frames, prompt, seeds)

    return _complete(make, f"continue {file.stem}", length, prompt, seed, count, model, out, format, device)


def inbetween(
    file: Path,
    end: Path | None = None,
    length: str | None = None,
    prompt: str | None = None,
    seed: int = 0,
    count: int = 1,
    model: str | None = None,
    out: Path = Path("out"),
    format: str = FORMATS,
    device: str = "auto",
) -> int:
    """Fill the middle of a motion. The frames on both sides stay exactly as they are.

    Args:
        file: a motion whose first and last quarter are kept and whose middle is made anew; or, with END, how
            the motion begins.
        end: how the motion ends, in the same world as FILE.
        length: of the whole motion; needed with END, and without it that of FILE.
        prompt: what happens between, in words.
        seed: of the first sample; sample i has seed + i.
        count: samples.
        model: folder, name in models/, or hub id (default: MOTIONGPT3_MODEL, else models/mini).
        out: folder to write to.
        format: which files, separated by commas: npy, bvh, glb, gltf, npz, csv, fbx, mp4, gif, png.
        device: auto, cpu, cuda or mps.

    Returns:
        0.

    Raises:
        InputError: anything in the request that cannot be done.
    """
    if (end is None) != (length is None):
        raise InputError("--end and --length go together: with both ends in files, say how long the whole is")

    def make(loaded: Any, seeds: list[int]) -> list[Motion]:
        from motiongpt3.cli.given import read_given
        from motiongpt3.generation.conversation import ends_of

        first = read_given(file, loaded.fps)
        if end is None or length is None:
            (head, tail), frames = ends_of(first), len(first)
        else:
            head, tail = first, read_given(end, loaded.fps)
            frames = parse_length(length).to_frames(loaded.fps, loaded.frame_range)
        return loaded.inbetween([head] * count, [tail] * count, frames, prompt, seeds)

    return _complete(make, f"fill {file.stem}", length, prompt, seed, count, model, out, format, device)


def _complete(
    make: Callable[[Any, list[int]], list[Motion]],
    title: str,
    length: str | None,
    prompt: str | None,
    seed: int,
    count: int,
    model: str | None,
    out: Path,
    format: str,
    device: str,
) -> int:
    """Load the model, make the samples, write their files."""
    from motiongpt3.cli.generate import choose_device, load_model, parse_formats
    from motiongpt3.cli.samples import Request, sample_name, write_sample
    from motiongpt3.models.locate import find_model
    from motiongpt3.sampling import sample_seeds

    formats = parse_formats(format)
    if count < 1:
        raise InputError(f"count is {count}, but at least 1 sample must be made")
    seeds = sample_seeds(seed, count)
    where = find_model(model)
    console = Console(stderr=True)
    with console.status(f"loading {where}") as status:
        loaded = load_model(where, choose_device(device), status.update)
        status.update("making motions")
        motions = make(loaded, seeds)
        status.update("writing files")
        spoken = title if prompt is None else f"{title}: {prompt}"
        for motion, one_seed in zip(motions, seeds):
            request = Request(spoken, one_seed, length, str(where), None, None, None)
            for path in write_sample(motion, request, out, sample_name(request, None), formats):
                Console().print(str(path), soft_wrap=True, markup=False, highlight=False)
    return 0
