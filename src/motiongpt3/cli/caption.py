"""``motiongpt3 caption``: motion files in, sentences out."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from motiongpt3.errors import MotionGPT3Error
from motiongpt3.files import atomic_file


def caption(
    files: list[str],
    prompt: str | None = None,
    out: Path | None = None,
    model: str | None = None,
    device: str = "auto",
    batch_size: int = 16,
) -> int:
    """Say what motions show, one line a file.

    Any format that can be read will do (npy, bvh, npz ...). A file that cannot be used is named, the others
    are put into words all the same, and the exit code is 1.

    Args:
        files: motion files, or folders of them.
        prompt: what to ask of each; by default for a caption.
        out: also write the captions to this file as json, by path.
        model: folder, name in models/, or hub id (default: MOTIONGPT3_MODEL, else models/mini).
        device: auto, cpu, cuda or mps.
        batch_size: motions read together.

    Returns:
        0, or 1 if a file could not be used.

    Raises:
        InputError: if no file is named, or none of them exists.
    """
    from motiongpt3.cli.generate import choose_device, load_model
    from motiongpt3.cli.given import files_in, read_given
    from motiongpt3.generation.requests import encode_motions
    from motiongpt3.models.locate import find_model

    paths = files_in(files)
    where = find_model(model)
    errors, console = Console(stderr=True), Console()
    with errors.status(f"loading {where}") as status:
        loaded = load_model(where, choose_device(device), status.update)
    motions, usable, failed = [], [], 0
    for path in paths:
        try:
            motion = read_given(path, loaded.fps)
            encode_motions(loaded, [motion])
        except MotionGPT3Error as error:
            errors.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
            failed += 1
            continue
        motions.append(motion)
        usable.append(path)
    captions = loaded.caption(motions, prompt, batch_size=batch_size)
    for path, text in zip(usable, captions):
        line = text if len(paths) == 1 else f"{path}\t{text}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        with atomic_file(out) as temporary:
            table = {str(path): text for path, text in zip(usable, captions)}
            temporary.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if failed else 0
