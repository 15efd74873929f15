"""All tasks of one model on one split, with the tables for its card.

    python benchmarks/mini_evaluation.py models/mini --data datasets/mocap --out results/mini
    torchrun --nproc-per-node 2 benchmarks/mini_evaluation.py models/mini --data … --out …

Runs ``motiongpt3 evaluate`` for each task into a folder of its own below OUT; what is finished there is taken
as it is, so that a stopped run goes on. Then prints one Markdown table for each task, real clips beside what
the model makes. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from motiongpt3.cli.evaluate import EVALUATOR, evaluate
from motiongpt3.errors import MotionGPT3Error
from motiongpt3.evaluation.protocol.processes import joined_processes
from motiongpt3.evaluation.report.tables import TITLES, markdown_table, metric_tables

TASKS = ("t2m", "m2t", "pred", "inbetween", "reconstruction")


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="folder, name in models/, or hub id")
    parser.add_argument("--data", type=Path, required=True, help="dataset in HumanML3D's layout")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--split", default="test")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--replications", type=int, default=20)
    parser.add_argument("--multimodality", type=int, help="captions; default: the protocol's 100")
    parser.add_argument("--multimodality-replications", type=int, help="default: all")
    parser.add_argument("--limit", type=int, help="so many clips, evenly; default: all")
    parser.add_argument("--evaluator", default=EVALUATOR)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    summaries: dict[str, Any] = {}
    with joined_processes() as (rank, _):
        for task in options.tasks:
            try:
                evaluate(
                    options.model,
                    options.data,
                    options.out / task,
                    task,
                    options.split,
                    options.replications,
                    evaluator=options.evaluator,
                    multimodality=options.multimodality,
                    multimodality_replications=options.multimodality_replications,
                    limit=options.limit,
                    device=options.device,
                )
            except MotionGPT3Error as error:
                print(f"{task}: {error}", file=sys.stderr)
                return 2
            found = json.loads((options.out / task / "metrics.json").read_text(encoding="utf-8"))
            summaries[task] = found["summary"]
            if rank == 0:
                print_tables(task, found)
    if rank == 0:
        print(json.dumps({"benchmark": "mini_evaluation", "model": options.model, "summary": summaries}))
    return 0


def print_tables(task: str, found: dict[str, Any]) -> None:
    """What ``metrics.json`` says, as Markdown."""
    print(
        f"\n### {TITLES[task]} ({found['data']['clips']} clips, {len(found['replications'])} replications)\n"
    )
    for table in metric_tables(found["summary"]).values():
        print(markdown_table(table), end="\n\n")
    print("\n".join(f"- {note}" for note in found["notes"]))


if __name__ == "__main__":
    sys.exit(main())
