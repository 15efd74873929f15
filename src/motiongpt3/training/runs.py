"""One training run: the Lightning Trainer as this project uses it."""

from __future__ import annotations

import ctypes
import logging
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from motiongpt3.data.loaders import BatchStream
from motiongpt3.errors import CheckpointError
from motiongpt3.training.optimization import OptimizerConfig

logger = logging.getLogger(__name__)


def fit(
    module: LightningModule,
    training: DataLoader[Any],
    validation: DataLoader[Any] | None,
    out: Path,
    optimizer: OptimizerConfig,
    validate_every: int,
    monitor: str,
    monitor_mode: str = "min",
    device: str = "auto",
    callbacks: list[Callback] | None = None,
) -> None:
    """Train ``module`` for ``optimizer.steps`` steps; afterwards it holds the averaged weights.

    Checkpoints go to ``out/checkpoints`` (``last`` every ``validate_every`` steps and the best by
    ``monitor``), logs to ``out/logs``. If ``out`` holds a ``last`` checkpoint, the run goes on from there; if
    that is of the last step, nothing is left to do but to take the averaged weights from it.

    Raises:
        CheckpointError: if that checkpoint is damaged, or of a run with another network.
        KeyboardInterrupt: if the run was interrupted.
    """
    keep_freed_memory()
    checkpoints = out / "checkpoints"
    last = checkpoints / "last.ckpt"
    if last.exists():
        saved = read_checkpoint(last, module)
        logger.info("going on from %s, step %d", last, saved["global_step"])
        if saved["global_step"] >= optimizer.steps:
            module.load_state_dict(saved["state_dict"])
            return
        metrics = out / "logs" / "metrics.csv"
        if metrics.exists():
            # Lightning would write its new file over it.
            metrics.rename(metrics.with_name(f"metrics-until-{saved['global_step']}.csv"))
    # Interpolated, because averaging by two products would let frozen weights drift by their rounding.
    average = WeightAveraging(
        use_buffers=False, avg_fn=lambda mean, new, _: mean.lerp(new, 1 - optimizer.average_decay)
    )
    best = ModelCheckpoint(
        checkpoints,
        filename="best",
        monitor=monitor,
        mode=monitor_mode,
        enable_version_counter=False,
    )
    # Not `save_last`, which Lightning skips at a validation that is no new best.
    latest = ModelCheckpoint(checkpoints, filename="last", enable_version_counter=False)
    kind, _, number = device.partition(":")
    trainer = Trainer(
        accelerator={"cuda": "gpu"}.get(kind, kind),
        # One device: the samplers of this project do not split their batches among several yet.
        devices=[int(number)] if number else 1,
        max_steps=optimizer.steps,
        val_check_interval=validate_every,
        check_val_every_n_epoch=None,
        gradient_clip_val=optimizer.gradient_clip,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
        logger=[CSVLogger(out, name="logs", version=""), TensorBoardLogger(out, name="logs", version="")],
        callbacks=[
            average,
            LearningRateMonitor("step"),
            RichProgressBar(),
            best,
            latest,
            *(callbacks or []),
        ],
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        try:
            trainer.fit(
                module,
                BatchStream(training, optimizer.steps),
                validation,
                ckpt_path=last if last.exists() else None,
                weights_only=True,
            )
        except SystemExit as exit_:
            # What Lightning makes of Ctrl+C.
            raise KeyboardInterrupt from exit_


def read_checkpoint(path: Path, module: LightningModule) -> dict[str, Any]:
    """A Lightning checkpoint of ``module``, on the CPU; no code in it is run.

    Raises:
        CheckpointError: if it cannot be read, or its tensors are not those of ``module``.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        found = {name: tensor.shape for name, tensor in saved["state_dict"].items()}
        step = saved["global_step"]
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        KeyError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        raise CheckpointError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); delete it to start anew"
        ) from None
    if not isinstance(step, int) or found != {
        name: tensor.shape for name, tensor in module.state_dict().items()
    }:
        raise CheckpointError(
            f"{path}: of a run with another network; choose another out, or delete it to start anew"
        )
    return saved


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next step instead of returning it to the system.

    Training on a CPU allocates and frees the same large buffers at every step; asking the kernel for them
    again cost a quarter of the time where it was measured. Other C libraries are left alone.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    mallopt(mmap_threshold, 32 << 20)
    mallopt(trim_threshold, 2_000_000_000)
    mallopt(top_pad, 64 << 20)
