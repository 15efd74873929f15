"""The reconstruction benchmark: codecs and tokenizers alike, alone or in a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.reconstruction import load_round_trip, main, measure

from motiongpt3.data.humanml3d import HumanML3DDataset
from tests import tiny
from tests.data.datasets import features, write_tiny


@pytest.mark.parametrize("kind", ["codec", "tokenizer"])
def test_prints_the_mean_error_of_a_split(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_tiny(tmp_path / "data")
    made = tiny.codec() if kind == "codec" else tiny.motion_tokenizer()
    made.save_pretrained(tmp_path / kind)
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path / kind), "--data", str(data), "--split", "train"])
    assert main() == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["clips"], found["split"]) == (len(HumanML3DDataset(data).segments("train")), "train")
    assert found["global_mpjpe_mm"] > found["root_aligned_mpjpe_mm"] > 0


def test_what_gives_back_all_has_no_error(tmp_path: Path) -> None:
    dataset = HumanML3DDataset(write_tiny(tmp_path / "data"))
    # As a tokenizer does, without the frames that fill no code.
    errors = measure(lambda features, lengths: features[:, : int(lengths) // 4 * 4], dataset, "train")
    assert len(errors) == len(dataset.segments("train"))
    assert torch.tensor(errors).abs().max() == 0


@torch.inference_mode()
def test_a_model_has_the_round_trip_of_its_part(tmp_path: Path) -> None:
    backbone = tiny.save_backbone(tmp_path / "backbone")
    tokens, latents = tiny.token_model(backbone), tiny.model(backbone)
    for whole, part in ((tokens, tokens.motion_tokenizer), (latents, latents.codec)):
        whole.save_pretrained(tmp_path / "whole")
        part.save_pretrained(tmp_path / "part")
        clip, lengths = torch.from_numpy(features(23))[None], torch.tensor([23])
        made = [load_round_trip(tmp_path / name)(clip, lengths) for name in ("whole", "part")]
        assert torch.equal(*made)
        assert made[0].shape[1] == (20 if part is tokens.motion_tokenizer else 23)
