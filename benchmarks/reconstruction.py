"""How well does a motion VAE, or VQ-VAE, give back what it is given? In millimetres, on unseen clips.

    python benchmarks/reconstruction.py models/mini --data DATASET --split test

Each clip goes through the posterior mean, or its codes, and the decoder; joints are recovered from features
on both sides.
Global MPJPE includes the drift of the path; root-aligned MPJPE moves the pelvis of every frame together.
Mirror images are left out: they say the same again. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from motiongpt3.cli.motion_codes import load_motion_tokenizer
from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.errors import MotionGPT3Error
from motiongpt3.evaluation.reconstruction import mpjpe, root_aligned_mpjpe
from motiongpt3.models.codec import MotionCodec
from motiongpt3.models.folders import read_config
from motiongpt3.models.motion_tokenizer import MODEL_NAME as MOTION_TOKENIZER
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from motiongpt3.models.motion_tokens import MODEL_NAME as MOTION_TOKEN_GPT
from motiongpt3.models.motiongpt import MODEL_NAME, MotionGPT3
from motiongpt3.motion.features import features_to_joints

RoundTrip = Callable[[Tensor, Tensor], Tensor]
"""Raw features (B, T, 263) and lengths (B,) to what is given back of them."""


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a model, a motion codec or a motion tokenizer")
    parser.add_argument("--data", type=Path, required=True, help="dataset in HumanML3D's layout")
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    try:
        round_trip = load_round_trip(options.model)
        dataset = HumanML3DDataset(options.data)
        errors = measure(round_trip, dataset, options.split)
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


def load_round_trip(folder: Path) -> RoundTrip:
    """The way to latents or codes and back of what is in a folder, alone or as part of a model."""
    kind = read_config(folder).get("model")
    if kind in (MOTION_TOKENIZER, MOTION_TOKEN_GPT):
        return tokens_and_back(load_motion_tokenizer(folder))
    codec = (
        MotionGPT3.from_pretrained(folder).codec
        if kind == MODEL_NAME
        else MotionCodec.from_pretrained(folder)
    )
    return lambda features, lengths: codec.decode(codec.encode(features, lengths)[0], lengths)


def tokens_and_back(tokenizer: MotionTokenizer) -> RoundTrip:
    """Frames that do not fill a code are not given back."""
    return lambda features, lengths: tokenizer.decode(
        tokenizer.encode(features, lengths), lengths // tokenizer.frames_per_code
    )


@torch.inference_mode()
def measure(round_trip: RoundTrip, dataset: HumanML3DDataset, split: str) -> list[list[float]]:
    """Global and root-aligned MPJPE of each clip of a split that is not a mirror image."""
    errors = []
    for segment in dataset.segments(split):
        known = dataset.metadata.get(segment.clip)
        if known is not None and known.mirrored_from is not None:
            continue
        features = torch.from_numpy(dataset.features(segment))[None]
        made = features_to_joints(round_trip(features, torch.tensor([features.shape[1]])))[0]
        real = features_to_joints(features)[0, : len(made)]
        errors.append([float(mpjpe(made, real)), float(root_aligned_mpjpe(made, real))])
    return errors


if __name__ == "__main__":
    sys.exit(main())
