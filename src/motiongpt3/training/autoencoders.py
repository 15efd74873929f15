"""What trainings of motion autoencoders have in common: the run over clips, and how they are judged."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader

from motiongpt3.data.loaders import LengthBuckets, MotionClips, MotionWindows, pad_clips
from motiongpt3.evaluation.reconstruction import mpjpe, root_aligned_mpjpe
from motiongpt3.motion.features import features_to_joints
from motiongpt3.training.optimization import OptimizerConfig
from motiongpt3.training.runs import RunConfig, fit

Clips = MotionClips | MotionWindows

MONITORED = "val/global_mpjpe_mm"
VALIDATION_BATCH = 32


def fit_autoencoder(
    module: LightningModule,
    training: Clips,
    validation: Clips,
    out: Path,
    optimizer: OptimizerConfig,
    batch_size: int,
    validate_every: int,
    seed: int,
    device: str,
    run: RunConfig | None,
) -> bool:
    """`fit` on clips, the best being what puts joints nearest to their places; see there."""
    buckets = LengthBuckets(training.lengths, batch_size, seed=seed)
    return fit(
        module,
        DataLoader(training, batch_sampler=buckets, collate_fn=pad_clips),
        DataLoader(validation, batch_size=VALIDATION_BATCH, collate_fn=pad_clips),
        out,
        optimizer,
        validate_every=validate_every,
        monitor=MONITORED,
        device=device,
        run=run,
    )


def log_joint_errors(module: LightningModule, made: Tensor, real: Tensor, lengths: Tensor) -> None:
    """Log how far the joints of reconstructed clips are off, in millimetres, each clip counting alike.

    Args:
        module: the one in training.
        made: (B, T, F) raw features from the decoder; T may be less than that of ``real``.
        real: (B, T, F) raw features of the data.
        lengths: (B,) frames to compare.
    """
    made_joints, real_joints = features_to_joints(made), features_to_joints(real)
    for made_clip, real_clip, length in zip(made_joints, real_joints, lengths.tolist()):
        errors = {
            MONITORED: mpjpe(made_clip[:length], real_clip[:length]),
            "val/root_aligned_mpjpe_mm": root_aligned_mpjpe(made_clip[:length], real_clip[:length]),
        }
        module.log_dict(errors, on_step=False, on_epoch=True, batch_size=1, prog_bar=True, sync_dist=True)
