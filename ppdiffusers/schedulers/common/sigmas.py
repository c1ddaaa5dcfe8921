"""How noise levels are spread over the steps (Karras, exponential, beta, flow), and sigma -> timestep."""

from __future__ import annotations

import math

import numpy as np

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.core.extras import need
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule

SIGMA_RULES = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")


def karras_sigmas(ramp: np.ndarray, sigma_min: float, sigma_max: float, rho: float = 7.0) -> np.ndarray:
    """Falling sigmas, equal steps in sigma^(1/rho) (Karras et al. 2022, https://arxiv.org/abs/2206.00364, eq. 5)."""
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return (high + ramp * (low - high)) ** rho


def exponential_sigmas(n: int, sigma_min: float, sigma_max: float) -> np.ndarray:
    """Falling sigmas, equal steps in log(sigma)."""
    return np.exp(np.linspace(math.log(sigma_max), math.log(sigma_min), n))


def beta_sigmas(n: int, sigma_min: float, sigma_max: float, alpha: float = 0.6, beta: float = 0.6) -> np.ndarray:
    """Falling sigmas at quantiles of a beta distribution (Lee et al. 2024, https://arxiv.org/abs/2407.12173)."""
    ppf = need("scipy.stats", "for the quantiles of use_beta_sigmas").beta.ppf
    return sigma_min + ppf(1 - np.linspace(0, 1, n), alpha, beta) * (sigma_max - sigma_min)


def flow_sigmas(n: int, num_train: int, shift: float) -> np.ndarray:
    """Falling sigmas of a rectified flow, shifted to where the noise is stronger (Esser et al. 2024, section 5.3.2)."""
    sigmas = 1 - np.linspace(1, 1 / num_train, n + 1)
    return shift_sigmas(sigmas, shift)[:0:-1]


def shift_sigmas(sigmas: np.ndarray, shift: float) -> np.ndarray:
    """sigma -> s sigma / (1 + (s - 1) sigma): Esser et al. 2024, https://arxiv.org/abs/2403.03206, eq. 23."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def sigma_to_t(sigmas: np.ndarray, log_sigmas: np.ndarray) -> np.ndarray:
    """The real-valued timesteps [n] of noise levels [n]: linear in log(sigma) between training timesteps."""
    # [n], in the precision of the table, so that its own entries are found exactly
    log_sigma = np.log(np.maximum(np.asarray(sigmas), 1e-10)).astype(log_sigmas.dtype)
    low = np.searchsorted(log_sigmas, log_sigma, side="right") - 1
    low = low.clip(0, len(log_sigmas) - 2)
    below, above = log_sigmas[low], log_sigmas[low + 1]
    w = ((below - log_sigma) / (below - above)).clip(0, 1)
    return (1 - w) * low + w * (low + 1)


def check_sigma_rule(config: object) -> None:
    """Raises:
    ConfigError: more than one spacing of sigmas is switched on.
    """
    used = [rule for rule in SIGMA_RULES if config.get(rule)]
    if len(used) > 1:
        raise ConfigError("Only one spacing of sigmas can be used.", problems=used, expected="one of them, or none")


def refuse_timesteps_with_rule(config: object, timesteps: object) -> None:
    """Raises:
    InputError: explicit timesteps were given although the configuration spreads the noise levels by a rule.
    """
    used = [rule for rule in (*SIGMA_RULES, "use_lu_lambdas") if config.get(rule)]
    if timesteps is not None and used:
        raise InputError(f"Explicit timesteps cannot be used with {used[0]}=True.", expected="num_inference_steps")


def spread_by_rule(config: object, n: int, first: float, last: float) -> np.ndarray | None:
    """n sigmas by the rule that the configuration switches on, or None; `sigma_min`, `sigma_max` there go first."""
    sigma_min, sigma_max = config.get("sigma_min"), config.get("sigma_max")
    sigma_min = float(last if sigma_min is None else sigma_min)
    sigma_max = float(first if sigma_max is None else sigma_max)
    if config.get("use_karras_sigmas"):
        return karras_sigmas(np.linspace(0, 1, n), sigma_min, sigma_max)
    if config.get("use_exponential_sigmas"):
        return exponential_sigmas(n, sigma_min, sigma_max)
    if config.get("use_beta_sigmas"):
        return beta_sigmas(n, sigma_min, sigma_max)
    return None


def sigmas_at(timesteps: np.ndarray, schedule: NoiseSchedule) -> np.ndarray:
    """Noise levels at real-valued timesteps: linear in sigma between training timesteps."""
    return np.interp(timesteps, np.arange(len(schedule)), schedule.sigmas)


def visited_sigmas(config: object, schedule: NoiseSchedule, timesteps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(timesteps, sigmas) [n] for samplers in sigma: of the timesteps themselves, or spread by rule between them."""
    sigmas = sigmas_at(timesteps, schedule)
    by_rule = spread_by_rule(config, len(timesteps), sigmas[0], sigmas[-1])
    if by_rule is None:
        return timesteps, sigmas
    return sigma_to_t(by_rule, schedule.log_sigmas), by_rule


def ancestral_split(sigma_from: float, sigma_to: float) -> tuple[float, float]:
    """(sigma_down, sigma_up): go down to sigma_down, then add noise sigma_up to stand at sigma_to.

    sigma_up^2 = sigma_to^2 (sigma_from^2 - sigma_to^2) / sigma_from^2 is the posterior's variance, which leaves
    sigma_down = sigma_to^2 / sigma_from.
    """
    down = sigma_to * sigma_to / sigma_from
    return down, max(sigma_to * sigma_to - down * down, 0.0) ** 0.5


def with_final(sigmas: np.ndarray, last: float = 0.0) -> np.ndarray:
    """float32 sigmas [n + 1] that end where the sample is clean, or at `last`."""
    return np.append(sigmas, last).astype(np.float32)
