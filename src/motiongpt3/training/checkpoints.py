"""Checkpoints of a run: written whole or not at all, read without running anything that is in them."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import pickle
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from motiongpt3.errors import CheckpointError, ConfigError
from motiongpt3.files import atomic_file
from motiongpt3.training.averaging import stored_names
from motiongpt3.training.generation_check import GenerationCheck
from motiongpt3.training.optimization import OptimizerConfig

LAST, BEST = "last.ckpt", "best.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints under another name first: whatever happens, the one before stays as it was.

    Raises:
        CheckpointError: if the disk is full, or the file cannot be written for another reason.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        try:
            with atomic_file(path) as temporary, temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:
            # PyTorch reports what the system says as a RuntimeError of its own.
            cause = error if isinstance(error, OSError) else error.__context__
            reason = cause.strerror if isinstance(cause, OSError) else str(error).splitlines()[0]
            raise CheckpointError(
                f"{path}: the checkpoint cannot be written ({reason}); the one before is kept: make room, "
                "and start the training again to go on from there"
            ) from None


class Checkpoints(Checkpoint):
    """Keeps ``last``, the best by a metric of the validation, and every so-manieth checkpoint.

    Checkpoints are written between optimiser steps; in a step with a validation, after it. SIGTERM, which
    schedulers send before they end a job, leaves a ``last`` of the step it came in.

    Args:
        folder: where they go.
        monitor: name of the logged number that ``best`` is the best of.
        mode: whether the smallest (``min``) or the largest (``max``) is best.
        optimizer: of the run, to tell later whether the same run goes on.
        frozen: fingerprint of the frozen parameters, see `frozen_fingerprint`.
        validate_every: optimiser steps from one validation to the next; 0 without validation.
        save_every: steps from one ``last`` to the next, besides those behind every validation.
        keep_every: steps from one checkpoint that is kept to the next; 0 keeps ``last`` and ``best`` alone.

    Raises:
        ConfigError: if nothing is logged under the name ``monitor``.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str,
        mode: str,
        optimizer: OptimizerConfig,
        frozen: str,
        validate_every: int,
        save_every: int,
        keep_every: int,
    ) -> None:
        self.folder = folder
        self.monitor = monitor
        self.sign = {"min": 1, "max": -1}[mode]
        self.optimizer = optimizer
        self.frozen = frozen
        self.validate_every = validate_every
        self.save_every = save_every
        self.keep_every = keep_every
        self.best: float | None = None
        self._step = self._saved = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = self._saved = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        step = trainer.global_step
        # With accumulation there are batches without a step.
        if step > self._step and not (self.validate_every and step % self.validate_every == 0):
            due = step % self.save_every == 0 or step == self.optimizer.steps
            self._save(trainer, [LAST] if due else [])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer, [BEST, LAST] if self._improves(trainer) else [LAST])

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # Raised between batches, so that the state is whole, unless gradients are being accumulated.
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if (
            isinstance(exception, SIGTERMException)
            and trainer.global_step > self._saved
            and batches % trainer.accumulate_grad_batches == 0
        ):
            self._save(trainer, [LAST])

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["run"] = {"optimizer": asdict(self.optimizer), "frozen": self.frozen}

    def _improves(self, trainer: Trainer) -> bool:
        """Whether the validation that just ended is the best so far; remembers it if so."""
        found = trainer.callback_metrics.get(self.monitor)
        if found is None:
            waiting = any(isinstance(c, GenerationCheck) and not c.results for c in trainer.callbacks)  # type: ignore[attr-defined]
            if not waiting:
                names = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
                raise ConfigError(f"monitor: no number is logged as {self.monitor!r}; there is {names}")
            return False
        # Said by the first process, lest rounding divides them.
        value = float(trainer.strategy.broadcast(float(found)))
        better = math.isfinite(value) and (self.best is None or self.sign * value < self.sign * self.best)
        if better:
            self.best = value
        return better

    def _save(self, trainer: Trainer, names: list[str]) -> None:
        """Write one file, and give it the other names; ``last`` comes last, as it says what was best."""
        step = self._step = trainer.global_step
        if self.keep_every and step % self.keep_every == 0:
            names = [f"step-{step}.ckpt", *names]
        if not names:
            return
        trainer.save_checkpoint(self.folder / names[0], weights_only=False)
        if LAST in names:
            self._saved = step
        if trainer.is_global_zero:
            for name in names[1:]:
                duplicate(self.folder / names[0], self.folder / name)
        trainer.strategy.barrier()


def duplicate(path: Path, other: Path) -> None:
    """Make ``other`` the same file, in one step, without using the disk twice where that can be had."""
    temporary = other.with_name(f".{other.name}-link")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(path)
        temporary.replace(other)
    except OSError:
        with atomic_file(other) as copied:
            shutil.copyfile(path, copied)


def remove_unfinished(folder: Path) -> None:
    """Delete what a run that was killed while it wrote a checkpoint has left."""
    for path in folder.glob(".*.ckpt*"):
        path.unlink(missing_ok=True)


def read_checkpoint(path: Path, module: LightningModule) -> dict[str, Any]:
    """A checkpoint of ``module`` on the CPU; no code in it is run.

    Returns:
        What Lightning keeps there, with ``averaged_weights`` and ``run`` (see `Checkpoints`).

    Raises:
        CheckpointError: if it cannot be read, or its tensors are not those of ``module``.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        shapes = {name: tensor.shape for name, tensor in saved["state_dict"].items()}
        averages = {name: tensor.shape for name, tensor in saved["averaged_weights"].items()}
        step, run = saved["global_step"], saved["run"]
        sound = (
            isinstance(step, int) and isinstance(run["optimizer"], dict) and isinstance(run["frozen"], str)
        )
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        raise CheckpointError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); delete it to start anew"
        ) from None
    state = module.state_dict()
    expected = {name: state[name].shape for name in stored_names(module)}
    if not sound or shapes != expected or averages != expected:
        raise CheckpointError(
            f"{path}: of a run with another network; choose another out, or delete it to start anew"
        )
    return saved


def check_same_run(path: Path, saved: dict[str, Any], optimizer: OptimizerConfig, frozen: str) -> None:
    """Refuse to go on from a checkpoint of a run that was set up in another way.

    Raises:
        ConfigError: if the optimiser's settings are others (but for the number of steps, which may change).
        CheckpointError: if the frozen weights are others.
    """
    now, before = asdict(optimizer), saved["run"]["optimizer"]
    changed = [
        f"{name} {before.get(name)} and not {value}"
        for name, value in now.items()
        if name != "steps" and before.get(name) != value
    ]
    if changed:
        raise ConfigError(
            f"{path}: the run was begun with optimizer.{', optimizer.'.join(changed)}; choose another out, "
            "or delete it to start anew"
        )
    if saved["run"]["frozen"] != frozen:
        raise CheckpointError(
            f"{path}: the frozen weights are not those the run was begun with; choose another out, or delete "
            "it to start anew"
        )


def frozen_fingerprint(module: nn.Module) -> str:
    """A hash of the parameters of ``module`` that are not trained, and so not stored in checkpoints."""
    digest = hashlib.sha256()
    for name, parameter in sorted(module.named_parameters()):
        if not parameter.requires_grad:
            digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
            digest.update(_bytes(parameter))
    return digest.hexdigest()


def is_full_disk(error: OSError) -> bool:
    """Whether there is no more room to write to."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
