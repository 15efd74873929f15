"""``motiongpt3 evaluate``: every task end to end, stopping and going on, and what cannot be evaluated."""

from __future__ import annotations

import json
import math
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing

from motiongpt3.cli.main import main
from motiongpt3.evaluation.protocol import measurement
from motiongpt3.evaluation.report.tables import FAMILIES
from motiongpt3.models.matching_evaluator import MatchingEvaluator, MatchingEvaluatorConfig
from tests.evaluation.protocol.worlds import World, make_world

SMALL = ["--replications", "2", "--pool_size", "4", "--multimodality", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def run(world: World, task: str, out: Path, *options: str, model: str | None = None) -> dict[str, Any]:
    words = ["evaluate", model or str(world.model), "--data", str(world.data), "--task", task]
    words += ["--evaluator", str(world.evaluator), "--out", str(out), *SMALL, *options]
    assert main(words) == 0
    return json.loads((out / "metrics.json").read_text())


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["evaluate", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("error:") == 1
    return error


@pytest.mark.parametrize(
    ("task", "metrics"),
    [
        ("t2m", ["FID", "R-precision 1", "matching score", "diversity", "jerk m/s³"]),
        ("pred", ["ADE m", "FDE m", "kept frames off mm", "seam jump mm", "FID", "foot skate cm/s"]),
        ("inbetween", ["ADE m", "kept frames off mm", "diversity"]),
        ("reconstruction", ["MPJPE mm", "PA-MPJPE mm", "acceleration error mm", "feature MSE", "FID"]),
    ],
)
def test_motion_tasks(world: World, task: str, metrics: list[str], tmp_path: Path) -> None:
    found = run(world, task, tmp_path)
    replications = 1 if task == "reconstruction" else 2
    assert len(found["replications"]) == replications
    for name in metrics:
        value = found["summary"]["generated"][name]
        assert math.isfinite(value["mean"])
        assert value["replications"] == replications
    assert found["data"]["clips"] == 6
    assert found["data"]["excluded"] == {"shorter than 40 frames": 1, "200 frames or longer": 1}
    assert found["protocol"]["min_frames"] == 40
    assert len(found["answers"]["sha256"]["model.safetensors"]) == 64
    assert found["versions"]["torch"]
    assert found["summary"]["real"]["diversity"]["mean"] > 0
    if task in ("pred", "inbetween"):
        assert found["summary"]["generated"]["kept frames off mm"]["mean"] < 0.01
        assert found["summary"]["repeat last frame"]["ADE m"]["mean"] > 0
        assert (tmp_path / "pictures" / "error_over_time.png").exists() == _plots()
    report = (tmp_path / "report.md").read_text()
    page = (tmp_path / "report.html").read_text()
    for picture in ("best.png", "median.png", "worst.png"):
        assert (tmp_path / "pictures" / picture).stat().st_size > 1000
        assert f"pictures/{picture}" in report
        assert f"pictures/{picture}" in page
    mean = found["summary"]["generated"][metrics[0]]["mean"]
    assert f"{mean:.{3 if abs(mean) < 10 else 2 if abs(mean) < 100 else 1}f}" in report
    assert "| min frames | 40 |" in report
    # What is measured stands in a table: none is forgotten.
    for metrics in found["summary"].values():
        assert set(metrics) <= {name for family in FAMILIES.values() for name in family}
    assert found["summary"]["real: half against half"]["FID"]["mean"] >= 0
    assert any("3 pairs of clips, not 300" in note for note in found["notes"])
    assert found["notes"][0] in report


def _plots() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def test_captions(world: World, tmp_path: Path) -> None:
    pytest.importorskip("pycocoevalcap")
    found = run(world, "m2t", tmp_path)
    scores = found["summary"]["generated"]
    assert {"BLEU-1 (raw)", "BLEU-4 (raw)", "ROUGE-L (raw)", "CIDEr (raw)", "R-precision 1"} <= set(scores)
    assert found["text metrics"]["tokenizer"].startswith("whitespace")
    assert set(found["captions"]) == {"walk", "jump", "wave", "turn", "Mturn", "bow"}
    # The same captions, judged as files: what they have in common with the references is the same.
    answers = tmp_path / "captions.json"
    answers.write_text(json.dumps(found["captions"]))
    again = run(world, "m2t", tmp_path / "again", model=str(answers))
    assert again["summary"]["generated"]["CIDEr (raw)"] == scores["CIDEr (raw)"]
    assert again["summary"]["generated"]["R-precision 1"] == scores["R-precision 1"]


def test_plain_text(world: World, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the sun rises\n\nit is a fine day\n")
    words = ["evaluate", str(world.model), "--data", str(text), "--task", "t2t", "--out", str(tmp_path)]
    assert main(words) == 0
    found = json.loads((tmp_path / "metrics.json").read_text())
    own, other = (found["summary"][row]["perplexity"]["mean"] for row in ("generated", "unmodified"))
    assert own == pytest.approx(other, rel=1e-5)
    assert found["data"]["passages"] == 2
    assert found["data"]["tokens"] == len("the sun rises") + len("it is a fine day") - 2


def test_it_goes_on_where_it_stopped(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(world, "t2m", tmp_path / "whole")
    measure, done = measurement.MEASURES["t2m"], []

    def fails(setting: Any, replication: int) -> Any:
        if replication == 1 and len(done) == 1:
            done.append("power")
            raise MemoryError
        done.append(replication)
        return measure(setting, replication)

    monkeypatch.setitem(measurement.MEASURES, "t2m", fails)
    words = ["evaluate", str(world.model), "--data", str(world.data), "--evaluator", str(world.evaluator)]
    assert main([*words, "--out", str(tmp_path / "parts"), *SMALL]) == 2
    parts = run(world, "t2m", tmp_path / "parts")
    assert done == [0, "power", 1]
    assert parts["replications"] == whole["replications"]
    assert parts["replications"][0] != parts["replications"][1]
    # The samples of a replication that was finished before are still there.
    for name in ("best.png", "median.png", "worst.png", "samples.json"):
        assert (tmp_path / "parts" / "pictures" / name).read_bytes() == (
            tmp_path / "whole" / "pictures" / name
        ).read_bytes()
    assert "pictures/worst.png" in (tmp_path / "parts" / "report.md").read_text()


def test_perfect_answers_are_found_perfect(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    folder.mkdir()
    for name in ("walk", "jump", "wave", "turn", "Mturn", "bow"):
        features = np.load(world.data / "new_joint_vecs" / f"{name}.npy")
        np.save(folder / f"{name}.npy", features[: len(features) // 4 * 4])
    found = run(world, "t2m", tmp_path / "t2m", model=str(folder))["summary"]
    assert found["generated"]["FID"]["mean"] == pytest.approx(0, abs=1e-6)
    for name in ("R-precision 1", "matching score", "diversity", "jerk m/s³"):
        assert found["generated"][name]["mean"] == pytest.approx(found["real"][name]["mean"], rel=1e-6)
    found = run(world, "pred", tmp_path / "pred", model=str(folder))["summary"]
    assert found["generated"]["ADE m"]["mean"] == pytest.approx(0, abs=1e-3)


def test_official_release_measures_otherwise(world: World, tmp_path: Path) -> None:
    standard = run(world, "pred", tmp_path / "standard", "--replications", "1")
    official = run(
        world, "pred", tmp_path / "official", "--replications", "1", "--protocol", "official-release"
    )
    assert official["data"]["clips"] == 7
    assert official["protocol"]["random_cuts"] is True
    ratio = (
        official["summary"]["repeat last frame"]["ADE m"]["mean"]
        / standard["summary"]["repeat last frame"]["ADE m"]["mean"]
    )
    assert 2 < ratio < 22**0.5 * 1.5


def test_multimodality_and_lengths(world: World, tmp_path: Path) -> None:
    options = [
        "--multimodality",
        "2",
        "--multimodality-replications",
        "1",
        "--lengths",
        "model",
        "--seed",
        "5",
    ]
    found = run(world, "t2m", tmp_path, *options)
    measured = found["summary"]["generated"]["multimodality"]
    assert measured["mean"] > 0
    assert (measured["replications"], measured["interval"]) == (1, None)
    assert "Multimodality was measured in the first 1 of 2 replications." in found["notes"]
    assert found["seeds"]["first replication"] == 5
    assert (tmp_path / "pictures" / "best.png").exists()
    assert found["protocol"]["multimodality_captions"] == 2
    assert found["protocol"]["lengths"] == "model"


def test_what_cannot_be_evaluated_is_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", str(world.data), "--evaluator", str(world.evaluator), "--device", "cpu"]
    out = ["--out", str(tmp_path / "out")]
    model = str(world.model)
    assert "no task 'dance'" in refused(capsys, model, *common, *out, "--task", "dance")
    assert "no protocol" in refused(capsys, model, *common, *out, "--protocol", "mine")
    assert "do not fill one pool of 32" in refused(capsys, model, *common, *out)
    assert "no split 'dev'" in refused(capsys, model, *common, *out, "--split", "dev")
    (world.data / "empty.txt").write_text("")
    assert "is empty" in refused(capsys, model, *common, *out, "--split", "empty")
    (world.data / "short.txt").write_text("nap\n")
    assert "1 shorter than 40 frames" in refused(capsys, model, *common, *out, "--split", "short")
    assert "at least 1" in refused(capsys, model, *common, *out, "--replications", "0")
    elsewhere = ["--data", str(world.data), "--evaluator", str(tmp_path)]
    assert "no evaluator" in refused(capsys, model, *elsewhere, *out)
    without = ["--data", str(world.data), "--evaluator", "none"]
    assert "needs an evaluator" in refused(capsys, model, *without, *out)
    settings = json.loads((world.evaluator / "config.json").read_text())
    settings["evaluator"]["feature_width"] = 251
    other = MatchingEvaluator(MatchingEvaluatorConfig(**settings["evaluator"]))
    other.save_pretrained(tmp_path / "kit")
    kit = ["--data", str(world.data), "--evaluator", str(tmp_path / "kit")]
    assert "reads 251 features" in refused(capsys, model, *kit, *out)
    answers = tmp_path / "few"
    answers.mkdir()
    np.save(answers / "walk.npy", np.zeros((44, 263), np.float32))
    pool = ["--pool_size", "4"]
    assert "no answer for 5 of 6 clips, first 'Mturn'" in refused(capsys, str(answers), *common, *out, *pool)
    for name in ("jump", "wave", "turn", "Mturn", "bow"):
        np.save(answers / f"{name}.npy", np.full((44, 263), np.nan, np.float32))
    assert "NaN" in refused(capsys, str(answers), *common, *out, *pool)
    np.save(answers / "walk.npy", np.zeros((44, 251), np.float32))
    assert "251" in refused(capsys, str(answers), *common, *out, *pool)
    whole = "evaluate files with --protocol standard"
    for task in ("pred", "inbetween"):
        words = [*common, *out, "--task", task, "--protocol", "official-release", "--split", "short"]
        (world.data / "short.txt").write_text("walk\n")
        assert whole in refused(capsys, str(answers), *words)
    (tmp_path / "some.json").write_text('{"walk": "a person walks"}')
    some = [str(tmp_path / "some.json"), *common, *out, *pool]
    assert "no answer for 5 of 6 clips" in refused(capsys, *some, "--task", "m2t")
    (tmp_path / "bad.json").write_text('{"walk": 3}')
    bad = str(tmp_path / "bad.json")
    assert "expected an object with a caption" in refused(capsys, bad, *common, *out, "--task", "m2t")
    run(world, "t2m", tmp_path / "out", "--replications", "1")
    assert "other settings" in refused(capsys, model, *common, *out, *pool, "--guidance", "3")


def one_of_two(rank: int, port: int, words: list[str]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": str(rank)}
    assert main(words) == 0


def test_two_processes_find_what_one_finds(world: World, tmp_path: Path) -> None:
    alone = run(world, "pred", tmp_path / "alone", "--replications", "1")
    words = ["evaluate", str(world.model), "--data", str(world.data), "--task", "pred", *SMALL]
    words += ["--evaluator", str(world.evaluator), "--out", str(tmp_path / "two"), "--replications", "1"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(one_of_two, (port, words), nprocs=2)
    together = json.loads((tmp_path / "two" / "metrics.json").read_text())
    for row, metrics in alone["replications"][0].items():
        found = together["replications"][0][row]
        # Bones of completed motion keep their lengths: what is left is rounding, and differs by batch.
        drifts = [scores.pop("bone drift %", 0.0) for scores in (found, metrics)]
        assert drifts[0] == pytest.approx(drifts[1], abs=1e-3)
        assert found == pytest.approx(metrics, rel=1e-4, abs=1e-6, nan_ok=True), row
    names = ("best.png", "median.png", "worst.png")
    lines = [
        json.loads((tmp_path / who / "pictures" / "samples.json").read_text()) for who in ("alone", "two")
    ]
    assert lines[0] == lines[1]
    assert set(lines[0]) == set(names)


def test_broken_clips_are_counted(world: World, tmp_path: Path) -> None:
    broken = world.data / "new_joint_vecs" / "broken.npy"
    features = np.load(world.data / "new_joint_vecs" / "walk.npy")
    features[3, 5] = np.nan
    np.save(broken, features)
    (world.data / "texts" / "broken.txt").write_text("a person##0.0#0.0\n")
    (world.data / "some.txt").write_text("walk\njump\nwave\nturn\nbroken\nlost\n")
    found = run(world, "reconstruction", tmp_path, "--split", "some", "--evaluator", "none")
    assert found["evaluator"] is None
    assert "FID" not in found["summary"]["generated"]
    assert found["data"]["excluded"] == {"NaN or infinite": 1, "without motion or caption": 1}
    assert found["data"]["clips"] == 4
