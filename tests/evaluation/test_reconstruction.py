from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from motiongpt3.errors import InputError
from motiongpt3.evaluation.reconstruction import (
    acceleration_error,
    mpjpe,
    procrustes_aligned_mpjpe,
    root_aligned_mpjpe,
)


def test_mpjpe_is_in_millimetres_per_clip() -> None:
    target = torch.randn(2, 5, 22, 3)
    moved = target.clone()
    moved[1] += torch.tensor([0.03, 0.0, 0.04])
    assert mpjpe(moved, target).tolist() == pytest.approx([0, 50], abs=1e-3)


def test_root_alignment_takes_the_path_away_but_not_the_pose() -> None:
    target = torch.randn(5, 22, 3)
    moved = target + torch.randn(5, 1, 3)
    assert root_aligned_mpjpe(moved, target).item() == pytest.approx(0, abs=1e-2)
    moved[:, 20] += torch.tensor([0.0, 0.022, 0.0])
    assert root_aligned_mpjpe(moved, target).item() == pytest.approx(1, abs=1e-2)


def test_shapes_must_match() -> None:
    with pytest.raises(InputError, match="cannot compare joints"):
        mpjpe(torch.zeros(4, 22, 3), torch.zeros(5, 22, 3))


def test_procrustes_takes_out_a_similarity_but_no_reflection() -> None:
    random = torch.Generator().manual_seed(0)
    real = torch.randn(4, 22, 3, generator=random, dtype=torch.float64)
    turn = torch.from_numpy(Rotation.from_euler("yxz", [0.4, 1.1, -0.3]).as_matrix())
    moved = 0.7 * real @ turn.T + torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    assert float(mpjpe(moved, real)) > 1000
    assert float(procrustes_aligned_mpjpe(moved, real)) == pytest.approx(0, abs=1e-8)
    mirrored = real * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    assert float(procrustes_aligned_mpjpe(mirrored, real)) > 100
    noisy = moved + 0.01 * torch.randn(moved.shape, generator=random, dtype=torch.float64)
    expected = []
    for made, wanted in zip(noisy.numpy(), real.numpy()):
        standard = procrustes(wanted, made)
        size = np.linalg.norm(wanted - wanted.mean(0))
        expected.append(size * np.linalg.norm(standard[0] - standard[1], axis=1).mean())
    assert float(procrustes_aligned_mpjpe(noisy, real)) == pytest.approx(1000 * np.mean(expected), rel=1e-6)


def test_acceleration_error_sees_shaking_alone() -> None:
    frames = torch.arange(10, dtype=torch.float64)[:, None, None].expand(10, 22, 3)
    assert float(acceleration_error(0.1 * frames, 0.3 * frames + 1)) == pytest.approx(0, abs=1e-9)
    shaking = torch.zeros(3, 22, 3)
    shaking[1, :, 0] = 0.01
    assert float(acceleration_error(shaking, torch.zeros(3, 22, 3))) == pytest.approx(20.0, rel=1e-5)
