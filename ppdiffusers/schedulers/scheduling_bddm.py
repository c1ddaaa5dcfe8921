"""Sampling with a short noise schedule of its own: BDDM and FastDiff.

Lam et al. 2022, https://arxiv.org/abs/2203.13508, algorithm 4; Huang et al. 2022, https://arxiv.org/abs/2204.09934.
The network is trained with one noise schedule and sampled with another one, of a few steps: each noise level of the
short schedule is mapped to a fractional timestep of the training schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.arrays import to_array
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving, linspace, make_betas
from ppdiffusers.schedulers.common.prediction import check_choice, check_shapes, combine, downcast, upcast
from ppdiffusers.schedulers.common.spacing import check_num_steps
from ppdiffusers.schedulers.common.stepping import StepIndex
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.dummy_inputs import normal
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

# Number of steps -> betas that the authors of FastDiff found with its noise predictor.
FASTDIFF_BETAS = {
    3: (9.0e-05, 9.0e-03, 6.0e-01),
    4: (3.2176e-04, 2.5743e-03, 2.5376e-02, 7.0414e-01),
    6: (
        *(1.7838445955931093e-06, 2.7984189728158526e-05, 0.00043231004383414984),
        *(0.006634317338466644, 0.09357017278671265, 0.6000000238418579),
    ),
    8: (
        *(6.689325005027058e-07, 1.0033881153503899e-05, 0.00015496854030061513, 0.002387222135439515),
        *(0.035597629845142365, 0.3681158423423767, 0.4735414385795593, 0.5),
    ),
}


def _noise_levels(alphas: np.ndarray) -> np.ndarray:
    """Return sqrt(alpha_bar), float32 [n], rounded after each product as the original does.

    The first noise levels of a training schedule differ in the last digits only, which decide the fractional timestep.
    """
    return np.sqrt(np.cumprod(alphas, dtype=np.float32))


class BDDMScheduler(VariancePreserving, StepIndex, SchedulerMixin):
    """Bilateral denoising diffusion: a DDPM or DDIM sampler whose noise schedule differs from that of training.

    Args:
        num_train_timesteps, beta_start, beta_end: the linear noise schedule of training.
        inference_schedule: what a number of inference steps means: "linspace" for evenly spaced training timesteps,
            "fastdiff" for the schedules that come with FastDiff.
    """

    init_noise_sigma = 1.0

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 1e-6,
        beta_end: float = 0.01,
        inference_schedule: str = "linspace",
    ):
        check_choice("inference_schedule", inference_schedule, ("fastdiff", "linspace"))
        betas = make_betas("linear", num_train_timesteps, beta_start, beta_end)
        self.noise_schedule = NoiseSchedule.from_betas(betas)
        self.timesteps = None

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: object = None,
        betas: Sequence[float] | np.ndarray | paddle.Tensor | None = None,
    ) -> None:
        """Set the noise schedule of the run.

        Args:
            num_inference_steps: `num_train_timesteps` for the schedule of training; with "linspace" any smaller
                number; with "fastdiff" 3, 4, 6 or 8 for the schedules that were found, 200 for the linear one.
            betas: another schedule, increasing with t, such as one that BDDM found.

        Raises:
            InputError: there is no schedule of this length, or the betas are not between 0 and 1.
        """
        inference = NoiseSchedule.from_betas(self._betas(num_inference_steps, betas))
        self._inference = inference
        self.timesteps = self._timesteps_of(_noise_levels(inference.alphas))[::-1].copy()
        self.num_inference_steps = len(inference)
        self._reset_index()

    def _betas(self, num_inference_steps: int | None, betas: Any) -> np.ndarray:  # [n]
        if betas is not None:
            values = to_array(betas).astype(np.float32)
            if values.ndim != 1 or not len(values) or not ((values > 0) & (values < 1)).all():
                raise InputError("`betas` is not a noise schedule.", expected="a list of numbers between 0 and 1")
            if num_inference_steps not in (None, len(values)):
                raise InputError(f"num_inference_steps={num_inference_steps} differs from {len(values)} `betas`.")
            return values
        num_inference_steps = check_num_steps(num_inference_steps, self.config.num_train_timesteps)
        if num_inference_steps == self.config.num_train_timesteps:
            return self.host_betas
        if self.config.inference_schedule == "linspace":
            return self._spaced_betas(num_inference_steps)
        if num_inference_steps == 200:
            return linspace(1e-4, 0.02, 200)
        if num_inference_steps not in FASTDIFF_BETAS:
            raise InputError(
                f"There is no noise schedule of {num_inference_steps} steps.",
                expected=f"num_inference_steps from {[*FASTDIFF_BETAS, 200, self.config.num_train_timesteps]}",
                remedy="pass other schedules as `betas`.",
            )
        return np.asarray(FASTDIFF_BETAS[num_inference_steps], dtype=np.float32)

    def _spaced_betas(self, n: int) -> np.ndarray:
        """Return the betas between the noise levels of n evenly spaced training timesteps, float32 [n]."""
        levels = self.host_alphas_cumprod[np.linspace(0, self.config.num_train_timesteps - 1, n).astype(np.int64)]
        return 1 - levels / np.concatenate([np.ones(1, np.float32), levels[:-1]])

    def timestep_of(self, alpha: float) -> float:
        """Map a noise level alpha = sqrt(alpha_bar) to a fractional timestep of the training schedule."""
        return float(self._timesteps_of(np.asarray([alpha]))[0])

    def _timesteps_of(self, alphas: np.ndarray) -> np.ndarray:
        """Map noise levels alpha [n] to fractional timesteps of the training schedule, float32 [n]."""
        training = _noise_levels(self.host_alphas)  # [T], decreasing
        steps = np.arange(len(training), dtype=np.float32)
        return np.interp(alphas, training[::-1], steps[::-1]).astype(np.float32)

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        ddim: bool = False,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Compute x_{n-1} from x_n with the noise schedule of the run.

        Args:
            model_output: the predicted noise, [B, C, L].
            timestep: an element of `timesteps`.
            sample: x_n, [B, C, L].
            generator: source of the noise.
            ddim: add no noise (DDIM), in place of sampling from the posterior.
            return_dict: return a `SchedulerOutput`, otherwise a tuple.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        n = len(self._inference) - 1 - i
        beta, alpha_bar = self._inference.betas[n], self._inference.alphas_cumprod[n]
        alpha_bar_prev = self._inference.alphas_cumprod[n - 1] if n > 0 else np.float32(1)
        x, eps = upcast(sample), upcast(model_output)
        shrink, sigma = (1 - beta) ** 0.5, (1 - alpha_bar) ** 0.5
        x0 = combine((1 / alpha_bar**0.5, x), (-sigma / alpha_bar**0.5, eps))
        if ddim:
            prev = combine((1 / shrink, x), ((1 - alpha_bar_prev) ** 0.5 - sigma / shrink, eps))
        else:
            prev = combine((1 / shrink, x), (-beta / sigma / shrink, eps))
            if n > 0:
                noise = upcast(randn_tensor(sample.shape, generator=generator, dtype=sample.dtype))
                std = (beta * (1 - alpha_bar_prev) / (1 - alpha_bar)) ** 0.5
                prev = prev + noise * float(std)
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample), downcast(x0, sample))

    @staticmethod
    def reference_outputs(
        scheduler: Any, rng: np.random.Generator, tensor: Callable[[np.ndarray], Any], noise: Mapping[str, Any]
    ) -> dict[str, Any]:
        scheduler.set_timesteps(4)
        sample, eps = (tensor(normal(rng, 2, 1, 64)) for _ in range(2))  # [B, C, L]
        step = scheduler.step(eps, scheduler.timesteps[0], sample, **noise)
        return {"timesteps": scheduler.timesteps, "prev_sample": step.prev_sample}
