from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from motiongpt3.errors import InputError
from motiongpt3.evaluation.completion import (
    CompletionError,
    Gap,
    completion_error,
    constant_velocity,
    linear_interpolation,
    repeat_last_frame,
    score_completions,
)
from motiongpt3.evaluation.intervals import bootstrap_interval
from tests.evaluation import puppet
from tests.figures import rest_pose


def _sliding(frames: int = 20, velocity: tuple[float, float, float] = (0.02, 0.0, 0.05)) -> Tensor:
    """A rigid body that moves by a constant step each frame."""
    return rest_pose().repeat(frames, 1, 1) + torch.arange(frames)[:, None, None] * torch.tensor(velocity)


def test_gaps_are_the_fractions_of_the_tasks() -> None:
    assert Gap.prediction(100) == Gap(100, 20)
    assert Gap.inbetween(99) == Gap(99, 24, 25)
    assert Gap.prediction(8) == Gap(8, 2)
    assert Gap.inbetween(100).made == slice(25, 75)
    head, tail = Gap.inbetween(8).split(torch.arange(8))
    assert head.tolist() == [0, 1]
    assert tail.tolist() == [6, 7]
    assert not len(Gap.prediction(8).split(torch.arange(8))[1])


@pytest.mark.parametrize(("frames", "head", "tail"), [(10, 0, 0), (10, 10, 0), (10, 5, 5), (10, 3, -1)])
def test_a_gap_needs_something_given_and_something_to_make(frames: int, head: int, tail: int) -> None:
    with pytest.raises(InputError, match="one at least"):
        Gap(frames, head, tail)


def test_errors_are_means_over_made_frames_only() -> None:
    real = puppet.walk()
    gap = Gap(len(real), 10, 20)
    made = real.clone()
    made[10:-20] += torch.tensor([0.0, 0.3, 0.4])
    error = completion_error(made, real, gap)
    assert error.mean_joint_error == pytest.approx(0.5, rel=1e-5)
    assert error.final_joint_error == pytest.approx(0.5, rel=1e-5)
    assert error.pose_error == pytest.approx(0.0, abs=1e-6)
    assert error.kept_error == 0.0
    assert error.seam_step > 0.4 > error.real_seam_step


def test_the_final_error_is_that_of_the_last_made_frame() -> None:
    real = puppet.walk()
    made = real.clone()
    made[-21] += torch.tensor([1.0, 0.0, 0.0])
    error = completion_error(made, real, Gap(len(real), 10, 20))
    assert error.final_joint_error == pytest.approx(1.0, rel=1e-5)
    assert error.mean_joint_error == pytest.approx(1 / (len(real) - 30), rel=1e-5)


def test_a_single_joint_that_is_off_in_a_given_frame_is_seen() -> None:
    real = puppet.walk()
    made = real.clone()
    made[3, 20] += torch.tensor([0.0, 0.01, 0.0])
    error = completion_error(made, real, Gap(len(real), 10))
    assert error.kept_error == pytest.approx(0.01, rel=1e-4)
    assert error.mean_joint_error == 0.0


def test_a_turned_pose_is_a_pose_error() -> None:
    real = puppet.stand()
    gap = Gap(len(real), 10)
    made = real.clone()
    made[10:, 20] += torch.tensor([0.0, 0.22, 0.0])
    error = completion_error(made, real, gap)
    assert error.pose_error == pytest.approx(0.01, rel=1e-4)
    assert error.mean_joint_error == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (torch.zeros(19, 22, 3), "shape"),
        (torch.zeros(20, 21, 3), "shape"),
        (torch.full((20, 22, 3), math.nan), "NaN"),
    ],
)
def test_what_cannot_be_compared_is_refused(made: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        completion_error(made, _sliding(), Gap(20, 4))


def test_constant_velocity_continues_a_steady_slide() -> None:
    real, gap = _sliding(), Gap(20, 8)
    assert completion_error(constant_velocity(real, gap), real, gap).mean_joint_error < 1e-6
    assert completion_error(repeat_last_frame(real, gap), real, gap).mean_joint_error == pytest.approx(
        math.hypot(0.02, 0.05) * 6.5, rel=1e-4
    )


def test_constant_velocity_does_not_fly_and_needs_one_frame() -> None:
    real = _sliding(velocity=(0.0, 0.1, 0.0))
    made = constant_velocity(real, Gap(20, 8))
    assert torch.allclose(made[8:], real[7].expand(12, -1, -1))
    made = constant_velocity(_sliding(), Gap(20, 1))
    assert torch.allclose(made[1:], made[0].expand(19, -1, -1))


def test_linear_interpolation_fills_a_steady_slide() -> None:
    real, gap = _sliding(), Gap(20, 5, 5)
    assert completion_error(linear_interpolation(real, gap), real, gap).mean_joint_error < 1e-6
    with pytest.raises(InputError, match="end"):
        linear_interpolation(real, Gap(20, 5))


@given(st.integers(3, 30), st.data())
def test_baselines_keep_what_is_given_and_look_at_nothing_else(frames: int, data: st.DataObject) -> None:
    head = data.draw(st.integers(1, frames - 2))
    tail = data.draw(st.integers(1, frames - head - 1))
    gap = Gap(frames, head, tail)
    real = torch.randn(frames, 22, 3, generator=torch.Generator().manual_seed(frames))
    hidden = real.clone()
    hidden[gap.made] = 7.0
    for baseline in (repeat_last_frame, constant_velocity, linear_interpolation):
        made = baseline(real, gap)
        assert completion_error(made, real, gap).kept_error == 0.0
        assert torch.equal(made, baseline(hidden, gap))


def _error(mean: float, kept: float = 0.0) -> CompletionError:
    return CompletionError(mean, 2 * mean, mean / 2, kept, 0.0, 0.0)


def test_seeds_are_averaged_within_a_clip() -> None:
    score = score_completions([[_error(0.1), _error(0.3, kept=0.02)], [_error(0.4), _error(0.6)]])
    assert score.values("mean_joint_error") == pytest.approx([0.2, 0.5])
    assert score.best == pytest.approx(0.25)
    values = score.as_dict()
    assert (values["clips"], values["seeds"]) == (2, 2)
    assert values["mean_joint_error"] == 0.35
    assert values["mean_joint_error_interval"] == [0.2, 0.5]
    assert values["kept_error"] == 0.02
    assert values["best_mean_joint_error"] == 0.25


def test_scores_are_compared_clip_by_clip() -> None:
    own = score_completions([[_error(0.1)], [_error(0.5)], [_error(0.2)]])
    other = score_completions([[_error(0.3)], [_error(0.4)], [_error(0.6)]])
    difference = own.less_than(other)
    assert difference["less_by"] == pytest.approx(0.5 / 3, abs=1e-5)
    assert difference["clips_with_less"] == pytest.approx(2 / 3, abs=1e-5)
    with pytest.raises(InputError, match="compare"):
        own.less_than(score_completions([[_error(0.3)]]))


def test_nothing_scores_nothing() -> None:
    values = score_completions([]).as_dict()
    assert values["clips"] == 0
    assert values["mean_joint_error"] is None
    with pytest.raises(InputError, match="no seed"):
        score_completions([[]])


def test_bootstrap_intervals_cover_the_mean_and_are_reproducible() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(3)).tolist()
    low, high = bootstrap_interval(values)
    assert bootstrap_interval(values) == (low, high)
    # The normal interval of a mean of 400 unit normals is 0.196 wide.
    assert high - low == pytest.approx(0.196, rel=0.15)
    assert low < sum(values) / 400 < high
    assert bootstrap_interval([2.0, 2.0]) == (2.0, 2.0)
    assert all(math.isnan(end) for end in bootstrap_interval([]))
