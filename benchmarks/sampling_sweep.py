"""Which guidance, and how many steps? Text-to-motion on the validation split, one setting after the other.

    python benchmarks/sampling_sweep.py models/mini --data datasets/mocap --out results/sweep

Settings are chosen on validation, never on test. Each is evaluated into a folder of its own below OUT; what
is finished there is taken as it is. Writes ``sweep.png``: FID, R-precision and jerk over guidance, and over
steps. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from motiongpt3.cli.evaluate import EVALUATOR, evaluate
from motiongpt3.files import atomic_file

GUIDANCES = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
STEPS = (1, 2, 5, 10, 20, 50, 100)
SHOWN = ("FID", "R-precision 1", "jerk m/s³")

Curve = list[dict[str, Any]]


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="folder, name in models/, or hub id")
    parser.add_argument("--data", type=Path, required=True, help="dataset in HumanML3D's layout")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--split", default="val")
    parser.add_argument("--replications", type=int, default=3)
    parser.add_argument("--evaluator", default=EVALUATOR)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    curves: dict[str, Curve] = {"guidance": [], "steps": []}
    for name, values in (("guidance", GUIDANCES), ("steps", STEPS)):
        for value in values:
            folder = options.out / f"{name}-{value:g}"
            evaluate(
                options.model,
                options.data,
                folder,
                "t2m",
                options.split,
                options.replications,
                evaluator=options.evaluator,
                multimodality=0,
                device=options.device,
                **{name: value},
            )
            curves[name].append({name: value, **scores_of(folder)})
    draw(curves, options.out / "sweep.png")
    print(json.dumps({"benchmark": "sampling_sweep", "model": options.model, **curves}))
    return 0


def scores_of(folder: Path) -> dict[str, list[float]]:
    """What is shown of a finished evaluation, replication by replication."""
    found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {name: [one["generated"][name] for one in found["replications"]] for name in SHOWN}


def draw(curves: dict[str, Curve], path: Path) -> None:
    """A row of plots for each setting, a column for each metric; a dot for each replication."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.5), layout="constrained")
    table = figure.subplots(len(curves), len(SHOWN), squeeze=False)
    for row, (name, curve) in zip(table, curves.items()):
        values = [point[name] for point in curve]
        for axes, metric in zip(row, SHOWN):
            scores = [point[metric] for point in curve]
            axes.plot(values, [fmean(of) for of in scores])
            axes.plot(values, scores, "o", color="black", markersize=3)
            axes.set_xlabel(name)
            axes.set_ylabel(metric)
            if name == "steps":
                axes.set_xscale("log")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
