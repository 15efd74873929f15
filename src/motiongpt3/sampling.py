"""From noise to latents: objectives, schedulers, classifier-free guidance, and what a seed means.

This module knows neither networks nor motion. A network appears as a `Predictor`, a function of noisy latents
and a time on the scale 0 … 1000; a scheduler from diffusers turns its predictions into steps. An objective
says what the network is trained to predict, so that training and sampling cannot disagree.

A seed is one sequence of noise: each sample draws from its own generator, on the CPU, as many rows as it has
latents. So it gives the same motion on every device, in any batch, beside longer or shorter neighbours.

Shapes: B samples, K latents (of the longest sample), C channels per latent.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
)
from torch import Tensor

from motiongpt3.errors import ConfigError, InputError

# Networks are told the time from 0 (clean) to this (noise): one time embedding serves all objectives.
TIME_SCALE = 1000
SEED_COUNT = 2**32

Predictor = Callable[[Tensor, Tensor], Tensor]
"""Noisy latents (B, K, C) and time (B,) on the scale 0 … 1000 to the objective's target (B, K, C)."""


class Objective(ABC):
    """What a generative head learns: how latents are mixed with noise, and what it predicts of the mixture.

    A ``time`` is one number per sample (B,), as `sample_times` draws them; `network_time` puts them on the
    scale of the networks.
    """

    kind: ClassVar[str]

    @abstractmethod
    def sample_times(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """Random times (B,) to train at, on the generator's device (the CPU without one)."""

    @abstractmethod
    def network_time(self, time: Tensor) -> Tensor:
        """The same times on the scale 0 … 1000 that networks are told."""

    @abstractmethod
    def noised(self, data: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Latents (B, K, C) mixed with noise (B, K, C) at each sample's time (B,)."""

    @abstractmethod
    def target(self, data: Tensor, noise: Tensor) -> Tensor:
        """What the network should predict (B, K, C)."""

    def loss(self, prediction: Tensor, data: Tensor, noise: Tensor, visible: Tensor | None = None) -> Tensor:
        """Mean squared error to the target over all real latents.

        Args:
            prediction: (B, K, C).
            data: (B, K, C) clean latents.
            noise: (B, K, C) what they were mixed with.
            visible: (B, K) true where a latent is real; all are, without it.

        Returns:
            A scalar: the mean over visible latents, so a long sample counts more than a short one.
        """
        error_BK = (prediction - self.target(data, noise)).square().mean(dim=-1)
        if visible is None:
            return error_BK.mean()
        return error_BK.masked_fill(~visible, 0.0).sum() / visible.sum().clamp(min=1)


@dataclass(frozen=True)
class EpsilonDiffusion(Objective):
    """Predict the noise in a variance-preserving diffusion (Ho et al. 2020, arXiv:2006.11239).

    ``noised = √ᾱ[t] · data + √(1 − ᾱ[t]) · noise`` for 1000 timesteps 0 … 999, their betas spaced linearly.
    The defaults are those of official MotionGPT3.

    Args:
        first_beta: variance added by the first timestep.
        last_beta: variance added by the last timestep.
    """

    kind: ClassVar[str] = "epsilon_diffusion"

    first_beta: float = 0.00085
    last_beta: float = 0.012

    def __post_init__(self) -> None:
        if not 0 < self.first_beta <= self.last_beta < 1:
            raise ConfigError(f"{self}: needs 0 < first_beta ≤ last_beta < 1")

    @property
    def betas(self) -> np.ndarray:
        """(1000,) float64, the variance that each timestep adds."""
        return np.linspace(self.first_beta, self.last_beta, TIME_SCALE, dtype=np.float64)

    def sample_times(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        device = generator.device if generator is not None else None
        return torch.randint(TIME_SCALE, (batch,), generator=generator, device=device)

    def network_time(self, time: Tensor) -> Tensor:
        return time.float()

    def noised(self, data: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        signal_rate, noise_rate = _diffusion_rates(self, data.device)
        at = time.to(data.device)[:, None, None]
        return signal_rate[at] * data + noise_rate[at] * noise

    def target(self, data: Tensor, noise: Tensor) -> Tensor:
        return noise


@dataclass(frozen=True)
class RectifiedFlow(Objective):
    """Predict the velocity of a straight path from data to noise (Liu et al. 2022, arXiv:2209.03003).

    ``noised = (1 − σ) · data + σ · noise`` for 0 ≤ σ ≤ 1, velocity ``noise − data``, as diffusers has it.

    Args:
        time_sampling: how σ is drawn in training: ``logit_normal`` (the sigmoid of a Gaussian; Esser et al.
            2024, arXiv:2403.03206, §3.1) or ``uniform``.
        logit_mean: mean of that Gaussian; above 0 trains more on noisy latents.
        logit_std: its standard deviation.
    """

    kind: ClassVar[str] = "rectified_flow"

    time_sampling: str = "logit_normal"
    logit_mean: float = 0.0
    logit_std: float = 1.0

    def __post_init__(self) -> None:
        if self.time_sampling not in ("logit_normal", "uniform"):
            raise ConfigError(f"time_sampling: {self.time_sampling!r} is neither logit_normal nor uniform")
        if not self.logit_std > 0:
            raise ConfigError(f"logit_std: {self.logit_std} is not positive")

    def sample_times(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        device = generator.device if generator is not None else None
        if self.time_sampling == "uniform":
            return torch.rand(batch, generator=generator, device=device)
        gaussian = torch.randn(batch, generator=generator, device=device)
        return torch.sigmoid(self.logit_mean + self.logit_std * gaussian)

    def network_time(self, time: Tensor) -> Tensor:
        return time * TIME_SCALE

    def noised(self, data: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        sigma = time.to(data)[:, None, None]
        return (1 - sigma) * data + sigma * noise

    def target(self, data: Tensor, noise: Tensor) -> Tensor:
        return noise - data


OBJECTIVES: dict[str, type[Objective]] = {kind.kind: kind for kind in (EpsilonDiffusion, RectifiedFlow)}


@lru_cache(maxsize=8)
def _diffusion_rates(objective: EpsilonDiffusion, device: torch.device) -> tuple[Tensor, Tensor]:
    """√ᾱ and √(1 − ᾱ) of every timestep, kept on the device so that a training step copies nothing."""
    kept = np.cumprod(1 - objective.betas)
    return (
        torch.from_numpy(np.sqrt(kept)).float().to(device),
        torch.from_numpy(np.sqrt(1 - kept)).float().to(device),
    )


class Condition(Protocol):
    """What a head has prepared of its inputs, once per sample."""

    def joined_with(self, other: Self) -> Self:
        """Both along the batch."""
        ...


SomeCondition = TypeVar("SomeCondition", bound=Condition)


def guided(
    head: Callable[[Tensor, Tensor, SomeCondition], Tensor],
    condition: SomeCondition,
    null_condition: SomeCondition | None = None,
    scale: float = 1.0,
) -> Predictor:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598).

    The prediction is ``null + scale · (conditional − null)``, both from one call on twice the batch.

    Args:
        head: predicts from noisy latents (B, K, C), time (B,) and a condition.
        condition: of the B samples.
        null_condition: the learned "no text at all", also for B samples; needed unless ``scale`` is 1.
        scale: 1 is no guidance, and costs half.

    Raises:
        InputError: if the scale is not a finite number.
        ConfigError: if guidance is asked of a model without a null condition.
    """
    if not math.isfinite(scale):
        raise InputError(f"guidance: {scale} is not a finite number")
    if scale == 1.0:
        return lambda noisy, time: head(noisy, time, condition)
    if null_condition is None:
        raise ConfigError(f"guidance {scale:g} needs a null condition, which this model does not have; use 1")
    joined = condition.joined_with(null_condition)

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        conditional, null = head(torch.cat([noisy, noisy]), torch.cat([time, time]), joined).chunk(2)
        return null + scale * (conditional - null)

    return predict


def holding(predict: Predictor, given: Tensor, held: Tensor) -> Predictor:
    """Latents that are given stay: whatever a step makes of them, the network sees them as they are.

    It must be trained so: clean latents at the places that are given, noisy ones at the others.

    Args:
        predict: the network.
        given: (B, K, C); values count where ``held``.
        held: (B, K) bool.

    Returns:
        A predictor whose samples mean something only where nothing is held; put ``given`` in their place.
    """

    def predict_beside(noisy: Tensor, time: Tensor) -> Tensor:
        return predict(torch.where(held[..., None], given, noisy), time)

    return predict_beside


def sample_seeds(seed: int, count: int) -> list[int]:
    """The seeds of the ``count`` samples of one request: ``(seed + i) mod 2³²`` for sample i.

    So sample i of a request can be had again alone, as the first sample of seed + i.

    Raises:
        InputError: if the seed is not within 0 … 2³² − 1 (torch's CPU generator looks at no more bits).
    """
    if not 0 <= seed < SEED_COUNT:
        raise InputError(f"seed: {seed} is not between 0 and {SEED_COUNT - 1}")
    return [(seed + index) % SEED_COUNT for index in range(count)]


class LatentNoise:
    """Standard normal noise for a batch of latent sequences, a generator per sample.

    Args:
        seeds: one per sample, see `sample_seeds`.
        counts: latents of each sample.
        channels: C.
    """

    def __init__(self, seeds: Sequence[int], counts: Sequence[int], channels: int) -> None:
        if len(seeds) != len(counts):
            raise ValueError(f"{len(seeds)} seeds for {len(counts)} samples")
        self._generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self._counts = list(counts)
        self._channels = channels

    def draw(self) -> Tensor:
        """The next (B, K, C) of the samples' sequences, float32 on the CPU; zero past a sample's count."""
        noise = torch.zeros(len(self._counts), max(self._counts, default=0), self._channels)
        for row, count, generator in zip(noise, self._counts, self._generators):
            row[:count] = torch.randn(count, self._channels, generator=generator)
        return noise


@dataclass(frozen=True)
class SchedulerKind:
    """A way of stepping from noise to latents.

    Args:
        objective: the kind of objective it steps for.
        default_steps: enough for good results.
        fewest_steps: below this it makes no sense; the most are 1000, beyond which steps would coincide.
        adds_noise: whether a step adds noise, which a temperature scales.
        build: makes the diffusers scheduler for an objective, ready for that many steps.
    """

    objective: type[Objective]
    default_steps: int
    fewest_steps: int
    adds_noise: bool
    build: Callable[[Any, int], Any]


def _dpm_solver(objective: EpsilonDiffusion, timesteps: np.ndarray, **options: Any) -> Any:
    scheduler: Any = DPMSolverMultistepScheduler(TIME_SCALE, trained_betas=objective.betas, **options)
    scheduler.set_timesteps(timesteps=timesteps.tolist())
    return scheduler


def _ddpm(objective: EpsilonDiffusion, steps: int) -> Any:
    # The first-order SDE solver (Lu et al. 2022, arXiv:2211.01095) is DDPM's ancestral step with the smaller
    # variance, and unlike diffusers' DDPMScheduler it takes noise that was drawn elsewhere.
    timesteps = np.linspace(TIME_SCALE - 1, 0, steps).round().astype(int)
    return _dpm_solver(objective, timesteps, algorithm_type="sde-dpmsolver++", solver_order=1)


def _ddim(objective: EpsilonDiffusion, steps: int) -> Any:
    # DDIM is the first-order ODE solver (same paper); diffusers' DDIMScheduler takes evenly spaced steps.
    return _dpm_solver(objective, _quadratic_timesteps(steps), solver_order=1)


def _dpm_plus_plus(objective: EpsilonDiffusion, steps: int) -> Any:
    return _dpm_solver(objective, _quadratic_timesteps(steps), solver_order=2)


def _quadratic_timesteps(steps: int) -> np.ndarray:
    """Falling timesteps, denser where little noise is left (Song et al. 2021, arXiv:2010.02502, D.2).

    Evenly spaced ones leap over the last of the noise: 20 such steps of dpm++ err five times as much on a
    Gaussian.
    """
    places = np.linspace(1, 0, steps)
    timesteps = (places**2 * (TIME_SCALE - 1)).round().astype(int)
    return np.maximum(timesteps, np.arange(steps)[::-1])


def _euler(objective: RectifiedFlow, steps: int) -> Any:
    scheduler: Any = FlowMatchEulerDiscreteScheduler(TIME_SCALE)
    # Equal steps: the scheduler's own spacing spends its last one on the final thousandth of the way.
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps).tolist())
    return scheduler


def _heun(objective: RectifiedFlow, steps: int) -> Any:
    scheduler: Any = FlowMatchHeunDiscreteScheduler(TIME_SCALE)
    scheduler.set_timesteps(steps)
    return scheduler


SCHEDULERS: dict[str, SchedulerKind] = {
    "ddpm": SchedulerKind(EpsilonDiffusion, 100, 2, True, _ddpm),
    "ddim": SchedulerKind(EpsilonDiffusion, 50, 1, False, _ddim),
    "dpm++": SchedulerKind(EpsilonDiffusion, 20, 1, False, _dpm_plus_plus),
    "euler": SchedulerKind(RectifiedFlow, 20, 1, False, _euler),
    "heun": SchedulerKind(RectifiedFlow, 10, 1, False, _heun),
}


def schedulers_for(objective: Objective) -> tuple[str, ...]:
    """Names of the schedulers that step for an objective, the default first."""
    return tuple(name for name, kind in SCHEDULERS.items() if isinstance(objective, kind.objective))


@torch.no_grad()
def sample_latents(
    predict: Predictor,
    initial: Tensor,
    objective: Objective,
    scheduler: str | None = None,
    steps: int | None = None,
    temperature: float = 1.0,
    noise: LatentNoise | None = None,
) -> Tensor:
    """Step from noise to latents.

    Args:
        predict: the network, see `guided`; called once per step (``heun``: twice, but once in the last).
        initial: (B, K, C) standard normal noise, usually ``noise.draw()``, on the device of the network.
        objective: what the network was trained to predict.
        scheduler: a name from `schedulers_for`; by default the first of them.
        steps: by default what suits the scheduler.
        temperature: scales the noise that steps add (``ddpm`` alone adds any); 0 always takes the mean.
        noise: where the added noise comes from.

    Returns:
        (B, K, C) float32 latents on the device of ``initial``; rows past a sample's count hold no meaning.

    Raises:
        ConfigError: if there is no such scheduler, or it does not step for this objective.
        InputError: if the number of steps or the temperature makes no sense.
    """
    kind, diffusers_scheduler = _build_scheduler(scheduler, objective, steps)
    if not (math.isfinite(temperature) and temperature >= 0):
        raise InputError(f"temperature: {temperature} is not a number from 0 up")
    if kind.adds_noise and temperature > 0 and noise is None:
        raise ValueError("this scheduler adds noise: give a LatentNoise or temperature 0")

    latents_BKC = initial.float()
    added: dict[str, Tensor] = {}
    if kind.adds_noise:
        added["variance_noise"] = torch.zeros_like(latents_BKC)
    for timestep in diffusers_scheduler.timesteps:
        time_B = torch.full((len(initial),), float(timestep), device=initial.device)
        prediction_BKC = predict(latents_BKC, time_B).float()
        if kind.adds_noise and temperature > 0 and noise is not None:
            added["variance_noise"] = temperature * noise.draw().to(initial.device)
        (latents_BKC,) = diffusers_scheduler.step(
            prediction_BKC, timestep, latents_BKC, return_dict=False, **added
        )
    return latents_BKC


def _build_scheduler(name: str | None, objective: Objective, steps: int | None) -> tuple[SchedulerKind, Any]:
    fitting = schedulers_for(objective)
    name = fitting[0] if name is None else name
    if name not in fitting:
        reason = f"does not step for {objective.kind}" if name in SCHEDULERS else "is not known"
        raise ConfigError(f"scheduler: {name!r} {reason}; choose from {', '.join(fitting)}")
    kind = SCHEDULERS[name]
    steps = kind.default_steps if steps is None else steps
    if not kind.fewest_steps <= steps <= TIME_SCALE:
        raise InputError(f"steps: {name} takes {kind.fewest_steps} to {TIME_SCALE}, not {steps}")
    scheduler = kind.build(objective, steps)
    scheduler.set_begin_index(0)
    return kind, scheduler
