"""One training run: the Lightning Trainer as this project uses it."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from motiongpt3.data.loaders import BatchStream, Shares
from motiongpt3.errors import ConfigError, InputError
from motiongpt3.training.averaging import Averaging
from motiongpt3.training.checkpoints import (
    LAST,
    AtomicCheckpointIO,
    Checkpoints,
    check_same_run,
    frozen_fingerprint,
    is_full_disk,
    read_checkpoint,
    remove_unfinished,
)
from motiongpt3.training.generation_check import GenerationCheck
from motiongpt3.training.logs import loggers
from motiongpt3.training.optimization import OptimizerConfig
from motiongpt3.training.progress import progress_display
from motiongpt3.training.sharding import FullyShardedStrategy, gather, shard
from motiongpt3.training.steps import BatchSeeds, StepGuard, ValidationMeans

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunConfig:
    """Where and how a training runs, and what it leaves behind; what is learned does not depend on it.

    Args:
        devices: processes on each machine, one for each GPU; None takes as many as torchrun or SLURM has
            started, and one otherwise.
        nodes: machines; None as above.
        strategy: ``ddp`` gives every process the whole model, ``fsdp`` a part of it; ``auto`` is ``ddp`` with
            several processes.
        precision: ``32-true``, or ``bf16-mixed`` (matrix products in bfloat16); ``auto`` is the latter on
            GPUs that are made for it. On most CPUs bfloat16 is much slower.
        accumulate: batches whose gradients make one optimiser step.
        log_every: optimiser steps from one row of the logs to the next.
        save_every: steps from one ``last`` checkpoint to the next, besides one after every validation; None
            leaves it at those.
        keep_every: steps from one checkpoint that is kept to the next; 0 keeps the last and the best only.
        wandb: project in Weights & Biases to log to; empty for none.

    Raises:
        ConfigError: if a number is out of range.
    """

    devices: int | None = None
    nodes: int | None = None
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    accumulate: int = 1
    log_every: int = 50
    save_every: int | None = None
    keep_every: int = 0
    wandb: str = ""

    def __post_init__(self) -> None:
        for name in ("devices", "nodes", "accumulate", "log_every", "save_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"run.{name}: {value} is not a positive number")
        if self.keep_every < 0:
            raise ConfigError(f"run.keep_every: {self.keep_every} is negative")


def fit(
    module: LightningModule,
    training: DataLoader[Any],
    validation: DataLoader[Any] | None,
    out: Path,
    optimizer: OptimizerConfig,
    validate_every: int,
    monitor: str,
    monitor_mode: Literal["min", "max"] = "min",
    device: str = "auto",
    callbacks: Sequence[Callback] | None = None,
    run: RunConfig | None = None,
    average: Sequence[str] | None = None,
) -> bool:
    """Train ``module`` for ``optimizer.steps`` steps; afterwards it holds the averaged weights.

    Checkpoints go to ``out/checkpoints`` (``last.ckpt`` after every validation, ``best.ckpt`` by
    ``monitor``), logs to ``out/logs``. If ``out`` holds a ``last`` checkpoint, the run goes on from there as
    if it had never stopped; if that is of the last step, nothing is left to do but to take the averaged
    weights from it.

    All that is random in ``training_step`` may be drawn from the global generators of PyTorch, NumPy and
    Python: they are seeded for each batch.

    Args:
        module: what is trained. Of its parameters those with ``requires_grad`` are trained, averaged and
            stored; that must not change once it is given here. What it logs in the validation needs
            ``sync_dist=True`` to be right with several processes.
        training: its ``batch_sampler`` is `LengthBuckets`, whose batch size is that of each process, and
            whose seed is that of the run.
        validation: if its items come in order, they are shared out to the processes.
        out: folder of the run.
        optimizer: as given to `configure_optimizer`.
        validate_every: optimiser steps.
        monitor: what ``best.ckpt`` is best in; logged in the validation or by a `GenerationCheck`.
        monitor_mode: whether that should be small or large.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; or one alone, such as ``cuda:1``.
        callbacks: further ones.
        run: devices, precision, logging.
        average: beginnings of the names of the parameters that are averaged; None for all that are trained.

    Returns:
        Whether this process is the first, which is to write down the result.

    Raises:
        CheckpointError: if the last checkpoint is damaged, or of a run with another network, or if one cannot
            be written.
        ConfigError: if settings contradict one another or those the run was begun with, or if the loss is no
            longer finite.
        InputError: if the disk is full.
        KeyboardInterrupt: if the run was interrupted, by Ctrl+C or SIGTERM.
    """
    run, callbacks = run or RunConfig(), callbacks or ()
    _check(validate_every, validation, callbacks)
    keep_freed_memory()
    last = out / "checkpoints" / LAST
    frozen = frozen_fingerprint(module)
    step = 0
    if last.exists():
        saved = read_checkpoint(last, module)
        check_same_run(last, saved, optimizer, frozen)
        step = saved["global_step"]
        if _rank() == 0:
            logger.info("going on from %s, step %d", last, step)
        if step >= optimizer.steps:
            module.load_state_dict(saved["averaged_weights"], strict=False)
            return _rank() == 0
        del saved
    if _rank() == 0:
        remove_unfinished(last.parent)
    stream = BatchStream(training, optimizer.steps * run.accumulate)
    # Frozen weights are not in checkpoints; that nothing else is missing has been checked.
    module.strict_loading = False
    checkpoints = Checkpoints(
        last.parent,
        monitor,
        monitor_mode,
        optimizer,
        frozen,
        validate_every if validation is not None else 0,
        run.save_every or validate_every,
        run.keep_every,
    )
    with _quiet_lightning():
        trainer = Trainer(
            **_placement(run, device),
            use_distributed_sampler=False,
            max_steps=optimizer.steps,
            accumulate_grad_batches=run.accumulate,
            val_check_interval=validate_every * run.accumulate if validation is not None else None,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=run.log_every,
            logger=loggers(out, step, run.wandb),
            plugins=[AtomicCheckpointIO()],
            default_root_dir=out,
            enable_model_summary=False,
            callbacks=[
                BatchSeeds(stream.seed),
                StepGuard(optimizer.gradient_clip),
                ValidationMeans(),
                Averaging(optimizer.average_decay, average),
                *callbacks,
                progress_display(run.log_every),
                checkpoints,
            ],
        )
        sharded = isinstance(trainer.strategy, FullyShardedStrategy)
        if sharded:
            shard(module)
        try:
            trainer.fit(
                module,
                stream,
                None if validation is None else shared_out(validation),
                ckpt_path=last if step else None,
                weights_only=True,
            )
        except SystemExit as exit_:
            # What Lightning makes of Ctrl+C and SIGTERM.
            raise KeyboardInterrupt from exit_
        except OSError as error:
            if is_full_disk(error):
                raise InputError(f"{out}: the disk is full; make room, and start again to go on") from None
            raise
    if sharded:
        gather(module)
    return trainer.is_global_zero


def processes(run: RunConfig) -> tuple[int, int]:
    """Processes on each machine, and machines: as configured, or as torchrun or SLURM has started them."""
    started = (1, 1)
    if TorchElasticEnvironment.detect():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        started = local, int(os.environ["WORLD_SIZE"]) // local
    elif SLURMEnvironment.detect():
        nodes = int(os.environ.get("SLURM_NNODES", "1"))
        started = int(os.environ["SLURM_NTASKS"]) // nodes, nodes
    return run.devices or started[0], run.nodes or started[1]


def _placement(run: RunConfig, device: str) -> dict[str, Any]:
    """The Trainer's arguments about where it runs, and how exactly."""
    kind, _, number = device.partition(":")
    devices, nodes = processes(run)
    return {
        "accelerator": {"cuda": "gpu"}.get(kind, kind),
        "devices": [int(number)] if number else devices,
        "num_nodes": nodes,
        "strategy": make_strategy(run.strategy, devices * nodes),
        "precision": precision(run.precision, kind),
    }


def make_strategy(name: str, count: int) -> Strategy | str:
    """The strategy ``name`` of `RunConfig` for ``count`` processes."""
    if name == "fsdp":
        return FullyShardedStrategy(count)
    if name == "ddp" or count > 1:
        # A batch need not reach every part of the model: one of plain text leaves the motion head out.
        return DDPStrategy(find_unused_parameters=True)
    return "auto"


def precision(name: str, device: str) -> Literal["32-true", "bf16-mixed"]:
    """``name`` of `RunConfig`, or for ``auto`` what suits the device."""
    on_gpu = device in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    if name == "bf16-mixed":
        if not on_gpu:
            logger.warning("run.precision: bf16-mixed is slow on most CPUs; 32-true is meant for them")
        return "bf16-mixed"
    bfloat16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if name == "auto" and bfloat16 else "32-true"


def shared_out(loader: DataLoader[Any]) -> DataLoader[Any]:
    """The same loader with its batches shared out to the processes, if its items come in order."""
    sampler, count = loader.batch_sampler, len(loader.dataset)  # type: ignore[arg-type]
    if not (isinstance(sampler, BatchSampler) and isinstance(sampler.sampler, SequentialSampler)):
        return loader
    return DataLoader(
        loader.dataset,
        batch_sampler=Shares(count, sampler.batch_size),
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )


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


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence what Lightning says about itself, and what does not hold here."""
    lightning = logging.getLogger("lightning.pytorch")
    level = lightning.level
    lightning.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in (
                ".*does not have many workers.*",
                # The files are continued.
                ".*exists and is not empty.*",
                ".*is smaller than the logging interval.*",
                ".*isinstance.treespec, LeafSpec.* is deprecated.*",
                ".*validation_step. but have no .val_dataloader.*",
                ".*Found .* module.* in eval mode at the start of training.*",
            ):
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        lightning.setLevel(level)


def _rank() -> int:
    """Of this process among all, before there is a process group; see `processes`."""
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)


def _check(validate_every: int, validation: DataLoader[Any] | None, callbacks: Sequence[Callback]) -> None:
    if validate_every < 1:
        raise ConfigError(f"validate_every: {validate_every} is not a positive number of steps")
    for check in callbacks:
        if isinstance(check, GenerationCheck) and (validation is None or check.every_steps % validate_every):
            raise ConfigError(
                f"a check of what is generated every {check.every_steps} steps is part of the validations, "
                f"which are every {validate_every} steps: choose a multiple, and have validation data"
            )
