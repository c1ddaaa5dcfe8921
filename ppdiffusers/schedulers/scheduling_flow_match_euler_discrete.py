"""Euler's method for rectified flows: x = (1 - sigma) x_0 + sigma eps (Esser et al. 2024, arXiv 2403.03206)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.arrays import Sigmas
from ppdiffusers.schedulers.common.noise_schedule import per_sample
from ppdiffusers.schedulers.common.prediction import check_choice, check_shapes, combine, downcast, upcast
from ppdiffusers.schedulers.common.sigmas import check_sigma_spacing, respaced_sigmas, shift_sigmas
from ppdiffusers.schedulers.common.spacing import check_num_steps
from ppdiffusers.schedulers.common.stepping import StepIndex, check_not_loop_index
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

FlowMatchEulerDiscreteSchedulerOutput = SchedulerOutput


class Flow(Sigmas, StepIndex):
    """Mixin for noise levels sigma in [0, 1] with timesteps sigma * num_train_timesteps."""

    def _init_flow(self, shift: float) -> None:
        sigmas = np.arange(self.config.num_train_timesteps, 0, -1, dtype=np.float32) / self.config.num_train_timesteps
        self.sigmas = shift_sigmas(sigmas, shift).astype(np.float32)
        self.timesteps = self.host_sigmas * self.config.num_train_timesteps
        self.sigma_min, self.sigma_max = float(self.host_sigmas[-1]), float(self.host_sigmas[0])
        self._reset_index()


class FlowMatchEulerDiscreteScheduler(Flow, SchedulerMixin):
    """Euler's method for a network that predicts the velocity v = eps - x_0.

    Args:
        shift: shift of the noise levels; larger values increase the noise, for larger images.
        use_dynamic_shifting: compute the shift from `mu` in `set_timesteps` according to `time_shift_type`.
        base_shift, max_shift, base_image_seq_len, max_image_seq_len: parameters from which pipelines compute `mu`.
        invert_sigmas: run from the clean sample to noise.
        shift_terminal: stretch the noise levels so that the last one has this value.
        use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas: see `sigmas`.
        stochastic_sampling: predict x_0 and add new noise in each step.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        shift: float = 1.0,
        use_dynamic_shifting: bool = False,
        base_shift: float | None = 0.5,
        max_shift: float | None = 1.15,
        base_image_seq_len: int | None = 256,
        max_image_seq_len: int | None = 4096,
        invert_sigmas: bool = False,
        shift_terminal: float | None = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        time_shift_type: str = "exponential",
        stochastic_sampling: bool = False,
    ):
        check_sigma_spacing(self.config)
        check_choice("time_shift_type", time_shift_type, ("exponential", "linear"))
        self._shift = shift
        self._init_flow(1.0 if use_dynamic_shifting else shift)

    @property
    def shift(self) -> float:
        """The shift of the noise levels."""
        return self._shift

    def set_shift(self, shift: float) -> None:
        """Set `shift` for the following calls of `set_timesteps`."""
        self._shift = shift

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: object = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Set the number of inference steps, or custom noise levels (before shifting) and timesteps.

        Args:
            num_inference_steps: n.
            device: ignored.
            sigmas: custom noise levels, [n].
            mu: logarithm of the shift, with `use_dynamic_shifting`.
            timesteps: custom timesteps, [n].
        """
        config = self.config
        if config.use_dynamic_shifting and mu is None:
            raise InputError("use_dynamic_shifting=True requires `mu`, the logarithm of the shift.", where="mu")
        lengths = {len(given) for given in (sigmas, timesteps) if given is not None}
        if num_inference_steps is not None:
            lengths.add(check_num_steps(num_inference_steps))
        if len(lengths) != 1:
            raise InputError(
                "set_timesteps needs a number of steps, or lists of one common length.",
                problems=[f"lengths: {sorted(lengths) or 'none'}"],
                expected="num_inference_steps, sigmas or timesteps",
            )
        n = lengths.pop()
        if sigmas is not None:
            levels = np.asarray(sigmas, dtype=np.float32)
        elif timesteps is not None:
            levels = np.asarray(timesteps, dtype=np.float32) / config.num_train_timesteps
        else:
            levels = np.linspace(self.sigma_max, self.sigma_min, n)
        if config.use_dynamic_shifting and mu is not None:
            levels = self.time_shift(mu, 1.0, levels)
        else:
            levels = shift_sigmas(levels, self.shift)
        if config.shift_terminal:
            levels = 1 - (1 - levels) * ((1 - config.shift_terminal) / (1 - levels[-1]))
        respaced = respaced_sigmas(config, n, levels[0], levels[-1])
        levels = (levels if respaced is None else respaced).astype(np.float32)
        if config.invert_sigmas:
            levels = 1 - levels
        self.timesteps = levels * config.num_train_timesteps
        if timesteps is not None and not config.invert_sigmas:
            self.timesteps = np.asarray(timesteps, dtype=np.float32)
        self.sigmas = np.append(levels, np.float32(1 if config.invert_sigmas else 0))
        self.num_inference_steps = n
        self._reset_index()

    def time_shift(self, mu: float, sigma: float, t: np.ndarray) -> np.ndarray:
        """Shift noise levels t in (0, 1] by mu: 1 / (1 + (1/t - 1)^sigma / m) with m = mu or e^mu."""
        m = math.exp(mu) if self.config.time_shift_type == "exponential" else mu
        return m / (m + (1 / t - 1) ** sigma)

    def scale_noise(self, sample: paddle.Tensor, timestep: object, noise: paddle.Tensor) -> paddle.Tensor:
        """Compute sigma eps + (1 - sigma) x_0.

        Args:
            sample: x_0, [B, ...].
            timestep: one element of `self.timesteps` per sample, [B].
            noise: eps, [B, ...].
        """
        sigma = per_sample(self.host_sigmas[self._indices_for(timestep)], sample)
        return sigma * noise + (1 - sigma) * sample

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = float("inf"),
        s_noise: float = 1.0,
        generator: Generator = None,
        per_token_timesteps: paddle.Tensor | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Compute x + (sigma_next - sigma) v.

        Args:
            model_output: the velocity at `timestep`, [B, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, ...].
            s_churn, s_tmin, s_tmax, s_noise: ignored.
            generator: source of the noise of `stochastic_sampling`.
            per_token_timesteps: a timestep per token of a sample [B, N, C], [B, N]; each token goes to the next lower
                noise level.
            return_dict: return a `SchedulerOutput`, otherwise a tuple.
        """
        check_not_loop_index(timestep)
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        x, velocity = upcast(sample), upcast(model_output)
        if per_token_timesteps is not None:
            here = per_token_timesteps.astype(x.dtype) / self.config.num_train_timesteps  # [B, N]
            levels = paddle.to_tensor(self.host_sigmas).reshape([-1, 1, 1])  # [S, 1, 1]
            below = (levels < here - 1e-6).astype(x.dtype) * levels  # [S, B, N]
            here, there = here.unsqueeze(-1), below.max(axis=0).unsqueeze(-1)  # [B, N, 1]
            dt = here - there
        else:
            here, there = float(self.host_sigmas[i]), float(self.host_sigmas[i + 1])
            dt = there - here
        if self.config.stochastic_sampling:
            noise = upcast(randn_tensor(sample.shape, generator=generator, dtype=x.dtype))
            prev = (x - velocity * here) * (1 - there) + noise * there
        elif per_token_timesteps is not None:
            prev = x + velocity * dt
        else:
            prev = combine((1, x), (dt, velocity))
        self._step_index = i + 1
        return step_result(return_dict, prev if per_token_timesteps is not None else downcast(prev, model_output))
