"""How well does a motion VAE give back what it is given? In millimetres, on clips it was not trained on.

    python benchmarks/reconstruction.py models/mini --data DATASET --split test

Each clip goes through the posterior mean and the decoder; joints are recovered from features on both sides.
Global MPJPE includes the drift of the path; root-aligned MPJPE moves the pelvis of every frame together.
Mirror images are left out: they say the same again. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.errors import MotionGPT3Error
from motiongpt3.evaluation.reconstruction import mpjpe, root_aligned_mpjpe
from motiongpt3.models.codec import MotionCodec
from motiongpt3.models.folders import read_config
from motiongpt3.models.motiongpt import MODEL_NAME, MotionGPT3
from motiongpt3.motion.features import features_to_joints


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a model or of a motion codec")
    parser.add_argument("--data", type=Path, required=True, help="dataset in HumanML3D's layout")
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    try:
        codec = load_codec(options.model)
        dataset = HumanML3DDataset(options.data)
        errors = measure(codec, dataset, options.split)
    except MotionGPT3Error as error:
        print(error, file=sys.stderr)
        return 2
    table = torch.tensor(errors)
    means, spread = table.mean(dim=0), 1.96 * table.std(dim=0) / len(table) ** 0.5
    found = {
        "benchmark": "reconstruction",
        "model": str(options.model),
        "split": options.split,
        "clips": len(table),
        "global_mpjpe_mm": round(float(means[0]), 2),
        "global_mpjpe_interval": round(float(spread[0]), 2),
        "root_aligned_mpjpe_mm": round(float(means[1]), 2),
        "root_aligned_mpjpe_interval": round(float(spread[1]), 2),
    }
    print(json.dumps(found))
    return 0


def load_codec(folder: Path) -> MotionCodec:
    """The codec in a folder, alone or as part of a model."""
    if read_config(folder).get("model") == MODEL_NAME:
        return MotionGPT3.from_pretrained(folder).codec
    return MotionCodec.from_pretrained(folder)


@torch.inference_mode()
def measure(codec: MotionCodec, dataset: HumanML3DDataset, split: str) -> list[list[float]]:
    """Global and root-aligned MPJPE of each clip of a split that is not a mirror image."""
    errors = []
    for segment in dataset.segments(split):
        known = dataset.metadata.get(segment.clip)
        if known is not None and known.mirrored_from is not None:
            continue
        features = torch.from_numpy(dataset.features(segment))[None]
        lengths = torch.tensor([features.shape[1]])
        latents, _ = codec.encode(features, lengths)
        made, real = features_to_joints(codec.decode(latents, lengths))[0], features_to_joints(features)[0]
        errors.append([float(mpjpe(made, real)), float(root_aligned_mpjpe(made, real))])
    return errors


if __name__ == "__main__":
    sys.exit(main())
