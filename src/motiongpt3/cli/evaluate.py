"""``motiongpt3 evaluate``: a model against a split, with intervals, and every choice on record."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from rich.console import Console

from motiongpt3.errors import InputError

EVALUATOR = "models/mini-evaluator"


def evaluate(
    model: str,
    data: Path | None = None,
    out: Path | None = None,
    task: str = "t2m",
    split: str = "test",
    replications: int = 20,
    protocol: str = "standard",
    evaluator: str = EVALUATOR,
    guidance: float | None = None,
    steps: int | None = None,
    scheduler: str | None = None,
    lengths: str = "real",
    multimodality: int | None = None,
    multimodality_replications: int | None = None,
    pool_size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
    device: str = "auto",
) -> int:
    """Measure a model on a split: metrics.json, report.md and report.html.

    Start it again with the same --out to go on where it stopped; under torchrun, processes share the clips.

    Args:
        model: folder, name in models/, or hub id; or answers made before: a folder of NAME.npy (features) or
            a JSON file of captions by the names of clips.
        data: dataset in HumanML3D's layout; for t2t a text file, one passage a line.
        out: folder to write to.
        task: t2m, m2t, pred, inbetween, reconstruction or t2t.
        split: which clips.
        replications: how often, with other captions, noise and pools.
        protocol: standard or official-release; see docs/evaluation.md.
        evaluator: folder of one, trained here or by Guo et al. or TMR; none leaves out what needs one.
        guidance: scale of classifier-free guidance (default: the model's).
        steps: of the sampler (default: the model's).
        scheduler: the sampler (default: the model's).
        lengths: of generated motions: real, that of the clip, or model, chosen by the text.
        multimodality: sentences for multimodality, 30 motions each (default: the protocol's 100; 0 leaves it
            out).
        multimodality_replications: measure it in so many replications only, from the first on (default: all);
            it takes 3,000 motions each time.
        pool_size: pairs in a pool of R-precision (default: the protocol's 32).
        limit: so many clips, evenly from the split; for a quick look.
        seed: number of the first replication.
        batch_size: motions worked on together.
        device: auto, cpu, cuda or mps.

    Returns:
        0.

    Raises:
        InputError: anything in the request that cannot be done.
    """
    if data is None or out is None:
        raise InputError("say which dataset (--data) and where to write (--out)")
    if replications < 1 or seed < 0 or batch_size < 1 or (limit is not None and limit < 1):
        raise InputError("--replications, --batch_size and --limit must be at least 1, --seed at least 0")
    from motiongpt3.cli.generate import choose_device
    from motiongpt3.data.humanml3d import HumanML3DDataset
    from motiongpt3.evaluation.evaluators.loading import load_evaluator
    from motiongpt3.evaluation.protocol.answers import Decoding, ModelAnswers, load_answers
    from motiongpt3.evaluation.protocol.choices import protocol_named
    from motiongpt3.evaluation.protocol.clips import evaluated_split
    from motiongpt3.evaluation.protocol.evaluation import TASKS, evaluate_clips, evaluate_text
    from motiongpt3.evaluation.protocol.processes import joined_processes, own_device
    from motiongpt3.evaluation.protocol.setting import Setting

    if task not in TASKS:
        raise InputError(f"no task {task!r}: choose from {', '.join(TASKS)}")
    changes: dict[str, Any] = {
        "lengths": lengths,
        "multimodality_captions": multimodality,
        "multimodality_replications": multimodality_replications,
        "pool_size": pool_size,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    choices = dataclasses.replace(protocol_named(protocol), **given)
    console = Console(stderr=True)
    where = own_device(choose_device(device))
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with joined_processes() as (rank, _), console.status("loading") as status:

        def say(line: str) -> None:
            if rank == 0:
                console.print(line, markup=False, highlight=False)

        answers = load_answers(model, Decoding(guidance, steps, scheduler, batch_size), where, status.update)
        if task == "t2t":
            if not isinstance(answers, ModelAnswers):
                raise InputError("t2t is measured on a model, not on files")
            evaluate_text(answers, data, out)
        else:
            clips = evaluated_split(HumanML3DDataset(data), split, choices, limit)
            judge = None if evaluator == "none" else load_evaluator(evaluator, choices.packed, where)
            setting = Setting(
                clips,
                choices,
                answers,
                judge,
                seed,
                lambda what, done, total: status.update(f"{what}: {done} of {total}"),
            )
            evaluate_clips(task, setting, replications, out, say)
        if rank == 0:
            for name in ("metrics.json", "report.md", "report.html"):
                Console().print(str(out / name), soft_wrap=True, markup=False, highlight=False)
    return 0
