"""DPM-Solver++ (SDE), two stages, with noise of a Brownian path (`sample_dpmpp_sde` in k-diffusion)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.brownian import BrownianTreeNoiseSampler
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving
from ppdiffusers.schedulers.common.prediction import (
    PREDICTION_TYPES,
    check_choice,
    check_shapes,
    combine,
    downcast,
    to_x0_exploding,
    upcast,
)
from ppdiffusers.schedulers.common.sigmas import ancestral_split, check_sigma_spacing, sigma_to_t, timesteps_and_sigmas
from ppdiffusers.schedulers.common.spacing import SPACINGS, check_num_steps, spaced_timesteps
from ppdiffusers.schedulers.common.stepping import VarianceExploding
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import euler_step, interleave
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator

DPMSolverSDESchedulerOutput = SchedulerOutput


class DPMSolverSDEScheduler(VarianceExploding, VariancePreserving, SchedulerMixin):
    """Stochastic DPM-Solver++ (2S).

    Args:
        noise_sampler_seed: seed of the Brownian path, or one per sample; None draws it from Paddle's global stream.
        use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas: see `sigmas`.
        See `DDPMScheduler` for the other arguments.
    """

    order = 2

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        noise_sampler_seed: int | Sequence[int] | None = None,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ):
        check_sigma_spacing(self.config)
        check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
        check_choice("timestep_spacing", timestep_spacing, SPACINGS)
        self.noise_schedule = NoiseSchedule.from_config(self.config)
        self.noise_sampler_seed = noise_sampler_seed
        self._set_schedule(num_train_timesteps, num_train_timesteps)

    def set_timesteps(
        self, num_inference_steps: int, device: object = None, num_train_timesteps: int | None = None
    ) -> None:
        """Set the number of inference steps and start a new Brownian path."""
        t_max = num_train_timesteps or self.config.num_train_timesteps
        self._set_schedule(check_num_steps(num_inference_steps, t_max), t_max)
        self._path_seed()  # drawn here: a step reads nothing back from a device

    def _set_schedule(self, n: int, t_max: int) -> None:
        self.num_inference_steps = n
        self._drawn_seed: int | None = None
        config, schedule = self.config, self.noise_schedule
        spaced = spaced_timesteps(config.timestep_spacing, t_max, n, config.steps_offset)
        steps, sigmas = timesteps_and_sigmas(config, schedule, spaced)
        middles = np.exp((np.log(sigmas[:-1]) + np.log(sigmas[1:])) / 2)
        self.timesteps = interleave(steps, sigma_to_t(middles, schedule.log_sigmas), first=True).astype(np.float32)
        self.sigmas = np.append(interleave(sigmas, sigmas), 0).astype(np.float32)
        self.sample: paddle.Tensor | None = None
        self.mid_point_sigma: float | None = None
        self.noise_sampler: BrownianTreeNoiseSampler | None = None
        self._reset_index()

    def _path_seed(self) -> int | Sequence[int]:
        """The seed of the configuration, or else the one that `set_timesteps` drew."""
        if self.noise_sampler_seed is not None:
            return self.noise_sampler_seed
        if self._drawn_seed is None:
            self._drawn_seed = paddle.randint(0, 2**31 - 1, [1]).item()
        return self._drawn_seed

    @property
    def state_in_first_order(self) -> bool:
        """Whether the next call of `step` goes to a midpoint."""
        return self.sample is None

    def scale_model_input(self, sample: paddle.Tensor, timestep: Timestep | None = None) -> paddle.Tensor:
        """Return sample / sqrt(sigma^2 + 1), with the sigma of the midpoint in the second call of a step."""
        sigma = self.mid_point_sigma
        if sigma is None:
            sigma = float(self.host_sigmas[self._current_index(timestep)])
        return sample * (1 / (sigma**2 + 1) ** 0.5)

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        return_dict: bool = True,
        s_noise: float = 1.0,
        generator: Generator = None,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Take an ancestral step to the midpoint, or, with the prediction made there, to the next noise level.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            s_noise: scale of the noise.
            generator: ignored; the noise is that of the Brownian path.
        """
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        if self.noise_sampler is None:
            lowest, highest = self.host_sigmas[self.host_sigmas > 0].min(), self.host_sigmas.max()
            self.noise_sampler = BrownianTreeNoiseSampler(sample.shape, lowest, highest, self._path_seed())
        x, first = upcast(sample), self.state_in_first_order
        k = i if first else i - 1
        start, end = (float(sigma) for sigma in self.host_sigmas[k : k + 2])
        middle = _in_log(start, end)

        x0 = to_x0_exploding(self.config.prediction_type, upcast(model_output), x, start if first else middle)
        if end == 0:
            prev = euler_step(x, x0, start, 0.0)
        else:
            target = middle if first else end
            down, up = ancestral_split(start, target)
            prev = euler_step(x if first else self.sample, x0, start, down)
            noise = self.noise_sampler(_in_log(start, start), target if first else _in_log(end, end))
            prev = combine((1, prev), (s_noise * up, noise))
            self.sample, self.mid_point_sigma = (x, middle) if first else (None, None)
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample), downcast(x0, sample))

    @staticmethod
    def reference_outputs(
        scheduler: Any, rng: np.random.Generator, tensor: Callable[[np.ndarray], Any], noise: Mapping[str, Any]
    ) -> dict[str, Any]:
        # Without noise: midpoints that differ in their last bit are different times of the Brownian path.
        return SchedulerMixin.reference_outputs(scheduler, rng, tensor, {"s_noise": 0.0})


def _in_log(start: float, end: float) -> float:
    """Return the midpoint of two noise levels in log(sigma); in float32 as diffusers, as it is a time of the path."""
    if end == 0:
        return 0.0
    a, b = -np.log(np.float32(start)), -np.log(np.float32(end))
    return float(np.exp(-(a + (b - a) * np.float32(0.5))))
