"""Create the LoRA layers that a configuration of PEFT describes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import paddle
from paddle import nn

from ppdiffusers.convert.lora import scaled_alpha
from ppdiffusers.core.errors import InputError
from ppdiffusers.models.adapters.deltas import LoRA
from ppdiffusers.models.adapters.inject import lora_targets, new_lora

_MISSING = object()
# Settings of PEFT that change a LoRA and are not supported -> their default.
_UNSUPPORTED: dict[str, Any] = {
    "use_dora": False,
    "lora_bias": False,
    "bias": "none",
    "lora_dropout": 0.0,
    "fan_in_fan_out": False,
    "exclude_modules": None,
    "layers_to_transform": None,
    "modules_to_save": None,
    "target_parameters": None,
}


@dataclass
class LoraConfig:
    """A LoRA for training; the names are those of PEFT.

    Attributes:
        target_modules: last parts of paths, such as ["to_q", "to_v"], or a regular expression for whole paths.
        rank_pattern, alpha_pattern: last part of a path, or a regular expression -> `r` or `lora_alpha` of these
            layers.
        use_rslora: scale by alpha / sqrt(rank) instead of alpha / rank.
        init_lora_weights: True for PyTorch's initial values of a linear layer, "gaussian" for a normal distribution
            with standard deviation 1 / rank. `up` is zero.
    """

    r: int = 8
    lora_alpha: float = 8
    target_modules: str | Collection[str] = ()
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    use_rslora: bool = False
    init_lora_weights: bool | str = True


def lora_of_config(network: nn.Layer, config: Any) -> dict[str, LoRA]:
    """Create a new LoRA for the layers of a network; its output is unchanged until the LoRA is trained.

    Args:
        config: `LoraConfig`, or that of PEFT.

    Raises:
        InputError: the configuration is that of another adapter, has unsupported settings, or fits no layer.
    """
    settings = _settings(config)
    targets = settings.target_modules if isinstance(settings.target_modules, str) else list(settings.target_modules)
    layers = {}
    for path, layer in lora_targets(network, targets).items():
        rank = int(_of_layer(settings.rank_pattern, path, settings.r))
        alpha = _of_layer(settings.alpha_pattern, path, settings.lora_alpha)
        layers[path] = new_lora(layer, rank, scaled_alpha(alpha, rank, settings.use_rslora))
    if settings.init_lora_weights == "gaussian":
        for lora in layers.values():
            lora.down.set_value((paddle.randn(lora.down.shape) / lora.rank).astype(lora.down.dtype))
    return layers


def _settings(config: Any) -> LoraConfig:
    if isinstance(config, LoraConfig):
        return config
    if not hasattr(config, "r") or not hasattr(config, "target_modules"):
        raise InputError(f"{type(config).__name__} is not the configuration of a LoRA.", expected="LoraConfig")
    problems = [
        f"{name}={value!r}"
        for name, default in _UNSUPPORTED.items()
        if (value := getattr(config, name, default)) != default and value
    ]
    if config.init_lora_weights not in (True, "gaussian"):
        problems.append(f"init_lora_weights={config.init_lora_weights!r}")
    if problems:
        raise InputError("These settings of the LoRA are not supported.", problems=problems)
    names = LoraConfig.__dataclass_fields__
    return LoraConfig(**{name: value for name in names if (value := getattr(config, name, _MISSING)) is not _MISSING})


def _of_layer(patterns: Mapping[str, Any], path: str, default: Any) -> Any:
    """Return the value for a layer; a pattern matches the end of its path, from the start of a part on."""
    matching = (value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", path))
    return next(matching, default)
