"""``motiongpt3 motion-codes``: a dataset's clips as codes of a motion tokenizer, a file for each.

The files are those of MotionGPT's own script: ``NAME.npy``, int64, shape (1, T / frames per code). A note
lies beside them of the tokenizer that made them, so that codes of two tokenizers never mix.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from motiongpt3.cli.generate import choose_device
from motiongpt3.cli.terminal import counting_bar, say
from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.loaders import pad_clips
from motiongpt3.errors import InputError
from motiongpt3.files import atomic_file
from motiongpt3.models.bimodal_folder import local_folder
from motiongpt3.models.folders import read_config
from motiongpt3.models.locate import find_model
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from motiongpt3.models.motion_tokens import MODEL_NAME as MOTION_TOKEN_GPT
from motiongpt3.models.motion_tokens import MotionTokenGPT

NOTE = "tokenizer.json"


def motion_codes(
    model: str,
    *,
    data: Path,
    out: Path,
    split: Literal["train", "val", "test", "all"] = "all",
    batch_size: int = 16,
    device: str = "auto",
) -> int:
    """Write the codes of every clip of a dataset.

    Clips whose codes are there already are skipped, so that an interrupted run goes on when it is started
    again. A clip that cannot be read or is shorter than a code is reported and left out.

    Args:
        model: folder or name of a motion tokenizer, or of a model that contains one.
        data: a dataset in HumanML3D's layout.
        out: folder to write NAME.npy files to: token ids, int64, 1 x codes.
        split: which clips; all are those of every split that the dataset has.
        batch_size: clips encoded together.
        device: auto, cpu, cuda or mps.

    Returns:
        0, or 1 if a clip was left out.

    Raises:
        InputError: if the model or dataset cannot be used, or ``out`` has codes of another tokenizer.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}, but at least 1 clip must be encoded at a time")
    dataset = HumanML3DDataset(data)
    splits = dataset.splits if split == "all" else [split]
    names = list(dict.fromkeys(name for part in splits for name in dataset.split(part)))
    if not names:
        raise InputError(f"{data} lists no clips" + ("" if split == "all" else f" in split {split!r}"))
    tokenizer = load_motion_tokenizer(find_model(model)).to(choose_device(device))
    check_note(out, tokenizer)

    tally = Tally()
    with counting_bar() as bar:
        task = bar.add_task("clips", total=len(names))
        for first in range(0, len(names), batch_size):
            part = names[first : first + batch_size]
            for problem in write_codes(dataset, part, tokenizer, out, tally):
                say(problem, bar.console)
            bar.advance(task, len(part))
    said = f"{out}: {tally.written} clips written, {tally.skipped} there already, {tally.failed} left out"
    say(said)
    return 1 if tally.failed else 0


def load_motion_tokenizer(where: Path | str) -> MotionTokenizer:
    """The motion tokenizer in a folder, or of the model in it; evaluation mode."""
    folder = local_folder(where)
    if read_config(folder).get("model") == MOTION_TOKEN_GPT:
        return MotionTokenGPT.from_pretrained(folder).motion_tokenizer
    return MotionTokenizer.from_pretrained(folder)


@dataclass
class Tally:
    """What became of the clips so far."""

    written: int = 0
    skipped: int = 0
    failed: int = 0


def check_note(out: Path, tokenizer: MotionTokenizer) -> None:
    """Note in ``out`` which tokenizer its codes are of; refuse a folder with codes of another.

    Raises:
        InputError: naming the folder.
    """
    values = {
        "fingerprint": tokenizer.fingerprint(),
        "vocabulary_size": tokenizer.vocabulary_size,
        "frames_per_code": tokenizer.frames_per_code,
    }
    note = out / NOTE
    if note.exists():
        try:
            found = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if found != values:
            raise InputError(f"{out} has codes of another tokenizer (see {NOTE} there): choose another --out")
    elif out.is_dir() and any(out.glob("*.npy")):
        raise InputError(f"{out} has arrays of unknown origin, without {NOTE}: choose another --out")
    else:
        with atomic_file(note) as temporary:
            temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


@torch.inference_mode()
def write_codes(
    dataset: HumanML3DDataset, names: Sequence[str], tokenizer: MotionTokenizer, out: Path, tally: Tally
) -> list[str]:
    """Encode some clips together and write a file for each; returns what is wrong with the others."""
    problems: list[str] = []
    read: dict[str, torch.Tensor] = {}
    for name in names:
        if (out / f"{name}.npy").exists():
            tally.skipped += 1
            continue
        try:
            features = torch.from_numpy(dataset.clip_features(name))
            if not tokenizer.code_count(len(features)):
                raise InputError(
                    f"{name}: {len(features)} frames are less than the {tokenizer.frames_per_code} of a code"
                )
            read[name] = features
        except InputError as error:
            problems.append(f"left out: {error}")
            tally.failed += 1
    if read:
        batch = pad_clips(list(read.values())).to(tokenizer.feature_mean.device)
        codes = tokenizer.encode(batch.features, batch.lengths).cpu()
        for name, row, length in zip(read, codes, batch.lengths.tolist()):
            with atomic_file(out / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, row[None, : tokenizer.code_count(length)].numpy())
            tally.written += 1
    return problems
