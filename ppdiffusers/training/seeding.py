"""Seeds of all random number generators that a training script uses."""

from __future__ import annotations

import random

import numpy as np
import paddle


def set_seed(seed: int | None) -> None:
    """Seed Python's, numpy's and Paddle's global generators; None leaves them as they are."""
    if seed is None:
        return
    random.seed(seed)
    np.random.seed(seed)
    paddle.seed(seed)
