"""The script that measures captions, completions and text, with a model that knows the answers."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from motiongpt3.data.captions import Caption
from motiongpt3.data.humanml3d import ClipMetadata, HumanML3DDataset, write_dataset
from motiongpt3.motion.features import joints_to_features
from motiongpt3.motion.motion import Motion
from tests import tiny
from tests.evaluation import puppet

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CAPTIONS = {
    "walk": "a person walks",
    "raise-up-left-hand": "raise your left hand",
    "raise-up-right-hand": "raise your right hand",
    "juggling": "a person juggles",
}
PERFORMANCES: dict[str, Callable[[], Tensor]] = {
    "walk": puppet.walk,
    "raise-up-left-hand": lambda: puppet.raise_hands("left"),
    "raise-up-right-hand": lambda: puppet.raise_hands("right"),
    "juggling": puppet.stand,
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mini_tasks", BENCHMARKS / "mini_tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    with write_dataset(folder) as writer:
        for split in ("train", "val", "test"):
            for label, perform in PERFORMANCES.items():
                features = joints_to_features(perform()).float().numpy()
                caption = [Caption(CAPTIONS[label])]
                name = f"{split}-{label}"
                writer.add(name, features, caption, split, ClipMetadata(name, label=label))
                mirrored = ClipMetadata(f"M{name}", label=label, mirrored_from=name)
                writer.add(f"M{name}", features, caption, split, mirrored)
    return folder


class Knowing:
    """A model that has seen all clips: it says and completes what they show, and notes what it was given."""

    frame_range = (8, 200)

    def __init__(self, root: Path) -> None:
        dataset = HumanML3DDataset(root)
        self._known = [
            (Motion.from_features(dataset.features(segment)), segment.captions[0])
            for split in ("val", "test")
            for segment in dataset.segments(split)
        ]
        self.asked: str | None = None
        self.given: list[tuple[int, int, int]] = []
        self.seeds: list[int] = []
        self.off = 0.0

    def _find(self, head: Motion, frames: int) -> tuple[Motion, str]:
        return next(
            (clip, caption)
            for clip, caption in self._known
            if len(clip) == frames and torch.equal(clip.joints[: len(head)], head.joints)
        )

    def caption(self, motions: Sequence[Motion], prompts: str | None, batch_size: int) -> list[str]:
        self.asked = prompts
        return [self._find(motion, len(motion))[1].replace("right", "left") for motion in motions]

    def predict(
        self, heads: Sequence[Motion], frames: Sequence[int], seeds: Sequence[int], batch_size: int
    ) -> list[Motion]:
        return self.inbetween(heads, [], frames, seeds, batch_size)

    def inbetween(
        self,
        heads: Sequence[Motion],
        tails: Sequence[Motion],
        frames: Sequence[int],
        seeds: Sequence[int],
        batch_size: int,
    ) -> list[Motion]:
        self.seeds += seeds
        made = []
        for place, (head, total) in enumerate(zip(heads, frames)):
            clip, _ = self._find(head, total)
            end = total - len(tails[place]) if tails else total
            if tails:
                assert torch.equal(clip.joints[end:], tails[place].joints)
            self.given.append((total, len(head), total - end))
            joints = clip.joints.clone()
            joints[len(head) : end] += self.off
            made.append(replace(clip, joints=joints, features=None))
        return made


@pytest.fixture
def knowing(script: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch) -> Knowing:
    model = Knowing(data)
    monkeypatch.setattr(
        script, "_load", lambda options: script.Answers(model, options.batch_size, options.request)
    )
    return model


def _run(script: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert script.main(["model", *arguments]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_captions_are_judged_on_clips_with_facts(
    script: ModuleType, data: Path, knowing: Knowing, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _run(script, capsys, "--data", str(data), "--task", "m2t", "--show", "3")["m2t"]
    # The model takes right hands for left ones.
    assert (found["count"], found["sided"]) == (3, 2)
    assert (found["action"], found["side"], found["right"]) == (1.0, 0.5, 0.6667)
    assert knowing.asked is None
    _run(script, capsys, "--data", str(data), "--task", "m2t", "--request", "Say what this is:")
    assert knowing.asked == "Say what this is:"
    assert found["excluded"] == {"juggling": 1}
    assert [wrong["label"] for wrong in found["wrong"]] == ["raise-up-right-hand"]
    assert found["families"]["raise"]["side"] == 0.5


@pytest.mark.parametrize(("task", "off"), [("pred", 0.0), ("pred", 0.3), ("inbetween", 0.3)])
def test_completions_are_compared_with_the_real_clips(
    script: ModuleType,
    data: Path,
    knowing: Knowing,
    capsys: pytest.CaptureFixture[str],
    task: str,
    off: float,
) -> None:
    knowing.off = off
    found = _run(script, capsys, "--data", str(data), "--set", "test", "--task", task, "--seeds", "2")[task]
    assert (found["clips"], found["seeds"], found["kept_error"]) == (4, 2, 0.0)
    assert found["mean_joint_error"] == pytest.approx(off * 3**0.5, abs=1e-4)
    assert found["pose_error"] == pytest.approx(0.0, abs=1e-4)
    assert len(set(knowing.seeds)) == 8
    for total, head, tail in knowing.given:
        assert head == int(total * (0.2 if task == "pred" else 0.25))
        assert tail == (0 if task == "pred" else total - int(0.75 * total))
    baseline = "constant velocity" if task == "pred" else "linear interpolation"
    assert set(found["baselines"]) == {"repeat last frame", baseline}
    less = found["against"]["repeat last frame"]
    expected = found["baselines"]["repeat last frame"]["mean_joint_error"] - found["mean_joint_error"]
    assert less["less_by"] == pytest.approx(expected, abs=1e-4)


def test_fewer_clips_can_be_asked_for(
    script: ModuleType, data: Path, knowing: Knowing, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _run(script, capsys, "--data", str(data), "--task", "pred", "--limit", "2", "--seeds", "1")
    assert found["pred"]["clips"] == 2
    assert script._spread(list(range(10)), 3) == [0, 3, 6]
    assert script._spread([1, 2], 3) == [1, 2]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_backbone(tmp_path_factory.mktemp("backbone") / "tiny")


def test_frozen_text_is_the_language_model_that_it_came_from(
    script: ModuleType, backbone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny.model(backbone)
    monkeypatch.setattr(script, "_load", lambda options: script.Answers(model, options.batch_size))
    found = _run(script, capsys, "--task", "t2t")["t2t"]
    assert found["sentences"] == 60
    assert found["greatest_logit_difference"] < 1e-4
    assert found["perplexity"] == pytest.approx(found["perplexity_unmodified"], rel=1e-5)
    assert found["same_likeliest_token"] == 1.0
    with torch.no_grad():
        model.mot.text.token_embedding.weight[65] += 1.0
    changed = _run(script, capsys, "--task", "t2t")["t2t"]
    assert changed["perplexity_unmodified"] == found["perplexity_unmodified"]
    assert changed["greatest_logit_difference"] > 0.01
    assert changed["perplexity"] != pytest.approx(found["perplexity"], rel=1e-4)
    assert not changed["logits_bit_for_bit"]


def test_text_of_a_model_of_its_own_needs_a_name(
    script: ModuleType, backbone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny.model(backbone)
    object.__setattr__(model.config, "text_backbone", "")
    monkeypatch.setattr(script, "_load", lambda options: script.Answers(model, options.batch_size))
    assert script.main(["model", "--task", "t2t"]) == 2
    assert "--backbone" in capsys.readouterr().err
    found = _run(script, capsys, "--task", "t2t", "--backbone", str(backbone))["t2t"]
    assert found["greatest_logit_difference"] < 1e-4


def test_perplexity_is_that_of_transformers(script: ModuleType, backbone: Path) -> None:
    answers = script.Answers(tiny.model(backbone), 1)
    logits, _ = answers.unmodified_logits(None)
    ids = answers.tokens("a small sentence")
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(backbone).eval()
    with torch.inference_mode():
        loss = float(reference(input_ids=ids[None], labels=ids[None]).loss)
    console = script.Console(quiet=True)
    found = script.text(answers, ["a small sentence", ""], None, console)
    assert found["perplexity_unmodified"] == pytest.approx(torch.tensor(loss).exp().item(), rel=1e-5)
    assert found["tokens"] == len(ids) - 1
    assert logits(ids).shape[0] == len(ids)


def test_requests_are_counted_by_what_they_are_taken_for(script: ModuleType) -> None:
    class Guessing:
        def wanted(self, requests: Sequence[str]) -> list[str]:
            return ["text" if "?" in request else "text then motion" for request in requests]

    requests = {"text": ["what is this?", "tell me more"], "motion": ["walk", "show me a jump", "a bow?"]}
    found = script.decisions(Guessing(), requests, script.Console(quiet=True))
    assert (found["text"]["right"], found["text"]["count"]) == (1, 2)
    assert (found["motion"]["right"], found["motion"]["count"]) == (2, 3)
    assert found["motion"]["wrong"] == ["a bow?"]


def test_the_judge_is_checked_without_a_model(
    script: ModuleType, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--judge", "--data", str(data)]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["judge"]
    assert found["clips"] == 3
    assert found["own"]["right"] == 1.0
    assert found["other_right"] == 0.0
    assert found["other_action"] == pytest.approx(2 / 6, abs=1e-4)


@pytest.mark.parametrize("arguments", [[], ["model"], ["model", "--data", "d", "--seeds", "0"], ["--judge"]])
def test_incomplete_requests_are_refused(script: ModuleType, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        script.main(arguments)
    assert exit_.value.code == 2


def test_a_dataset_that_is_not_there_is_one_line(
    script: ModuleType, knowing: Knowing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["model", "--data", str(tmp_path / "nowhere"), "--task", "m2t"]) == 2
    assert "no dataset" in capsys.readouterr().err


def test_the_sentences_are_sixty_different_ones() -> None:
    sentences = (BENCHMARKS / "ordinary_english.txt").read_text(encoding="utf-8").splitlines()
    assert len(set(sentences)) == len(sentences) == 60
    assert all(30 <= len(sentence) <= 120 and sentence.isascii() for sentence in sentences)
