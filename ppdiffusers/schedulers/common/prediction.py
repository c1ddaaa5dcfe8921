"""What the network predicts <-> the clean sample x_0 and the noise eps; and the arithmetic of a step.

x = alpha x_0 + sigma eps. A network may predict eps, x_0 ("sample"), or the velocity v = alpha eps - sigma x_0.
"""

from __future__ import annotations

from collections.abc import Iterable

import paddle

from ppdiffusers.core.errors import ConfigError, InputError

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")
_HALF = {paddle.float16, paddle.bfloat16}

Tensor = paddle.Tensor


def combine(*terms: tuple[float, Tensor]) -> Tensor:
    """The sum of `factor * tensor` over the terms; terms with factor 0 are left out."""
    total = None
    for factor, tensor in terms:
        if factor == 0:
            continue
        part = tensor if factor == 1 else tensor * float(factor)  # a python float: numpy's would take the product over
        total = part if total is None else total + part
    return paddle.zeros_like(terms[0][1]) if total is None else total


def upcast(tensor: Tensor) -> Tensor:
    """16-bit samples are stepped in float32."""
    return tensor.astype(paddle.float32) if tensor.dtype in _HALF else tensor


def downcast(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor` in the dtype of `like`."""
    return tensor if tensor.dtype is like.dtype else tensor.astype(like.dtype)


def to_x0(prediction_type: str, model_output: Tensor, sample: Tensor, alpha: float, sigma: float) -> Tensor:
    """The clean sample that a prediction stands for."""
    if prediction_type == "epsilon":
        if alpha == 0:
            raise InputError(
                "The noise schedule ends in pure noise (zero SNR), from which a predicted noise tells nothing.",
                expected="prediction_type 'v_prediction' or 'sample' with rescale_betas_zero_snr=True",
                remedy="set prediction_type='v_prediction', or timestep_spacing='leading', which leaves that step out",
            )
        # in this order: where alpha is small, the difference is, and rounding must not be magnified
        return combine((1, sample), (-sigma, model_output)) * float(1 / alpha)
    if prediction_type == "v_prediction":
        return combine((alpha, sample), (-sigma, model_output))
    return model_output


def to_epsilon(prediction_type: str, model_output: Tensor, sample: Tensor, alpha: float, sigma: float) -> Tensor:
    """The noise that a prediction stands for."""
    if prediction_type == "sample":
        return epsilon_of(model_output, sample, alpha, sigma)
    if prediction_type == "v_prediction":
        return combine((alpha, model_output), (sigma, sample))
    return model_output


def epsilon_of(x0: Tensor, sample: Tensor, alpha: float, sigma: float) -> Tensor:
    """The noise in `sample` if `x0` is its clean part."""
    if sigma == 0:
        raise InputError("The sample has no noise at this timestep, so that a clean prediction implies none.")
    return combine((1, sample), (-alpha, x0)) * float(1 / sigma)


def to_x0_exploding(prediction_type: str, model_output: Tensor, sample: Tensor, sigma: float) -> Tensor:
    """The clean sample where x = x_0 + sigma eps; the velocity is that of x / sqrt(1 + sigma^2)."""
    if prediction_type == "epsilon":
        return combine((1, sample), (-sigma, model_output))
    if prediction_type == "v_prediction":
        return combine((1 / (sigma**2 + 1), sample), (-sigma / (sigma**2 + 1) ** 0.5, model_output))
    return model_output


def dynamic_threshold(x0: Tensor, ratio: float, max_value: float) -> Tensor:
    """Clip each image to its own `ratio`-quantile s of |x_0|, 1 <= s <= max_value, and divide by s.

    Saharia et al. 2022, https://arxiv.org/abs/2205.11487, section 2.3.
    """
    flat = x0.reshape([x0.shape[0], -1])  # [B, C*H*W]
    s = paddle.quantile(flat.abs(), ratio, axis=1, keepdim=True).astype(flat.dtype)
    s = s.clip(1, max_value)  # [B, 1]
    return (paddle.minimum(paddle.maximum(flat, -s), s) / s).reshape(x0.shape)


def limit_x0(config: object, x0: Tensor) -> Tensor:
    """Apply `thresholding`, or else `clip_sample`, of a configuration."""
    if config.get("thresholding"):
        return dynamic_threshold(x0, config.dynamic_thresholding_ratio, config.sample_max_value)
    if config.get("clip_sample"):
        return x0.clip(-config.clip_sample_range, config.clip_sample_range)
    return x0


def split_learned_variance(model_output: Tensor, sample: Tensor) -> tuple[Tensor, Tensor | None]:
    """Networks that learn the variance give it in a second half of the channels (axis 1)."""
    if model_output.shape[1] == 2 * sample.shape[1]:
        prediction, variance = model_output.chunk(2, axis=1)
        return prediction, variance
    return model_output, None


def check_choice(key: str, value: object, choices: Iterable[object]) -> None:
    """Raises:
    ConfigError: `value` is none of the choices.
    """
    if value not in (choices := tuple(choices)):
        raise ConfigError(
            f"{key}={value!r} is not known to this scheduler.",
            where=key,
            expected="one of " + ", ".join(repr(choice) for choice in choices),
        )


def check_shapes(model_output: Tensor, sample: Tensor) -> None:
    """Raises:
    InputError: the model's output does not fit the sample.
    """
    if model_output.shape != sample.shape:
        raise InputError(
            "The model's output and the sample have different shapes.",
            problems=[f"model_output: {model_output.shape}", f"sample: {sample.shape}"],
            expected="the same shape; twice the channels only where variance_type says that the network learns it",
        )
