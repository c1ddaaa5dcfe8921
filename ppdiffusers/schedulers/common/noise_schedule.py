"""The forward process: betas -> alphas_cumprod -> sigmas -> lambdas, as one frozen object of arrays.

With x_t = alpha_t x_0 + sigma_t eps and alpha_t^2 + sigma_t^2 = 1 (Ho et al. 2020, https://arxiv.org/abs/2006.11239,
eq. 4), `alphas_cumprod` is alpha_t^2; `sigmas` is the noise level sigma_t / alpha_t of the variance-exploding picture
(Karras et al. 2022, https://arxiv.org/abs/2206.00364); `lambda_t` is log(alpha_t / sigma_t), half the log of the
signal-to-noise ratio (Lu et al. 2022, https://arxiv.org/abs/2206.00927).

All arrays are float32 and rounded where the published implementation rounds: 1 - alphas_cumprod loses four digits at
the clean end, so that one unit in the last place of a beta would show in the first sigma.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import paddle

from ppdiffusers.core.errors import ConfigError, InputError

SMALLEST_ALPHA_CUMPROD = 2.0**-24  # stands for zero where a finite sigma is needed


@dataclass(frozen=True)
class NoiseSchedule:
    """betas and what follows from them, all float32 arrays [T]."""

    betas: np.ndarray
    alphas_cumprod: np.ndarray

    @classmethod
    def from_betas(cls, betas: np.ndarray, zero_terminal_snr: bool = False) -> NoiseSchedule:
        """Args: zero_terminal_snr: shift the betas so that nothing of x_0 is left at the last timestep."""
        betas = rescale_zero_terminal_snr(betas) if zero_terminal_snr else betas
        return cls(betas, cumulative_product(1 - betas))

    @classmethod
    def from_config(cls, config: object, finite_sigmas: bool = False) -> NoiseSchedule:
        """The schedule of the usual configuration keys; `finite_sigmas` keeps the last sigma finite at zero SNR."""
        betas = make_betas(
            config.beta_schedule,
            config.num_train_timesteps,
            config.get("beta_start", 0.0001),
            config.get("beta_end", 0.02),
            config.get("trained_betas"),
        )
        zero_snr = config.get("rescale_betas_zero_snr", False)
        schedule = cls.from_betas(betas, zero_snr)
        if zero_snr and finite_sigmas:
            alphas_cumprod = schedule.alphas_cumprod.copy()
            alphas_cumprod[-1] = SMALLEST_ALPHA_CUMPROD
            return cls(schedule.betas, alphas_cumprod)
        return schedule

    @cached_property
    def alphas(self) -> np.ndarray:
        return 1 - self.betas

    @cached_property
    def sigmas(self) -> np.ndarray:
        """sigma_t / alpha_t, growing with t."""
        with np.errstate(divide="ignore"):  # infinite at zero terminal SNR
            return np.sqrt((1 - self.alphas_cumprod) / self.alphas_cumprod)

    @cached_property
    def log_sigmas(self) -> np.ndarray:
        return np.log(self.sigmas)

    @cached_property
    def lambda_t(self) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(np.sqrt(self.alphas_cumprod)) - np.log(np.sqrt(1 - self.alphas_cumprod))

    def __len__(self) -> int:
        return len(self.betas)


def make_betas(
    beta_schedule: str,
    num_train_timesteps: int,
    beta_start: float,
    beta_end: float,
    trained_betas: Sequence[float] | np.ndarray | None = None,
) -> np.ndarray:
    """The variances beta_t of the forward process, float32 [T].

    Raises:
        ConfigError: there is no such schedule, or no training timestep.
    """
    if trained_betas is not None:
        return np.asarray(trained_betas, dtype=np.float32)
    if num_train_timesteps < 1:
        raise ConfigError("A noise schedule has no timestep.", problems=[f"num_train_timesteps={num_train_timesteps}"])
    if beta_schedule == "linear":
        return linspace(beta_start, beta_end, num_train_timesteps)
    if beta_schedule == "scaled_linear":  # linear in the square root: latent diffusion
        return linspace(beta_start**0.5, beta_end**0.5, num_train_timesteps) ** 2
    if beta_schedule == "squaredcos_cap_v2":  # Nichol & Dhariwal 2021, https://arxiv.org/abs/2102.09672, eq. 17
        return betas_for_alpha_bar(num_train_timesteps, lambda t: math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2)
    if beta_schedule == "exp":
        return betas_for_alpha_bar(num_train_timesteps, lambda t: math.exp(-12.0 * t))
    if beta_schedule == "sigmoid":
        ramp = 1 / (1 + np.exp(-linspace(-6, 6, num_train_timesteps)))
        return ramp * np.float32(beta_end - beta_start) + np.float32(beta_start)
    raise ConfigError(
        f"There is no noise schedule {beta_schedule!r}.",
        where="beta_schedule",
        expected="linear, scaled_linear, squaredcos_cap_v2, sigmoid, exp, or `trained_betas`",
    )


def betas_for_alpha_bar(num_steps: int, alpha_bar: Callable[[float], float], max_beta: float = 0.999) -> np.ndarray:
    """beta_t = 1 - alpha_bar((t+1)/T) / alpha_bar(t/T), at most `max_beta`."""
    edges = [alpha_bar(i / num_steps) for i in range(num_steps + 1)]
    ratios = zip(edges[1:], edges[:-1], strict=True)
    return np.array([min(1 - after / before, max_beta) for after, before in ratios], dtype=np.float32)


def rescale_zero_terminal_snr(betas: np.ndarray) -> np.ndarray:
    """Betas whose last timestep is pure noise (Lin et al. 2023, https://arxiv.org/abs/2305.08891, algorithm 1)."""
    root = np.sqrt(cumulative_product(1 - betas))
    first, last = root[0], root[-1]
    root = (root - last) * (first / (first - last))
    alphas_cumprod = root**2
    return 1 - np.concatenate([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])


def linspace(start: float, end: float, num: int) -> np.ndarray:
    """float32 points from `start` to `end`: the step is float32, each point is rounded once, both ends are exact."""
    start, end = np.float32(start), np.float32(end)
    if num == 1:
        return np.array([start])
    step = np.float64((end - start) / np.float32(num - 1))
    i = np.arange(num)
    return np.where(i < num // 2, start + step * i, end - step * (num - 1 - i)).astype(np.float32)


def cumulative_product(values: np.ndarray) -> np.ndarray:
    """float32 products of the first 1, 2, ... values, accumulated in float64."""
    return np.cumprod(values, dtype=np.float64).astype(np.float32)


class VariancePreserving:
    """What schedulers share that hold a discrete `noise_schedule`: its arrays, and its forward process."""

    noise_schedule: NoiseSchedule

    @property
    def betas(self) -> np.ndarray:
        return self.noise_schedule.betas

    @property
    def alphas(self) -> np.ndarray:
        return self.noise_schedule.alphas

    @property
    def alphas_cumprod(self) -> np.ndarray:
        return self.noise_schedule.alphas_cumprod

    def alpha_bar(self, timestep: int, before_first: np.float32 | None = None) -> np.float32:
        """alphas_cumprod at a training timestep; `before_first` is its value before timestep 0, on clean samples.

        Raises:
            InputError: no network was trained at this timestep.
        """
        if timestep < 0 and before_first is not None:
            return before_first
        check_training_timestep(timestep, len(self.alphas_cumprod))
        return self.alphas_cumprod[int(timestep)]

    def add_noise(self, original_samples: paddle.Tensor, noise: paddle.Tensor, timesteps: object) -> paddle.Tensor:
        """x_t = sqrt(alphas_cumprod_t) x_0 + sqrt(1 - alphas_cumprod_t) eps, one integer timestep for each image."""
        alpha, sigma = self._alpha_sigma_at(timesteps, original_samples)
        return alpha * original_samples + sigma * noise

    def get_velocity(self, sample: paddle.Tensor, noise: paddle.Tensor, timesteps: object) -> paddle.Tensor:
        """v_t = alpha_t eps - sigma_t x_0 (Salimans & Ho 2022, https://arxiv.org/abs/2202.00512)."""
        alpha, sigma = self._alpha_sigma_at(timesteps, sample)
        return alpha * noise - sigma * sample

    def _alpha_sigma_at(self, timesteps: object, like: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        alphas_cumprod = self.alphas_cumprod[to_array(timesteps).astype(np.int64).reshape(-1)]  # [B]
        return per_image(np.sqrt(alphas_cumprod), like), per_image(np.sqrt(1 - alphas_cumprod), like)


def check_training_timestep(timestep: float, num_train_timesteps: int) -> None:
    """Raises:
    InputError: no network was trained at this timestep.
    """
    if not 0 <= timestep < num_train_timesteps:
        raise InputError(
            f"The timestep {timestep} is not one of training.",
            expected=f"an element of scheduler.timesteps, from 0 to {num_train_timesteps - 1}",
            remedy="call scheduler.set_timesteps(num_inference_steps) and iterate over scheduler.timesteps",
        )


def to_array(values: object) -> np.ndarray:
    """A numpy array of a number, a sequence, an array or a tensor."""
    return values.numpy() if isinstance(values, paddle.Tensor) else np.asarray(values)


def per_image(values: np.ndarray, like: paddle.Tensor) -> paddle.Tensor:
    """[B] numbers as a tensor [B, 1, 1, ...] that multiplies `like`."""
    return paddle.to_tensor(values).astype(like.dtype).reshape([-1] + [1] * (like.ndim - 1))
