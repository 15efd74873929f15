"""Putting motions into words: greedy or sampled, batched, behind one key/value cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from motiongpt3.errors import InputError
from motiongpt3.generation.requests import check_batches, encode_motions, read_requests
from motiongpt3.models.text_decoding import Reading, TextDecoding, decode_text
from motiongpt3.motion.motion import Motion
from motiongpt3.tasks import MOTION, MOTION_MARKERS

if TYPE_CHECKING:
    from motiongpt3.models.bimodal import BimodalModel
    from motiongpt3.models.motion_tokens import MotionTokenGPT
    from motiongpt3.models.motiongpt import MotionGPT3


@torch.inference_mode()
def caption_motions(
    model: MotionGPT3,
    motions: Sequence[Motion],
    requests: Sequence[str],
    decoding: TextDecoding,
    seeds: Sequence[int],
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """What each motion shows, in words.

    Args:
        model: the model.
        motions: at its frame rate.
        requests: what is asked of each; a request without a marker gets the motion at its end.
        decoding: how tokens are chosen.
        seeds: one per motion; without effect when the likeliest token is taken always.
        batch_size: motions read together.
        progress: called with (motions done, all motions).

    Raises:
        InputError: if a motion or request cannot be used.
    """
    for motion in motions:
        check_length(model, motion)

    def read(rows: slice) -> Reading:
        latents = encode_motions(model, motions[rows])
        asked = [with_marker(request) for request in requests[rows]]
        return read_requests(model, asked, [[one] for one in latents], "text")

    return write_captions(model, read, decoding, seeds, batch_size, progress)


def write_captions(
    model: MotionGPT3 | MotionTokenGPT,
    read: Callable[[slice], Reading],
    decoding: TextDecoding,
    seeds: Sequence[int],
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> list[str]:
    """Answers in text to requests that ``read`` lets the model read, some rows at a time; one for each seed.

    Raises:
        InputError: if a seed or the batch size cannot be used.
    """
    check_batches(batch_size, seeds)
    stop = [model.config.dialogue.text_end_id(model.tokenizer)]
    banned = decoding.banned_ids(model.tokenizer)
    captions: list[str] = []
    for first in range(0, len(seeds), batch_size):
        rows = slice(first, first + batch_size)
        written = decode_text(model.mot, *read(rows), stop, decoding, seeds[rows], None, banned)
        captions.extend(spoken(model, ids) for ids in written)
        if progress:
            progress(len(captions), len(seeds))
    return captions


def check_length(model: MotionGPT3, motion: Motion) -> None:
    """Refuse a motion that is shorter or longer than those the model knows."""
    shortest, longest = model.frame_range
    if not shortest <= len(motion) <= longest:
        advice = "cut it into shorter clips" if len(motion) > longest else "give more of it"
        raise InputError(
            f"{motion.source or motion.name}: {len(motion)} frames; the model puts {shortest} to {longest} "
            f"frames into words ({shortest / model.fps:g} to {longest / model.fps:g} s): {advice}"
        )


def with_marker(request: str) -> str:
    """The request with a place for the motion, at its end if it has none."""
    return request if any(marker in request for marker in MOTION_MARKERS) else f"{request.rstrip()} {MOTION}"


def spoken(model: BimodalModel, ids: Sequence[int]) -> str:
    """Tokens as one line of text, without special tokens."""
    text = str(model.tokenizer.decode(list(ids), skip_special_tokens=True))
    return " ".join(text.split())
