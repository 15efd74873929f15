"""What is generated is judged with the averaged weights, now and then, without a trace in the training."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import LightningModule

from motiongpt3.training.generation_check import GenerationCheck
from tests.training.small_run import Small, train


def test_averaged_model_is_judged_now_and_then(tmp_path: Path) -> None:
    judged: list[tuple[int, torch.Tensor]] = []

    def evaluate(module: LightningModule) -> dict[str, float]:
        assert not module.training
        assert not torch.is_grad_enabled()
        torch.manual_seed(5)
        judged.append((module.global_step, module.get_parameter("head.weight").clone()))
        return {"generation/success": len(judged) / 10}

    check = GenerationCheck(4, evaluate)
    module = train(tmp_path, callbacks=[check], validate_every=2)
    assert [step for step, _ in judged] == [4, 8, 12]
    assert check.results == {"generation/success": 0.3}
    # At the end the averages are what is handed over; before, they were not what was trained.
    assert torch.equal(judged[-1][1], module.head.weight)
    assert not torch.equal(judged[0][1], module.weights[3])
    rows = (tmp_path / "logs" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("generation/success")
    assert [row.split(",")[column] for row in rows[1:] if row.split(",")[column]] == [
        "0.10000000149011612",
        "0.20000000298023224",
        "0.30000001192092896",
    ]
    assert train(tmp_path / "plain", Small()).losses == module.losses
