"""Judging a model in training by what it generates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributed.fsdp import FSDPModule

from motiongpt3.errors import ConfigError
from motiongpt3.evaluation.judgement import evaluate_prompts, read_prompts

if TYPE_CHECKING:
    from motiongpt3.models.motiongpt import MotionGPT3

SUCCESS = "generation/success"


class GenerationCheck(Callback):
    """Asks a function now and then what the model can do, and logs the numbers that it gives.

    It is asked in a validation, when the averaged weights are in place, without gradients. Only the first
    process is busy with it; the others wait. The numbers reach the logs, the progress display and `fit`'s
    ``monitor`` like those of the validation.

    Args:
        every_steps: optimiser steps from one time to the next; a multiple of `fit`'s ``validate_every``.
        evaluate: given the module in training, returns numbers by the names under which they are logged, such
            as ``generation/success``. It should draw from generators of its own.
    """

    def __init__(self, every_steps: int, evaluate: Callable[[LightningModule], Mapping[str, float]]) -> None:
        self.every_steps = every_steps
        self.evaluate = evaluate
        self.results: dict[str, float] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step % self.every_steps:
            return
        if isinstance(pl_module, FSDPModule):
            pl_module.unshard()
        found = dict(self.evaluate(pl_module)) if trainer.is_global_zero else {}
        if isinstance(pl_module, FSDPModule):
            pl_module.reshard()
        self.results = trainer.strategy.broadcast(found)
        pl_module.log_dict(self.results, batch_size=1)


@dataclass(frozen=True)
class JudgedPrompts:
    """Sentences that a model in training makes motions of, and how often.

    Args:
        prompts: a file like ``benchmarks/mini_kinematics_prompts.json``, whose set ``val`` is taken.
        every: optimiser steps from one time to the next; a multiple of ``validate_every``.
        seeds: motions of each sentence, the same noise every time.

    Raises:
        ConfigError: if a number is not positive.
    """

    prompts: Path
    every: int
    seeds: int = 4

    def __post_init__(self) -> None:
        if self.every < 1 or self.seeds < 1:
            raise ConfigError("judged: every and seeds are numbers of at least 1")

    def check(self, model: MotionGPT3) -> GenerationCheck:
        """Logs which share of the motions does what was asked (`SUCCESS`), and how far feet skate, in cm/s.

        Raises:
            InputError: if the file cannot be used.
        """
        prompts = read_prompts(self.prompts, "val")

        def generate(texts: list[str], seeds: list[int]) -> list[Tensor]:
            return [motion.joints for motion in model.generate(texts, seeds=seeds)]

        def evaluate(module: LightningModule) -> dict[str, float]:
            # The lessons use it where they are made, on the CPU.
            home = model.codec.feature_mean.device
            model.codec.to(module.device)
            try:
                score = evaluate_prompts(generate, prompts, range(self.seeds), fps=model.fps).overall
            finally:
                model.codec.to(home)
            return {SUCCESS: score.successes / score.count, "generation/foot_skate": score.foot_skate}

        return GenerationCheck(self.every, evaluate)
