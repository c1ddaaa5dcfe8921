"""Types of schedulers and of their arguments."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
from paddle import Tensor

from ppdiffusers.core.config import FrozenDict

# A coefficient. numpy scalars keep their precision until `combine` converts them to Python floats.
Scalar = float | np.floating
# An element of `scheduler.timesteps`, as callers hold it.
Timestep = int | float | np.number | np.ndarray | Tensor


class Scheduler(Protocol):
    """What a pipeline uses of a scheduler; `SchedulerMixin` has no `step`, which differs between schedulers."""

    order: int
    accepts_eta: ClassVar[bool]
    timesteps: Any
    init_noise_sigma: Any
    num_inference_steps: int | None

    @property
    def config(self) -> FrozenDict: ...

    def register_to_config(self, **kwargs: Any) -> None: ...

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None: ...

    def scale_model_input(self, sample: Tensor, timestep: Timestep | None = None) -> Tensor: ...

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Any) -> Tensor: ...

    def step(self, *args: Any, **kwargs: Any) -> Any: ...
