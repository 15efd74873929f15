"""Objectives, schedulers against formulas and exact solutions, guidance, and what a seed means."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from motiongpt3.errors import ConfigError, InputError
from motiongpt3.models.head import MLPHead, MLPHeadConfig
from motiongpt3.sampling import (
    OBJECTIVES,
    SCHEDULERS,
    EpsilonDiffusion,
    LatentNoise,
    Objective,
    Predictor,
    RectifiedFlow,
    guided,
    sample_latents,
    sample_seeds,
    schedulers_for,
)

OBJECTIVE_OF = {name: kind.objective() for name, kind in SCHEDULERS.items()}
MEAN, STD = 1.5, 0.4


KEPT_SIGNAL = np.cumprod(1 - np.linspace(0.00085, 0.012, 1000))


def kept_signal(time: Tensor | float) -> float:
    """ᾱ at a timestep of the official schedule."""
    return float(KEPT_SIGNAL[round(float(time))])


def noisiest(objective: Objective, noise: Tensor) -> Tensor:
    """What Gaussian data have become where sampling begins; in a diffusion a little of them is left."""
    kept = kept_signal(999) if isinstance(objective, EpsilonDiffusion) else 0.0
    return math.sqrt(kept) * MEAN + math.sqrt(1 - kept + kept * STD**2) * noise


def gaussian_predictor(objective: Objective, mean: float = MEAN, std: float = STD) -> Predictor:
    """The best possible prediction when every channel of the data is Gaussian."""

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        assert (time == time[0]).all()
        if isinstance(objective, EpsilonDiffusion):
            signal, sigma = math.sqrt(kept_signal(time[0])), math.sqrt(1 - kept_signal(time[0]))
        else:
            sigma = float(time[0]) / 1000
            signal = 1 - sigma
        variance = (signal * std) ** 2 + sigma**2
        noise = sigma * (noisy - signal * mean) / variance
        data = mean + signal * std**2 * (noisy - signal * mean) / variance
        return objective.target(data, noise)

    return predict


class TestObjectives:
    @pytest.fixture
    def batch(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(2, 3, 4, generator=generator), torch.randn(2, 3, 4, generator=generator)

    def test_diffusion_has_the_official_schedule(
        self, golden: Callable[[str], dict[str, np.ndarray]]
    ) -> None:
        arrays = golden("diffhead")
        np.testing.assert_allclose(EpsilonDiffusion().betas, arrays["train_betas"], rtol=1e-12)

    def test_diffusion_keeps_the_variance(self, batch: tuple[Tensor, Tensor]) -> None:
        data, noise = batch
        noised = EpsilonDiffusion().noised(data, noise, torch.tensor([0, 700]))
        for row, time in enumerate((0, 700)):
            expected = (
                math.sqrt(kept_signal(time)) * data[row] + math.sqrt(1 - kept_signal(time)) * noise[row]
            )
            torch.testing.assert_close(noised[row], expected)

    def test_flow_goes_straight_from_data_to_noise(self, batch: tuple[Tensor, Tensor]) -> None:
        data, noise = batch
        flow, time = RectifiedFlow(), torch.tensor([0.25, 1.0])
        noised = flow.noised(data, noise, time)
        torch.testing.assert_close(noised[0], 0.75 * data[0] + 0.25 * noise[0])
        torch.testing.assert_close(noised[1], noise[1])
        torch.testing.assert_close(noised - time[:, None, None] * flow.target(data, noise), data)

    @pytest.mark.parametrize("objective", [EpsilonDiffusion(), RectifiedFlow()])
    def test_loss_leaves_padding_out(self, objective: Objective, batch: tuple[Tensor, Tensor]) -> None:
        data, noise = batch
        visible = torch.tensor([[True, False, False], [True, True, True]])
        prediction = objective.target(data, noise) + 2.0
        prediction[~visible] = torch.nan
        assert objective.loss(prediction, data, noise, visible) == pytest.approx(4.0)
        # Latents count, not samples: one of four visible latents is wrong.
        prediction = objective.target(data, noise).clone()
        prediction[0, 0] += 2.0
        assert objective.loss(prediction, data, noise, visible) == pytest.approx(1.0)
        assert objective.loss(prediction, data, noise) == pytest.approx(4.0 / 6)

    def test_times_cover_their_range(self) -> None:
        times = EpsilonDiffusion().sample_times(20_000, torch.Generator().manual_seed(0))
        assert times.min() == 0
        assert times.max() == 999
        uniform = RectifiedFlow("uniform").sample_times(4000, torch.Generator().manual_seed(0))
        assert uniform.mean() == pytest.approx(0.5, abs=0.02)
        assert uniform.std() == pytest.approx(math.sqrt(1 / 12), abs=0.02)
        gaussian = RectifiedFlow(logit_mean=0.5, logit_std=2.0).sample_times(
            4000, torch.Generator().manual_seed(0)
        )
        assert gaussian.logit().mean() == pytest.approx(0.5, abs=0.1)
        assert gaussian.logit().std() == pytest.approx(2.0, abs=0.1)

    @pytest.mark.parametrize("objective", [EpsilonDiffusion(), RectifiedFlow()])
    def test_networks_are_told_the_same_time_in_training_and_sampling(self, objective: Objective) -> None:
        told: list[float] = []

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            told.append(float(time[0]))
            return gaussian_predictor(objective)(noisy, time)

        for scheduler in schedulers_for(objective):
            told.clear()
            sample_latents(predict, torch.zeros(1, 1, 1), objective, scheduler, 10, temperature=0)
            latest = 999 if isinstance(objective, EpsilonDiffusion) else 1.0
            assert told[0] == objective.network_time(torch.tensor([latest]))
            assert told == sorted(told, reverse=True)
            assert told[-1] >= 0

    def test_kinds_name_their_classes(self) -> None:
        assert {"epsilon_diffusion": EpsilonDiffusion, "rectified_flow": RectifiedFlow} == OBJECTIVES

    def test_refuses_contradicting_settings(self) -> None:
        with pytest.raises(ConfigError, match="time_sampling: 'cosine'"):
            RectifiedFlow("cosine")
        with pytest.raises(ConfigError, match="logit_std"):
            RectifiedFlow(logit_std=0.0)
        with pytest.raises(ConfigError, match="first_beta"):
            EpsilonDiffusion(first_beta=0.5)


class TestSchedulers:
    def test_ddpm_visits_the_official_timesteps(self, golden: Callable[[str], dict[str, np.ndarray]]) -> None:
        arrays = golden("diffhead")
        visited = []

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            visited.append(int(time[0]))
            return noisy

        sample_latents(predict, torch.zeros(1, 1, 1), EpsilonDiffusion(), "ddpm", temperature=0)
        assert visited == arrays["timestep_map"].tolist()[::-1]
        kept = np.array([kept_signal(time) for time in arrays["timestep_map"]])
        np.testing.assert_allclose(1 - kept / np.append(1.0, kept[:-1]), arrays["gen_betas"], rtol=1e-9)

    @pytest.mark.parametrize(("steps", "temperature"), [(100, 1.0), (7, 0.5), (33, 0.0)])
    def test_ddpm_takes_ancestral_steps(self, steps: int, temperature: float) -> None:
        """Ho et al. 2020, eq. 6–7, over the betas between spaced timesteps, in float64."""
        predict = gaussian_predictor(EpsilonDiffusion())
        ours = LatentNoise([3, 4], [5, 5], 2)
        initial = ours.draw()
        sampled = sample_latents(predict, initial, EpsilonDiffusion(), "ddpm", steps, temperature, ours)

        theirs = LatentNoise([3, 4], [5, 5], 2)
        latents = theirs.draw().double()
        timesteps = np.linspace(0, 999, steps).round().astype(int)
        for index in reversed(range(steps)):
            kept = kept_signal(timesteps[index])
            kept_before = kept_signal(timesteps[index - 1]) if index else 1.0
            beta = 1 - kept / kept_before
            noise = predict(latents, torch.full((2,), float(timesteps[index])))
            data = (latents - math.sqrt(1 - kept) * noise) / math.sqrt(kept)
            latents = (
                math.sqrt(kept_before) * beta / (1 - kept) * data
                + math.sqrt(1 - beta) * (1 - kept_before) / (1 - kept) * latents
            )
            if index:
                std = math.sqrt(beta * (1 - kept_before) / (1 - kept))
                drawn = theirs.draw() if temperature else torch.zeros(2, 5, 2)
                latents = latents + temperature * std * drawn
        torch.testing.assert_close(sampled.double(), latents, atol=2e-5, rtol=0)

    @pytest.mark.parametrize("steps", [1, 20, 33])
    def test_ddim_takes_implicit_steps(self, steps: int) -> None:
        """Song et al. 2021 (arXiv:2010.02502), eq. 12 with σ = 0, over the timesteps that were visited."""
        visited: list[float] = []

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            visited.append(float(time[0]))
            return gaussian_predictor(EpsilonDiffusion())(noisy, time)

        initial = LatentNoise([3], [5], 2).draw()
        sampled = sample_latents(predict, initial, EpsilonDiffusion(), "ddim", steps)
        assert len(visited) == steps

        latents = initial.double()
        for time, next_time in zip(list(visited), [*visited[1:], None]):
            kept, kept_next = kept_signal(time), 1.0 if next_time is None else kept_signal(next_time)
            noise = gaussian_predictor(EpsilonDiffusion())(latents, torch.tensor([time]))
            data = (latents - math.sqrt(1 - kept) * noise) / math.sqrt(kept)
            latents = math.sqrt(kept_next) * data + math.sqrt(1 - kept_next) * noise
        torch.testing.assert_close(sampled.double(), latents, atol=2e-5, rtol=0)

    @pytest.mark.parametrize("scheduler", SCHEDULERS)
    @pytest.mark.parametrize("steps", [None, 2, 30])
    def test_finds_a_known_point(self, scheduler: str, steps: int | None) -> None:
        objective = OBJECTIVE_OF[scheduler]
        noise = LatentNoise([0, 1], [3, 2], 4)
        predict = gaussian_predictor(objective, mean=2.0, std=0.0)
        sampled = sample_latents(predict, noise.draw(), objective, scheduler, steps, noise=noise)
        torch.testing.assert_close(sampled, torch.full((2, 3, 4), 2.0), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("scheduler", SCHEDULERS)
    def test_finds_a_known_gaussian(self, scheduler: str) -> None:
        objective = OBJECTIVE_OF[scheduler]
        noise = LatentNoise([0], [3000], 4)
        initial = noisiest(objective, noise.draw())
        predict = gaussian_predictor(objective)
        # Ancestral steps with the smaller variance narrow the data until steps are small.
        steps = 400 if scheduler == "ddpm" else 100
        sampled = sample_latents(predict, initial, objective, scheduler, steps, noise=noise)
        assert sampled.mean() == pytest.approx(MEAN, abs=0.02)
        assert sampled.std() == pytest.approx(STD, abs=0.02)

    @pytest.mark.parametrize(("rough", "fine"), [("ddim", "dpm++"), ("euler", "heun")])
    def test_second_order_follows_the_exact_path(self, rough: str, fine: str) -> None:
        """The probability-flow path of a Gaussian is known: noise z ends at mean + std · z."""
        objective = OBJECTIVE_OF[fine]
        noise = LatentNoise([0], [50], 4).draw()
        initial, exact = noisiest(objective, noise), MEAN + STD * noise

        def error(scheduler: str, steps: int) -> float:
            predict = gaussian_predictor(objective)
            return float((sample_latents(predict, initial, objective, scheduler, steps) - exact).abs().max())

        assert error(fine, 40) < 0.5 * error(rough, 40)
        assert error(fine, 40) < 0.01
        assert error(rough, 400) < 0.02

    def test_names_those_that_fit(self) -> None:
        assert schedulers_for(EpsilonDiffusion()) == ("ddpm", "ddim", "dpm++")
        assert schedulers_for(RectifiedFlow()) == ("euler", "heun")
        latents = torch.zeros(1, 1, 1)
        with pytest.raises(
            ConfigError, match="'ddpm' does not step for rectified_flow; choose from euler, heun"
        ):
            sample_latents(gaussian_predictor(RectifiedFlow()), latents, RectifiedFlow(), "ddpm")
        with pytest.raises(ConfigError, match="'plms' is not known; choose from ddpm, ddim"):
            sample_latents(gaussian_predictor(RectifiedFlow()), latents, EpsilonDiffusion(), "plms")

    @pytest.mark.parametrize("scheduler", SCHEDULERS)
    def test_takes_its_fewest_and_most_steps_and_no_others(self, scheduler: str) -> None:
        kind, objective = SCHEDULERS[scheduler], OBJECTIVE_OF[scheduler]
        predict, initial = gaussian_predictor(objective), torch.randn(1, 1, 2)
        for steps in (kind.fewest_steps, 1000):
            sampled = sample_latents(predict, initial, objective, scheduler, steps, temperature=0)
            assert sampled.isfinite().all()
        for steps in (-1, kind.fewest_steps - 1, 1001):
            with pytest.raises(InputError, match=f"steps: .* not {steps}"):
                sample_latents(predict, initial, objective, scheduler, steps, temperature=0)

    @pytest.mark.parametrize("temperature", [-1.0, math.nan, math.inf])
    def test_refuses_temperatures_without_meaning(self, temperature: float) -> None:
        predict = gaussian_predictor(EpsilonDiffusion())
        with pytest.raises(InputError, match="temperature"):
            sample_latents(predict, torch.zeros(1, 1, 1), EpsilonDiffusion(), temperature=temperature)

    def test_says_when_it_was_given_no_noise(self) -> None:
        with pytest.raises(ValueError, match="LatentNoise"):
            sample_latents(gaussian_predictor(EpsilonDiffusion()), torch.zeros(1, 1, 1), EpsilonDiffusion())


class TestSeeds:
    @pytest.mark.parametrize("scheduler", SCHEDULERS)
    def test_one_seed_is_one_sample_in_any_batch(self, scheduler: str) -> None:
        objective, counts = OBJECTIVE_OF[scheduler], [4, 1, 9, 2]
        predict = gaussian_predictor(objective)
        seeds = sample_seeds(11, 4)

        def sample(rows: list[int]) -> Tensor:
            noise = LatentNoise([seeds[row] for row in rows], [counts[row] for row in rows], 3)
            return sample_latents(predict, noise.draw(), objective, scheduler, 12, noise=noise)

        together = sample([0, 1, 2, 3])
        for row, count in enumerate(counts):
            assert torch.equal(sample([row])[0], together[row, :count])
        assert torch.equal(sample([3, 2])[1], together[2])

    def test_a_head_gives_the_same_in_any_batch(self) -> None:
        torch.manual_seed(0)
        head = MLPHead(MLPHeadConfig(3, 8, 12, 2, 2, 10, 0.1, 6)).eval()
        hidden, null = torch.randn(4, 2, 8), torch.randn(4, 2, 8)

        def sample(rows: slice) -> Tensor:
            noise = LatentNoise(sample_seeds(5, 4)[rows], [1] * 4 if rows == slice(4) else [1], 3)
            condition, no_condition = head.encode_condition(hidden[rows]), head.encode_condition(null[rows])
            predict = guided(head, condition, no_condition, 3.0)
            return sample_latents(predict, noise.draw(), EpsilonDiffusion(), "ddpm", 20, noise=noise)

        with torch.no_grad():
            together = sample(slice(4))
            for row in range(4):
                torch.testing.assert_close(
                    sample(slice(row, row + 1))[0], together[row], atol=1e-4, rtol=1e-4
                )

    def test_noise_is_normal_padded_with_zeros_and_new_each_time(self) -> None:
        noise = LatentNoise([1, 2], [2000, 3], 4)
        first, second = noise.draw(), noise.draw()
        assert first.shape == (2, 2000, 4)
        assert first[0].mean() == pytest.approx(0.0, abs=0.05)
        assert first[0].std() == pytest.approx(1.0, abs=0.05)
        assert not first[1, 3:].any()
        assert not torch.equal(first, second)
        assert torch.equal(LatentNoise([2], [3], 4).draw()[0], first[1, :3])

    def test_sampling_leaves_the_global_generator_alone(self) -> None:
        torch.manual_seed(0)
        before = torch.get_rng_state()
        for scheduler, objective in OBJECTIVE_OF.items():
            noise = LatentNoise([1], [2], 3)
            sample_latents(gaussian_predictor(objective), noise.draw(), objective, scheduler, 5, noise=noise)
        assert torch.equal(torch.get_rng_state(), before)

    def test_samples_of_a_request_can_be_had_alone(self) -> None:
        assert sample_seeds(7, 3) == [7, 8, 9]
        assert sample_seeds(7, 3)[2:] == sample_seeds(9, 1)
        assert sample_seeds(2**32 - 1, 2) == [2**32 - 1, 0]

    @pytest.mark.parametrize("seed", [-1, 2**32])
    def test_refuses_seeds_that_would_not_be_told_apart(self, seed: int) -> None:
        with pytest.raises(InputError, match="seed"):
            sample_seeds(seed, 1)

    def test_refuses_a_seed_too_few(self) -> None:
        with pytest.raises(ValueError, match="1 seeds for 2 samples"):
            LatentNoise([1], [2, 3], 4)


class Shift:
    """A condition for `shifting_head`."""

    def __init__(self, amount: Tensor) -> None:
        self.amount = amount

    def joined_with(self, other: Shift) -> Shift:
        return Shift(torch.cat([self.amount, other.amount]))


class TestGuidance:
    def setup_method(self) -> None:
        self.batches: list[int] = []

    def shifting_head(self, noisy: Tensor, time: Tensor, condition: Shift) -> Tensor:
        self.batches.append(len(noisy))
        assert len(noisy) == len(time) == len(condition.amount)
        return noisy * time[:, None, None] + condition.amount

    def test_moves_away_from_the_null_prediction_in_one_call(self) -> None:
        noisy, time = torch.randn(2, 3, 4), torch.tensor([1.0, 2.0])
        condition, null = Shift(torch.randn(2, 1, 1)), Shift(torch.randn(2, 1, 1))
        predicted = guided(self.shifting_head, condition, null, 3.0)(noisy, time)
        expected = noisy * time[:, None, None] + null.amount + 3.0 * (condition.amount - null.amount)
        torch.testing.assert_close(predicted, expected)
        assert self.batches == [4]

    def test_scale_one_costs_nothing(self) -> None:
        noisy, time, condition = torch.randn(2, 3, 4), torch.ones(2), Shift(torch.randn(2, 1, 1))
        predicted = guided(self.shifting_head, condition)(noisy, time)
        torch.testing.assert_close(predicted, noisy + condition.amount)
        assert self.batches == [2]

    def test_refuses_what_cannot_be_guided(self) -> None:
        condition = Shift(torch.zeros(1, 1, 1))
        with pytest.raises(ConfigError, match="null condition"):
            guided(self.shifting_head, condition, None, 2.0)
        with pytest.raises(InputError, match="guidance: nan"):
            guided(self.shifting_head, condition, condition, math.nan)
