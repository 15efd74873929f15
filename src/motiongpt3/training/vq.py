"""Training a VQ-VAE: clips in, a `MotionTokenizer` folder out.

The loss is the official one: smooth L1 of the normalised features, once more for the local joint positions
among them, and the distance of the encoder's vectors from the codes that stand for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, seed_everything
from torch import Tensor

from motiongpt3.data.humanml3d import HumanML3DDataset
from motiongpt3.data.loaders import MotionBatch, MotionClips, MotionWindows
from motiongpt3.errors import ConfigError
from motiongpt3.models.motion_tokenizer import MotionTokenizer
from motiongpt3.models.vae import visible_frames
from motiongpt3.models.vq_vae import VQVAE, VQVAEConfig
from motiongpt3.motion.features import FEATURE_SLICES
from motiongpt3.training.autoencoders import fit_autoencoder, log_joint_errors
from motiongpt3.training.codebook import CodebookAverages, perplexity
from motiongpt3.training.joint_means import of_all
from motiongpt3.training.optimization import OptimizerConfig, configure_optimizer
from motiongpt3.training.runs import RunConfig


@dataclass(frozen=True)
class VQWeights:
    """Weights of the terms of the loss.

    Args:
        features: smooth L1 of the normalised features.
        local_positions: smooth L1 of the local joint positions among them, on top.
        commitment: mean squared distance of the encoder's vectors from their codes.
    """

    features: float = 1.0
    local_positions: float = 0.5
    commitment: float = 0.02


def train_vq(
    data: Path,
    out: Path,
    optimizer: OptimizerConfig,
    vq_vae: VQVAEConfig | None = None,
    start_from: Path | None = None,
    weights: VQWeights | None = None,
    codebook_decay: float = 0.99,
    least_use: float = 1.0,
    batch_size: int = 64,
    window: int | None = 64,
    validate_every: int = 500,
    seed: int = 0,
    device: str = "auto",
    run: RunConfig | None = None,
) -> Path:
    """Train a VQ-VAE and write it to ``out/model`` as a `MotionTokenizer`.

    A run that was interrupted goes on from its last checkpoint when it is started again with the same
    ``out``.

    Args:
        data: a dataset in HumanML3D's layout.
        out: folder for checkpoints, logs and the finished tokenizer.
        optimizer: rates, steps and averaging.
        vq_vae: the sizes of the network, without ``start_from``.
        start_from: a tokenizer folder whose network, weights and statistics the training starts from.
        weights: of the terms of the loss.
        codebook_decay: of the moving averages that the codebook follows.
        least_use: a code that stands for fewer vectors of a batch, on average, is moved to a random one. A
            batch has batch_size · window / (frames of a code) vectors, to be shared by all codes.
        batch_size: clips per step.
        window: frames of the random stretch of each clip that a step sees (whole clips if they are shorter);
            null for whole clips.
        validate_every: steps.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        run: several devices, precision, logging, further checkpoints.

    Returns:
        The folder of the finished tokenizer.

    Raises:
        ConfigError: if the settings contradict one another.
        InputError: if the dataset cannot be used.
    """
    if (vq_vae is None) == (start_from is None):
        raise ConfigError(
            "say either what network to train (vq_vae) or which trained one to start from (start_from)"
        )
    seed_everything(seed, verbose=False)
    dataset = HumanML3DDataset(data)
    if start_from is not None:
        tokenizer = MotionTokenizer.from_pretrained(start_from)
    else:
        assert vq_vae is not None
        tokenizer = MotionTokenizer(VQVAE(vq_vae), dataset.statistics)
    per_code = tokenizer.frames_per_code
    if window is not None and window < per_code:
        raise ConfigError(f"window: {window} frames are less than those of a code, {per_code}")
    clips = MotionWindows(MotionClips(dataset, dataset.segments("train")), per_code, window)
    validation = MotionWindows(MotionClips(dataset, dataset.segments("val")), per_code)
    module = VQTraining(tokenizer.train(), weights or VQWeights(), optimizer, codebook_decay, least_use)
    if start_from is not None:
        module.averages.started.fill_(True)
        module.averages.sums.copy_(tokenizer.vq_vae.quantizer.codebook)
    first = fit_autoencoder(
        module, clips, validation, out, optimizer, batch_size, validate_every, seed, device, run
    )
    if first:
        tokenizer.eval().save_pretrained(out / "model")
    return out / "model"


class VQTraining(LightningModule):
    """One step: encode, take the nearest codes, decode, compare; then the codebook follows the encoder.

    Gradients pass from the codes to the encoder as if nothing lay between them (straight through).
    """

    def __init__(
        self,
        tokenizer: MotionTokenizer,
        weights: VQWeights,
        optimizer: OptimizerConfig,
        codebook_decay: float = 0.99,
        least_use: float = 1.0,
    ) -> None:
        super().__init__()
        config = tokenizer.vq_vae.config
        self.tokenizer = tokenizer
        self.weights = weights
        self.optimizer = optimizer
        self.averages = CodebookAverages(config.code_count, config.code_width, codebook_decay, least_use)
        self._validation_uses: list[Tensor] = []

    def training_step(self, batch: MotionBatch, batch_index: int) -> Tensor:
        tokenizer, codebook = self.tokenizer, self.tokenizer.vq_vae.quantizer
        features = (batch.features - tokenizer.feature_mean) / tokenizer.feature_std
        counts = batch.lengths // tokenizer.frames_per_code
        vectors_BKC = tokenizer.vq_vae.encode_vectors(features, batch.lengths)
        visible_BK = visible_frames(counts, vectors_BKC.shape[1])
        vectors_MC = vectors_BKC[visible_BK]
        self.averages.start(codebook, vectors_MC)
        codes_BK = codebook.nearest(vectors_BKC.detach())
        quantised_BKC = codebook.vectors(codes_BK)
        straight_BKC = vectors_BKC + (quantised_BKC - vectors_BKC).detach()
        reconstruction = tokenizer.vq_vae.decode_vectors(straight_BKC, counts)
        terms = vq_terms(reconstruction, features, batch.lengths)
        terms["commitment"] = F.mse_loss(vectors_MC, quantised_BKC[visible_BK])
        loss = torch.stack([getattr(self.weights, name) * value for name, value in terms.items()]).sum()
        codes_M = codes_BK[visible_BK]
        self.averages.update(codebook, vectors_MC, codes_M)
        self.log_dict({f"train/{name}": value for name, value in terms.items()})
        self.log("train/perplexity", perplexity(codes_M.bincount(minlength=len(codebook.codebook)).float()))
        self.log("train/codes_in_use", self.averages.in_use.float().sum())
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: MotionBatch, batch_index: int) -> None:
        tokenizer = self.tokenizer
        codes = tokenizer.encode(batch.features, batch.lengths)
        counts = batch.lengths // tokenizer.frames_per_code
        log_joint_errors(self, tokenizer.decode(codes, counts), batch.features, batch.lengths)
        seen = codes[visible_frames(counts, codes.shape[1])]
        self._validation_uses.append(seen.bincount(minlength=tokenizer.vocabulary_size))

    def on_validation_epoch_end(self) -> None:
        uses = of_all(torch.stack(self._validation_uses).sum(dim=0).float())
        self._validation_uses.clear()
        self.log("val/codes_used", (uses > 0).float().sum(), sync_dist=True)
        self.log("val/perplexity", perplexity(uses), sync_dist=True)

    def configure_optimizers(self) -> Any:
        return configure_optimizer(self.parameters(), self.optimizer)


def vq_terms(reconstruction: Tensor, features: Tensor, lengths: Tensor) -> dict[str, Tensor]:
    """The terms ``features`` and ``local_positions`` of `VQWeights`, each a mean over the real frames.

    Args:
        reconstruction: (B, T, F) normalised features from the decoder.
        features: (B, T, F) normalised features of the data.
        lengths: (B,) frames; what lies past them is ignored.
    """
    visible_BT = visible_frames(lengths, features.shape[1])
    made, real = reconstruction[visible_BT], features[visible_BT]
    positions = FEATURE_SLICES["local_positions"]
    return {
        "features": F.smooth_l1_loss(made, real),
        "local_positions": F.smooth_l1_loss(made[:, positions], real[:, positions]),
    }
