"""What repairs (``--clean``) do to real and generated clips: sliding, floor, jerk, how far joints move.

    python benchmarks/clean_up.py models/mini --data datasets/mocap --every 2

Real clips are those of the test split without mirror images; generated ones three of each of 16 prompts.
"Standing" is the mean horizontal speed of ankle and toe joints in the frames in which they rest in the clip
as it was (`resting_foot_joints`, up to 0.5 m/s), the other measures are those of `evaluation.physical`.
Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.evaluation.physical import measure_physics
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.motion.clean_up import SLIDING_SPEED, CleanUp
from motiongpt3.motion.features import features_to_joints
from motiongpt3.motion.foot_lock import ANKLES, TOES, ground_height, resting_foot_joints
from motiongpt3.motion.motion import Motion

PROMPTS = (
    "a person walks forward",
    "a man walks in a circle",
    "a person runs forward",
    "a person jumps up and down",
    "a person waves with the left hand",
    "a person turns around to the right",
    "someone walks backwards",
    "a person bows",
    "a person kicks with the right leg",
    "a woman walks slowly and turns left",
    "a person does a cartwheel",
    "a person stands still",
    "someone jogs",
    "a person walks to the left",
    "a person raises both hands",
    "a person hops forward",
)
VARIANTS = ("", "smooth", "feet", "smooth,feet", "all")
COLUMNS = ("skate cm/s", "standing cm/s", "under floor mm", "jerk m/s3", "moved mm", "median most moved mm")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="use every so many-th clip of the test split")
    arguments = parser.parse_args()
    model = MotionGPT3.from_pretrained(arguments.model)
    made = [motion for seed in range(3) for motion in model.generate(PROMPTS, seeds=[seed] * len(PROMPTS))]
    clips = {"real": real_clips(arguments.data, arguments.every), "generated": made}
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in VARIANTS:
        for kind, motions in clips.items():
            row = dict(zip(COLUMNS, measured(motions, name).tolist(), strict=True))
            results.setdefault(kind, {})[name or "as it is"] = row
            print(
                f"{name or 'as it is':12}{kind:10}", *(f"{key} {value:.2f}  " for key, value in row.items())
            )
    print(json.dumps(results))


def real_clips(root: Path, every: int) -> list[Motion]:
    dataset = HumanML3DDataset(root)
    own = [
        segment
        for segment in dataset.segments("test")
        if not (found := dataset.metadata.get(segment.clip))
        or not (found.mirrored_from or found.duplicate_of)
    ]
    joints = [features_to_joints(torch.from_numpy(dataset.features(segment))) for segment in own[::every]]
    return [Motion.from_joints(clip) for clip in joints if len(clip) >= 20]


def measured(motions: Sequence[Motion], repairs: str) -> Tensor:
    """(6,) means over clips, see `COLUMNS`; the last is the median over clips."""
    rows = []
    for motion in motions:
        mended = CleanUp.parse(repairs)(motion) if repairs else motion
        before, after = motion.joints.double(), mended.joints.double()
        physics = measure_physics(after, motion.fps)
        moved = 1000 * torch.linalg.vector_norm(after - before, dim=-1)
        rows.append(
            [
                physics.foot_skate,
                standing_speed(before, after, motion.fps),
                1000 * max(0.0, -physics.lowest_foot),
                physics.jerk,
                float(moved.mean()),
                float(moved.max()),
            ]
        )
    table = torch.tensor(rows, dtype=torch.float64)
    return torch.cat([table[:, :-1].nanmean(0), table[:, -1:].median(0).values])


def standing_speed(before: Tensor, after: Tensor, fps: float) -> float:
    """Centimetres per second of joints of feet that rest in ``before``, as they move in ``after``."""
    rests = resting_foot_joints(before, ground_height(before), fps, SLIDING_SPEED)
    feet = torch.stack([after[:, ANKLES], after[:, TOES]], dim=1)
    speed = torch.linalg.vector_norm(feet.diff(dim=0)[..., (0, 2)], dim=-1) * fps
    return float(100 * speed[rests[1:] & rests[:-1]].mean())


if __name__ == "__main__":
    main()
