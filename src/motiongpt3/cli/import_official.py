"""``motiongpt3 import-official``: official checkpoints as models of this project."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from motiongpt3.cli.terminal import say


def import_official(checkpoint: Path, *, stats: Path, out: Path, tokenizer: Path | None = None) -> int:
    """Convert an official MotionGPT3 checkpoint, MLD's motion VAE or MotionGPT's VQ-VAE into a model folder.

    The checkpoint may be a .ckpt, .pth, .pt, .tar or .safetensors file. Nothing that it contains is executed.

    Args:
        checkpoint: the file, as published or from training with the official code.
        stats: folder with Mean.npy and Std.npy of the data that it was trained on (HumanML3D's own folder has
            them).
        out: folder of the new model; a model that is there is replaced, anything else is not.
        tokenizer: folder with GPT-2's tokenizer (default: that of the text backbone gpt2, if it is here).

    Returns:
        0.
    """
    from motiongpt3.models.motion_tokenizer import MotionTokenizer
    from motiongpt3.models.motiongpt import MotionGPT3
    from motiongpt3.models.release import import_checkpoint

    with Console(stderr=True).status(f"converting {checkpoint}"):
        model = import_checkpoint(checkpoint, stats, out, tokenizer)
    if isinstance(model, MotionGPT3):
        said = f'{out}: a model; try: motiongpt3 generate "a person walks in a circle" --model {out}'
    elif isinstance(model, MotionTokenizer):
        said = f"{out}: a motion tokenizer (VQ-VAE); try: motiongpt3 motion-codes {out} --data DIR --out DIR"
    else:
        said = f"{out}: a motion VAE"
    say(said)
    return 0
