"""What one model does at every task but text-to-motion, which `mini_kinematics.py` measures.

    python benchmarks/mini_tasks.py models/mini --data DATASET --set val
    python benchmarks/mini_tasks.py --judge --data DATASET

Clips are those of a split that nothing was trained on, without mirror images and duplicates. `val` is for
choosing checkpoints and settings; `test` is for the one number at the end.

- `m2t`: captions of whole clips, the likeliest words; right if they name the action and the side of the
  clip's label (`motiongpt3.evaluation.captioning` has the rules).
- `pred`: the first fifth is given, the length too. `inbetween`: the first and the last quarter are given.
  Mean joint errors in the world over the frames that were made, beside those of baselines, clip by clip.
- `t2t`: perplexity on the sentences of `ordinary_english.txt`, beside that of the language model that the
  text branch came from, and how far the logits of the two are apart. Without a prompt around them: what is
  asked here is whether the language is still there.
- `decision`: held-out requests in free form: does the model see whether text or motion is wanted?

The second form needs no model: it checks the judge on the captions of the real clips, which should be right
for their own clips and wrong for others.

DATASET is made by `motiongpt3 data prepare`. The last line printed is one JSON object with everything.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.errors import InputError, MotionGPT3Error
from motiongpt3.evaluation.captioning import (
    CaptionVerdict,
    check_judge,
    clips_with_facts,
    judge_caption,
    score_verdicts,
)
from motiongpt3.evaluation.completion import (
    INBETWEEN_BASELINES,
    PREDICTION_BASELINES,
    CompletionScore,
    Gap,
    completion_error,
    score_completions,
)
from motiongpt3.evaluation.intervals import bootstrap_interval
from motiongpt3.evaluation.judgement import wilson_interval
from motiongpt3.files import atomic_file
from motiongpt3.generation.conversation import cut
from motiongpt3.motion.motion import Motion

SENTENCES = Path(__file__).with_name("ordinary_english.txt")
TASKS = ("m2t", "pred", "inbetween", "t2t", "decision")
SHORTEST_CLIP = 40
"""Frames of the shortest clips that are completed, as in the field's protocol of evaluation."""

Results = dict[str, Any]


class Answers:
    """All that the benchmark asks of a model: the only place that knows how its methods are called."""

    def __init__(self, model: Any, batch_size: int, request: str | None = None) -> None:
        self.model = model
        self._batch_size = batch_size
        self._request = request

    @property
    def longest(self) -> int:
        """Frames of the longest motion."""
        return int(self.model.frame_range[1])

    def captions(self, motions: Sequence[Motion]) -> list[str]:
        """What each motion shows, in the likeliest words."""
        return list(self.model.caption(motions, self._request, batch_size=self._batch_size))

    def predictions(self, heads: Sequence[Motion], frames: Sequence[int], seed: int) -> list[Motion]:
        """Whole motions that begin as given; each has the seed plus its place in the list."""
        seeds = [seed + place for place in range(len(heads))]
        return list(self.model.predict(heads, frames, seeds=seeds, batch_size=self._batch_size))

    def inbetweens(
        self, heads: Sequence[Motion], tails: Sequence[Motion], frames: Sequence[int], seed: int
    ) -> list[Motion]:
        """Whole motions that begin and end as given."""
        seeds = [seed + place for place in range(len(heads))]
        return list(self.model.inbetween(heads, tails, frames, seeds=seeds, batch_size=self._batch_size))

    def wanted(self, requests: Sequence[str]) -> list[str]:
        """What kind of answer each request is taken to want."""
        from motiongpt3.tasks import ANSWERS

        return [ANSWERS[int(row.argmax())] for row in self.model.answer_wanted(list(requests))]

    def tokens(self, sentence: str) -> Tensor:
        """(S,) token ids of a sentence alone."""
        return torch.tensor(self.model.tokenizer(sentence, add_special_tokens=False)["input_ids"])

    @torch.inference_mode()
    def text_logits(self, ids: Tensor) -> Tensor:
        """(S, V) next-token logits of text alone."""
        from motiongpt3.models.attention import TokenStream

        mot = self.model.mot
        rows = ids[None].to(mot.text.token_embedding.weight.device)
        stream = TokenStream.sequential(mot.embed_text(rows), torch.ones_like(rows, dtype=torch.bool))
        return mot.text_logits(mot(text=stream).text_hidden)[0].float().cpu()

    def unmodified_logits(self, name: str | None) -> tuple[Callable[[Tensor], Tensor], str]:
        """The same function of the language model that the text branch came from, and that model's name."""
        from motiongpt3.models.text_backbone import load_text_backbone

        name = name or self.model.config.text_backbone
        if not name:
            raise InputError(
                "the text branch is in the model's folder, which does not say where it came from: "
                "name a language model to compare with (--backbone)"
            )
        backbone = load_text_backbone(name, expected_fingerprint=self.model.config.text_fingerprint or None)

        @torch.inference_mode()
        def logits(ids: Tensor) -> Tensor:
            return backbone.model(input_ids=ids[None]).logits[0].float()

        return logits, f"{backbone.name}, fingerprint {backbone.fingerprint}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    options = _parse(arguments)
    console = Console(stderr=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 150)
    results: Results = {"benchmark": "mini_tasks", "model": options.model, "set": options.set}
    try:
        if options.judge:
            results["judge"] = check(HumanML3DDataset(options.data), options.set, console)
        else:
            chosen = TASKS if options.task == "all" else (options.task,)
            answers = _load(options)
            for task in chosen:
                results[task] = _run(task, answers, options, console)
    except MotionGPT3Error as error:
        print(error, file=sys.stderr)
        return 2
    line = json.dumps(results)
    if options.out is not None:
        with atomic_file(options.out) as path:
            path.write_text(line + "\n", encoding="utf-8")
    print(line)
    return 0


def _load(options: argparse.Namespace) -> Answers:
    from motiongpt3.models.motiongpt import MotionGPT3

    model = MotionGPT3.from_pretrained(options.model, options.device)
    return Answers(model, options.batch_size, options.request)


def _run(task: str, answers: Answers, options: argparse.Namespace, console: Console) -> Results:
    if task == "t2t":
        return text(answers, SENTENCES.read_text(encoding="utf-8").splitlines(), options.backbone, console)
    if task == "decision":
        return decisions(answers, held_out_requests(), console)
    dataset = HumanML3DDataset(options.data)
    if task == "m2t":
        return captions(answers, dataset, options.set, options.limit, options.show, console)
    clips = clips_to_complete(dataset, options.set, answers.longest, options.limit)
    return completions(
        task, answers, clips, range(options.first_seed, options.first_seed + options.seeds), console
    )


def captions(
    answers: Answers, dataset: HumanML3DDataset, split: str, limit: int | None, show: int, console: Console
) -> Results:
    """How many captions name the right action and the right side."""
    clips, excluded = clips_with_facts(dataset, split)
    clips = _spread(clips, limit)
    motions = [Motion.from_features(dataset.features(clip.segment)) for clip in clips]
    said = answers.captions(motions)
    verdicts = [judge_caption(caption, clip.facts) for caption, clip in zip(said, clips, strict=True)]
    families: dict[str, list[CaptionVerdict]] = defaultdict(list)
    for clip, verdict in zip(clips, verdicts):
        families[clip.facts.family].append(verdict)
    scores = {family: score_verdicts(of) for family, of in families.items()}
    overall = score_verdicts(verdicts)

    table = Table(title=f"Captions of {len(clips)} clips of {split}; {sum(excluded.values())} excluded")
    table.add_column("what the clip shows")
    for heading in ("clips", "action", "side", "unnamed", "both"):
        table.add_column(heading, justify="right")
    for family, score in [*sorted(scores.items(), key=lambda item: -item[1].count), ("all", overall)]:
        table.add_row(
            family,
            str(score.count),
            _share(score.actions, score.count, family == "all"),
            _share(score.sides, score.sided, family == "all"),
            _share(score.unnamed, score.sided),
            _share(score.right, score.count, family == "all"),
        )
    console.print(table)
    for clip, caption, verdict in list(zip(clips, said, verdicts))[:show]:
        action = "right" if verdict.action else "wrong"
        console.print(f"{clip.segment.label}: action {action}, side {verdict.side}: {caption}", markup=False)
    return {
        **overall.as_dict(),
        "excluded": dict(excluded),
        "distinct_captions": len(set(said)),
        "families": {family: score.as_dict() for family, score in scores.items()},
        "wrong": [
            {"clip": clip.segment.name, "label": clip.segment.label, "caption": caption}
            for clip, caption, verdict in zip(clips, said, verdicts)
            if not verdict.right
        ],
    }


def clips_to_complete(
    dataset: HumanML3DDataset, split: str, longest: int, limit: int | None = None
) -> list[Motion]:
    """The clips of a split that are long enough, as motions that start over the origin and face +z."""
    segments = []
    for segment in dataset.segments(split, SHORTEST_CLIP, longest + 1):
        metadata = dataset.metadata.get(segment.clip)
        if metadata is None or not (metadata.mirrored_from or metadata.duplicate_of):
            segments.append(segment)
    return [
        Motion.from_features(dataset.features(segment), name=segment.name)
        for segment in _spread(segments, limit)
    ]


def completions(
    task: str, answers: Answers, clips: Sequence[Motion], seeds: Sequence[int], console: Console
) -> Results:
    """Errors of prediction or in-between over clips and seeds, beside the baselines'."""
    gap_of, baselines = (
        (Gap.prediction, PREDICTION_BASELINES) if task == "pred" else (Gap.inbetween, INBETWEEN_BASELINES)
    )
    gaps = [gap_of(len(clip)) for clip in clips]
    frames = [gap.frames for gap in gaps]
    heads = [cut(clip, 0, gap.head) for clip, gap in zip(clips, gaps)]
    tails = [cut(clip, gap.frames - gap.tail, gap.frames) for clip, gap in zip(clips, gaps) if gap.tail]
    errors: list[list[Any]] = [[] for _ in clips]
    for seed in seeds:
        # Seeds of neighbouring rounds must not meet, or clip 1 of one would be clip 0 of the next.
        first = seed * len(clips)
        made = (
            answers.inbetweens(heads, tails, frames, first)
            if tails
            else answers.predictions(heads, frames, first)
        )
        for place, (motion, clip, gap) in enumerate(zip(made, clips, gaps, strict=True)):
            errors[place].append(completion_error(motion.joints, clip.joints, gap))
    scores = {"model": score_completions(errors)}
    for name, baseline in baselines.items():
        scores[name] = score_completions(
            [completion_error(baseline(clip.joints, gap), clip.joints, gap)] for clip, gap in zip(clips, gaps)
        )
    console.print(_completion_table(task, scores))
    return {
        **scores["model"].as_dict(),
        "baselines": {name: score.as_dict() for name, score in scores.items() if name != "model"},
        "against": {
            name: scores["model"].less_than(score) for name, score in scores.items() if name != "model"
        },
    }


def _completion_table(task: str, scores: dict[str, CompletionScore]) -> Table:
    model = scores["model"]
    table = Table(title=f"{task}: {len(model.clips)} clips, {model.seeds} seeds; errors in cm")
    table.add_column("")
    for heading in (
        "mean joint error",
        "last made frame",
        "pose alone",
        "best seed",
        "kept",
        "step at seam",
        "real step",
        "pelvis a frame",
        "real",
        "model less by",
        "in clips",
    ):
        table.add_column(heading, justify="right")
    for name, score in scores.items():
        values = score.as_dict()
        less = {} if score is model else model.less_than(score)
        table.add_row(
            name,
            _with_interval(values, "mean_joint_error"),
            _with_interval(values, "final_joint_error"),
            _with_interval(values, "pose_error"),
            _centimetres(values["best_mean_joint_error"]),
            _centimetres(values["kept_error"], 4),
            _centimetres(values["seam_step"]),
            _centimetres(values["real_seam_step"]),
            _centimetres(values["pelvis_step"]),
            _centimetres(values["real_pelvis_step"]),
            _with_interval(less, "less_by") if less else "",
            f"{100 * less['clips_with_less']:.0f} %" if less else "",
        )
    return table


def text(answers: Answers, sentences: Sequence[str], backbone: str | None, console: Console) -> Results:
    """Perplexity of the model and of the language model it came from, and how far their logits are apart."""
    unmodified, name = answers.unmodified_logits(backbone)
    losses: dict[str, list[float]] = {"model": [], "unmodified": []}
    counts: list[int] = []
    apart, identical, same_choice = 0.0, True, 0
    for sentence in filter(None, map(str.strip, sentences)):
        ids = answers.tokens(sentence)
        own, other = answers.text_logits(ids), unmodified(ids)
        counts.append(len(ids) - 1)
        for key, logits in (("model", own), ("unmodified", other)):
            losses[key].append(float(F.cross_entropy(logits[:-1].double(), ids[1:], reduction="sum")))
        apart = max(apart, float((own - other).abs().max()))
        identical = identical and torch.equal(own, other)
        same_choice += int((own.argmax(-1) == other.argmax(-1))[:-1].sum())
    tokens = sum(counts)
    perplexity = {key: math.exp(sum(values) / tokens) for key, values in losses.items()}
    # Nats a token, by sentence: what the model loses against where it came from.
    loss = [(own - other) / count for own, other, count in zip(losses["model"], losses["unmodified"], counts)]
    low, high = bootstrap_interval(loss)
    table = Table(title=f"Ordinary English: {len(counts)} sentences, {tokens} tokens; {name}")
    for heading in ("", "perplexity", "same likeliest token", "greatest logit difference"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("unmodified", f"{perplexity['unmodified']:.4f}", "", "")
    agreement = f"{same_choice} of {tokens}"
    table.add_row(
        "model", f"{perplexity['model']:.4f}", agreement, "none, bit for bit" if identical else f"{apart:.2e}"
    )
    console.print(table)
    return {
        "sentences": len(counts),
        "tokens": tokens,
        "perplexity": round(perplexity["model"], 5),
        "perplexity_unmodified": round(perplexity["unmodified"], 5),
        "loss_of_nats_per_token": round(sum(loss) / len(loss), 7),
        "loss_of_nats_per_token_interval": [round(low, 7), round(high, 7)],
        "logits_bit_for_bit": identical,
        "greatest_logit_difference": apart,
        "same_likeliest_token": round(same_choice / tokens, 5),
        "unmodified": name,
    }


def held_out_requests() -> dict[str, Sequence[str]]:
    """Requests in free form that nothing was trained on, by what they want."""
    from motiongpt3.data.instructions import load_conversation

    held_out = load_conversation("held_out")
    return {"text": held_out.text, "motion": held_out.motion}


def decisions(answers: Answers, requests: dict[str, Sequence[str]], console: Console) -> Results:
    """How many requests are taken for what they want; a motion with words before it is a motion too."""
    table = Table(title="Requests in free form, by the kind of answer they want")
    for heading in ("wanted", "right", "taken for"):
        table.add_column(heading)
    found: Results = {}
    for wanted, asked in requests.items():
        taken = answers.wanted(asked)
        right = sum(answer == wanted or (wanted == "motion" and answer != "text") for answer in taken)
        table.add_row(wanted, _share(right, len(taken), True), str(dict(Counter(taken))))
        low, high = wilson_interval(right, len(taken))
        found[wanted] = {
            "right": right,
            "count": len(taken),
            "interval": [round(low, 4), round(high, 4)],
            "wrong": [
                request for request, answer in zip(asked, taken) if (answer == "text") != (wanted == "text")
            ],
        }
    console.print(table)
    return found


def check(dataset: HumanML3DDataset, split: str, console: Console) -> Results:
    """How the judge fares on the captions of the real clips of a split."""
    clips, excluded = clips_with_facts(dataset, split)
    found = check_judge(clips)
    counts = Counter(clip.facts.family for clip in clips)
    families = [family for family, _ in counts.most_common(14)]
    table = Table(
        title=f"Captions of real clips (rows, {split}) that are right about clips of (columns), %",
        padding=(0, 0),
    )
    table.add_column("captions of", no_wrap=True)
    table.add_column("clips", justify="right", no_wrap=True)
    for family in families:
        table.add_column(family, justify="right", max_width=8, overflow="fold")
    for row in families:
        rates = [found.table[row, column] for column in families]
        table.add_row(
            row, str(counts[row]), *(f"{100 * rate:.0f}" if rate >= 0.005 else "" for rate in rates)
        )
    table.caption = "Right: action and side. Only the most frequent kinds of clip."
    console.print(table)
    console.print(
        f"{len(clips)} clips, {sum(excluded.values())} excluded. Right about clips with other facts: "
        f"action {found.other_action:.1%}, action and side {found.other_right:.2%}. About their own:"
    )
    own = found.own.as_dict()
    for name in ("action", "side", "side_unnamed", "right"):
        console.print(f"  {name}: {own[name]:.2%}")
    return {
        "clips": len(clips),
        "excluded": dict(excluded),
        "own": own,
        "other_action": round(found.other_action, 5),
        "other_right": round(found.other_right, 5),
    }


def _spread(items: Sequence[Any], limit: int | None) -> list[Any]:
    """At most so many, evenly from the whole list: neighbours in it show much the same."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[place * len(items) // limit] for place in range(limit)]


def _share(part: int, whole: int, interval: bool = False) -> str:
    if not whole:
        return "-"
    if not interval:
        return f"{100 * part / whole:.0f} %"
    low, high = wilson_interval(part, whole)
    return f"{100 * part / whole:.1f} % ({100 * low:.0f}-{100 * high:.0f})"


def _centimetres(metres: float | None, digits: int = 1) -> str:
    return "-" if metres is None else f"{100 * metres:.{digits}f}"


def _with_interval(values: Results, name: str) -> str:
    low, high = values[f"{name}_interval"]
    return f"{_centimetres(values[name])} ({_centimetres(low)}-{_centimetres(high)})"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="folder of a model, or its name on the hub")
    parser.add_argument("--data", type=Path, help="dataset with labels")
    parser.add_argument(
        "--set", default="val", choices=("val", "test", "train"), help="which clips (default: val)"
    )
    parser.add_argument("--task", default="all", choices=(*TASKS, "all"), help="default: all")
    parser.add_argument("--seeds", default=4, type=int, help="completions of each clip (default: 4)")
    parser.add_argument("--first-seed", default=0, type=int, help="the seeds are this one and the next ones")
    parser.add_argument("--limit", type=int, help="so many clips of the set, evenly; default: all")
    parser.add_argument("--show", default=0, type=int, help="print so many captions")
    parser.add_argument("--request", help="how to ask for captions (default: in the model's own words)")
    parser.add_argument("--backbone", help="language model to compare with; default: the model's own")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--batch-size", default=32, type=int, help="clips worked on at once (default: 32)")
    parser.add_argument("--out", type=Path, help="also write the JSON line to this file")
    parser.add_argument("--judge", action="store_true", help="check the judge of captions; no model")
    options = parser.parse_args(arguments)
    if options.model is None and not options.judge:
        parser.error("give a model, or --judge")
    if options.data is None and (options.judge or options.task not in ("t2t", "decision")):
        parser.error("give a dataset: --data")
    if options.seeds < 1 or options.first_seed < 0 or (options.limit is not None and options.limit < 1):
        parser.error("--seeds and --limit must be at least 1, --first-seed at least 0")
    return options


if __name__ == "__main__":
    sys.exit(main())
