"""Activation functions by name, and the activations of feed-forward networks."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.errors import ConfigError

_ACTIVATIONS = {
    "swish": nn.Silu,
    "silu": nn.Silu,
    "mish": nn.Mish,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
}


def get_activation(name: str) -> nn.Layer:
    """Create the activation function that configurations call `name`.

    Raises:
        ConfigError: the name is unknown.
    """
    if name.lower() not in _ACTIVATIONS:
        raise ConfigError(f"Unknown activation {name!r}.", expected=f"one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name.lower()]()


class GELU(nn.Layer):
    """Linear projection and GELU; `approximate` for the tanh approximation."""

    def __init__(self, dim_in: int, dim_out: int, approximate: bool = False, bias: bool = True):
        super().__init__()
        self.proj = nn.Linear(dim_in, dim_out, bias_attr=None if bias else False)
        self.approximate = approximate

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:
        return F.gelu(self.proj(hidden_states), approximate=self.approximate)


class GEGLU(nn.Layer):
    """Gated linear unit with GELU: `(x W + b) * gelu(x V + c)` (arXiv 2002.05202, eq. 6)."""

    def __init__(self, dim_in: int, dim_out: int, bias: bool = True):
        super().__init__()
        self.proj = nn.Linear(dim_in, 2 * dim_out, bias_attr=None if bias else False)

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:
        value, gate = self.proj(hidden_states).chunk(2, axis=-1)
        return value * F.gelu(gate)


class ApproximateGELU(nn.Layer):
    """Linear projection `p`, then `p * sigmoid(1.702 p)` (arXiv 1606.08415, section 2)."""

    def __init__(self, dim_in: int, dim_out: int, bias: bool = True):
        super().__init__()
        self.proj = nn.Linear(dim_in, dim_out, bias_attr=None if bias else False)

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:
        projected = self.proj(hidden_states)
        return projected * F.sigmoid(1.702 * projected)
