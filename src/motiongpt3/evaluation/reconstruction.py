"""How far reconstructed joints are from the real ones.

MPJPE is the mean per-joint position error, averaged over joints and frames; in millimetres, as the literature
quotes it.
"""

from __future__ import annotations

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


def _from_pelvis(joints: Tensor) -> Tensor:
    pelvis = JOINT_INDEX["pelvis"]
    return joints - joints[..., pelvis : pelvis + 1, :]
