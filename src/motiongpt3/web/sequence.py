"""Motions of any length: what is there is continued, and one prompt follows another.

The model makes a limited number of frames at once. So a motion is continued from its last seconds alone, and
what is made of new frames is put behind all of it; given frames stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from motiongpt3.errors import InputError
from motiongpt3.generation.conversation import cut
from motiongpt3.generation.motions import MotionRequest
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.motion.motion import Motion

CONTEXT_SECONDS = 2.0
"""How much of a motion its continuation is made from."""
ADDED_SECONDS = 4.0


@dataclass(frozen=True)
class Segment:
    """One prompt of a sequence.

    Attributes:
        prompt: what the person does.
        frames: for how long; None lets the model choose for the first segment, and is four seconds later on.
    """

    prompt: str
    frames: int | None


def usual_addition(model: MotionGPT3, motion: Motion) -> int:
    """Frames that are put behind a motion when nobody says how many."""
    return min(round(ADDED_SECONDS * model.fps), model.frame_range[1] - _context(model, motion))


def _context(model: MotionGPT3, motion: Motion) -> int:
    return min(len(motion), round(CONTEXT_SECONDS * model.fps), model.frame_range[1] - 1)


def continuation(
    model: MotionGPT3, motion: Motion, frames: int, seed: int, prompt: str | None = None
) -> MotionRequest:
    """The request for frames behind a motion; `extended` puts them there.

    Args:
        model: the model.
        motion: what is there, at the model's frame rate.
        frames: to add.
        seed: of the noise.
        prompt: how it goes on; by default the wording of the task.

    Raises:
        InputError: if the model does not make as many frames at once.
    """
    shortest, longest = model.frame_range
    head = _context(model, motion)
    most = longest - head
    if not 1 <= frames <= most:
        raise InputError(
            f"{frames} frames ({frames / model.fps:g} s) cannot be added at once: "
            f"1 to {most} frames can ({most / model.fps:g} s)"
        )
    wording = model.request_for("pred") if prompt is None else prompt
    whole = max(head + frames, shortest)
    return MotionRequest(wording, whole, seed, cut(motion, len(motion) - head, len(motion)))


def extended(motion: Motion, request: MotionRequest, made: Motion, frames: int) -> Motion:
    """A motion with the new frames of its continuation behind it."""
    new = made.joints[request.start : request.start + frames]
    return Motion.from_joints(torch.cat([motion.joints, new]), motion.fps, motion.name, motion.source)


def make_sequence(
    model: MotionGPT3,
    segments: Sequence[Segment],
    seed: int,
    make: Callable[[MotionRequest], Motion],
) -> tuple[Motion, list[int]]:
    """One motion in which prompts follow each other.

    Args:
        model: the model.
        segments: at least one.
        seed: of the first; segment i has seed + i.
        make: makes a motion.

    Returns:
        The motion, and for each segment the frame that it ends before.

    Raises:
        InputError: if a segment cannot be made.
    """
    first, *following = segments
    whole = make(MotionRequest(model.request_for("t2m", first.prompt), first.frames, seed))
    ends = [len(whole)]
    for index, segment in enumerate(following, start=1):
        frames = segment.frames or usual_addition(model, whole)
        request = continuation(model, whole, frames, seed + index, segment.prompt)
        whole = extended(whole, request, make(request), frames)
        ends.append(len(whole))
    return whole, ends
