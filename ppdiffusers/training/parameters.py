"""Which parameters a training script updates, and in which dtype."""

from __future__ import annotations

from collections.abc import Iterable

import paddle
from paddle import nn

from ppdiffusers.utils.dtypes import as_dtype_name


def freeze_params(params: Iterable[paddle.Tensor]) -> None:
    """Exclude parameters from training."""
    for param in params:
        param.stop_gradient = True


def unfreeze_params(params: Iterable[paddle.Tensor]) -> None:
    """Include parameters in training."""
    for param in params:
        param.stop_gradient = False


def freeze_model(model: nn.Layer) -> None:
    """Exclude all parameters of a model from training."""
    freeze_params(model.parameters())


def unfreeze_model(model: nn.Layer) -> None:
    """Include all parameters of a model in training."""
    unfreeze_params(model.parameters())


def cast_training_params(model: nn.Layer | list[nn.Layer], dtype: str | paddle.dtype = "float32") -> None:
    """Cast the parameters that are trained, such as LoRA weights of a half-precision model, in place."""
    name = as_dtype_name(dtype)
    for layer in model if isinstance(model, list) else [model]:
        for param in layer.parameters():
            if not param.stop_gradient and as_dtype_name(param.dtype) != name:
                _cast_in_place(param, name)


def _cast_in_place(param: paddle.Tensor, dtype: str) -> None:
    """Change the dtype of a parameter object, so that optimizers that hold it see the change."""
    cast = param.detach().astype(dtype)
    param.get_tensor()._share_data_with(cast.get_tensor())
