"""Each term of the loss of a VAE: zero where it should be, known where the error is known."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from motiongpt3.motion.features import FEATURE_SLICES, FEATURE_WIDTH
from motiongpt3.training.reconstruction import (
    ReconstructionWeights,
    kl_divergence,
    reconstruction_terms,
    weighted_sum,
)
from tests.data.datasets import features as clip_features

MEAN, STD = torch.zeros(FEATURE_WIDTH), torch.ones(FEATURE_WIDTH)
TERMS = {field.name for field in fields(ReconstructionWeights)} - {"kl"}


def clips(frames: int = 30, count: int = 2) -> Tensor:
    return torch.stack([torch.from_numpy(clip_features(frames, seed)) for seed in range(count)])


def terms(
    made: Tensor, real: Tensor, lengths: list[int] | None = None, mean: Tensor = MEAN, std: Tensor = STD
) -> dict[str, float]:
    rows = [real.shape[1]] * len(real) if lengths is None else lengths
    values = reconstruction_terms(made, real, torch.tensor(rows), mean, std, 20.0)
    return {name: float(value) for name, value in values.items()}


def test_perfect_reconstruction_costs_nothing() -> None:
    real = clips()
    found = terms(real, real)
    assert found.keys() == TERMS
    # HumanML3D calls a foot planted that moves by less than √0.002 m in a frame.
    assert found.pop("foot_speed") < 20 * math.sqrt(0.002)
    assert found == dict.fromkeys(found, 0.0)


def test_padding_is_ignored() -> None:
    torch.manual_seed(0)
    real = clips()
    made = real + 0.1 * torch.randn_like(real)
    before = terms(made, real, [30, 17])
    made[1, 17:], real[1, 17:] = 5.0, -5.0
    assert terms(made, real, [30, 17]) == pytest.approx(before)
    # And the mean is over frames, not over clips.
    alone = [terms(made[row : row + 1, :n], real[row : row + 1, :n]) for row, n in enumerate((30, 17))]
    for name, frames in {"features": (30, 17), "local_positions": (30, 17), "velocity": (29, 16)}.items():
        expected = sum(n * one[name] for n, one in zip(frames, alone)) / sum(frames)
        assert before[name] == pytest.approx(expected, rel=1e-4)


def test_clip_of_one_frame_costs_no_velocity() -> None:
    real = clips(frames=4)
    found = terms(real + 0.1, real, [1, 1])
    assert found["features"] > 0
    assert found["velocity"] == found["acceleration"] == found["foot_speed"] == 0


def test_higher_root_is_an_error_of_the_world_alone() -> None:
    real = clips()
    made = real.clone()
    made[..., FEATURE_SLICES["root_height"]] += 0.3
    found = terms(made, real)
    # The root rises by 0.3 m while the other joints' heights are features of their own.
    assert found["global_positions"] == pytest.approx(0.3 / (22 * 3), rel=1e-4)
    assert found["local_positions"] == pytest.approx(21 * 0.3 / (22 * 3), rel=1e-4)
    assert found["velocity"] == pytest.approx(0, abs=1e-4)
    # Smooth L1 with beta 0.5 on one of the features that are not rotations.
    assert found["features"] == pytest.approx(0.3**2 / (2 * 0.5) / (FEATURE_WIDTH - 126), rel=1e-4)
    assert found["rotations"] == 0


def test_drift_adds_up_in_the_world() -> None:
    real = torch.zeros(1, 11, FEATURE_WIDTH)
    made = real.clone()
    # 1 cm a frame along z.
    made[..., 2] = 0.01
    found = terms(made, real)
    assert found["local_positions"] == pytest.approx(0, abs=1e-6)
    assert found["global_positions"] == pytest.approx(0.05 / 3, rel=1e-4)
    assert found["velocity"] == pytest.approx(0.2 / 3, rel=1e-4)
    assert found["acceleration"] == pytest.approx(0, abs=1e-4)


def test_acceleration_is_per_second_squared() -> None:
    real = torch.zeros(1, 11, FEATURE_WIDTH)
    made = real.clone()
    frames = torch.arange(11.0)
    # Height t² / 2 in frames: 1 per frame², 400 per second².
    made[..., FEATURE_SLICES["root_height"]] = (frames**2 / 2)[:, None]
    assert terms(made, real)["acceleration"] == pytest.approx(400 / (22 * 3), rel=1e-3)


def test_rotations_are_judged_on_their_own() -> None:
    real = clips()
    made = real.clone()
    made[..., FEATURE_SLICES["local_rotations"]] += 0.2
    found = terms(made, real)
    assert found["rotations"] == pytest.approx(0.2**2 / (2 * 0.5), rel=1e-4)
    assert {name for name, value in found.items() if value > 1e-6} <= {"rotations", "foot_speed"}


def test_planted_feet_alone_must_not_move() -> None:
    real = torch.zeros(1, 11, FEATURE_WIDTH)
    sliding = real.clone()
    sliding[..., 2] = 0.01
    assert terms(sliding, real)["foot_speed"] == 0
    planted = real.clone()
    # The right foot, from frame 3 up to the step from 5 to 6.
    planted[:, 3:6, FEATURE_SLICES["foot_contacts"].stop - 1] = 1
    assert terms(sliding, planted)["foot_speed"] == pytest.approx(0.2, rel=1e-3)
    assert terms(planted, planted)["foot_speed"] < 1e-3
    # A step past the end of the clip is none.
    assert terms(sliding, planted, [4])["foot_speed"] == 0
    # Only the speed in planted frames counts.
    late = sliding.clone()
    late[:, :7, 2] = 0
    assert terms(late, planted)["foot_speed"] < 1e-3


def test_normalisation_is_undone_before_joints_are_compared() -> None:
    torch.manual_seed(0)
    mean, std = 0.1 * torch.randn(FEATURE_WIDTH), 0.2 + torch.rand(FEATURE_WIDTH)
    real = clips()
    made = real + 0.05 * torch.randn_like(real)
    plain = terms(made, real)
    scaled = terms((made - mean) / std, (real - mean) / std, mean=mean, std=std)
    for name in TERMS - {"features", "rotations"}:
        assert scaled[name] == pytest.approx(plain[name], rel=1e-3), name


def test_gradient_is_finite_where_nothing_moves() -> None:
    still = torch.zeros(1, 5, FEATURE_WIDTH)
    still[..., FEATURE_SLICES["foot_contacts"]] = 1
    made = still.clone().requires_grad_()
    values = reconstruction_terms(made, still, torch.tensor([5]), MEAN, STD, 20.0)
    sum(values.values()).backward()  # type: ignore[union-attr]
    assert made.grad is not None
    assert made.grad.isfinite().all()


def test_divergence_from_the_unit_gaussian() -> None:
    mean, log_variance = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    everywhere = torch.ones(2, 3, dtype=torch.bool)
    assert kl_divergence(mean, log_variance, everywhere) == 0
    mean[0, 0] = 2.0
    log_variance[1, 2] = math.log(4.0)
    moved, widened = 2.0, 0.5 * (4 - 1 - math.log(4.0))
    assert float(kl_divergence(mean, log_variance, everywhere)) == pytest.approx((moved + widened) / 6)
    visible = everywhere.clone()
    visible[1, 2] = False
    assert float(kl_divergence(mean, log_variance, visible)) == pytest.approx(moved / 5)


def test_loss_is_the_weighted_sum() -> None:
    weights = ReconstructionWeights(**dict.fromkeys(TERMS, 0.0), kl=0.0)
    values = {name: torch.tensor(float(place)) for place, name in enumerate(sorted(TERMS | {"kl"}), start=1)}
    assert weighted_sum(values, weights) == 0
    for name, value in values.items():
        one = ReconstructionWeights(**{**dict.fromkeys(values, 0.0), name: 0.5})
        assert float(weighted_sum(values, one)) == pytest.approx(0.5 * float(value))
    assert float(weighted_sum({"kl": torch.tensor(3.0)}, ReconstructionWeights(kl=2.0))) == 6
