"""Exponential moving averages of weights."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.utils.deprecation_utils import deprecate
from ppdiffusers.utils.dtypes import as_dtype_name

# Keys of `state_dict`, which `save_pretrained` writes into the model's configuration, and their types.
_STATE_TYPES: dict[str, type | tuple[type, ...]] = {
    "decay": (int, float),
    "min_decay": float,
    "optimization_step": int,
    "update_after_step": int,
    "use_ema_warmup": bool,
    "inv_gamma": (int, float),
    "power": (int, float),
}


class EMAState(TypedDict, total=False):
    """What `EMAModel.state_dict` returns."""

    decay: float
    min_decay: float
    optimization_step: int
    update_after_step: int
    use_ema_warmup: bool
    inv_gamma: float
    power: float
    shadow_params: list[paddle.Tensor]


class EMAModel:
    """Exponential moving average of parameters.

    The decay rises from 0. With warmup it is `1 - (1 + step / inv_gamma) ** -power` (K. Crowson recommends the power
    2/3 for a million steps or more, 3/4 for fewer), without it `(1 + step) / (10 + step)`; both are limited to
    `min_decay` and `decay`.

    Args:
        parameters: parameters to average.
        decay: upper limit of the decay.
        min_decay: lower limit of the decay.
        update_after_step: number of steps before averaging starts; until then the average is the current weights.
        use_ema_warmup: whether the decay follows `inv_gamma` and `power`.
        inv_gamma, power: shape of the warmup.
        foreach: accepted for diffusers' scripts; the result is the same.
        model_cls, model_config: class and configuration of the model, for `save_pretrained`.
    """

    def __init__(
        self,
        parameters: Iterable[paddle.Tensor] | nn.Layer,
        decay: float = 0.9999,
        min_decay: float = 0.0,
        update_after_step: int = 0,
        use_ema_warmup: bool = False,
        inv_gamma: float = 1.0,
        power: float = 2 / 3,
        foreach: bool = False,
        model_cls: Any = None,
        model_config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        if isinstance(parameters, nn.Layer):
            use_ema_warmup = True  # as diffusers and ppdiffusers 0.29 do when they are given a model
        limits = {"max_value": decay, "min_value": min_decay}
        for old, new in (("max_value", "decay"), ("min_value", "min_decay")):
            if old in kwargs:
                limits[old] = deprecate(old, "2.0.0", f"Use `{new}` instead.", take_from={old: kwargs.pop(old)})
        device = kwargs.pop("device", None)
        if kwargs:
            raise InputError("Unknown arguments of EMAModel.", problems=[f"{key}={kwargs[key]!r}" for key in kwargs])
        self.shadow_params = [parameter.detach().clone() for parameter in _as_list(parameters)]
        self.temp_stored_params: list[paddle.Tensor] | None = None
        self.decay = limits["max_value"]
        self.min_decay = limits["min_value"]
        self.update_after_step = update_after_step
        self.use_ema_warmup = use_ema_warmup
        self.inv_gamma = inv_gamma
        self.power = power
        self.foreach = foreach
        self.optimization_step = 0
        self.cur_decay_value: float | None = None
        self.model_cls = model_cls
        self.model_config = model_config
        if device is not None:
            self.to(device=device)

    # -- averaging ----------------------------------------------------------------------------------------------------

    def get_decay(self, optimization_step: int) -> float:
        """Compute the decay at a step."""
        step = max(0, optimization_step - self.update_after_step - 1)
        if step == 0:
            return 0.0
        if self.use_ema_warmup:
            decay = 1 - (1 + step / self.inv_gamma) ** -self.power
        else:
            decay = (1 + step) / (10 + step)
        return max(min(decay, self.decay), self.min_decay)

    @paddle.no_grad()
    def step(self, parameters: Iterable[paddle.Tensor] | nn.Layer) -> None:
        """Update the average after an optimizer step; parameters that are not trained are copied."""
        self.optimization_step += 1
        self.cur_decay_value = self.get_decay(self.optimization_step)
        for shadow, parameter in zip(self.shadow_params, self._matching(parameters), strict=True):
            current = parameter.astype(shadow.dtype)
            if parameter.stop_gradient:
                shadow.set_value(current)
            else:
                shadow.set_value(shadow - (1 - self.cur_decay_value) * (shadow - current))

    @paddle.no_grad()
    def copy_to(self, parameters: Iterable[paddle.Tensor] | nn.Layer) -> None:
        """Copy the average into parameters."""
        _copy(self.shadow_params, self._matching(parameters))

    def store(self, parameters: Iterable[paddle.Tensor] | nn.Layer) -> None:
        """Keep a copy of parameters on the CPU, for `restore`."""
        self.temp_stored_params = [parameter.detach().cpu().clone() for parameter in _as_list(parameters)]

    @paddle.no_grad()
    def restore(self, parameters: Iterable[paddle.Tensor] | nn.Layer) -> None:
        """Copy the parameters that `store` kept back, such as after an evaluation with averaged weights.

        Raises:
            InputError: `store` has not been called.
        """
        if self.temp_stored_params is None:
            raise InputError("No parameters are stored.", remedy="call `store(parameters)` before `restore`.")
        _copy(self.temp_stored_params, self._matching(parameters))
        self.temp_stored_params = None

    def to(
        self, device: str | None = None, dtype: str | paddle.dtype | None = None, non_blocking: bool = False
    ) -> None:
        """Move the average to a device and cast its floating-point tensors."""
        name = None if dtype is None else as_dtype_name(dtype)
        self.shadow_params = [_moved(shadow, device, name, non_blocking) for shadow in self.shadow_params]

    def pin_memory(self) -> None:
        """Move the average to pinned memory, for asynchronous copies to a GPU."""
        self.shadow_params = [shadow.pin_memory() for shadow in self.shadow_params]

    def _matching(self, parameters: Iterable[paddle.Tensor] | nn.Layer) -> list[paddle.Tensor]:
        listed = _as_list(parameters)
        problems = [
            f"parameter {index} is {list(parameter.shape)}, the average {list(shadow.shape)}"
            for index, (parameter, shadow) in enumerate(zip(listed, self.shadow_params, strict=False))
            if list(parameter.shape) != list(shadow.shape)
        ]
        if len(listed) != len(self.shadow_params):
            problems.insert(0, f"{len(listed)} parameters, {len(self.shadow_params)} averages")
        if problems:
            raise InputError("These are not the parameters that are averaged.", problems=problems)
        return listed

    # -- state and files ----------------------------------------------------------------------------------------------

    def state_dict(self) -> EMAState:
        """Return the settings, the step and the averaged tensors (references, not copies)."""
        settings = {key: getattr(self, key) for key in _STATE_TYPES}
        return EMAState(**settings, shadow_params=self.shadow_params)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned; missing keys keep their values.

        Raises:
            InputError: values of the wrong type, or a decay outside [0, 1].
        """
        settings = {key: state_dict[key] for key in _STATE_TYPES if key in state_dict}
        problems = [f"{key} is {value!r}" for key, value in settings.items() if not _is_a(value, _STATE_TYPES[key])]
        if not problems and not 0.0 <= settings.get("decay", self.decay) <= 1.0:
            problems.append(f"decay is {settings['decay']!r}, outside [0, 1]")
        shadow_params = state_dict.get("shadow_params")
        if shadow_params is not None and not (
            isinstance(shadow_params, list) and all(isinstance(one, paddle.Tensor) for one in shadow_params)
        ):
            problems.append("shadow_params is not a list of tensors")
        if problems:
            raise InputError("This is not the state of an EMAModel.", problems=problems)
        for key, value in settings.items():
            setattr(self, key, value)
        if shadow_params is not None:
            self.shadow_params = [copy.deepcopy(one) for one in shadow_params]

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike, model_cls: Any, foreach: bool = False) -> EMAModel:
        """Load averaged weights and their settings from a folder that `save_pretrained` wrote, here or in diffusers."""
        config = model_cls.load_config(path)
        model = model_cls.from_pretrained(path)
        ema = cls(model.parameters(), foreach=foreach, model_cls=model_cls, model_config=model.config)
        ema.load_state_dict({key: config[key] for key in _STATE_TYPES if key in config})
        return ema

    def save_pretrained(self, path: str | os.PathLike) -> None:
        """Write the averaged weights as a model, with the settings of the average in its configuration.

        Raises:
            InputError: `model_cls` or `model_config` was not given.
        """
        missing = [name for name in ("model_cls", "model_config") if getattr(self, name) is None]
        if missing:
            raise InputError(
                "`save_pretrained` needs the class and the configuration of the model.",
                problems=[f"{name} is missing" for name in missing],
                remedy="EMAModel(parameters, model_cls=type(model), model_config=model.config)",
            )
        model = self.model_cls.from_config(self.model_config)
        model.register_to_config(**{key: getattr(self, key) for key in _STATE_TYPES})
        self.copy_to(model.parameters())
        model.save_pretrained(path)


def _as_list(parameters: Iterable[paddle.Tensor] | nn.Layer) -> list[paddle.Tensor]:
    return list(parameters.parameters() if isinstance(parameters, nn.Layer) else parameters)


def _copy(sources: list[paddle.Tensor], targets: list[paddle.Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target.set_value(source.astype(target.dtype))


def _moved(tensor: paddle.Tensor, device: str | None, dtype: str | None, non_blocking: bool) -> paddle.Tensor:
    arguments: dict[str, Any] = {"device": device, "blocking": not non_blocking}
    if dtype is not None and tensor.is_floating_point():
        arguments["dtype"] = dtype
    return tensor.to(**arguments)


def _is_a(value: object, types: type | tuple[type, ...]) -> bool:
    """Whether the value has one of the types; a bool is not a number here."""
    return isinstance(value, types) and (types is bool or not isinstance(value, bool))
