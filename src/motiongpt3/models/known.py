"""Given frames as the motion branch is told of them: latents at their own places, and the goal.

Frames given at the beginning are encoded alone, and so are those at the end: what lies between is not known
to anyone. A latent that given frames cover in part is a hint: it is told, and asked for all the same. The
latents' grid begins with the first frame of the motion, so up to one latent's worth of frames at the
beginning of the given end is told by the goal alone.

Shapes: B motions, T frames, F features, K latents, C channels per latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motiongpt3.models.codec import MotionCodec
from motiongpt3.models.placeholders import GOAL_FEATURES, Known


@dataclass(frozen=True)
class GivenFrames:
    """What is given of one motion.

    Attributes:
        frames: T, of the whole motion.
        head: (h, F) raw features of the first frames; h may be 0.
        tail: (t, F) raw features of the last frames; t may be 0.
        goal: (4,) from the last frame of the head to the first of the tail, see `goal_between`; None without
            both.
    """

    frames: int
    head: Tensor
    tail: Tensor
    goal: Tensor | None = None


@torch.no_grad()
def known_latents(codec: MotionCodec, given: Sequence[GivenFrames]) -> Known:
    """What is known of several motions, K = the latents of the longest; on the codec's device.

    The codec must have a latent for every few frames (`MotionCodec.frames_per_latent`).
    """
    per_latent = codec.frames_per_latent
    assert per_latent is not None
    counts = [codec.latent_count(one.frames) for one in given]
    rows, places = len(given), max(counts)
    device = codec.feature_mean.device
    latents = torch.zeros(rows, places, codec.latent_channels, device=device)
    given_mask = torch.zeros(rows, places, dtype=torch.bool, device=device)
    hinted_mask = torch.zeros_like(given_mask)
    goal = torch.zeros(rows, GOAL_FEATURES, device=device)
    has_goal = torch.zeros(rows, dtype=torch.bool, device=device)

    # Stretches to encode: row, place of their first latent, features.
    stretches: list[tuple[int, int, Tensor]] = []
    for row, one in enumerate(given):
        if len(one.head):
            stretches.append((row, 0, one.head))
            whole = len(one.head) // per_latent
            given_mask[row, :whole] = True
            hinted_mask[row, whole : codec.latent_count(len(one.head))] = True
        begin = one.frames - len(one.tail)
        first = -(-begin // per_latent)
        if len(one.tail) and first < counts[row]:
            stretches.append((row, first, one.tail[first * per_latent - begin :]))
            given_mask[row, first : counts[row]] = True
            hinted_mask[row, first:] = False
        if one.goal is not None:
            goal[row], has_goal[row] = one.goal.to(device), True
    if stretches:
        features = nn.utils.rnn.pad_sequence([part for *_, part in stretches], batch_first=True).to(device)
        lengths = torch.tensor([len(part) for *_, part in stretches], device=device)
        means, _ = codec.encode(features, lengths)
        for (row, first, _), mean, count in zip(stretches, means, codec.latent_counts(lengths).tolist()):
            latents[row, first : first + count] = mean[:count]
    return Known(latents, given_mask, hinted_mask, goal, has_goal)
