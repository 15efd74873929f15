"""How long does a film of the body take to draw in software? A walk of 196 frames, at 512 x 512.

    python benchmarks/rendering.py
    python benchmarks/rendering.py --style cylinders --frames 60

Fit the body, skin it, light it, cast its shadows, rasterise at four samples a pixel, encode. Seconds are
given by the clock, which on a busy machine says more about the others, and as those of one processor: drawing
uses one at a time, the encoder works beside it. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

from motiongpt3.body.embedded import embedded_body
from motiongpt3.body.fitting import BodyMotion
from motiongpt3.motion.motion import Motion
from motiongpt3.motion.rotations import axis_angle_to_matrix
from motiongpt3.motion.skeleton import JOINT_INDEX
from motiongpt3.render.figures import STYLES
from motiongpt3.render.film import write_video


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--style", choices=STYLES, default="mesh")
    parser.add_argument("--frames", type=int, default=196)
    parser.add_argument("--size", type=int, default=512)
    options = parser.parse_args()
    motion = walk(options.frames)
    with tempfile.TemporaryDirectory() as folder:
        before = processor_seconds()
        start = time.perf_counter()
        write_video(motion, Path(folder) / "film.mp4", options.size, "a person walks", style=options.style)
        seconds = time.perf_counter() - start
        own, others = (now - then for now, then in zip(processor_seconds(), before, strict=True))
    found = {
        "benchmark": "rendering",
        "style": options.style,
        "frames": options.frames,
        "size": options.size,
        "seconds": round(seconds, 1),
        "drawing_processor_seconds": round(own, 1),
        "encoding_processor_seconds": round(others, 1),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }
    print(json.dumps(found))
    return 0


def walk(frames: int) -> Motion:
    """A made-up walk: legs and arms swing as pendulums, a metre a second."""
    body = embedded_body()
    phase = 2 * math.pi * torch.arange(frames) / 20
    swing = {
        "left_hip": -0.5 * phase.sin(),
        "right_hip": 0.5 * phase.sin(),
        "left_knee": 0.5 - 0.5 * phase.cos(),
        "right_knee": 0.5 + 0.5 * phase.cos(),
    }
    turns = torch.zeros(frames, 22, 3)
    for name, angle in swing.items():
        turns[:, JOINT_INDEX[name], 0] = angle
    turns[:, JOINT_INDEX["left_shoulder"], 2] = -1.2
    turns[:, JOINT_INDEX["right_shoulder"], 2] = 1.2
    place = torch.zeros(frames, 3)
    place[:, 1], place[:, 2] = 0.95 - body.joints[0, 1], torch.arange(frames) / 20
    return Motion(BodyMotion(body, axis_angle_to_matrix(turns), place, 20.0).joints(), name="walk")


def processor_seconds() -> tuple[float, float]:
    """Of this process, and of those it started that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, others = (usage.ru_utime + usage.ru_stime for usage in usages)
    return own, others


if __name__ == "__main__":
    sys.exit(main())
