"""How far reconstructed joints are from the real ones.

MPJPE is the mean per-joint position error, averaged over joints and frames; in millimetres, as the literature
quotes it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.motion.skeleton import JOINT_INDEX

_MILLIMETRES = 1000.0


def mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of each joint from its target where it stands in the world (global MPJPE).

    Args:
        predicted: (..., T, 22, 3), metres.
        target: the same shape.

    Returns:
        (...) millimetres.

    Raises:
        InputError: if the shapes differ.
    """
    if predicted.shape != target.shape:
        raise InputError(f"cannot compare joints {tuple(predicted.shape)} with {tuple(target.shape)}")
    return (predicted - target).norm(dim=-1).mean(dim=(-2, -1)) * _MILLIMETRES


def root_aligned_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """`mpjpe` after the position of the pelvis is subtracted from every frame: the error of the pose.

    The pelvis counts as one of the 22 joints, with an error of zero; headings are not aligned.
    """
    return mpjpe(_from_pelvis(predicted), _from_pelvis(target))


def procrustes_aligned_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """`mpjpe` after each frame is moved, turned and scaled onto its target as well as it can be (PA-MPJPE).

    The similarity of least squares is that of Umeyama 1991, "Least-squares estimation of transformation
    parameters between two point patterns".
    """
    if predicted.shape != target.shape:
        raise InputError(f"cannot compare joints {tuple(predicted.shape)} with {tuple(target.shape)}")
    made, real = predicted.double(), target.double()
    made_mean, real_mean = made.mean(-2, keepdim=True), real.mean(-2, keepdim=True)
    made, real = made - made_mean, real - real_mean
    left, scales, right = torch.linalg.svd(real.mT @ made)
    # A reflection is no motion of a body.
    signs = torch.ones_like(scales)
    signs[..., -1] = torch.linalg.det(left @ right).sign()
    rotation = (left * signs[..., None, :]) @ right
    scale = (scales * signs).sum(-1) / made.square().sum((-2, -1)).clamp_min(1e-12)
    return mpjpe(scale[..., None, None] * made @ rotation.mT + real_mean, real + real_mean)


def acceleration_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of the joints' second differences from their targets', (...) millimetres per frame².

    Args:
        predicted: (..., T, 22, 3) with T >= 3, metres.
        target: the same shape.
    """
    return mpjpe(predicted.diff(n=2, dim=-3), target.diff(n=2, dim=-3))


def _from_pelvis(joints: Tensor) -> Tensor:
    pelvis = JOINT_INDEX["pelvis"]
    return joints - joints[..., pelvis : pelvis + 1, :]
