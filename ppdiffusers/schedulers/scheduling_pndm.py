"""PNDM: pseudo numerical methods on the manifold of DDIM (Liu et al. 2022, https://arxiv.org/abs/2202.09778)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.arrays import TensorAttribute
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving
from ppdiffusers.schedulers.common.prediction import (
    PREDICTION_TYPES,
    check_choice,
    check_shapes,
    combine,
    downcast,
    to_epsilon,
    upcast,
)
from ppdiffusers.schedulers.common.spacing import SPACINGS, check_num_steps, spaced_timesteps
from ppdiffusers.schedulers.common.stepping import as_scalar
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import adams_bashforth
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator


class PNDMScheduler(VariancePreserving, SchedulerMixin):
    """Pseudo Runge-Kutta for the first three steps (four network calls each), then pseudo linear multistep.

    Args:
        skip_prk_steps: skip the Runge-Kutta steps and start with lower orders (as Stable Diffusion does).
        set_alpha_to_one: use alpha_bar = 1 at the end of the last step, otherwise that of timestep 0.
        See `DDPMScheduler` for the other arguments.
    """

    init_noise_sigma = 1.0
    final_alpha_cumprod = TensorAttribute()
    host_final_alpha_cumprod = final_alpha_cumprod.host
    pndm_order = 4

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        skip_prk_steps: bool = False,
        set_alpha_to_one: bool = False,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "leading",
        steps_offset: int = 0,
    ):
        check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
        check_choice("timestep_spacing", timestep_spacing, SPACINGS)
        self.noise_schedule = NoiseSchedule.from_config(self.config)
        self.final_alpha_cumprod = np.float32(1) if set_alpha_to_one else self.host_alphas_cumprod[0]
        self.timesteps = None
        self._reset()

    def _reset(self) -> None:
        self.counter = 0  # network calls so far
        self.ets: list[paddle.Tensor] = []  # predictions, oldest first
        self.cur_model_output: paddle.Tensor | None = None
        self.cur_sample: paddle.Tensor | None = None

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the number of inference steps; some timesteps occur more than once.

        Raises:
            InputError: there are fewer than four steps and `skip_prk_steps` is not set.
        """
        config = self.config
        n = check_num_steps(num_inference_steps, config.num_train_timesteps)
        steps = spaced_timesteps(config.timestep_spacing, config.num_train_timesteps, n, config.steps_offset)
        steps = steps.round().astype(np.int64)
        if config.skip_prk_steps:
            self.prk_timesteps = steps[:0]
            self.plms_timesteps = np.concatenate([steps[:1], steps[1:2], steps[1:]])
        elif n < self.pndm_order:
            raise InputError(
                f"PNDM's Runge-Kutta steps need at least {self.pndm_order} inference steps.",
                where=f"num_inference_steps={num_inference_steps}",
                remedy="use more steps, or create the scheduler with skip_prk_steps=True",
            )
        else:
            # each of the first three steps is evaluated at its start, twice at its midpoint, and at its end
            half = config.num_train_timesteps // n // 2
            edges, middles = steps[:4], steps[1:4] + half
            stages = [(edges[k], middles[k], middles[k], edges[k + 1]) for k in range(3)]
            self.prk_timesteps = np.array(stages, dtype=np.int64).reshape(-1)
            self.plms_timesteps = steps[3:]
        self.timesteps = np.concatenate([self.prk_timesteps, self.plms_timesteps])
        self.num_inference_steps = n
        self._reset()

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        return_dict: bool = True,
        generator: Generator = None,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Process one network call: `step_prk` for the first three steps, then `step_plms`.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            generator: ignored; this scheduler adds no noise.
        """
        self._require_timesteps()
        if self.counter < len(self.prk_timesteps):
            return self.step_prk(model_output, timestep, sample, return_dict)
        return self.step_plms(model_output, timestep, sample, return_dict)

    def step_prk(
        self, model_output: paddle.Tensor, timestep: Timestep, sample: paddle.Tensor, return_dict: bool = True
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Take a stage of a pseudo Runge-Kutta step (eq. 13): four predictions, weighted 1/6, 1/3, 1/3, 1/6.

        See `step` for the arguments.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        stage = self.counter % 4
        output = upcast(model_output)
        prev_t = as_scalar(timestep) - (0 if stage % 2 else self._stride // 2)
        if stage == 0:
            self.ets.append(output)
            self.cur_sample = upcast(sample)
            self.cur_model_output = output * (1 / 6)
        elif stage < 3:
            self.cur_model_output = combine((1, self.cur_model_output), (1 / 3, output))
        else:
            output = combine((1, self.cur_model_output), (1 / 6, output))
        t = int(self.prk_timesteps[self.counter - stage])
        prev = self._transfer(self.cur_sample, t, prev_t, output)
        self.counter += 1
        return step_result(return_dict, downcast(prev, sample))

    def step_plms(
        self, model_output: paddle.Tensor, timestep: Timestep, sample: paddle.Tensor, return_dict: bool = True
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Take a pseudo linear multistep (eq. 12); with `skip_prk_steps`, the first step is Heun's, in two calls.

        See `step` for the arguments.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        if not self.config.skip_prk_steps and len(self.ets) < 3:
            raise InputError("`step_plms` was called before the three Runge-Kutta steps.", remedy="call scheduler.step")
        x, output = upcast(sample), upcast(model_output)
        t = as_scalar(timestep)
        prev_t = t - self._stride
        if self.counter == 1 and len(self.ets) == 1:  # repeat the first step with the mean of both predictions
            t, prev_t = t + self._stride, t
            x, self.cur_sample = self.cur_sample, None
            output = combine((0.5, output), (0.5, self.ets[-1]))
        else:
            self.ets = [*self.ets[-3:], output]
            if self.counter == 0:
                self.cur_sample = x
            output = adams_bashforth(self.ets)
        prev = self._transfer(x, t, prev_t, output)
        self.counter += 1
        return step_result(return_dict, downcast(prev, sample))

    @property
    def _stride(self) -> int:
        """The number of training timesteps per step."""
        return self.config.num_train_timesteps // check_num_steps(self.num_inference_steps)

    def _transfer(self, sample: paddle.Tensor, t: float, prev_t: float, model_output: paddle.Tensor) -> paddle.Tensor:
        """Take a DDIM step from t to prev_t (eq. 11), in a form whose denominator is not near zero."""
        a = self.alpha_bar(t)
        a_prev = self.alpha_bar(prev_t, self.host_final_alpha_cumprod)
        b, b_prev = 1 - a, 1 - a_prev
        eps = to_epsilon(self.config.prediction_type, model_output, sample, a**0.5, b**0.5)
        denominator = a * b_prev**0.5 + (a * b * a_prev) ** 0.5
        return combine(((a_prev / a) ** 0.5, sample), (-(a_prev - a) / denominator, eps))
