"""Ancestral DPM-Solver-2: denoise below the next noise level with midpoints, then add noise to reach it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.prediction import downcast, upcast
from ppdiffusers.schedulers.common.sigmas import ancestral_split
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_k_dpm_2_discrete import MidpointStages
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

KDPM2AncestralDiscreteSchedulerOutput = SchedulerOutput


class KDPM2AncestralDiscreteScheduler(MidpointStages, SchedulerMixin):
    """Ancestral DPM-Solver-2 (`sample_dpm_2_ancestral` in k-diffusion).

    See `KDPM2DiscreteScheduler` for the arguments.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ):
        self._init_midpoints()

    def _set_ends(self, sigmas_next: np.ndarray) -> None:
        pairs = zip(self._start.tolist(), sigmas_next.tolist(), strict=True)
        exact = np.array([ancestral_split(start, end) for start, end in pairs])  # [n, 2]
        rounded = _split_in_float32(self._start, sigmas_next)
        down, up = np.where((np.isfinite(rounded) & (rounded > 0)).all(axis=1, keepdims=True), rounded, exact).T
        super()._set_ends(down)
        self._up = up.tolist()

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Step to the midpoint, or from the start to sigma_down, and add noise to reach the next level.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            generator: source of the noise, which is drawn in every second call.
        """
        prev, x0, ended = self._midpoint_step(model_output, timestep, sample)
        if ended is not None:
            noise = randn_tensor(model_output.shape, generator=generator, dtype=model_output.dtype)
            prev = prev + upcast(noise) * self._up[ended]
        return step_result(return_dict, downcast(prev, sample), downcast(x0, sample))


def _split_in_float32(start: np.ndarray, end: np.ndarray) -> np.ndarray:  # [n], [n] -> [n, 2]
    """Return (sigma_down, sigma_up) as diffusers rounds them, which moves a midpoint far above the next noise level."""
    with np.errstate(invalid="ignore"):
        up = np.sqrt(end**2 * (start**2 - end**2) / start**2)
        return np.stack([np.sqrt(end**2 - up**2), up], axis=1)
