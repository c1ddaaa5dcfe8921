"""Update rules that several samplers share."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import paddle
from paddle import Tensor

from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.prediction import combine
from ppdiffusers.schedulers.common.types import Scalar

# Adams-Bashforth: weights of the newest, second newest, ... derivative
ADAMS_BASHFORTH: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def euler_step(sample: Tensor, x0: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Follow the line through `sample` at noise level sigma and `x0` at level 0 to level sigma_next, [B, C, ...]."""
    return combine((sigma_next / sigma, sample), (1 - sigma_next / sigma, x0))


def derivative(sample: Tensor, x0: Tensor, sigma: float) -> Tensor:
    """Compute dx/dsigma = (x - x_0) / sigma: Karras et al. 2022, https://arxiv.org/abs/2206.00364, eq. 3."""
    return combine((1, sample), (-1, x0)) * float(1 / sigma)


def adams_bashforth(history: list[Tensor]) -> Tensor:
    """Extrapolate the derivative from up to four past ones, oldest first."""
    weights = ADAMS_BASHFORTH[min(len(history), 4)]
    return combine(*zip(weights, reversed(history), strict=False))


def churn(s_churn: float, s_tmin: float, s_tmax: float, sigma: float, num_steps: int) -> float:
    """Compute gamma, the relative increase of the noise level before a step (Karras et al. 2022, algorithm 2)."""
    return min(s_churn / num_steps, 2**0.5 - 1) if s_tmin <= sigma <= s_tmax else 0.0


class HeunStages:
    """Mixin for Heun's method in two calls of `step`: an Euler step, then the mean of both derivatives."""

    dt: float | None = None
    prev_derivative: Tensor | None = None
    sample: Tensor | None = None

    @property
    def state_in_first_order(self) -> bool:
        """Whether the next call of `step` is an Euler step."""
        return self.dt is None

    def _reset_stages(self) -> None:
        self.dt = self.prev_derivative = self.sample = None

    def _predict(self, sample: Tensor, slope: Tensor, dt: float) -> Tensor:
        """Take an Euler step and store its start."""
        self.sample, self.prev_derivative, self.dt = sample, slope, dt
        return combine((1, sample), (dt, slope))

    def _correct(self, slope: Tensor) -> Tensor:
        """Repeat the stored step with the mean of its derivative and the one at its end."""
        assert self.dt is not None, "_predict comes first"
        result = combine((1, self.sample), (self.dt / 2, self.prev_derivative), (self.dt / 2, slope))
        self._reset_stages()
        return result


class Level(NamedTuple):
    """A noise level: x = alpha x_0 + sigma eps, and lambda = log(alpha / sigma)."""

    alpha: np.float32
    sigma: np.float32
    lambda_: np.float32

    @classmethod
    def of(cls, alpha: np.float32, sigma: np.float32) -> Level:
        """Compute lambda of a noise level; infinite at sigma = 0."""
        with np.errstate(divide="ignore"):
            return cls(alpha, sigma, np.log(alpha) - np.log(sigma))


class Weights(NamedTuple):
    """x_t = sample * x_s + d0 * D0 + d1 * D1 + d2 * D2 + noise * z; D_k is the k-th derivative in lambda times h^k."""

    sample: Scalar
    d0: Scalar
    d1: Scalar
    d2: Scalar
    noise: Scalar


def exponential_integrator(algorithm: str, solver_type: str, order: int, s: Level, t: Level) -> Weights:
    """Compute the weights of a step from level s to level t: exact in the linear part, a Taylor series in the network.

    Lu et al. 2022, https://arxiv.org/abs/2206.00927, eq. 3.4 ("dpmsolver": the series is that of the noise);
    Lu et al. 2022, https://arxiv.org/abs/2211.01095, eq. 8 ("dpmsolver++": that of the clean sample); the "sde-" forms
    solve the stochastic equation (appendix B there). `solver_type` "midpoint" uses half of D0's weight for D1.
    """
    h = t.lambda_ - s.lambda_
    step: Scalar
    scale: Scalar
    linear: Scalar
    noise: Scalar = 0.0
    # step: the change of the exponent; e = exp(step) - 1; the series is scale * (e, e/step - 1, ...)
    if algorithm == "dpmsolver++":
        step, scale, linear = -h, -t.alpha, t.sigma / s.sigma
    elif algorithm == "sde-dpmsolver++":
        step, scale, linear = -2 * h, -t.alpha, t.sigma / s.sigma * math.exp(-h)
        noise = t.sigma * math.sqrt(-math.expm1(step))
    elif algorithm == "dpmsolver":
        step, scale, linear = h, -t.sigma, t.alpha / s.alpha
        if t.sigma == 0:  # sigma_t e^h = alpha_t sigma_s / alpha_s, also where h is infinite
            return Weights(linear, -t.alpha * s.sigma / s.alpha, 0.0, 0.0, 0.0)
    else:  # "sde-dpmsolver"
        step, scale, linear = h, -2 * t.sigma, t.alpha / s.alpha
        noise = t.sigma * math.sqrt(math.expm1(2 * h))
    e = math.expm1(step)
    if order == 1 or step == 0 or math.isinf(step):
        return Weights(linear, scale * e, 0.0, 0.0, noise)
    if order == 2 and solver_type == "midpoint":
        return Weights(linear, scale * e, 0.5 * scale * e, 0.0, noise)
    # diffusers' third order of the stochastic form adds this half where the series subtracts it
    half = -0.5 if algorithm == "sde-dpmsolver++" else 0.5
    return Weights(linear, scale * e, scale * (e / step - 1), scale * ((e - step) / step**2 - half), noise)


def multistep_terms(weights: Weights, levels: list[Level], models: list[Tensor]) -> list[tuple[Scalar, Tensor]]:
    """Compute the terms of D0, D1, D2 from differences of past predictions.

    Args:
        weights: of the step.
        levels: [t, s_0, s_1, s_2]: the levels of the end of the step, of its start, of the start before, ...
        models: [m_0, m_1, m_2]: the predictions at s_0, s_1, s_2; as many as the order.
    """
    _, d0, d1, d2, _ = weights
    h = levels[0].lambda_ - levels[1].lambda_
    if len(models) == 1 or h == 0:  # at h = 0 all weights but that of the sample are 0
        return [(d0, models[0])]
    s0, s1 = levels[1:3]
    a = h / (s0.lambda_ - s1.lambda_)  # 1 / r_0
    if len(models) == 2:
        return [(d0 + d1 * a, models[0]), (-d1 * a, models[1])]
    b = h / (s1.lambda_ - levels[3].lambda_)  # 1 / r_1
    r0, r1 = 1 / a, 1 / b
    k = (d1 * r0 + d2) / (r0 + r1)  # of D1_0 - D1_1 = a (m_0 - m_1) - b (m_1 - m_2)
    return [(d0 + (d1 + k) * a, models[0]), (-d1 * a - k * (a + b), models[1]), (k * b, models[2])]


def singlestep_terms(
    weights: Weights, solver_type: str, levels: list[Level], models: list[Tensor]
) -> list[tuple[Scalar, Tensor]]:
    """Compute the terms of D0, D1, D2 where all predictions belong to one step from the oldest level to t.

    Args:
        weights: of the step.
        solver_type: "midpoint" or "heun".
        levels: [t, ..., s]: the level of the end of the step, of its stages, newest first, and of its start.
        models: the predictions, newest first; as many as the order.
    """
    _, d0, d1, d2, _ = weights
    if len(models) == 1:
        return [(d0, models[0])]
    t, s = levels[0], levels[-1]
    h = t.lambda_ - s.lambda_
    a = h / (levels[1].lambda_ - s.lambda_)  # 1 / r_0, of the newest prediction
    if len(models) == 2:
        return [(d0 - d1 * a, models[1]), (d1 * a, models[0])]
    m0, m1, m2 = models
    b = h / (levels[2].lambda_ - s.lambda_)  # 1 / r_1
    if solver_type == "midpoint":
        return [(d0 - d1 * a, m2), (d1 * a, m0)]
    r0, r1 = 1 / a, 1 / b
    k0 = (2 * d2 - d1 * r1) / (r0 - r1)  # of D1_1 = a (m_0 - m_2)
    k1 = (d1 * r0 - 2 * d2) / (r0 - r1)  # of D1_0 = b (m_1 - m_2)
    return [(d0 - k0 * a - k1 * b, m2), (k0 * a, m0), (k1 * b, m1)]


def interleave(values: np.ndarray, between: np.ndarray, first: bool = False) -> np.ndarray:
    """Return [v_0, b_1, v_1, b_2, v_2, ...], or with `first` [v_0, b_0, v_1, b_1, v_2, ...], of length 2n - 1."""
    between = between if first else between[1:]
    pairs = np.stack([between, values[1:]], axis=1)  # [n - 1, 2]
    return np.concatenate([values[:1], pairs.reshape(-1)])


def posterior_mean(
    x0: Tensor, sample: Tensor, alpha_bar: Scalar, alpha_bar_prev: Scalar, alpha: Scalar, beta: Scalar
) -> Tensor:
    """Compute the mean of q(x_{t-1} | x_t, x_0), [B, C, ...].

    Ho et al. 2020, https://arxiv.org/abs/2006.11239, eq. 7.
    """
    beta_bar, beta_bar_prev = 1 - alpha_bar, 1 - alpha_bar_prev
    return combine((alpha_bar_prev**0.5 * beta / beta_bar, x0), (alpha**0.5 * beta_bar_prev / beta_bar, sample))


def learned_range(v: Tensor, smallest: Scalar, largest: Scalar) -> Tensor:
    """Interpolate between the logarithms of two variances by v in [-1, 1]; returns standard deviations, [B, C, ...]."""
    return (0.5 * learned_log_variance(v, smallest, largest)).exp()


def learned_log_variance(v: Tensor | float, smallest: Scalar, largest: Scalar) -> Any:
    """Interpolate between the logarithms of two variances by v in [-1, 1], of the type of v.

    Nichol & Dhariwal 2021, https://arxiv.org/abs/2102.09672, eq. 15.
    """
    low, high = math.log(smallest), math.log(largest)
    return (v + 1) * ((high - low) / 2) + low


def variance_in_form(
    variance_type: str | None, posterior: Scalar, beta: Scalar, predicted: Tensor | float | None = None
) -> Tensor:
    """Return the variance of a reverse step in the form that belongs to a `variance_type`, [] or [B, C, ...].

    As `_get_variance` of diffusers: the standard deviation for "fixed_small_log", the logarithm for "fixed_large_log"
    and "learned_range", otherwise the variance.

    Args:
        variance_type: see `DDPMScheduler`; unknown ones stand for the posterior's variance.
        posterior: the variance of q(x_{t-1} | x_t, x_0), positive.
        beta: the variance of the forward step.
        predicted: the network's output for the variance.
    """
    form: Any = posterior
    if variance_type == "fixed_small_log":
        form = posterior**0.5
    elif variance_type == "fixed_large":
        form = beta
    elif variance_type == "fixed_large_log":
        form = math.log(beta)
    elif variance_type in ("learned", "learned_range"):
        if predicted is None:
            raise InputError(f"variance_type={variance_type!r} requires the predicted variance.")
        form = predicted if variance_type == "learned" else learned_log_variance(predicted, posterior, beta)
    return form if isinstance(form, Tensor) else paddle.to_tensor(form, dtype="float32")
