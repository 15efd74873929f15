"""One evaluation from end to end: settings, replications, summary, ``metrics.json``, report."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from motiongpt3 import __version__
from motiongpt3.data.loaders import process
from motiongpt3.errors import InputError
from motiongpt3.evaluation.language import backbone_logits, model_logits, text_score
from motiongpt3.evaluation.protocol.answers import FileAnswers, ModelAnswers
from motiongpt3.evaluation.protocol.measurement import MEASURES
from motiongpt3.evaluation.protocol.notes import notes
from motiongpt3.evaluation.protocol.processes import from_first
from motiongpt3.evaluation.protocol.replications import ReplicationFolder, summary
from motiongpt3.evaluation.protocol.setting import Replication, Setting
from motiongpt3.evaluation.protocol.text_scores import text_conventions
from motiongpt3.evaluation.report.page import write_report
from motiongpt3.evaluation.report.plots import write_samples
from motiongpt3.evaluation.report.tables import FAMILIES
from motiongpt3.files import atomic_file

TASKS = (*MEASURES, "t2t")
DETERMINISTIC = ("reconstruction", "t2t")
"""Tasks in which nothing is drawn: one replication says it all."""

NEEDS_EVALUATOR = ("t2m", "m2t")
METRICS_FILE = "metrics.json"
PACKAGES = (
    "torch",
    "torchmetrics",
    "transformers",
    "diffusers",
    "numpy",
    "scipy",
    "pycocoevalcap",
    "bert-score",
    "spacy",
)


def evaluate_clips(
    task: str,
    setting: Setting,
    replications: int,
    out: Path,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Evaluate a task that is measured on clips; finished replications in ``out`` are taken as they are.

    Args:
        task: one of `MEASURES`.
        setting: clips, answers, evaluator, choices.
        replications: how often.
        out: the evaluation's folder.
        report: told about finished replications.

    Returns:
        What ``metrics.json`` says.

    Raises:
        InputError: if the split, the answers or the folder cannot be used.
    """
    _check(task, setting)
    results = _settings(task, setting)
    folder = ReplicationFolder(out, results)
    rank, _ = process()
    found: list[Replication] = []
    count = 1 if task in DETERMINISTIC else replications
    for place in range(count):
        number = setting.first + place
        # The folder may be on the first process's machine only.
        done = from_first(functools.partial(folder.finished, number))
        when = "finished before, " if done else ""
        if done is None:
            done = MEASURES[task](setting, number)
            if rank == 0:
                write_samples(out, done.samples)
                folder.write(number, done)
        found.append(done)
        report(f"replication {place + 1} of {count}: {when}{_headline(done)}")
    results["notes"] = notes(task, setting, count)
    results |= {"replications": [one.scores for one in found], "summary": summary(found)}
    if found[0].texts:
        results["captions"] = found[0].texts
    from_first(lambda: _write(out, results, found))
    return results


def evaluate_text(answers: ModelAnswers, file: Path, out: Path) -> dict[str, Any]:
    """Perplexity on a text, one passage a line, of a model and of the language model that it came from.

    Raises:
        InputError: if the file holds no text.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not readable as text ({error})") from None
    model = answers.language_model
    sentences = [
        model.tokenizer(line, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
        for line in lines
        if line
    ]
    own = text_score(model_logits(model), sentences)
    scores = {"generated": {"perplexity": own.perplexity}}
    backbone = backbone_logits(model)
    described = answers.describe()
    if backbone is not None:
        scores["unmodified"] = {"perplexity": text_score(backbone[0], sentences).perplexity}
        described["unmodified"] = backbone[1]
    found = [Replication(scores)]
    results = {
        "task": "t2t",
        "answers": described,
        "data": {"root": str(file), "passages": len(sentences), "tokens": own.tokens},
        "versions": versions(),
        "replications": [scores],
        "summary": summary(found),
    }
    _write(out, results, found)
    return results


def versions() -> dict[str, str]:
    """Of this project, of Python, and of the packages that numbers depend on, where they are installed."""
    found = {"motiongpt3": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _check(task: str, setting: Setting) -> None:
    clips, processes = setting.split.clips, process()[1]
    if len(clips) < processes:
        raise InputError(f"{processes} processes cannot share {len(clips)} clips: start fewer")
    if isinstance(setting.answers, FileAnswers):
        setting.answers.check(clips)
        if task in ("pred", "inbetween") and setting.protocol.random_cuts:
            raise InputError(
                f"files hold whole clips, but protocol {setting.protocol.name} cuts them at random: "
                "evaluate files with --protocol standard"
            )
    if task in NEEDS_EVALUATOR:
        setting.the_evaluator()
    if task in NEEDS_EVALUATOR and len(clips) < setting.protocol.pool_size:
        raise InputError(
            f"{len(clips)} clips do not fill one pool of {setting.protocol.pool_size} for R-precision: "
            "evaluate a larger split, or choose smaller pools (--pool_size), which are not the field's"
        )
    if setting.evaluator is not None:
        shortest = min(clip.frames for clip in clips)
        if shortest < setting.evaluator.shortest_frames:
            raise InputError(
                f"the evaluator reads {setting.evaluator.shortest_frames} frames or more, a clip has only "
                f"{shortest}"
            )


def _settings(task: str, setting: Setting) -> dict[str, Any]:
    split = setting.split
    results: dict[str, Any] = {
        "task": task,
        "answers": setting.answers.describe(),
        "data": {
            "root": str(split.dataset.root),
            "split": split.name,
            "sha256 of clips and captions": split.fingerprint,
            "clips": len(split.clips),
            "excluded": split.excluded,
        },
        "protocol": setting.protocol.as_dict(),
        "evaluator": None if setting.evaluator is None else setting.evaluator.describe(),
        "seeds": {"first replication": setting.first},
        "versions": versions(),
    }
    if task == "m2t":
        results["text metrics"] = text_conventions()
    return results


def _headline(replication: Replication) -> str:
    scores = replication.scores["generated"]
    names = [name for family in FAMILIES.values() for name in family if name in scores]
    return ", ".join(f"{name} {scores[name]:.3f}" for name in names[:5])


def _write(out: Path, results: dict[str, Any], replications: list[Replication]) -> None:
    with atomic_file(out / METRICS_FILE) as temporary:
        text = json.dumps(results, indent=1, ensure_ascii=False, default=str)
        temporary.write_text(text + "\n", encoding="utf-8")
    write_report(out, results, replications)
