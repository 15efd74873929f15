"""What a motion VAE is trained for: features, and the motion that the features make.

Errors of features alone let small velocity errors add up to large drifts and let planted feet slide. The
terms here are taken on the recovered joints, in metres and seconds, so their weights mean something.

Shapes: B clips, T frames, F features, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from motiongpt3.models.vae import visible_frames
from motiongpt3.motion.features import FEATURE_SLICES, features_to_joints
from motiongpt3.motion.kinematics import FOOT_JOINTS


@dataclass(frozen=True)
class ReconstructionWeights:
    """Weights of the terms of `reconstruction_terms`; a term of weight 0 is left out of the sum.

    Args:
        features: smooth L1 of normalised features, except the rotations.
        rotations: smooth L1 of the normalised 6D rotations (redundant with the positions, and noisy).
        local_positions: L1 of joints relative to the root's path, metres.
        global_positions: L1 of joints in the world after integration of the root's path, metres.
        velocity: L1 of joint velocities in the world, m/s.
        acceleration: L1 of joint accelerations in the world, m/s².
        foot_speed: mean speed of each foot joint in the frames where the data says it touches the ground,
            m/s.
        kl: Kullback-Leibler divergence of the posterior from a unit Gaussian, mean over latent elements.
    """

    features: float = 1.0
    rotations: float = 0.1
    local_positions: float = 5.0
    global_positions: float = 2.0
    velocity: float = 0.3
    acceleration: float = 0.01
    foot_speed: float = 0.3
    kl: float = 1e-4


def reconstruction_terms(
    reconstruction: Tensor,
    features: Tensor,
    lengths: Tensor,
    feature_mean: Tensor,
    feature_std: Tensor,
    frames_per_second: float,
) -> dict[str, Tensor]:
    """The terms named in `ReconstructionWeights` (all but ``kl``), each a scalar over the real frames.

    Args:
        reconstruction: (B, T, F) normalised features from the decoder.
        features: (B, T, F) normalised features of the data.
        lengths: (B,) frames; what lies past them is ignored.
        feature_mean: (F,) to undo the normalisation.
        feature_std: (F,).
        frames_per_second: of the clips.
    """
    visible_BT = visible_frames(lengths, features.shape[1]).to(features.dtype)
    feature_error_BTF = F.smooth_l1_loss(reconstruction, features, reduction="none", beta=0.5)
    rotation_columns = FEATURE_SLICES["local_rotations"]
    others_BTf = torch.cat(
        [feature_error_BTF[..., : rotation_columns.start], feature_error_BTF[..., rotation_columns.stop :]],
        dim=-1,
    )

    made_BTJ3 = features_to_joints(reconstruction * feature_std + feature_mean)
    real_BTJ3 = features_to_joints(features * feature_std + feature_mean)
    contacts_BTf = (
        features[..., FEATURE_SLICES["foot_contacts"]] * feature_std[FEATURE_SLICES["foot_contacts"]]
    )
    contacts_BTf = contacts_BTf + feature_mean[FEATURE_SLICES["foot_contacts"]]

    made_velocity = made_BTJ3.diff(dim=1) * frames_per_second
    real_velocity = real_BTJ3.diff(dim=1) * frames_per_second
    made_acceleration = made_velocity.diff(dim=1) * frames_per_second
    real_acceleration = real_velocity.diff(dim=1) * frames_per_second
    # Contact at t means that the joint stays where it is from t to t + 1.
    planted_BTf = (contacts_BTf[:, :-1] > 0.5) * visible_BT[:, 1:, None]
    foot_speed_BTf = _safe_norm(made_velocity[:, :, FOOT_JOINTS])
    made_local, real_local = (joints - joints[:, :, :1] for joints in (made_BTJ3, real_BTJ3))
    return {
        "features": _visible_mean(others_BTf, visible_BT),
        "rotations": _visible_mean(feature_error_BTF[..., rotation_columns], visible_BT),
        "local_positions": _visible_mean((made_local - real_local).abs(), visible_BT),
        "global_positions": _visible_mean((made_BTJ3 - real_BTJ3).abs(), visible_BT),
        "velocity": _visible_mean((made_velocity - real_velocity).abs(), visible_BT[:, 1:]),
        "acceleration": _visible_mean((made_acceleration - real_acceleration).abs(), visible_BT[:, 2:]),
        "foot_speed": (foot_speed_BTf * planted_BTf).sum() / planted_BTf.sum().clamp(min=1),
    }


def kl_divergence(mean: Tensor, log_variance: Tensor, visible: Tensor) -> Tensor:
    """Kullback-Leibler divergence from N(0, 1) per latent element, mean over the visible latents.

    Args:
        mean: (B, K, C).
        log_variance: (B, K, C).
        visible: (B, K) true for real latents.
    """
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return _visible_mean(divergence, visible.to(mean.dtype))


def weighted_sum(terms: dict[str, Tensor], weights: ReconstructionWeights) -> Tensor:
    """The training loss: each term times its weight."""
    total = [
        getattr(weights, field.name) * terms[field.name] for field in fields(weights) if field.name in terms
    ]
    return torch.stack(total).sum()


def _visible_mean(values: Tensor, visible_BN: Tensor) -> Tensor:
    """Mean of values (B, N, ...) over the visible frames, or latents."""
    mean_BN = values.flatten(2).mean(dim=-1)
    return (mean_BN * visible_BN).sum() / visible_BN.sum().clamp(min=1)


def _safe_norm(vectors: Tensor) -> Tensor:
    """Euclidean norm over the last dimension with a finite gradient at zero."""
    return (vectors.square().sum(dim=-1) + 1e-8).sqrt()
