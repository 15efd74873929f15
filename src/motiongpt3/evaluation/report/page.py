"""``report.md`` and ``report.html``: the tables, the pictures, and every choice behind the numbers."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motiongpt3.evaluation.protocol.setting import Replication
from motiongpt3.evaluation.report.plots import picked_samples, plot_bars, plot_curves, write_sample_strips
from motiongpt3.evaluation.report.published import PUBLISHED
from motiongpt3.evaluation.report.tables import TITLES, markdown_table, metric_tables
from motiongpt3.files import atomic_file

PICTURES = "pictures"
BESIDE_REAL = (
    "diversity",
    "foot skate cm/s",
    "jerk m/s³",
    "floating mm",
    "ground penetration mm",
    "bone drift %",
)
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{padding:.2em .7em;border-bottom:1px solid #ccc;text-align:right}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%}"
)


@dataclass
class Page:
    """A page in parts: each is a heading, a paragraph, a table or a picture."""

    parts: list[tuple[str, Any]] = field(default_factory=list)

    def add(self, kind: str, content: Any) -> None:
        """Append a part."""
        self.parts.append((kind, content))

    def markdown(self) -> str:
        """The page in Markdown."""
        lines: dict[str, Callable[[Any], str]] = {
            "title": lambda text: f"# {text}",
            "heading": lambda text: f"## {text}",
            "text": str,
            "table": markdown_table,
            "picture": lambda picture: f"![{picture[1]}]({picture[0]})\n\n{picture[1]}",
        }
        return "\n\n".join(lines[kind](content) for kind, content in self.parts) + "\n"

    def html(self) -> str:
        """The page as one HTML file; pictures stay beside it."""
        title = next((content for kind, content in self.parts if kind == "title"), "")
        body = "\n".join(_html(kind, content) for kind, content in self.parts)
        return (
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f"<style>{STYLE}</style>\n{body}\n</html>\n"
        )


def _html(kind: str, content: Any) -> str:
    if kind == "table":
        heading, *rows = content
        cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in heading)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        )
        return f"<table><tr>{cells}</tr>{body}</table>"
    if kind == "picture":
        name, text = map(html.escape, content)
        return f'<figure><img src="{name}" alt="{text}"><figcaption>{text}</figcaption></figure>'
    tag = {"title": "h1", "heading": "h2", "text": "p"}[kind]
    return f"<{tag}>{html.escape(content)}</{tag}>"


def write_report(out: Path, results: Mapping[str, Any], replications: Sequence[Replication]) -> None:
    """Write both pages and their pictures.

    Args:
        out: the evaluation's folder.
        results: what ``metrics.json`` says.
        replications: all of them; the first may bring samples.
    """
    task = results["task"]
    field_evaluator = str((results.get("evaluator") or {}).get("evaluator", "")).startswith("T2M")
    published = PUBLISHED.get(task) if field_evaluator else None
    page = Page()
    page.add(
        "title", f"{TITLES[task]}: {results['answers'].get('model') or results['answers'].get('answers')}"
    )
    page.add("text", _introduction(results))
    for table in metric_tables(results["summary"], published):
        page.add("table", table)
    if published is None and task in PUBLISHED:
        page.add(
            "text",
            "Published values are measured with the evaluator of Guo et al. on HumanML3D: "
            "they cannot stand beside these.",
        )
    _add_pictures(page, out, results, replications)
    page.add("heading", "How it was measured")
    page.add("table", [["choice", "value"], *_choices(results)])
    for name, text in (("report.md", page.markdown()), ("report.html", page.html())):
        with atomic_file(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _introduction(results: Mapping[str, Any]) -> str:
    count = len(results["replications"])
    what = results["data"]
    excluded = (
        ", ".join(f"{number} {reason}" for reason, number in what.get("excluded", {}).items()) or "none"
    )
    clips = f"{what['clips']} clips of split {what['split']}; excluded: {excluded}" if "clips" in what else ""
    times = f"{count} replications, mean ± 95 % interval of the mean" if count > 1 else "one replication"
    return f"{clips or what['root']}. {times.capitalize()}. ↑ more is better, ↓ less, → closer to real."


def _add_pictures(
    page: Page, out: Path, results: Mapping[str, Any], replications: Sequence[Replication]
) -> None:
    folder, summary = out / PICTURES, results["summary"]
    if importlib.util.find_spec("matplotlib") is None:
        page.add("text", "Plots need matplotlib: pip install 'motiongpt3[evaluation]'.")
    else:
        if any(name in summary.get("real", {}) and name in summary["generated"] for name in BESIDE_REAL):
            plot_bars(summary, BESIDE_REAL, folder / "beside_real.png")
            page.add("picture", (f"{PICTURES}/beside_real.png", "Generated motion beside real motion"))
        if replications[0].curves:
            plot_curves(replications[0].curves, folder / "error_over_time.png")
            page.add("picture", (f"{PICTURES}/error_over_time.png", "Error over time, first replication"))
    lines = write_sample_strips(picked_samples(replications[0].samples), folder)
    kept = sorted(folder.glob("*.txt")) if not lines else []
    for name, text in lines.items():
        with atomic_file(folder / f"{Path(name).stem}.txt") as temporary:
            temporary.write_text(text, encoding="utf-8")
    lines = lines or {f"{path.stem}.png": path.read_text(encoding="utf-8") for path in kept}
    if lines:
        page.add("heading", "Best, median and worst sample of the first replication")
    for name, text in lines.items():
        page.add("picture", (f"{PICTURES}/{name}", text))


def _choices(results: Mapping[str, Any]) -> list[list[str]]:
    rows: list[list[str]] = []
    for group in ("protocol", "answers", "evaluator", "text metrics", "data", "seeds", "versions"):
        values = results.get(group)
        if isinstance(values, Mapping):
            rows += [[f"{group}: {name}", str(value)] for name, value in values.items()]
    return rows
