"""Conversions between what the network predicts, the clean sample x_0 and the noise eps, and tensor arithmetic.

x = alpha x_0 + sigma eps. A network predicts eps, x_0 ("sample"), or the velocity v = alpha eps - sigma x_0.
"""

from __future__ import annotations

from collections.abc import Iterable

import paddle
from paddle import Tensor

from ppdiffusers.core.config import FrozenDict
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.schedulers.common.types import Scalar

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")
_HALF = {paddle.float16, paddle.bfloat16}


def combine(*terms: tuple[Scalar, Tensor]) -> Tensor:
    """Compute the sum of `factor * tensor` over the terms, without those of factor 0."""
    total = None
    for factor, tensor in terms:
        if factor == 0:
            continue
        # a Python float: the product with a numpy scalar would be numpy's
        part = tensor if factor == 1 else tensor * float(factor)
        total = part if total is None else total + part
    return paddle.zeros_like(terms[0][1]) if total is None else total


def upcast(tensor: Tensor) -> Tensor:
    """Cast a 16-bit tensor to float32: steps are computed in float32 at least."""
    return tensor.astype(paddle.float32) if tensor.dtype in _HALF else tensor


def downcast(tensor: Tensor, like: Tensor) -> Tensor:
    """Cast `tensor` to the dtype of `like`."""
    return tensor if tensor.dtype is like.dtype else tensor.astype(like.dtype)


def to_x0(prediction_type: str, model_output: Tensor, sample: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
    """Convert a prediction to the clean sample, [B, C, ...]."""
    if prediction_type == "epsilon":
        if alpha == 0:
            raise InputError(
                "The noise schedule has zero terminal SNR: predicted noise does not determine the clean sample.",
                expected="prediction_type 'v_prediction' or 'sample' with rescale_betas_zero_snr=True",
                remedy="set prediction_type='v_prediction', or timestep_spacing='leading', which skips the last step",
            )
        # in this order: for a small alpha the difference is small, and rounding must not be amplified
        return combine((1, sample), (-sigma, model_output)) * float(1 / alpha)
    if prediction_type == "v_prediction":
        return combine((alpha, sample), (-sigma, model_output))
    return model_output


def to_epsilon(prediction_type: str, model_output: Tensor, sample: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
    """Convert a prediction to the noise, [B, C, ...]."""
    if prediction_type == "sample":
        return epsilon_of(model_output, sample, alpha, sigma)
    if prediction_type == "v_prediction":
        return combine((alpha, model_output), (sigma, sample))
    return model_output


def epsilon_of(x0: Tensor, sample: Tensor, alpha: Scalar, sigma: Scalar) -> Tensor:
    """Compute the noise eps = (x - alpha x_0) / sigma, [B, C, ...]."""
    if sigma == 0:
        raise InputError("The noise level is 0 at this timestep: the clean sample does not determine the noise.")
    return combine((1, sample), (-alpha, x0)) * float(1 / sigma)


def to_x0_exploding(prediction_type: str, model_output: Tensor, sample: Tensor, sigma: float) -> Tensor:
    """Convert a prediction to the clean sample where x = x_0 + sigma eps, [B, C, ...].

    The velocity is that of the variance-preserving sample x / sqrt(1 + sigma^2).
    """
    if prediction_type == "epsilon":
        return combine((1, sample), (-sigma, model_output))
    if prediction_type == "v_prediction":
        return combine((1 / (sigma**2 + 1), sample), (-sigma / (sigma**2 + 1) ** 0.5, model_output))
    return model_output


def dynamic_threshold(x0: Tensor, ratio: float, max_value: float) -> Tensor:
    """Clip each image to the `ratio`-quantile s of |x_0|, limited to [1, max_value], and divide by s, [B, C, ...].

    Saharia et al. 2022, https://arxiv.org/abs/2205.11487, section 2.3.
    """
    flat = x0.reshape([x0.shape[0], -1])  # [B, C*H*W]
    s = paddle.quantile(flat.abs(), ratio, axis=1, keepdim=True).astype(flat.dtype)  # [B, 1]
    s = s.clip(min=1).clip(max=max_value)  # [B, 1]; in this order, so that a max_value below 1 wins as in torch
    return (paddle.minimum(paddle.maximum(flat, -s), s) / s).reshape(x0.shape)


def limit_x0(config: FrozenDict, x0: Tensor) -> Tensor:
    """Apply `thresholding`, or else `clip_sample`, of a configuration to the clean sample."""
    if config.get("thresholding"):
        return dynamic_threshold(x0, config.dynamic_thresholding_ratio, config.sample_max_value)
    if config.get("clip_sample"):
        return x0.clip(-config.clip_sample_range, config.clip_sample_range)
    return x0


def split_learned_variance(model_output: Tensor, sample: Tensor) -> tuple[Tensor, Tensor | None]:
    """Split the output of a network that learns the variance, [B, 2C, ...] -> [B, C, ...] each."""
    if model_output.shape[1] == 2 * sample.shape[1]:
        prediction, variance = model_output.chunk(2, axis=1)
        return prediction, variance
    return model_output, None


def check_choice(key: str, value: object, choices: Iterable[object]) -> None:
    """Check that the value of a configuration key is one of the choices.

    Raises:
        ConfigError: it is not.
    """
    if value not in (choices := tuple(choices)):
        raise ConfigError(
            f"{key}={value!r} is not supported by this scheduler.",
            where=key,
            expected="one of " + ", ".join(repr(choice) for choice in choices),
        )


def check_shapes(model_output: Tensor, sample: Tensor) -> None:
    """Check that the model's output has the shape of the sample.

    Raises:
        InputError: it does not.
    """
    if model_output.shape != sample.shape:
        raise InputError(
            "The model's output and the sample have different shapes.",
            problems=[f"model_output: {model_output.shape}", f"sample: {sample.shape}"],
            expected="the same shape; twice the channels only if variance_type is 'learned' or 'learned_range'",
        )
