"""``report.md`` and ``report.html``: the tables, the pictures, and every choice behind the numbers."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motiongpt3.evaluation.protocol.setting import Replication
from motiongpt3.evaluation.report.plots import PICTURES, plot_beside_real, plot_curves, sample_lines
from motiongpt3.evaluation.report.published import PUBLISHED
from motiongpt3.evaluation.report.tables import TITLES, markdown_table, metric_tables
from motiongpt3.files import atomic_file

BESIDE_REAL = ("diversity", "foot skate cm/s", "jerk m/s³", "floating mm", "ground penetration mm")
GROUPS = ("answers", "data", "protocol", "evaluator", "text metrics", "seeds", "versions")
"""Parts of ``metrics.json`` that say how it was measured."""

STYLE = """
:root{color-scheme:light dark;--line:#8884;--quiet:#777}
body{font:16px/1.5 system-ui,sans-serif;max-width:80em;margin:2em auto;padding:0 1.2em}
h1{line-height:1.2}h2{margin-top:2em}h3{margin:1.6em 0 .3em;font-size:1em}
div{overflow-x:auto}table{border-collapse:collapse}
td,th{padding:.25em .8em;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;
font-variant-numeric:tabular-nums}
th{font-weight:600;font-size:.9em;vertical-align:bottom}
td:first-child,th:first-child{text-align:left;padding-left:0}
table.words td{text-align:left;white-space:normal;vertical-align:top;overflow-wrap:anywhere}
table.words td:first-child{white-space:nowrap;color:var(--quiet)}
figure{margin:1.2em 0}img{max-width:100%;border-radius:4px}figcaption{color:var(--quiet);font-size:.9em}
"""


@dataclass
class Page:
    """A page in parts: each is a heading, a paragraph, a list, a table or a picture."""

    parts: list[tuple[str, Any]] = field(default_factory=list)

    def add(self, kind: str, content: Any) -> None:
        """Append a part."""
        self.parts.append((kind, content))

    def markdown(self) -> str:
        """The page in Markdown."""
        lines: dict[str, Callable[[Any], str]] = {
            "title": lambda text: f"# {text}",
            "heading": lambda text: f"## {text}",
            "subheading": lambda text: f"### {text}",
            "text": str,
            "list": lambda items: "\n".join(f"- {item}" for item in items),
            "table": markdown_table,
            "words": lambda rows: markdown_table([["", ""], *rows]).replace("---:", "---"),
            "picture": lambda picture: f"![{picture[1]}]({picture[0]})\n\n{picture[1]}",
        }
        return "\n\n".join(lines[kind](content) for kind, content in self.parts) + "\n"

    def html(self) -> str:
        """The page as one HTML file; pictures stay beside it."""
        title = next((content for kind, content in self.parts if kind == "title"), "")
        body = "\n".join(_html(kind, content) for kind, content in self.parts)
        return (
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>\n{body}\n</html>\n'
        )


def _html(kind: str, content: Any) -> str:
    if kind == "table":
        heading, *rows = content
        return f"<div><table>{_row(heading, 'th')}{''.join(_row(row, 'td') for row in rows)}</table></div>"
    if kind == "words":
        return f'<div><table class="words">{"".join(_row(row, "td") for row in content)}</table></div>'
    if kind == "list":
        return f"<ul>{''.join(f'<li>{html.escape(item)}</li>' for item in content)}</ul>"
    if kind == "picture":
        name, text = map(html.escape, content)
        return f'<figure><img src="{name}" alt="{text}"><figcaption>{text}</figcaption></figure>'
    tag = {"title": "h1", "heading": "h2", "subheading": "h3", "text": "p"}[kind]
    return f"<{tag}>{html.escape(content)}</{tag}>"


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def write_report(out: Path, results: Mapping[str, Any], replications: Sequence[Replication]) -> None:
    """Write both pages and their plots; pictures of samples are there already.

    Args:
        out: the evaluation's folder.
        results: what ``metrics.json`` says.
        replications: all of them.
    """
    task, answers = results["task"], results["answers"]
    field_evaluator = str((results.get("evaluator") or {}).get("evaluator", "")).startswith("T2M")
    published = PUBLISHED.get(task) if field_evaluator else None
    page = Page()
    page.add("title", f"{TITLES[task]}: {answers.get('model') or answers.get('answers')}")
    page.add("text", _introduction(results))
    for title, table in metric_tables(results["summary"], published).items():
        page.add("subheading", title)
        page.add("table", table)
    remarks = list(results.get("notes", ()))
    if published is None and task in PUBLISHED:
        remarks.append(
            "Published values are measured with the evaluator of Guo et al. on HumanML3D: they cannot stand "
            "beside these."
        )
    if remarks:
        page.add("subheading", "To know when reading these numbers")
        page.add("list", remarks)
    _add_plots(page, out, results, replications)
    samples = sample_lines(out)
    if samples:
        page.add("heading", "Best, median and worst sample of the first replication")
    for name, text in samples.items():
        page.add("picture", (f"{PICTURES}/{name}", text))
    page.add("heading", "How it was measured")
    for group in GROUPS:
        if isinstance(results.get(group), Mapping):
            page.add("subheading", group.capitalize())
            page.add("words", [[name, value] for name, value in _choices(results[group])])
    for name, text in (("report.md", page.markdown()), ("report.html", page.html())):
        with atomic_file(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _introduction(results: Mapping[str, Any]) -> str:
    count = len(results["replications"])
    data = results["data"]
    if "clips" in data:
        excluded = ", ".join(f"{number} {reason}" for reason, number in data["excluded"].items())
        what = f"{data['clips']} clips of split {data['split']}; excluded: {excluded or 'none'}"
    else:
        what = f"{data['passages']} passages of {data['root']}"
    times = f"{count} replications, mean ± 95 % interval of the mean" if count > 1 else "One replication"
    how = ""
    if protocol := results.get("protocol"):
        evaluator = (results["evaluator"] or {}).get("evaluator", "none")
        how = f" Protocol: {protocol['name']}; evaluator: {evaluator}."
    return f"{what}. {times}.{how} ↑ more is better, ↓ less is better, → closer to real is better."


def _add_plots(
    page: Page, out: Path, results: Mapping[str, Any], replications: Sequence[Replication]
) -> None:
    summary = results["summary"]
    if importlib.util.find_spec("matplotlib") is None:
        page.add("text", "Plots need matplotlib: pip install 'motiongpt3[evaluation]'.")
        return
    if any(name in summary.get("real", {}) for name in BESIDE_REAL):
        plot_beside_real(summary, BESIDE_REAL, out / PICTURES / "beside_real.png")
        page.add("picture", (f"{PICTURES}/beside_real.png", "Generated motion beside real motion"))
    if replications[0].curves:
        plot_curves(replications[0].curves, out / PICTURES / "error_over_time.png")
        page.add("picture", (f"{PICTURES}/error_over_time.png", "Error over time, first replication"))


def _choices(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values, those of inner mappings behind the name of these."""
    for name, value in values.items():
        called = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping) and value:
            yield from _choices(value, f"{called}: ")
        else:
            yield called, _said(value)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not set" if value is None or value == {} else str(value)
