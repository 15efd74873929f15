"""Pictures of an evaluation: generated beside real motion, errors over time, motions as strips of poses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from motiongpt3.evaluation.protocol.samples import Sample
from motiongpt3.files import atomic_file
from motiongpt3.motion.features import FRAMES_PER_SECOND
from motiongpt3.motion.motion import Motion
from motiongpt3.render.strips import write_strip

PICTURES = "pictures"
SAMPLES_FILE = "samples.json"
REAL_COLOUR, MADE_COLOUR = "#9a9a9a", "#d9622b"


def plot_beside_real(summary: Mapping[str, Mapping[str, Any]], names: Sequence[str], path: Path) -> None:
    """For each metric that both rows have, a bar for generated and one for real motion, with intervals."""
    rows = ("real", "generated")
    shown = [name for name in names if all(_mean(summary, row, name) is not None for row in rows)]
    figure, table = _figure(1.7 * len(shown) + 0.4, 2.4, len(shown))
    for name, axes in zip(shown, table):
        values = [summary[row][name] for row in rows]
        axes.bar(
            rows,
            [value["mean"] for value in values],
            yerr=[value["interval"] or 0 for value in values],
            color=(REAL_COLOUR, MADE_COLOUR),
            width=0.65,
            capsize=3,
        )
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.set_ylim(bottom=0)
    _save(figure, path)


def _mean(summary: Mapping[str, Mapping[str, Any]], row: str, name: str) -> float | None:
    return summary.get(row, {}).get(name, {}).get("mean")


def plot_curves(curves: Mapping[str, Sequence[float]], path: Path) -> None:
    """Mean joint error over the seconds since the first frame that was made."""
    figure, (axes,) = _figure(7, 3.2)
    for name, curve in curves.items():
        seconds = [frame / FRAMES_PER_SECOND for frame in range(len(curve))]
        style = {"color": MADE_COLOUR, "linewidth": 2.0} if name == "generated" else {"linewidth": 1.2}
        axes.plot(seconds, curve, label=name, **style)
    axes.set_xlabel("seconds since the first frame that was made")
    axes.set_ylabel("mean joint error, m")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    _save(figure, path)


def write_samples(out: Path, samples: Mapping[str, Sample]) -> None:
    """A strip of poses for each sample, and ``samples.json`` with the line that stands under each."""
    if not samples:
        return
    folder, lines = out / PICTURES, {}
    for place, sample in samples.items():
        motion = Motion.from_features(sample.features, name=sample.name)
        write_strip(motion, folder / f"{place}.png", [sample.caption])
        reference = f"; a person wrote “{sample.reference}”" if sample.reference else ""
        score = f"{sample.measure} {sample.score:.3g}"
        lines[f"{place}.png"] = f"{place}: “{sample.caption}” ({sample.name}; {score}{reference})"
    with atomic_file(folder / SAMPLES_FILE) as temporary:
        temporary.write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def sample_lines(out: Path) -> dict[str, str]:
    """What `write_samples` wrote: the line under each picture, by file name."""
    path = out / PICTURES / SAMPLES_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Sequence[Any]]:
    # Not pyplot, which would look for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    row = figure.subplots(1, columns, squeeze=False)[0]
    for axes in row:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, row


def _save(figure: Any, path: Path) -> None:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130)
