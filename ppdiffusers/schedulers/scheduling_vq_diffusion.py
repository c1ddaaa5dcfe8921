"""VQ-Diffusion: reverse diffusion of discrete codes (Gu et al. 2021, https://arxiv.org/abs/2111.14822)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.arrays import TensorAttribute
from ppdiffusers.schedulers.common.noise_schedule import check_training_timestep
from ppdiffusers.schedulers.common.spacing import check_num_steps, training_timesteps
from ppdiffusers.schedulers.common.stepping import as_scalar
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.dummy_inputs import normal
from ppdiffusers.utils.torch_utils import Generator, rand_tensor

VQDiffusionSchedulerOutput = SchedulerOutput
LOG_ZERO = float(np.log(1e-30))  # in place of the logarithm of 0


class VQDiffusionScheduler(SchedulerMixin):
    """Mask-and-replace diffusion: a code stays (alpha), becomes another one (beta), or becomes the mask (gamma).

    Args:
        num_vec_classes: number of codes, including the mask, which is the last.
        alpha_cum_start, alpha_cum_end, gamma_cum_start, gamma_cum_end: cumulative probabilities at both ends.
    """

    init_noise_sigma = 1.0
    log_at = TensorAttribute()
    host_log_at = log_at.host
    log_bt = TensorAttribute()
    host_log_bt = log_bt.host
    log_ct = TensorAttribute()
    host_log_ct = log_ct.host
    log_cumprod_at = TensorAttribute()
    host_log_cumprod_at = log_cumprod_at.host
    log_cumprod_bt = TensorAttribute()
    host_log_cumprod_bt = log_cumprod_bt.host
    log_cumprod_ct = TensorAttribute()
    host_log_cumprod_ct = log_cumprod_ct.host

    @register_to_config
    def __init__(
        self,
        num_vec_classes: int,
        num_train_timesteps: int = 100,
        alpha_cum_start: float = 0.99999,
        alpha_cum_end: float = 0.000009,
        gamma_cum_start: float = 0.000009,
        gamma_cum_end: float = 0.99999,
    ):
        self.num_embed = num_vec_classes
        self.mask_class = num_vec_classes - 1
        ramp = np.arange(num_train_timesteps) / (num_train_timesteps - 1)
        kept = np.append(1.0, ramp * (alpha_cum_end - alpha_cum_start) + alpha_cum_start)  # cumulative, from t = -1
        masked = np.append(0.0, ramp * (gamma_cum_end - gamma_cum_start) + gamma_cum_start)
        at, ct = kept[1:] / kept[:-1], 1 - (1 - masked[1:]) / (1 - masked[:-1])
        att, ctt = np.append(kept[1:], 1.0), np.append(masked[1:], 0.0)  # index -1 is before the first step
        with np.errstate(divide="ignore"):
            self.log_at, self.log_bt, self.log_ct = self._logs(at, ct)
            self.log_cumprod_at, self.log_cumprod_bt, self.log_cumprod_ct = self._logs(att, ctt)
        self.timesteps = training_timesteps(num_train_timesteps)

    def _logs(self, stay: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
        replace = (1 - stay - mask) / self.mask_class
        return [np.log(p).astype(np.float32) for p in (stay, replace, mask)]

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the timesteps to those below `num_inference_steps`, in decreasing order."""
        n = check_num_steps(num_inference_steps, self.config.num_train_timesteps)
        self.timesteps = training_timesteps(n)
        self.num_inference_steps = n

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Sample x_{t-1} from the posterior of the predicted x_0 (eq. 11) with the Gumbel-max trick.

        Args:
            model_output: log p(x_0), [B, codes - 1, pixels] (x_0 is never masked).
            timestep: t.
            sample: x_t, integer codes [B, pixels].
            generator: source of the uniform noise.
            return_dict: return a `SchedulerOutput`, otherwise a tuple.
        """
        t = int(as_scalar(timestep))
        check_training_timestep(t, self.config.num_train_timesteps)
        expected = [sample.shape[0], self.num_embed - 1, *sample.shape[1:]]
        if list(model_output.shape) != expected:
            raise InputError(
                "The model's output does not match the codes.",
                problems=[f"model_output: {list(model_output.shape)}", f"sample: {list(sample.shape)}"],
                expected=f"log-probabilities {expected}: [B, num_vec_classes - 1, pixels]",
            )
        log_p = model_output if t == 0 else self.q_posterior(model_output, sample, t)
        uniform = rand_tensor(log_p.shape, generator=generator)
        gumbel = -paddle.log(-paddle.log(uniform + 1e-30) + 1e-30)
        return step_result(return_dict, (gumbel + log_p).argmax(axis=1))

    def q_posterior(self, log_p_x_0: paddle.Tensor, x_t: paddle.Tensor, t: int) -> paddle.Tensor:
        """Compute log p(x_{t-1} | x_t) = log sum_{x_0} q(x_t | x_{t-1}) q(x_{t-1} | x_0) p(x_0) / q(x_t | x_0).

        Args:
            log_p_x_0: log p(x_0), [B, codes - 1, pixels].
            x_t: integer codes, [B, pixels].
            t: timestep.

        Returns:
            [B, codes, pixels].
        """
        q = log_p_x_0 - self._transition_to(x_t, t, cumulative=True)
        total = q.logsumexp(axis=1, keepdim=True)
        q = self._apply_cumulative(q - total, t - 1)
        return q + self._transition_to(x_t, t, cumulative=False) + total

    def _logs_at(self, t: int, cumulative: bool) -> list[float]:
        """Return the logarithms of alpha_t, beta_t and gamma_t, or of their cumulative forms."""
        if cumulative:
            arrays = (self.host_log_cumprod_at, self.host_log_cumprod_bt, self.host_log_cumprod_ct)
        else:
            arrays = (self.host_log_at, self.host_log_bt, self.host_log_ct)
        return [float(array[t]) for array in arrays]

    def _transition_to(self, x_t: paddle.Tensor, t: int, cumulative: bool) -> paddle.Tensor:
        """Compute log q(x_t | c) for each code c, [B, codes - 1 (cumulative) or codes, pixels]."""
        a, b, c = self._logs_at(t, cumulative)
        same = F.one_hot(x_t, self.num_embed).transpose([0, 2, 1])  # [B, codes, pixels]
        hit, miss = (float(np.logaddexp(log_p + a, b)) for log_p in (0.0, LOG_ZERO))
        log_q = same[:, :-1] * hit + (1 - same[:, :-1]) * miss
        is_mask = (x_t == self.mask_class).unsqueeze(1)  # [B, 1, pixels]
        log_q = paddle.where(is_mask, paddle.full_like(log_q, c), log_q)
        if cumulative:
            return log_q
        return paddle.concat([log_q, (1 - same[:, -1:]) * LOG_ZERO], axis=1)  # a masked code stays masked

    def _apply_cumulative(self, q: paddle.Tensor, t: int) -> paddle.Tensor:
        """Apply the cumulative transition to log probabilities: [B, codes - 1, pixels] -> [B, codes, pixels]."""
        a, b, c = (float(p[t]) for p in (self.host_log_cumprod_at, self.host_log_cumprod_bt, self.host_log_cumprod_ct))
        masked = paddle.full([q.shape[0], 1, q.shape[2]], c, dtype=q.dtype)
        return paddle.concat([_log_add(q + a, b), masked], axis=1)

    @staticmethod
    def reference_outputs(
        scheduler: Any, rng: np.random.Generator, tensor: Callable[[np.ndarray], Any], noise: Mapping[str, Any]
    ) -> dict[str, Any]:
        scheduler.set_timesteps(10)
        codes = scheduler.config["num_vec_classes"] - 1  # without the mask
        scores = normal(rng, 2, codes, 9)
        log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))  # [B, codes, N]
        x_t = rng.integers(0, codes + 1, (2, 9))  # [B, N]
        posterior = scheduler.q_posterior(tensor(log_p), tensor(x_t), scheduler.timesteps[0])
        return {"timesteps": scheduler.timesteps, "log_p": posterior}


def _log_add(log_p: paddle.Tensor, log_q: float) -> paddle.Tensor:
    """Compute log(p + q) elementwise."""
    return paddle.logaddexp(log_p, paddle.full_like(log_p, log_q))
