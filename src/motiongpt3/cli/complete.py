"""``motiongpt3 predict`` and ``motiongpt3 inbetween``: part of a motion in, the whole of it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from motiongpt3.cli.length import parse_length
from motiongpt3.cli.terminal import say
from motiongpt3.errors import InputError

if TYPE_CHECKING:
    from motiongpt3.motion.motion import Motion


@dataclass(frozen=True)
class Samples:
    """What both verbs are asked for.

    Args:
        prompt: what happens in the part that is made, in words.
        seed: of the first sample; sample i has seed + i.
        count: samples.
        model: folder, name in models/, or hub id (default: MOTIONGPT3_MODEL, else models/mini).
        out: folder to write to.
        format: which files, separated by commas: npy, bvh, glb, gltf, npz, csv, fbx, mp4, gif, png, blender.
        device: auto, cpu, cuda or mps.
    """

    prompt: str | None = None
    seed: int = 0
    count: int = 1
    model: str | None = None
    out: Path = Path("out")
    format: str = "npy,bvh,mp4,png"
    device: str = "auto"


class _Gap(NamedTuple):
    """What is given of a motion, and the frames of the whole; None lets the model choose."""

    head: Motion
    tail: Motion | None
    frames: int | None


def predict(file: Path, samples: Samples, given: str | None = None, length: str | None = None) -> int:
    """Continue a motion. The frames of the file stay exactly as they are.

    Args:
        file: how the motion begins, in any format that can be read; it is brought to the model's frame rate.
        samples: what to make of it.
        given: use only so much of it, from its beginning (2s, or 40 frames); by default all of it.
        length: of the whole motion; by default five times what is given, if the model makes as much.

    Returns:
        0.

    Raises:
        InputError: anything in the request that cannot be done.
    """

    def read(model: Any) -> _Gap:
        from motiongpt3.cli.given import read_given
        from motiongpt3.generation.conversation import cut

        motion = read_given(file, model.fps)
        if given is not None:
            limits = (2, len(motion))
            motion = cut(motion, 0, parse_length(given).to_frames(model.fps, limits, f"{file} has"))
        frames = None if length is None else parse_length(length).to_frames(model.fps, model.frame_range)
        return _Gap(motion, None, frames)

    return _complete(read, f"continue {file.stem}", length, samples)


def inbetween(file: Path, samples: Samples, end: Path | None = None, length: str | None = None) -> int:
    """Fill the middle of a motion. The frames on both sides stay exactly as they are.

    Args:
        file: a motion whose first and last quarter are kept and whose middle is made anew; or, with END, how
            the motion begins.
        samples: what to make of it.
        end: how the motion ends, in the same world as FILE.
        length: of the whole motion; needed with END, and without it that of FILE.

    Returns:
        0.

    Raises:
        InputError: anything in the request that cannot be done.
    """
    if (end is None) != (length is None):
        raise InputError("--end and --length go together: with both ends in files, say how long the whole is")

    def read(model: Any) -> _Gap:
        from motiongpt3.cli.given import read_given
        from motiongpt3.generation.conversation import ends_of

        first = read_given(file, model.fps)
        if end is None or length is None:
            return _Gap(*ends_of(first), len(first))
        frames = parse_length(length).to_frames(model.fps, model.frame_range)
        return _Gap(first, read_given(end, model.fps), frames)

    return _complete(read, f"fill {file.stem}", length, samples)


def _complete(read: Callable[[Any], _Gap], title: str, length: str | None, asked: Samples) -> int:
    """Load the model, make the samples, write their files."""
    from motiongpt3.cli.generate import choose_device, load_model, parse_formats
    from motiongpt3.cli.samples import Request, mark_of, sample_name, write_sample
    from motiongpt3.models.locate import find_model
    from motiongpt3.sampling import sample_seeds

    formats = parse_formats(asked.format)
    if asked.count < 1:
        raise InputError(f"count is {asked.count}, but at least 1 sample must be made")
    seeds = sample_seeds(asked.seed, asked.count)
    where = find_model(asked.model)
    with Console(stderr=True).status(f"loading {where}") as status:
        model = load_model(where, choose_device(asked.device), status.update)
        status.update("making motions")
        head, tail, frames = read(model)
        heads = [head] * asked.count
        if tail is None:
            motions = model.predict(heads, frames, asked.prompt, seeds)
        else:
            motions = model.inbetween(heads, [tail] * asked.count, frames, asked.prompt, seeds)
        status.update("writing files")
        spoken = title if asked.prompt is None else f"{title}: {asked.prompt}"
        given = mark_of(head) if tail is None else mark_of(head, tail)
        for motion, seed in zip(motions, seeds):
            request = Request(spoken, seed, length, str(where), None, None, None, given=given)
            for path in write_sample(motion, request, asked.out, sample_name(request, None), formats):
                say(path)
    return 0
