"""The forward process: betas -> alphas_cumprod -> sigmas -> lambdas, as one frozen object of arrays.

With x_t = alpha_t x_0 + sigma_t eps and alpha_t^2 + sigma_t^2 = 1 (Ho et al. 2020, https://arxiv.org/abs/2006.11239,
eq. 4), `alphas_cumprod` is alpha_t^2; `sigmas` is sigma_t / alpha_t, the noise level of the equivalent
variance-exploding process (Karras et al. 2022, https://arxiv.org/abs/2206.00364); `lambda_t` is log(alpha_t / sigma_t),
half the log signal-to-noise ratio (Lu et al. 2022, https://arxiv.org/abs/2206.00927).

All arrays are float32 and are rounded where diffusers rounds: 1 - alphas_cumprod loses four digits at the clean end, so
that a difference in the last place of one beta is visible in the first sigma.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import paddle

from ppdiffusers.core.config import FrozenDict
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.schedulers.common.arrays import TensorAttribute, to_array

SMALLEST_ALPHA_CUMPROD = 2.0**-24  # replaces zero where sigma must be finite


@dataclass(frozen=True)
class NoiseSchedule:
    """The betas of a forward process and the quantities derived from them, float32 [T]."""

    betas: np.ndarray
    alphas: np.ndarray
    alphas_cumprod: np.ndarray

    @classmethod
    def from_betas(cls, betas: np.ndarray, zero_terminal_snr: bool = False) -> NoiseSchedule:
        """Build a schedule from betas [T], rescaled to zero terminal SNR if `zero_terminal_snr` is set."""
        betas = rescale_zero_terminal_snr(betas) if zero_terminal_snr else betas
        return cls(betas, 1 - betas, cumulative_product(1 - betas))

    @classmethod
    def from_config(cls, config: FrozenDict, finite_sigmas: bool = False) -> NoiseSchedule:
        """Build a schedule from `beta_schedule`, `beta_start`, `beta_end`, `trained_betas` and related keys.

        Args:
            config: a scheduler's configuration.
            finite_sigmas: keep the last sigma finite at zero terminal SNR.
        """
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
            return cls(schedule.betas, schedule.alphas, alphas_cumprod)
        return schedule

    @cached_property
    def sigmas(self) -> np.ndarray:
        """sigma_t / alpha_t, increasing with t."""
        with np.errstate(divide="ignore"):  # infinite at zero terminal SNR
            return np.sqrt((1 - self.alphas_cumprod) / self.alphas_cumprod)

    @cached_property
    def log_sigmas(self) -> np.ndarray:
        """log(sigma_t / alpha_t)."""
        return np.log(self.sigmas)

    @cached_property
    def lambda_t(self) -> np.ndarray:
        """log(alpha_t / sigma_t)."""
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
    """Compute the variances beta_t of the forward process, float32 [T].

    Raises:
        ConfigError: the schedule is unknown, or `num_train_timesteps` or `trained_betas` is empty.
    """
    if trained_betas is not None:
        betas = np.asarray(trained_betas, dtype=np.float32)
        if betas.ndim != 1 or len(betas) == 0:
            raise ConfigError(f"trained_betas has shape {betas.shape}.", expected="one number for each timestep")
        return betas
    if num_train_timesteps < 1:
        raise ConfigError(
            "A noise schedule needs at least one timestep.", problems=[f"num_train_timesteps={num_train_timesteps}"]
        )
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
        f"Unknown beta_schedule {beta_schedule!r}.",
        where="beta_schedule",
        expected="linear, scaled_linear, squaredcos_cap_v2, sigmoid, exp, or `trained_betas`",
    )


def betas_for_alpha_bar(num_steps: int, alpha_bar: Callable[[float], float], max_beta: float = 0.999) -> np.ndarray:
    """Compute beta_t = min(1 - alpha_bar((t+1)/T) / alpha_bar(t/T), max_beta), float32 [T]."""
    edges = [alpha_bar(i / num_steps) for i in range(num_steps + 1)]
    ratios = zip(edges[1:], edges[:-1], strict=True)
    return np.array([min(1 - after / before, max_beta) for after, before in ratios], dtype=np.float32)


def rescale_zero_terminal_snr(betas: np.ndarray) -> np.ndarray:
    """Rescale betas so that x_T is pure noise (Lin et al. 2023, https://arxiv.org/abs/2305.08891, algorithm 1)."""
    root = np.sqrt(cumulative_product(1 - betas))
    first, last = root[0], root[-1]
    root = (root - last) * (first / (first - last))
    alphas_cumprod = root**2
    return 1 - np.concatenate([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])


def linspace(start: float, end: float, num: int) -> np.ndarray:
    """Compute float32 points as `torch.linspace` does: a float32 step, each point rounded once, both ends exact."""
    first, last = np.float32(start), np.float32(end)
    if num == 1:
        return np.array([first])
    step = np.float64((last - first) / np.float32(num - 1))
    i = np.arange(num)
    return np.where(i < num // 2, first + step * i, last - step * (num - 1 - i)).astype(np.float32)


def cumulative_product(values: np.ndarray) -> np.ndarray:
    """Compute the float32 cumulative product, accumulated in float64."""
    return np.cumprod(values, dtype=np.float64).astype(np.float32)


class VariancePreserving:
    """Mixin for schedulers with a discrete `noise_schedule`: its arrays and the forward process.

    Attributes:
        betas: beta_t, float32 [T].
        alphas: 1 - beta_t, float32 [T].
        alphas_cumprod: alpha_bar_t, the cumulative product of the alphas, float32 [T].
    """

    _noise_schedule: NoiseSchedule
    betas = TensorAttribute()
    host_betas = betas.host
    alphas = TensorAttribute()
    host_alphas = alphas.host
    alphas_cumprod = TensorAttribute()
    host_alphas_cumprod = alphas_cumprod.host

    @property
    def noise_schedule(self) -> NoiseSchedule:
        """The forward process, with the arrays that were assigned to `betas`, `alphas` and `alphas_cumprod`."""
        schedule = self._noise_schedule
        if self.host_alphas_cumprod is not schedule.alphas_cumprod or self.host_betas is not schedule.betas:
            schedule = NoiseSchedule(self.host_betas, self.host_alphas, self.host_alphas_cumprod)
            self._noise_schedule = schedule
        return schedule

    @noise_schedule.setter
    def noise_schedule(self, schedule: NoiseSchedule) -> None:
        self._noise_schedule = schedule
        self.betas, self.alphas, self.alphas_cumprod = schedule.betas, schedule.alphas, schedule.alphas_cumprod

    def alpha_bar(self, timestep: float, before_first: np.float32 | None = None) -> np.float32:
        """Return alphas_cumprod at a training timestep.

        Args:
            timestep: t; a negative one stands for the clean sample.
            before_first: the value for negative timesteps.

        Raises:
            InputError: the timestep is out of range.
        """
        if timestep < 0 and before_first is not None:
            return before_first
        check_training_timestep(timestep, len(self.host_alphas_cumprod))
        return self.host_alphas_cumprod[int(timestep)]

    def add_noise(self, original_samples: paddle.Tensor, noise: paddle.Tensor, timesteps: object) -> paddle.Tensor:
        """Compute x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps.

        Args:
            original_samples: x_0, [B, C, ...].
            noise: eps, [B, C, ...].
            timesteps: one integer training timestep per sample, [B].
        """
        alpha, sigma = self._alpha_sigma_at(timesteps, original_samples)
        return alpha * original_samples + sigma * noise

    def get_velocity(self, sample: paddle.Tensor, noise: paddle.Tensor, timesteps: object) -> paddle.Tensor:
        """Compute v_t = alpha_t eps - sigma_t x_0 (Salimans & Ho 2022, https://arxiv.org/abs/2202.00512).

        Args:
            sample: x_0, [B, C, ...].
            noise: eps, [B, C, ...].
            timesteps: one integer training timestep per sample, [B].
        """
        alpha, sigma = self._alpha_sigma_at(timesteps, sample)
        return alpha * noise - sigma * sample

    def _alpha_sigma_at(self, timesteps: object, like: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        alphas_cumprod = self.host_alphas_cumprod[to_array(timesteps).astype(np.int64).reshape(-1)]  # [B]
        return per_sample(np.sqrt(alphas_cumprod), like), per_sample(np.sqrt(1 - alphas_cumprod), like)


def check_training_timestep(timestep: float, num_train_timesteps: int) -> None:
    """Check that a timestep is in the training range.

    Raises:
        InputError: it is not.
    """
    if not 0 <= timestep < num_train_timesteps:
        raise InputError(
            f"The timestep {timestep} is outside the training range.",
            expected=f"an element of scheduler.timesteps, from 0 to {num_train_timesteps - 1}",
            remedy="call scheduler.set_timesteps(num_inference_steps) and iterate over scheduler.timesteps",
        )


def per_sample(values: np.ndarray, like: paddle.Tensor) -> paddle.Tensor:
    """Convert one number per sample, [B], to a tensor that broadcasts against `like`, [B, 1, 1, ...]."""
    return paddle.to_tensor(values).astype(like.dtype).reshape([-1] + [1] * (like.ndim - 1))
