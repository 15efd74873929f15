"""What a model does with motion that it is given (words, continuations, middles) and with free requests.

    python benchmarks/mini_tasks.py models/mini --data datasets/mocap --set test

Clips of a split that nothing was trained on, without mirror images. Captions are judged against the clip's
label (`evaluation.captioning`), with the model's own wording of the request and the likeliest words.
Completed motions are compared with the real ones, mean joint error over the generated frames in the world,
beside what costs nothing: the last frame repeated, and a straight line from one end to the other. Requests in
free form are the held-out ones of the package's conversation file. Prints tables, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.instructions import load_conversation
from motiongpt3.evaluation.captioning import clips_with_facts, judge_caption, score_verdicts
from motiongpt3.evaluation.judgement import wilson_interval
from motiongpt3.generation.conversation import ends_of, head_of
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.models.placeholders import ANSWERS
from motiongpt3.motion.motion import Motion

TASKS = ("m2t", "pred", "inbetween", "decision")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=("val", "test"), default="val")
    parser.add_argument("--task", choices=(*TASKS, "all"), default="all")
    parser.add_argument("--seeds", type=int, default=4, help="samples of each completion")
    parser.add_argument("--show", type=int, default=0, help="print so many captions beside their labels")
    arguments = parser.parse_args()
    model = MotionGPT3.from_pretrained(arguments.model)
    dataset = HumanML3DDataset(arguments.data)
    chosen = TASKS if arguments.task == "all" else (arguments.task,)
    results: dict[str, Any] = {"model": arguments.model, "set": arguments.set}
    if "m2t" in chosen:
        results["m2t"] = captions(model, dataset, arguments.set, arguments.show)
    for task in ("pred", "inbetween"):
        if task in chosen:
            results[task] = completions(model, dataset, arguments.set, task, arguments.seeds)
    if "decision" in chosen:
        results["decision"] = decisions(model)
    print(json.dumps(results))


def captions(model: MotionGPT3, dataset: HumanML3DDataset, split: str, show: int) -> dict[str, Any]:
    """How many captions name the action and the side."""
    clips, excluded = clips_with_facts(dataset, split)
    motions = [Motion.from_features(dataset.features(clip.segment)) for clip in clips]
    said = model.caption(motions)
    verdicts = [judge_caption(caption, clip.facts) for caption, clip in zip(said, clips)]
    for clip, caption, verdict in list(zip(clips, said, verdicts))[:show]:
        print(f"{clip.segment.label:24} action {verdict.action!s:5} side {verdict.side:8} {caption}")
    families: dict[str, list[bool]] = {}
    for clip, verdict in zip(clips, verdicts):
        families.setdefault(clip.facts.family, []).append(verdict.action)
    for family, right in sorted(families.items(), key=lambda pair: -len(pair[1])):
        print(f"  {family:28} {sum(right):4} of {len(right):4} actions")
    score = score_verdicts(verdicts).as_dict()
    print(f"captions: action {score['action']:.1%}, side {score['side']:.1%} of {score['sided']}")
    return {**score, "excluded": sum(excluded.values())}


def completions(
    model: MotionGPT3, dataset: HumanML3DDataset, split: str, task: str, seeds: int
) -> dict[str, Any]:
    """Mean joint error in millimetres over the generated frames of all clips, beside the baselines'."""
    shortest, longest = model.frame_range
    segments = [
        segment
        for segment in dataset.segments(split, max_frames=longest + 1)
        if not (dataset.metadata[segment.clip].mirrored_from if segment.clip in dataset.metadata else None)
        and len(segment) >= max(40, shortest)
    ]
    clips = [Motion.from_features(dataset.features(segment)) for segment in segments]
    frames = [len(clip) for clip in clips]
    errors: dict[str, list[float]] = {"model": [], "last frame": [], "straight line": []}
    kept = 0.0
    heads, tails = [head_of(clip) for clip in clips], None
    if task == "inbetween":
        heads, tails = (list(ends) for ends in zip(*(ends_of(clip) for clip in clips)))
    for seed in range(seeds):
        numbers = [seed] * len(clips)
        if tails is None:
            made = model.predict(heads, frames, seeds=numbers)
        else:
            made = model.inbetween(heads, tails, frames, seeds=numbers)
        for index, (clip, motion) in enumerate(zip(clips, made)):
            start = len(heads[index])
            end = len(clip) - (len(tails[index]) if tails else 0)
            real = clip.joints[start:end]
            kept = max(kept, float((motion.joints[:start] - clip.joints[:start]).abs().max()))
            if tails:
                kept = max(kept, float((motion.joints[end:] - clip.joints[end:]).abs().max()))
            errors["model"].append(_error(motion.joints[start:end], real))
            if seed == 0:
                errors["last frame"].append(_error(clip.joints[start - 1 : start], real))
                if tails:
                    way = torch.arange(1, end - start + 1)[:, None, None] / (end - start + 1)
                    line = torch.lerp(clip.joints[start - 1], clip.joints[end], way)
                    errors["straight line"].append(_error(line, real))
    found = {name: _mean(values) for name, values in errors.items() if values}
    for name, (mean, low, high) in found.items():
        print(f"{task}: {name:14} {mean:7.1f} mm ({low:.1f} to {high:.1f})")
    print(f"{task}: frames that are given are off by at most {kept:g} m; {len(clips)} clips, {seeds} seeds")
    return {"clips": len(clips), "seeds": seeds, "kept_error_m": kept, "mean_joint_error_mm": found}


def decisions(model: MotionGPT3) -> dict[str, Any]:
    """How many held-out requests are taken for what they want."""
    held_out = load_conversation("held_out")
    found = {}
    for wanted, requests in (("text", held_out.text), ("motion", held_out.motion)):
        answers = [ANSWERS[int(row.argmax())] for row in model.answer_wanted(list(requests))]
        right = sum(answer == wanted for answer in answers)
        low, high = wilson_interval(right, len(answers))
        print(f"requests that want {wanted}: {right} of {len(answers)} ({low:.0%} to {high:.0%})")
        found[wanted] = {"right": right, "count": len(answers)}
    return found


def _error(made: Tensor, real: Tensor) -> float:
    return float((made - real).norm(dim=-1).mean()) * 1000


def _mean(values: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Mean and its 95 % bootstrap interval."""
    random = np.random.default_rng(0)
    array = np.array(values)
    means = array[random.integers(len(array), size=(draws, len(array)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return round(float(array.mean()), 1), round(float(low), 1), round(float(high), 1)


if __name__ == "__main__":
    main()
