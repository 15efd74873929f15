from __future__ import annotations

import pytest
import torch

from motiongpt3.errors import InputError
from motiongpt3.evaluation.reconstruction import mpjpe, root_aligned_mpjpe


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
