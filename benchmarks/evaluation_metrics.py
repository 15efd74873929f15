"""How long do the metrics of an evaluation take, when the motions are there already?

    python benchmarks/evaluation_metrics.py --evaluator models/mini-evaluator
    python benchmarks/evaluation_metrics.py --evaluator t2m

A dataset as large as HumanML3D's test split (4,400 clips of 40 to 196 frames, three captions each) and an
answer to each are written to a temporary folder: smooth random motion. Then t2m is evaluated from these
files, 20 times: embeddings, FID, R-precision, matching, diversity, physical measures, report. What is the
same in all replications is computed once; what is left is pools and captions. ``t2m`` stands for the networks
of Guo et al. with random weights and random word vectors: they take the same time with any weights.

The last line printed is one JSON object; peak memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.evaluation.evaluators.glove import GloveVocabulary
from motiongpt3.evaluation.evaluators.interface import Evaluator
from motiongpt3.evaluation.evaluators.loading import load_evaluator
from motiongpt3.evaluation.evaluators.t2m import T2MEvaluator
from motiongpt3.evaluation.protocol.answers import FileAnswers
from motiongpt3.evaluation.protocol.choices import protocol_named
from motiongpt3.evaluation.protocol.clips import evaluated_split
from motiongpt3.evaluation.protocol.evaluation import evaluate_clips
from motiongpt3.evaluation.protocol.setting import Setting
from motiongpt3.models.t2m_evaluator import WORD_WIDTH, T2MEvaluatorNetworks
from motiongpt3.motion.features import FEATURE_WIDTH, Statistics

SHORTEST, LONGEST = 40, 196
VERBS = ("walks", "runs", "jumps", "turns", "waves", "kicks", "sits", "bends")
WAYS = ("slowly", "quickly", "forward", "backward", "in a circle", "to the left", "to the right", "twice")


def write_world(root: Path, clips: int) -> None:
    """A dataset and, in ``answers``, a motion for each of its clips."""
    random = np.random.default_rng(0)
    data, answers = root / "data", root / "answers"
    for folder in (data / "new_joint_vecs", data / "texts", answers):
        folder.mkdir(parents=True)
    names = [f"{number:06d}" for number in range(clips)]
    for number, name in enumerate(names):
        frames = int(random.integers(SHORTEST, LONGEST + 1))
        for folder in (data / "new_joint_vecs", answers):
            steps = random.standard_normal((frames, FEATURE_WIDTH), dtype=np.float32)
            np.save(folder / f"{name}.npy", 0.01 * steps.cumsum(0, dtype=np.float32))
        lines = [
            f"a person {VERBS[(number + place) % 8]} {WAYS[number // 8 % 8]} {number}"
            "#a/DET person/NOUN walk/VERB#0.0#0.0\n"
            for place in range(3)
        ]
        (data / "texts" / f"{name}.txt").write_text("".join(lines))
    (data / "test.txt").write_text("".join(f"{name}\n" for name in names))


def official_size_evaluator() -> T2MEvaluator:
    """Guo et al.'s networks with random weights."""
    torch.manual_seed(0)
    words = {"unk": 0, "sos": 1, "eos": 2, "a": 3, "person": 4, "walk": 5}
    vectors = np.random.default_rng(0).standard_normal((len(words), WORD_WIDTH)).astype(np.float32)
    statistics = Statistics(torch.zeros(FEATURE_WIDTH), torch.ones(FEATURE_WIDTH))
    return T2MEvaluator(T2MEvaluatorNetworks(), statistics, GloveVocabulary(vectors, words))


def measure(evaluator: Evaluator, root: Path, replications: int) -> dict[str, Any]:
    """Seconds of the evaluation, by the clock and of the processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    protocol = protocol_named("standard")
    split = evaluated_split(HumanML3DDataset(root / "data"), "test", protocol)
    setting = Setting(split, protocol, FileAnswers(root / "answers"), evaluator)
    evaluate_clips("t2m", setting, replications, root / "out")
    return {
        "clips": len(split.clips),
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--evaluator", default="models/mini-evaluator", help="folder, or t2m")
    parser.add_argument("--clips", type=int, default=4400)
    parser.add_argument("--replications", type=int, default=20)
    options = parser.parse_args()
    evaluator = official_size_evaluator() if options.evaluator == "t2m" else load_evaluator(options.evaluator)
    with tempfile.TemporaryDirectory() as folder:
        write_world(Path(folder), options.clips)
        found = measure(evaluator, Path(folder), options.replications)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    print(
        json.dumps(
            {
                "benchmark": "evaluation_metrics",
                "evaluator": options.evaluator,
                "replications": options.replications,
                "threads": torch.get_num_threads(),
                "peak_gib": round(peak, 2),
                **found,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
