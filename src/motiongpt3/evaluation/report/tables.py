"""Tables of results in the field's layout: a row for each system, a column for each metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Summary = Mapping[str, Mapping[str, Mapping[str, Any]]]

TITLES = {
    "t2m": "Text to motion",
    "m2t": "Motion to text",
    "pred": "Prediction: the first fifth is given",
    "inbetween": "In-between: the first and the last quarter are given",
    "reconstruction": "Reconstruction by the motion VAE",
    "t2t": "Plain text",
}
BETTER = {
    "↓": (
        "FID",
        "matching score",
        "ADE mm",
        "FDE mm",
        "pose error mm",
        "kept frames off mm",
        "seam jump mm",
        "MPJPE mm",
        "root-aligned MPJPE mm",
        "PA-MPJPE mm",
        "acceleration error mm",
        "feature MSE",
        "perplexity",
    ),
    "→": (
        "diversity",
        "foot skate cm/s",
        "floating mm",
        "ground penetration mm",
        "jerk m/s³",
        "bone drift %",
    ),
    "↑": ("R-precision", "BLEU", "ROUGE", "CIDEr", "BERTScore", "multimodality"),
}
"""What is better: less, close to the real value, or more."""

COLUMNS_AT_ONCE = 7


def metric_tables(
    summary: Summary, published: Mapping[str, Mapping[str, float]] | None = None
) -> list[list[list[str]]]:
    """Tables of cells: the heading first, then a row for each system; at most seven metrics side by side."""
    names = list(dict.fromkeys(name for metrics in summary.values() for name in metrics))
    tables = []
    for first in range(0, len(names), COLUMNS_AT_ONCE):
        columns = names[first : first + COLUMNS_AT_ONCE]
        table = [["", *(f"{name} {arrow(name)}".strip() for name in columns)]]
        for row, metrics in summary.items():
            cells = [cell(metrics.get(name)) for name in columns]
            if any(cells):
                table.append([row, *cells])
        for row, values in (published or {}).items():
            cells = [f"{values[name]:.3f}" if name in values else "" for name in columns]
            if any(cells):
                table.append([f"published: {row}", *cells])
        tables.append(table)
    return tables


def arrow(name: str) -> str:
    """Which way is better."""
    for symbol, names in BETTER.items():
        if any(name == one or (symbol == "↑" and name.startswith(one)) for one in names):
            return symbol
    return ""


def cell(value: Mapping[str, Any] | None) -> str:
    """``0.511 ± 0.003``; empty where nothing was measured."""
    if value is None or value["mean"] is None:
        return ""
    mean, half = value["mean"], value["interval"]
    digits = 3 if abs(mean) < 10 else 2 if abs(mean) < 100 else 1
    return f"{mean:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, numbers to the right."""
    heading, *body = rows
    lines = [_line(heading), _line(["---", *["---:"] * (len(heading) - 1)])]
    return "\n".join([*lines, *map(_line, body)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
