"""Language stages that are over in a moment; also run in processes of their own, as a script."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.models.codec import MotionCodec, build_vae
from motiongpt3.models.motiongpt import MotionGPT3
from motiongpt3.training.curriculum import Wordings
from motiongpt3.training.language import LanguageTraining
from motiongpt3.training.lessons import LessonMix
from motiongpt3.training.optimization import OptimizerConfig
from motiongpt3.training.runs import RunConfig
from motiongpt3.training.stages import LowRank, train_language
from tests import tiny
from tests.data.datasets import write_tiny

STEPS, BATCH = 8, 4
# Five clips make epochs of two batches of two: the third step is in the middle of one.
VALIDATE_EVERY, KILLED_IN = 3, 5
MIX = LessonMix(text_to_motion=2, prediction=1, inbetween=1, captioning=2, decisions=1)
TEXT_MIX = LessonMix(text_to_motion=1, inbetween=1, captioning=1, decisions=1, texts=2)


def prepare(folder: Path) -> None:
    """A dataset, and a model that has been through two stages, in ``folder``."""
    dataset = HumanML3DDataset(write_tiny(folder / "data"))
    tiny.save_backbone(folder / "backbone")
    torch.manual_seed(0)
    codec = MotionCodec(build_vae(tiny.VAE), dataset.statistics)
    for stage in ("pretrain", "instruct"):
        model = MotionGPT3.assemble(tiny.description(folder / "backbone", stage=stage), codec)
        tiny.randomise(model)
        model.save_pretrained(folder / stage)


def train(places: Path, out: Path, stage: Any = "instruct", batch_size: int = BATCH, **run: Any) -> Path:
    """Stage "instruct" with the text frozen, or "finetune" with adapters in it."""
    texts = stage == "finetune"
    return train_language(
        places / "data",
        out,
        stage,
        TEXT_MIX if texts else MIX,
        OptimizerConfig(
            learning_rate=0.01,
            steps=STEPS,
            warmup_steps=2,
            average_decay=0.5,
            part_rates={"head": 0.005} | ({"text": 0.002} if texts else {}),
        ),
        start_from=places / ("instruct" if texts else "pretrain"),
        low_rank=LowRank(rank=2, alpha=4) if texts else None,
        wordings=Wordings(requests=1, captioning=1, lengths=0.5),
        batch_size=batch_size,
        validate_every=VALIDATE_EVERY,
        device="cpu",
        run=RunConfig(log_every=1, **run),
    )


def to_be_killed(places: Path, out: Path) -> None:
    """Go down in the middle of a step as by ``kill -9``."""
    step = LanguageTraining.training_step

    def killed(self: LanguageTraining, batch: Any, batch_index: int) -> Tensor:
        loss = step(self, batch, batch_index)
        if batch_index == KILLED_IN:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss

    LanguageTraining.training_step = killed  # type: ignore[method-assign]
    train(places, out, batch_size=BATCH // 2)


def in_parallel(places: Path, out: Path) -> None:
    """What each of two processes does: stages in several ways, with half of the batch each."""
    for stage, strategy in (("instruct", "ddp"), ("finetune", "ddp"), ("finetune", "fsdp")):
        train(places, out / f"{stage}-{strategy}", stage, BATCH // 2, strategy=strategy)


if __name__ == "__main__":
    {"killed": to_be_killed, "parallel": in_parallel}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
