"""How near does a fitted body come to the joints of real clips, does it flip, and how fast is it?

    python benchmarks/body_fitting.py --data DATASET --split test

Every clip of a split that is not a mirror image is fitted in closed form, with the body taking the clip's
proportions. Speed is that of a clip of 200 frames, by the clock and by the seconds of one processor: on a
busy machine only the second means something. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from motiongpt3.body.embedded import embedded_body
from motiongpt3.body.fitting import fit_body, joint_error
from motiongpt3.body.flips import find_flips
from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.errors import MotionGPT3Error
from motiongpt3.motion.motion import Motion

SPEED_FRAMES = 200
REPEATS = 5


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset in HumanML3D's layout")
    parser.add_argument("--split", default="test")
    parser.add_argument("--every", type=int, default=1, help="take only every so many-th clip")
    options = parser.parse_args()
    try:
        dataset = HumanML3DDataset(options.data)
        motions = clips(dataset, options.split)[:: options.every]
        found = measure(motions) | speed(motions)
    except MotionGPT3Error as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"benchmark": "body_fitting", "split": options.split, **found}))
    return 0


def clips(dataset: HumanML3DDataset, split: str) -> list[Motion]:
    """The clips of a split that are not mirror images."""
    motions = {}
    for segment in dataset.segments(split):
        known = dataset.metadata.get(segment.clip)
        if segment.clip not in motions and not (known and known.mirrored_from):
            motions[segment.clip] = Motion.from_features(dataset.features(segment), name=segment.clip)
    return list(motions.values())


def measure(motions: list[Motion]) -> dict[str, object]:
    """Joint errors in millimetres, and flips."""
    means, flips = [], []
    for motion in motions:
        fitted = fit_body(motion, embedded_body())
        error = 1000 * joint_error(fitted, motion)
        means.append(float(error.mean()))
        flips += [
            f"{motion.name}: {flip.joint} {flip.degrees:.0f} at {flip.frame}"
            for flip in find_flips(fitted, motion)
        ]
    worst = int(np.argmax(means))
    return {
        "clips": len(motions),
        "frames": sum(len(motion) for motion in motions),
        "mean_error_mm": round(float(np.mean(means)), 2),
        "worst_clip_mm": round(means[worst], 2),
        "worst_clip": motions[worst].name,
        "flips": len(flips),
        "first_flips": flips[:10],
    }


def speed(motions: list[Motion]) -> dict[str, object]:
    """Frames a second of the closed form, and of closed form and vertices."""
    long = max(motions, key=len)
    joints = long.joints.repeat(-(-SPEED_FRAMES // len(long)), 1, 1)[:SPEED_FRAMES]
    motion = Motion.from_joints(joints)
    fitted = fit_body(motion, embedded_body())
    times, processor = [], []
    for _ in range(REPEATS):
        start, used = time.perf_counter(), time.process_time()
        fitted = fit_body(motion, embedded_body())
        times.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    start, used = time.perf_counter(), time.process_time()
    fitted.vertices()
    skinning, skinning_processor = time.perf_counter() - start, time.process_time() - used
    return {
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "frames_per_second": round(SPEED_FRAMES / min(times)),
        "frames_per_processor_second": round(SPEED_FRAMES / min(processor)),
        "frames_per_second_skinned": round(SPEED_FRAMES / (min(times) + skinning)),
        "frames_per_processor_second_skinned": round(SPEED_FRAMES / (min(processor) + skinning_processor)),
    }


if __name__ == "__main__":
    sys.exit(main())
