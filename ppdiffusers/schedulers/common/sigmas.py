"""Spacings of noise levels (Karras, exponential, beta, flow), and the conversion of sigmas to timesteps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.core.extras import need
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule

# Published noise levels are between 0.002 and 1348. Their squares and logarithms must be finite.
_LOWEST_SIGMA, _HIGHEST_SIGMA = 1e-12, 1e12
SIGMA_SPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")


def karras_sigmas(ramp: np.ndarray, sigma_min: float, sigma_max: float, rho: float = 7.0) -> np.ndarray:
    """Compute decreasing sigmas with equal steps in sigma^(1/rho), [n] for a ramp [n] from 0 to 1.

    Karras et al. 2022, https://arxiv.org/abs/2206.00364, eq. 5.
    """
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return (high + ramp * (low - high)) ** rho


def exponential_sigmas(n: int, sigma_min: float, sigma_max: float) -> np.ndarray:
    """Compute decreasing sigmas with equal steps in log(sigma), [n]."""
    return np.exp(np.linspace(math.log(sigma_max), math.log(sigma_min), n))


def beta_sigmas(n: int, sigma_min: float, sigma_max: float, alpha: float = 0.6, beta: float = 0.6) -> np.ndarray:
    """Compute decreasing sigmas at quantiles of a beta distribution, [n].

    Lee et al. 2024, https://arxiv.org/abs/2407.12173.
    """
    ppf = need("scipy.stats", "for the quantiles of use_beta_sigmas").beta.ppf
    return sigma_min + ppf(1 - np.linspace(0, 1, n), alpha, beta) * (sigma_max - sigma_min)


def flow_sigmas(n: int, num_train: int, shift: float) -> np.ndarray:
    """Compute decreasing shifted sigmas of a rectified flow, [n] (Esser et al. 2024, section 5.3.2)."""
    sigmas = 1 - np.linspace(1, 1 / num_train, n + 1)
    return shift_sigmas(sigmas, shift)[:0:-1]


def shift_sigmas(sigmas: np.ndarray, shift: float) -> np.ndarray:
    """Compute s sigma / (1 + (s - 1) sigma): Esser et al. 2024, https://arxiv.org/abs/2403.03206, eq. 23."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def sigma_to_t(sigmas: np.ndarray, log_sigmas: np.ndarray) -> np.ndarray:
    """Compute real-valued timesteps [n] of sigmas [n], linear in log(sigma) between training timesteps."""
    # [n], in the precision of the table, so that its entries map to their exact timesteps
    log_sigma = np.log(np.maximum(np.asarray(sigmas), 1e-10)).astype(log_sigmas.dtype)
    low = np.searchsorted(log_sigmas, log_sigma, side="right") - 1
    low = low.clip(0, len(log_sigmas) - 2)
    below, above = log_sigmas[low], log_sigmas[low + 1]
    w = ((below - log_sigma) / (below - above)).clip(0, 1)
    return (1 - w) * low + w * (low + 1)


def check_sigma_spacing(config: Mapping[str, Any]) -> None:
    """Check that at most one spacing of sigmas is switched on.

    Raises:
        ConfigError: several are.
    """
    used = [key for key in SIGMA_SPACINGS if config.get(key)]
    if len(used) > 1:
        raise ConfigError("Only one spacing of sigmas can be used.", problems=used, expected="at most one of them")


def check_noise_levels(**levels: float) -> None:
    """Check noise levels, of which a schedule needs powers and logarithms.

    Raises:
        ConfigError: they are not positive, or are absurd; all of them are listed.
    """
    wrong = [f"{key}={value}" for key, value in levels.items() if not _LOWEST_SIGMA <= value <= _HIGHEST_SIGMA]
    if wrong:
        raise ConfigError(
            "The scheduler has impossible noise levels.",
            problems=wrong,
            expected=f"positive numbers between {_LOWEST_SIGMA} and {_HIGHEST_SIGMA}",
        )


def check_custom_timesteps(config: Mapping[str, Any], timesteps: object) -> None:
    """Check that custom timesteps are not combined with a spacing of sigmas.

    Raises:
        InputError: they are.
    """
    used = [key for key in (*SIGMA_SPACINGS, "use_lu_lambdas") if config.get(key)]
    if timesteps is not None and used:
        raise InputError(f"Custom timesteps cannot be used with {used[0]}=True.", expected="num_inference_steps")


def respaced_sigmas(config: Mapping[str, Any], n: int, first: float, last: float) -> np.ndarray | None:
    """Compute sigmas [n] with the spacing that the configuration switches on; None if it switches on none.

    Args:
        config: a scheduler's configuration; its `sigma_min` and `sigma_max` override `last` and `first`.
        n: the number of sigmas.
        first, last: the ends of the range.
    """
    sigma_min, sigma_max = config.get("sigma_min"), config.get("sigma_max")
    sigma_min = float(last if sigma_min is None else sigma_min)
    sigma_max = float(first if sigma_max is None else sigma_max)
    if any(config.get(key) for key in SIGMA_SPACINGS):
        check_noise_levels(**({"sigma_min": sigma_min} if sigma_min else {}), sigma_max=sigma_max)
    if config.get("use_karras_sigmas"):
        return karras_sigmas(np.linspace(0, 1, n), sigma_min, sigma_max)
    if config.get("use_exponential_sigmas"):
        check_noise_levels(sigma_min=sigma_min)
        return exponential_sigmas(n, sigma_min, sigma_max)
    if config.get("use_beta_sigmas"):
        return beta_sigmas(n, sigma_min, sigma_max)
    return None


def sigmas_at(timesteps: np.ndarray, schedule: NoiseSchedule) -> np.ndarray:
    """Compute sigmas [n] at real-valued timesteps [n], linear in sigma between training timesteps."""
    return np.interp(timesteps, np.arange(len(schedule)), schedule.sigmas)


def timesteps_and_sigmas(
    config: Mapping[str, Any], schedule: NoiseSchedule, timesteps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (timesteps, sigmas), [n] each: the given timesteps, or those of respaced sigmas between their ends."""
    sigmas = sigmas_at(timesteps, schedule)
    respaced = respaced_sigmas(config, len(timesteps), sigmas[0], sigmas[-1])
    if respaced is None:
        return timesteps, sigmas
    return sigma_to_t(respaced, schedule.log_sigmas), respaced


def ancestral_split(sigma_from: float, sigma_to: float) -> tuple[float, float]:
    """Split a step into (sigma_down, sigma_up): denoise to sigma_down, then add noise sigma_up to reach sigma_to.

    sigma_up^2 = sigma_to^2 (sigma_from^2 - sigma_to^2) / sigma_from^2 is the posterior's variance, which leaves
    sigma_down = sigma_to^2 / sigma_from.
    """
    down = sigma_to * sigma_to / sigma_from
    return down, max(sigma_to * sigma_to - down * down, 0.0) ** 0.5


def append_final_sigma(sigmas: np.ndarray, last: float = 0.0) -> np.ndarray:
    """Append the noise level at which the last step ends, float32 [n + 1]."""
    return np.append(sigmas, last).astype(np.float32)
