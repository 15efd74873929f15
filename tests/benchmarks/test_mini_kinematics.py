"""The prompts of the benchmark, and the script itself with a puppet in place of a model."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from torch import Tensor

from motiongpt3.data.captions import Caption, mirror_words
from motiongpt3.data.humanml3d import ClipMetadata, write_dataset
from motiongpt3.evaluation.actions import ACTIONS
from motiongpt3.evaluation.judgement import PROMPT_SETS, Prompt, read_prompts
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.motion.features import joints_to_features
from motiongpt3.motion.motion import Motion
from tests.evaluation import puppet

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROMPTS = BENCHMARKS / "mini_kinematics_prompts.json"
REQUIRED = {
    "raise_left_hand",
    "raise_right_hand",
    "raise_both_hands",
    "wave_left_hand",
    "wave_right_hand",
    "wave_both_hands",
    "walk",
    "run",
    "turn_left",
    "turn_right",
    "walk_backward",
    "jump",
    "bow",
    "kick",
    "cartwheel",
}


def _prompts() -> list[Prompt]:
    return [prompt for name in PROMPT_SETS for prompt in read_prompts(PROMPTS, name)]


@pytest.mark.parametrize("name", PROMPT_SETS)
def test_each_set_asks_for_every_action_at_least_half_in_other_words(name: str) -> None:
    prompts = read_prompts(PROMPTS, name)
    assert len(prompts) >= 16
    assert {prompt.action for prompt in prompts} >= REQUIRED
    wordings = Counter(prompt.wording for prompt in prompts)
    assert wordings["paraphrase"] >= wordings["seen"] > 0


def test_no_prompt_is_asked_twice() -> None:
    texts = [prompt.text.lower() for prompt in _prompts()]
    assert len(set(texts)) == len(texts)


def test_paraphrases_occur_in_no_caption_and_the_others_do(local_data: Callable[[str], Path]) -> None:
    captions = set()
    for line in (local_data("data/mocap") / "captions_rich.jsonl").read_text().splitlines():
        captions.update(text.lower() for text in json.loads(line)["captions"])
    captions |= {mirror_words(text) for text in captions}
    for prompt in _prompts():
        assert (prompt.text.lower() in captions) == (prompt.wording == "seen"), prompt.text


@pytest.fixture
def benchmark() -> ModuleType:
    specification = importlib.util.spec_from_file_location(
        "mini_kinematics", BENCHMARKS / "mini_kinematics.py"
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    performances = {
        "walk": puppet.walk(speed=1.0),
        "walk-turn-left": puppet.walk(turn_degrees=90.0),
        "raise-up-left-hand": puppet.raise_hands("left"),
    }
    with write_dataset(tmp_path / "dataset") as writer:
        for label, joints in performances.items():
            for number in range(2):
                name = f"{label}{number}"
                features = joints_to_features(joints[number:]).float().numpy()
                writer.add(name, features, [Caption(label)], "train", ClipMetadata(name, label=label))
    return tmp_path / "dataset"


def test_the_last_line_is_json_with_everything(
    benchmark: ModuleType,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def generate(texts: list[str], seeds: list[int]) -> list[Tensor]:
        return [puppet.walk(turn_degrees=80.0 + seed) for seed in seeds]

    monkeypatch.setattr(benchmark, "_generate_with", lambda options: generate)
    out = tmp_path / "result.json"
    code = benchmark.main(["MODEL", "--data", str(dataset), "--seeds", "2", "--out", str(out)])
    assert code == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads(out.read_text()) == found
    prompts = read_prompts(PROMPTS, "val")
    assert len(found["prompts"]) == len(prompts)
    assert found["actions"]["turn_left"]["rate"] == 1.0
    assert found["actions"]["turn_right"]["rate"] == 0.0
    turns = sum(prompt.action == "turn_left" for prompt in prompts)
    assert found["overall"]["rate"] == pytest.approx(turns / len(prompts), abs=1e-4)
    assert found["real"]["walk"]["split"] == "all"
    assert found["summary"]["jerk / real"] > 0


def test_ratios_compare_each_prompt_with_its_own_action(benchmark: ModuleType) -> None:
    assert benchmark._ratio([(3.0, 1.0), (1.0, 1.0)]) == 2.0
    assert benchmark._ratio([(3.0, 1.0), (float("nan"), 1.0), (5.0, float("nan"))]) == 3.0


def test_confusion_needs_no_model(
    benchmark: ModuleType, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(["--confusion", "--data", str(dataset)]) == 0
    assert "raise" in capsys.readouterr().err


def test_a_missing_dataset_is_one_line(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(["MODEL", "--data", str(tmp_path / "none")]) == 2
    assert "no dataset at" in capsys.readouterr().err


def test_every_group_with_a_target_is_asked_for(benchmark: ModuleType) -> None:
    groups = {action.group for action in ACTIONS.values()}
    assert set(benchmark.TARGETS) <= groups
    assert set(benchmark.TARGETS) <= {prompt.group for prompt in _prompts()}


def test_one_clip_with_nan_does_not_spoil_its_batch(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Model:
        def generate(self, prompts: list[str], seeds: list[int], **settings: object) -> list[Motion]:
            assert settings["guidance"] == 2.5
            joints = puppet.stand()
            return [Motion(joints * float("nan") if seed == 1 else joints) for seed in seeds]

    monkeypatch.setattr(MotionGPT3, "from_pretrained", lambda path, device: Model())
    options = benchmark._parse(["MODEL", "--data", "x", "--guidance", "2.5"])
    clips = benchmark._generate_with(options)(["a", "b", "c"], [0, 1, 2])
    assert [bool(clip.isfinite().all()) for clip in clips] == [True, False, True]
