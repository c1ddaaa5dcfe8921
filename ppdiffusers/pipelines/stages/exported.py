"""Networks that a script wrapped with `paddle.incubate.jit.inference`, the acceleration of ppdiffusers 0.29.

Such a network accepts tensors, booleans and None, and returns a list of tensors, or a tensor if there is one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

_WRAPPER = "innermost_decorator"  # Paddle's name of the function that replaces `forward`


def as_network_timestep(network: Any, timestep: Any) -> Any:
    """Convert the timestep to a tensor if the network accepts tensors only."""
    if getattr(getattr(network, "forward", None), "__name__", None) != _WRAPPER:
        return timestep
    return timestep if isinstance(timestep, paddle.Tensor) else paddle.to_tensor(np.asarray(timestep))


def first_output(output: Any) -> paddle.Tensor:
    """First output of a network that was called with `return_dict=False`."""
    return output if isinstance(output, paddle.Tensor) else output[0]
