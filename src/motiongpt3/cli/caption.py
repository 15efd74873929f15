"""``motiongpt3 caption``: motion files in, sentences out."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from motiongpt3.cli.terminal import say
from motiongpt3.errors import InputError, MotionGPT3Error
from motiongpt3.files import atomic_file

MAX_CAPTIONS = 100
# Of several captions of one motion, unless it is said: enough for them to differ.
TEMPERATURE = 0.7


def caption(
    files: list[str],
    prompt: str | None = None,
    count: int = 1,
    temperature: float | None = None,
    seed: int = 0,
    out: Path | None = None,
    model: str | None = None,
    device: str = "auto",
    batch_size: int = 16,
) -> int:
    """Say what motions show, one line each.

    Any format that can be read will do (npy, bvh, npz ...). A file that cannot be used is named, the others
    are put into words all the same, and the exit code is 1.

    Args:
        files: motion files, or folders of them.
        prompt: what to ask of each; by default for a caption.
        count: captions of each motion; more than one are drawn at random.
        temperature: of the draw; 0 takes the likeliest words, and is the default for one caption.
        seed: of the first caption; caption i has seed + i.
        out: also write the captions to this file: .json by path, or .txt as lines.
        model: folder, name in models/, or hub id (default: MOTIONGPT3_MODEL, else models/mini).
        device: auto, cpu, cuda or mps.
        batch_size: motions read together.

    Returns:
        0, or 1 if a file could not be used.

    Raises:
        InputError: if no file is named, one does not exist, or an option cannot be used.
    """
    _check_options(count, temperature, batch_size, out)
    from motiongpt3.cli.generate import choose_device, load_model
    from motiongpt3.cli.given import files_in, read_given
    from motiongpt3.generation.captions import check_length
    from motiongpt3.models.locate import find_model
    from motiongpt3.sampling import sample_seeds

    paths, seeds = files_in(files), sample_seeds(seed, count)
    where = find_model(model)
    errors = Console(stderr=True)
    with errors.status(f"loading {where}") as status:
        loaded = load_model(where, choose_device(device), status.update)
    if prompt is not None:
        loaded.validate_prompt(prompt)
    motions, usable = [], []
    for path in paths:
        try:
            motion = read_given(path, loaded.fps)
            check_length(loaded, motion)
        except MotionGPT3Error as error:
            say(f"error: {error}", errors)
            continue
        motions.append(motion)
        usable.append(path)
    decoding = loaded.config.decoding
    if temperature is not None or (count > 1 and decoding.temperature == 0):
        decoding = replace(decoding, temperature=TEMPERATURE if temperature is None else temperature)
    repeated = [motion for motion in motions for _ in seeds]
    texts = loaded.caption(repeated, prompt, seeds * len(motions), decoding, batch_size)
    captions = [(path, texts[index * count : (index + 1) * count]) for index, path in enumerate(usable)]
    lines = [(path, text) for path, said in captions for text in said]
    for path, text in lines:
        # Not by rich, which makes spaces of the tab.
        print(text if len(paths) == 1 else f"{path}\t{text}")
    if out is not None:
        table = {str(path): said[0] if count == 1 else said for path, said in captions}
        content = json.dumps(table, indent=2, ensure_ascii=False) + "\n"
        if out.suffix.lower() == ".txt":
            content = "".join(f"{path}\t{text}\n" for path, text in lines)
        with atomic_file(out) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return 0 if len(usable) == len(paths) else 1


def _check_options(count: int, temperature: float | None, batch_size: int, out: Path | None) -> None:
    if not 1 <= count <= MAX_CAPTIONS:
        raise InputError(f"count is {count}, but must be from 1 to {MAX_CAPTIONS}")
    if temperature is not None and not (math.isfinite(temperature) and temperature >= 0):
        raise InputError(f"temperature is {temperature}, but must be 0 or more")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}, but must be at least 1")
    if out is not None and out.suffix.lower() not in (".json", ".txt"):
        raise InputError(f"{out}: captions are written as .json or .txt")
