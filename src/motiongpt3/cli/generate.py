"""``motiongpt3 generate``: sentences in; motions, films and pictures out.

Checks the request, then asks the model; `motiongpt3.cli.samples` writes the files. What needs torch is
imported when it is needed, so that a mistyped request is answered at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from motiongpt3.blender import find_blender
from motiongpt3.cli.length import parse_length
from motiongpt3.cli.terminal import part_of, say, share_bar
from motiongpt3.errors import InputError

FORMATS = ("npy", "bvh", "glb", "gltf", "npz", "csv", "fbx", "mp4", "gif", "png", "blender")
MAX_SAMPLES = 1000
MAX_GUIDANCE = 100.0
# Motions made in one pass through the model: bounds memory; the motions do not depend on it.
BATCH = 16


def generate(
    prompt: list[str],
    prompts: Path | None = None,
    length: str | None = None,
    seed: int = 0,
    count: int = 1,
    guidance: float | None = None,
    steps: int | None = None,
    scheduler: str | None = None,
    model: str | None = None,
    out: Path = Path("out"),
    format: str = "npy,bvh,mp4,png",
    clean: str | None = None,
    style: Literal["skeleton", "cylinders", "mesh"] = "cylinders",
    device: str = "auto",
) -> int:
    """Make motions from sentences.

    Every sample becomes files named after its prompt and seed: joint positions (npy: frames x 22 x 3, metres,
    y up), files for other programs (bvh, glb, gltf, fbx through Blender, npz as AMASS has it, csv of joint
    angles), a film (mp4, gif), a strip of poses (png) and a picture of the whole motion by Blender, with a
    json of what was asked for. Asking for the same again writes the same files again; a file of anything else
    is never overwritten: the new one gets a number.

    Args:
        prompt: what the person does, in English; several sentences make several motions.
        prompts: text file with one prompt per line.
        length: seconds (6s, 2.5s) or frames (120); by default the model decides.
        seed: 0 to 4294967295; sample i of a prompt has seed + i, and the same seed gives the same motion.
        count: samples of each prompt.
        guidance: how strongly to follow the prompt (1 = no guidance); by default the model's own.
        steps: denoising steps; by default what suits the scheduler.
        scheduler: how to denoise (ddpm, ddim, dpm++, euler, heun, as fits the model).
        model: folder, name in models/, or hub id (default: MOTIONGPT3_MODEL, else models/mini).
        out: folder to write to.
        format: which files, separated by commas: npy, bvh, glb, gltf, npz, csv, fbx, mp4, gif, png, blender.
        clean: repairs, separated by commas: smooth, feet (that stand do not slide), floor; all for these; or
            loop, a part that can be played in a circle.
        style: what films and Blender show: skeleton, cylinders, or mesh: a body, which glTF files then wear.
        device: auto, cpu, cuda or mps.

    Returns:
        0.

    Raises:
        InputError: anything in the request that cannot be done.
    """
    sentences = _read_prompts(prompt, prompts)
    formats = parse_formats(format)
    typed_length = None if length is None else parse_length(length)
    _check_numbers(len(sentences), count, guidance)

    from motiongpt3.cli.samples import Request, sample_name, write_sample
    from motiongpt3.models.locate import find_model
    from motiongpt3.motion.clean_up import CleanUp
    from motiongpt3.sampling import sample_seeds

    repairs = None if clean is None else CleanUp.parse(clean)
    seeds = sample_seeds(seed, count)
    where = find_model(model)
    console = Console(stderr=True)
    with console.status(f"loading {where}") as status:
        loaded = load_model(where, choose_device(device), status.update)
    for sentence in sentences:
        loaded.validate_prompt(sentence)
    frames = None if typed_length is None else typed_length.to_frames(loaded.fps, loaded.frame_range)

    requests = [
        Request(sentence, one_seed, length, str(where), guidance, steps, scheduler, clean, style)
        for sentence in sentences
        for one_seed in seeds
    ]
    written: list[Path] = []
    with share_bar() as bar:
        making = bar.add_task("making motions", total=len(requests))
        drawing = bar.add_task("writing files", total=len(requests) * len(formats))
        for first in range(0, len(requests), BATCH):
            batch = requests[first : first + BATCH]
            motions = loaded.generate(
                [request.prompt for request in batch],
                frames=frames,
                seeds=[request.seed for request in batch],
                guidance=guidance,
                steps=steps,
                scheduler=scheduler,
                progress=part_of(bar, making, first, len(batch)),
            )
            bar.update(making, completed=first + len(batch))
            for index, (request, motion) in enumerate(zip(batch, motions, strict=True), start=first):
                if repairs is not None:
                    motion = repairs(motion)
                stem = sample_name(request, index // count if len(sentences) > 1 else None)
                written += write_sample(motion, request, out, stem, formats, lambda: bar.advance(drawing))
    for path in written:
        say(path)
    return 0


def load_model(where: Path | str, device: str, progress: Callable[[str], None] | None = None) -> Any:
    """The model of a folder or hub id, ready on a device; ``progress`` is told about slow steps."""
    from motiongpt3.models.motiongpt import MotionGPT3

    return MotionGPT3.from_pretrained(where, device=device, progress=progress)


def choose_device(name: str) -> str:
    """A torch device for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InputError: another name, or a device that this machine does not have.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?|mps", name):
        raise InputError(f"unknown device {name!r}: choose auto, cpu, cuda or mps")
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device that torch can use on this machine: choose --device cpu")
    if number and int(number) >= torch.cuda.device_count():
        raise InputError(f"no device {name}: this machine has {torch.cuda.device_count()}, counted from 0")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("no MPS device that torch can use on this machine: choose --device cpu")
    return name


def parse_formats(text: str) -> tuple[str, ...]:
    """File formats from a list with commas, each once.

    Raises:
        InputError: an unknown format, or none.
        MissingDependencyError: what Blender makes, without Blender.
    """
    names = [name.strip().lower().removeprefix(".") for name in text.split(",") if name.strip()]
    for name in names:
        if name not in FORMATS:
            raise InputError(f"unknown format {name!r}: choose from {', '.join(FORMATS)}")
    if not names:
        raise InputError(f"no format given: choose from {', '.join(FORMATS)}")
    if "fbx" in names:
        find_blender("writing FBX")
    if "blender" in names:
        find_blender("a picture by Blender")
    return tuple(dict.fromkeys(names))


def _read_prompts(typed: Sequence[str], file: Path | None) -> list[str]:
    prompts = [" ".join(text.split()) for text in typed]
    if not all(prompts):
        raise InputError("a prompt is empty: say what the person does")
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise InputError(f"{file} is not text in UTF-8") from error
        except OSError as error:
            raise InputError(f"cannot read prompts from {file}: {error.strerror}") from error
        read = [" ".join(line.split()) for line in lines]
        read = [line for line in read if line]
        if not read:
            raise InputError(f"{file} has no prompts: write one per line")
        prompts += read
    if not prompts:
        raise InputError('no prompt: say what the person does, e.g. "a person waves with the left hand"')
    for prompt in prompts:
        if not prompt.isprintable():
            raise InputError(f"prompt {prompt[:40]!r} has characters that are not text")
    return prompts


def _check_numbers(prompts: int, count: int, guidance: float | None) -> None:
    if count < 1:
        raise InputError(f"count is {count}, but at least 1 sample must be made")
    if prompts * count > MAX_SAMPLES:
        raise InputError(
            f"{prompts} prompts x {count} samples are {prompts * count}; "
            f"at most {MAX_SAMPLES} at once, so use several runs with other seeds"
        )
    if guidance is not None and not (math.isfinite(guidance) and 0 <= guidance <= MAX_GUIDANCE):
        raise InputError(f"guidance is {guidance}, but must be from 0 to {MAX_GUIDANCE:g}")
