"""Tables of results in the field's layout: a row for each system, a column for each metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Summary = Mapping[str, Mapping[str, Mapping[str, Any]]]
Rows = list[list[str]]

TITLES = {
    "t2m": "Text to motion",
    "m2t": "Motion to text",
    "pred": "Prediction: the first fifth is given",
    "inbetween": "In-between: the first and the last quarter are given",
    "reconstruction": "Reconstruction by the motion VAE",
    "t2t": "Plain text",
}
MORE, LESS, CLOSER = "↑", "↓", "→"
"""What is better: more, less, or closer to the real value."""

_RECALLS = {f"{way} recall {k}": MORE for way in ("t2m", "m2t") for k in (1, 2, 3, 5, 10)}
FAMILIES: dict[str, dict[str, str]] = {
    "In the evaluator's space": {
        "R-precision 1": MORE,
        "R-precision 2": MORE,
        "R-precision 3": MORE,
        "FID": LESS,
        "matching score": LESS,
        "diversity": CLOSER,
        "multimodality": MORE,
    },
    "Found among all clips, from text": {
        **{name: MORE for name in _RECALLS if name.startswith("t2m")},
        "t2m median rank": LESS,
    },
    "Found among all clips, from motion": {
        **{name: MORE for name in _RECALLS if name.startswith("m2t")},
        "m2t median rank": LESS,
    },
    "Words in common with references": {
        f"{name} ({kind})": MORE
        for kind in ("raw", "lemmatised")
        for name in ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr")
    }
    | {"BERTScore F1 (MiniLM)": MORE},
    "Frames that were made": {
        "ADE m": LESS,
        "FDE m": LESS,
        "pose error mm": LESS,
        "seam jump mm": CLOSER,
        "kept frames off mm": LESS,
    },
    "Beside the clip that was read": {
        "MPJPE mm": LESS,
        "root-aligned MPJPE mm": LESS,
        "PA-MPJPE mm": LESS,
        "acceleration error mm": LESS,
        "feature MSE": LESS,
    },
    "Physical": {
        "foot skate cm/s": CLOSER,
        "no standing foot %": CLOSER,
        "floating mm": CLOSER,
        "ground penetration mm": CLOSER,
        "jerk m/s³": CLOSER,
        "bone drift %": CLOSER,
    },
    "Language": {"perplexity": LESS},
}
"""Metrics that stand in one table, in the order of their columns, and which way is better."""


def metric_tables(
    summary: Summary, published: Mapping[str, Mapping[str, float]] | None = None
) -> dict[str, Rows]:
    """A table for each family of metrics that was measured: the heading, then a row for each system."""
    tables = {}
    for title, family in FAMILIES.items():
        columns = [name for name in family if any(name in metrics for metrics in summary.values())]
        if not columns:
            continue
        rows = [(row, [cell(metrics.get(name)) for name in columns]) for row, metrics in summary.items()]
        rows += [
            (f"published: {row}", [f"{values[name]:.3f}" if name in values else "" for name in columns])
            for row, values in (published or {}).items()
        ]
        heading = ["", *(f"{name} {family[name]}" for name in columns)]
        tables[title] = [heading, *([row, *cells] for row, cells in rows if any(cells))]
    return tables


def cell(value: Mapping[str, Any] | None) -> str:
    """``0.511 ± 0.003``; ``0.511`` where replications do not differ; empty where nothing was measured."""
    if value is None or value["mean"] is None:
        return ""
    mean, half = value["mean"], value["interval"]
    digits = 3 if abs(mean) < 10 else 2 if abs(mean) < 100 else 1
    return f"{mean:.{digits}f}" + ("" if not half else f" ± {half:.{digits}f}")


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    heading, *body = rows
    lines = [_line(heading), _line(["---", *["---:"] * (len(heading) - 1)])]
    return "\n".join([*lines, *map(_line, body)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
