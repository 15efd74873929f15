"""Any motion as the models know it: 20 frames a second, one body, on the floor, with features.

Read a file with `motiongpt3.motion.formats.read_motion`, whatever its format, skeleton, unit and frame rate,
and `standardise` what comes out: captioning, prediction, in-between and training all start from that.
"""

from __future__ import annotations

from dataclasses import replace

from motiongpt3.errors import InputError
from motiongpt3.motion.features import FRAMES_PER_SECOND, joints_to_features
from motiongpt3.motion.motion import Motion

SHORTEST_FRAMES = 3
"""Frames at 20 a second that a motion needs: features describe steps, and two rows are the least."""


def standardise(motion: Motion) -> Motion:
    """Resample to 20 frames a second, fit the uniform skeleton, put on the floor, face +z, compute features.

    The lowest joint of the whole clip is taken to touch the floor, and the first frame's hips and shoulders
    to say what is forward, as in HumanML3D. The heading never jumps (`continuous_heading` of
    `joints_to_features`). Bone lengths, place, heading and the last frame are lost: T frames at 20 a second
    give T - 1. Nothing is smoothed or repaired.

    Args:
        motion: any. If it has features and 20 frames a second it is returned as it is.

    Returns:
        A motion at 20 frames a second whose `features` are set, with the name and source of ``motion``.

    Raises:
        InputError: naming the source, if fewer than three frames would remain, or the right leg, by
            which the path is scaled, has no length in the first frame.
    """
    if motion.features is not None and motion.fps == FRAMES_PER_SECOND:
        return motion
    where = motion.source or motion.name
    sampled = motion.resample(FRAMES_PER_SECOND)
    if len(sampled) < SHORTEST_FRAMES:
        raise InputError(
            f"{where}: {motion.duration:.2g} s are too short; a motion needs {SHORTEST_FRAMES} frames "
            f"at {FRAMES_PER_SECOND:g} a second"
        )
    try:
        features = joints_to_features(sampled.joints.double(), continuous_heading=True)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    standard = Motion.from_features(features, FRAMES_PER_SECOND, motion.name, where)
    return replace(standard, source=motion.source)
