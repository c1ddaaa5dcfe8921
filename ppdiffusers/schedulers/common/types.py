"""Types of the arguments of schedulers."""

from __future__ import annotations

import numpy as np
from paddle import Tensor

# A coefficient. numpy scalars keep their precision until `combine` converts them to Python floats.
Scalar = float | np.floating
# An element of `scheduler.timesteps`, as callers hold it.
Timestep = int | float | np.number | np.ndarray | Tensor
