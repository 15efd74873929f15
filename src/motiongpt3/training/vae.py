"""Training a motion VAE (native or MLD's): clips in, a `MotionCodec` folder out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, seed_everything
from torch import Tensor
from torch.utils.data import DataLoader

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.loaders import MotionBatch, MotionClips, pad_clips
from motiongpt3.errors import ConfigError
from motiongpt3.models.codec import MotionCodec, build_vae
from motiongpt3.models.vae import draw_latents, visible_frames
from motiongpt3.training.autoencoders import fit_autoencoder, log_joint_errors
from motiongpt3.training.optimization import OptimizerConfig, configure_optimizer
from motiongpt3.training.reconstruction import (
    ReconstructionWeights,
    kl_divergence,
    reconstruction_terms,
    weighted_sum,
)
from motiongpt3.training.runs import RunConfig

# What encoding depends on, by the names of both kinds of VAE.
ENCODER_PARTS = {
    "patch_in",
    "encoder",
    "to_distribution",
    "global_motion_token",
    "skel_embedding",
    "query_pos_encoder",
}


def train_vae(
    data: Path,
    out: Path,
    optimizer: OptimizerConfig,
    vae: dict[str, Any] | None = None,
    start_from: Path | None = None,
    freeze_encoder: bool = False,
    latent_noise: float = 0.0,
    weights: ReconstructionWeights | None = None,
    batch_size: int = 24,
    crop: float = 0.5,
    validate_every: int = 500,
    seed: int = 0,
    device: str = "auto",
    run: RunConfig | None = None,
) -> Path:
    """Train a motion VAE and write it to ``out/model`` as a `MotionCodec`.

    A run that was interrupted goes on from its last checkpoint when it is started again with the same
    ``out``.

    Args:
        data: a dataset in HumanML3D's layout.
        out: folder for checkpoints, logs and the finished model.
        optimizer: rates, steps and averaging.
        vae: the network, as in a model's config.json (``kind`` and sizes), without ``start_from``.
        start_from: a codec folder whose network, weights and statistics the training starts from.
        freeze_encoder: train the decoder alone; the latents keep their meaning.
        latent_noise: standard deviation of noise added to the (unit-variance) latents of half of the clips,
            so that the decoder copes with latents that a generator makes. Needs ``start_from``.
        weights: of the terms of the loss.
        batch_size: clips per step.
        crop: probability that a clip is a random stretch of its segment.
        validate_every: steps.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        run: several devices, precision, logging, further checkpoints.

    Returns:
        The folder of the finished codec.

    Raises:
        ConfigError: if the settings contradict one another.
        InputError: if the dataset cannot be used.
    """
    if (vae is None) == (start_from is None):
        raise ConfigError(
            "say either what network to train (vae) or which trained one to start from (start_from)"
        )
    if start_from is None and (freeze_encoder or latent_noise):
        raise ConfigError("freeze_encoder and latent_noise need a trained network: give start_from")
    seed_everything(seed, verbose=False)
    dataset = HumanML3DDataset(data)
    clips = MotionClips(dataset, dataset.segments("train"), crop=crop)
    validation = MotionClips(dataset, dataset.segments("val"))
    codec = (
        MotionCodec.from_pretrained(start_from)
        if start_from
        else MotionCodec(build_vae(vae), dataset.statistics)
    )
    module = VAETraining(
        codec.train(), weights or ReconstructionWeights(), optimizer, latent_noise, freeze_encoder
    )
    first = fit_autoencoder(
        module, clips, validation, out, optimizer, batch_size, validate_every, seed, device, run
    )
    if not first:
        return out / "model"
    if not freeze_encoder:
        set_latent_statistics(codec, MotionClips(dataset, dataset.segments("train")))
    codec.eval().save_pretrained(out / "model")
    return out / "model"


class VAETraining(LightningModule):
    """One step: encode, draw a latent, decode, compare features and the motion they make."""

    def __init__(
        self,
        codec: MotionCodec,
        weights: ReconstructionWeights,
        optimizer: OptimizerConfig,
        latent_noise: float = 0.0,
        freeze_encoder: bool = False,
        frames_per_second: float = 20.0,
    ) -> None:
        super().__init__()
        self.codec = codec
        self.weights = weights
        self.optimizer = optimizer
        self.latent_noise = latent_noise
        self.freeze_encoder = freeze_encoder
        self.frames_per_second = frames_per_second
        if freeze_encoder:
            for name, parameter in codec.vae.named_parameters():
                parameter.requires_grad_(name.partition(".")[0] not in ENCODER_PARTS)

    def training_step(self, batch: MotionBatch, batch_index: int) -> Tensor:
        codec = self.codec
        features = (batch.features - codec.feature_mean) / codec.feature_std
        with torch.set_grad_enabled(not self.freeze_encoder):
            mean, log_variance = codec.vae.encode(features, batch.lengths)
        latents = draw_latents(mean, log_variance)
        if self.latent_noise:
            noisy_clips = torch.rand(len(latents), 1, 1, device=latents.device) < 0.5
            latents = latents + torch.randn_like(latents) * noisy_clips * self.latent_noise * codec.latent_std
        terms = self._terms(codec.vae.decode(latents, batch.lengths), features, batch.lengths)
        visible_BK = visible_frames(codec.latent_counts(batch.lengths), mean.shape[1])
        terms["kl"] = kl_divergence(mean, log_variance, visible_BK)
        loss = weighted_sum(terms, self.weights)
        self.log_dict({f"train/{name}": value for name, value in terms.items()})
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: MotionBatch, batch_index: int) -> None:
        mean, _ = self.codec.encode(batch.features, batch.lengths)
        made = self.codec.decode(mean, batch.lengths)
        log_joint_errors(self, made, batch.features, batch.lengths)

    def configure_optimizers(self) -> Any:
        return configure_optimizer(self.parameters(), self.optimizer)

    def _terms(self, reconstruction: Tensor, features: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        return reconstruction_terms(
            reconstruction,
            features,
            lengths,
            self.codec.feature_mean,
            self.codec.feature_std,
            self.frames_per_second,
        )


@torch.no_grad()
def set_latent_statistics(codec: MotionCodec, clips: MotionClips, batch_size: int = 32) -> None:
    """Set the codec's latent statistics: posterior means of ``clips`` come to zero mean, unit variance."""
    codec.eval()
    codec.latent_mean.zero_()
    codec.latent_std.fill_(1.0)
    latents = []
    for batch in DataLoader(clips, batch_size=batch_size, collate_fn=pad_clips):
        batch = batch.to(codec.latent_mean.device)
        mean, _ = codec.encode(batch.features, batch.lengths)
        latents.append(mean[visible_frames(codec.latent_counts(batch.lengths), mean.shape[1])])
    stacked = torch.cat(latents)
    codec.latent_mean.copy_(stacked.mean(dim=0))
    codec.latent_std.copy_(stacked.std(dim=0).clamp(min=1e-6))
