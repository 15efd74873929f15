"""Pictures of an evaluation: diversity beside the real one, errors over time, motions as strips of poses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from motiongpt3.evaluation.protocol.setting import Sample
from motiongpt3.files import atomic_file
from motiongpt3.motion.features import FRAMES_PER_SECOND
from motiongpt3.motion.motion import Motion
from motiongpt3.render.strips import write_strip

REAL_COLOUR, MADE_COLOUR = "#888888", "#d9622b"


def plot_bars(summary: Mapping[str, Mapping[str, Any]], names: Sequence[str], path: Path) -> None:
    """Each metric of generated motion as a multiple of the real value; one is right."""
    made, real = summary["generated"], summary["real"]
    both = (made, real)
    shown = [name for name in names if all(side.get(name, {}).get("mean") is not None for side in both)]
    shown = [name for name in shown if real[name]["mean"]]
    ratios = [made[name]["mean"] / real[name]["mean"] for name in shown]
    halves = [(made[name]["interval"] or 0) / real[name]["mean"] for name in shown]
    figure, axes = _figure(0.5 + 0.42 * len(shown))
    axes.barh(shown, ratios, xerr=halves, color=MADE_COLOUR, height=0.6)
    axes.axvline(1, color=REAL_COLOUR, linestyle="--")
    axes.set_xlabel("generated, as a multiple of real")
    axes.invert_yaxis()
    _save(figure, path)


def plot_curves(curves: Mapping[str, Sequence[float]], path: Path) -> None:
    """Mean joint error over the seconds since the first frame that was made."""
    figure, axes = _figure(3.2)
    for name, curve in curves.items():
        seconds = [frame / FRAMES_PER_SECOND for frame in range(len(curve))]
        colour = {"color": MADE_COLOUR, "linewidth": 2.0} if name == "generated" else {}
        axes.plot(seconds, curve, label=name, **colour)
    axes.set_xlabel("seconds since the first frame that was made")
    axes.set_ylabel("mean joint error, mm")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    _save(figure, path)


def picked_samples(samples: Sequence[Sample]) -> dict[str, Sample]:
    """The best, the middle and the worst of all samples, by their score."""
    ranked = sorted(samples, key=lambda sample: sample.score)
    if not ranked:
        return {}
    return {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}


def write_sample_strips(samples: Mapping[str, Sample], folder: Path) -> dict[str, str]:
    """A strip of poses for each sample; returns the line to print under each, by file name."""
    captions = {}
    for place, sample in samples.items():
        motion = Motion.from_features(sample.features, name=sample.name)
        write_strip(motion, folder / f"{place}.png", [sample.caption])
        reference = f"; a person wrote “{sample.reference}”" if sample.reference else ""
        captions[f"{place}.png"] = (
            f"{place}: “{sample.caption}” ({sample.name}, {sample.score:.3g}{reference})"
        )
    return captions


def _figure(height: float) -> tuple[Any, Any]:
    # Not pyplot, which would look for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110)
