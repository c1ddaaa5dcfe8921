"""In-place initialization of parameters, with the names of ppdiffusers 0.29 and `torch.nn.init`.

Weights of convolutions are [out, in, kh, kw]; `reverse=True` is for [in, out] weights of `paddle.nn.Linear`.
"""

from __future__ import annotations

import math

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError

__all__ = [
    "bias_init_with_prob",
    "constant_",
    "conv_init_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "linear_init_",
    "normal_",
    "ones_",
    "reset_initialized_parameter",
    "uniform_",
    "vector_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


@paddle.no_grad()
def uniform_(tensor: paddle.Tensor, a: float, b: float) -> paddle.Tensor:
    """Fill with uniform random numbers in [a, b)."""
    tensor.set_value(paddle.uniform(tensor.shape, dtype="float32", min=a, max=b).astype(tensor.dtype))
    return tensor


@paddle.no_grad()
def normal_(tensor: paddle.Tensor, mean: float = 0.0, std: float = 1.0) -> paddle.Tensor:
    """Fill with normal random numbers."""
    tensor.set_value((paddle.randn(tensor.shape, dtype="float32") * std + mean).astype(tensor.dtype))
    return tensor


@paddle.no_grad()
def constant_(tensor: paddle.Tensor, value: float = 0.0) -> paddle.Tensor:
    """Fill with a value."""
    tensor.set_value(paddle.full_like(tensor, value))
    return tensor


def ones_(tensor: paddle.Tensor) -> paddle.Tensor:
    """Fill with ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: paddle.Tensor) -> paddle.Tensor:
    """Fill with zeros."""
    return constant_(tensor, 0.0)


@paddle.no_grad()
def vector_(tensor: paddle.Tensor, vector: list[float] | paddle.Tensor) -> paddle.Tensor:
    """Fill with given values."""
    tensor.set_value(paddle.to_tensor(vector, dtype=tensor.dtype))
    return tensor


def xavier_uniform_(tensor: paddle.Tensor, gain: float = 1.0, reverse: bool = False) -> paddle.Tensor:
    """Fill with uniform random numbers whose variance is `gain**2 * 2 / (fan_in + fan_out)`."""
    bound = gain * math.sqrt(6.0 / sum(_fans(tensor, reverse)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: paddle.Tensor, gain: float = 1.0, reverse: bool = False) -> paddle.Tensor:
    """Fill with normal random numbers whose variance is `gain**2 * 2 / (fan_in + fan_out)`."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans(tensor, reverse))))


def kaiming_uniform_(
    tensor: paddle.Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    reverse: bool = False,
) -> paddle.Tensor:
    """Fill with uniform random numbers of variance `gain**2 / fan` (He et al., arXiv 1502.01852)."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity, reverse)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: paddle.Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    reverse: bool = False,
) -> paddle.Tensor:
    """Fill with normal random numbers of variance `gain**2 / fan` (He et al., arXiv 1502.01852)."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity, reverse))


def linear_init_(module: nn.Linear) -> None:
    """Initialize a linear layer as `torch.nn.Linear` does."""
    _uniform_parameters(module, 1 / math.sqrt(module.weight.shape[0]))


def conv_init_(module: nn.Layer) -> None:
    """Initialize a convolution as `torch.nn.Conv2d` does."""
    _uniform_parameters(module, 1 / math.sqrt(math.prod(module.weight.shape[1:])))


def bias_init_with_prob(prior_prob: float = 0.01) -> float:
    """Bias of a logit whose sigmoid is `prior_prob`."""
    return -math.log((1 - prior_prob) / prior_prob)


def reset_initialized_parameter(model: nn.Layer, include_self: bool = True) -> None:
    """Initialize linear layers, convolutions, embeddings and norms again, as PyTorch does."""
    for _, layer in model.named_sublayers(include_self=include_self):
        if isinstance(layer, nn.Conv2D):
            conv_init_(layer)
        elif isinstance(layer, nn.Linear):
            linear_init_(layer)
        elif isinstance(layer, nn.Embedding):
            normal_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2D | nn.LayerNorm):
            if layer.weight is not None:
                ones_(layer.weight)
            if layer.bias is not None:
                zeros_(layer.bias)


def _uniform_parameters(layer: nn.Layer, bound: float) -> None:
    uniform_(layer.weight, -bound, bound)
    if getattr(layer, "bias", None) is not None:
        uniform_(layer.bias, -bound, bound)


def _fans(tensor: paddle.Tensor, reverse: bool) -> tuple[int, int]:
    """fan_in and fan_out."""
    if tensor.ndim < 2:
        raise InputError(
            "Fan-in and fan-out are defined for two dimensions or more.", where=f"shape {list(tensor.shape)}"
        )
    first, second, *kernel = tensor.shape
    fan_in, fan_out = (first, second) if reverse else (second, first)
    return fan_in * math.prod(kernel), fan_out * math.prod(kernel)


_GAINS = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4, "sigmoid": 1.0, "linear": 1.0}


def _kaiming_std(tensor: paddle.Tensor, a: float, mode: str, nonlinearity: str, reverse: bool) -> float:
    problems = []
    if mode.lower() not in ("fan_in", "fan_out"):
        problems.append(f"mode={mode!r}: use fan_in or fan_out")
    if nonlinearity != "leaky_relu" and nonlinearity not in _GAINS and not nonlinearity.startswith("conv"):
        problems.append(f"nonlinearity={nonlinearity!r}: use leaky_relu, {', '.join(_GAINS)}, or a convolution")
    if problems:
        raise InputError("Unknown initialization.", problems=problems)
    fan = _fans(tensor, reverse)[mode.lower() == "fan_out"]
    gain = math.sqrt(2.0 / (1 + a**2)) if nonlinearity == "leaky_relu" else _GAINS.get(nonlinearity, 1.0)
    return gain / math.sqrt(fan)
