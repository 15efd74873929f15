"""One training run: the Lightning Trainer as this project uses it."""

from __future__ import annotations

import ctypes
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

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

    Checkpoints go to ``out/checkpoints`` (``last`` every ``validate_every`` steps and the best by ``monitor``), logs
    to ``out/logs``. If ``out`` holds a ``last`` checkpoint, the run goes on from there.
    """
    keep_freed_memory()
    checkpoints = out / "checkpoints"
    best = ModelCheckpoint(
        checkpoints, filename="best", monitor=monitor, mode=monitor_mode, save_last=True, enable_version_counter=False
    )
    trainer = Trainer(
        accelerator={"cuda": "gpu"}.get(device, device),
        devices="auto" if device != "cpu" else 1,
        max_steps=optimizer.steps,
        val_check_interval=validate_every,
        check_val_every_n_epoch=None,
        gradient_clip_val=optimizer.gradient_clip,
        num_sanity_val_steps=0,
        log_every_n_steps=50,
        logger=[CSVLogger(out, name="logs", version=""), TensorBoardLogger(out, name="logs", version="")],
        callbacks=[
            EMAWeightAveraging(decay=optimizer.average_decay, use_buffers=False),
            LearningRateMonitor("step"),
            RichProgressBar(),
            best,
            *(callbacks or []),
        ],
    )
    last = checkpoints / "last.ckpt"
    if last.exists():
        logger.info("going on from %s", last)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        trainer.fit(module, training, validation, ckpt_path=last if last.exists() else None, weights_only=True)


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next step instead of returning it to the system.

    Training on a CPU allocates and frees the same large buffers at every step; asking the kernel for them again cost
    a quarter of the time where it was measured. Other C libraries are left alone.
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
