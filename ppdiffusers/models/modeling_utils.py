"""What all networks share: configuration, loading and saving, attention processors, gradient checkpointing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import paddle
from paddle import nn

from ppdiffusers.io.pretrained import HubConfigMixin, PretrainedMixin
from ppdiffusers.io.state_dicts import faster_set_state_dict as faster_set_state_dict
from ppdiffusers.models.attention.mixin import AttentionMixin
from ppdiffusers.utils.context_managers import ContextManagers as ContextManagers
from ppdiffusers.utils.context_managers import no_init_weights as no_init_weights

T = TypeVar("T")


class ModelMixin(AttentionMixin, PretrainedMixin, HubConfigMixin, nn.Layer):
    """Base of the networks: a Paddle layer with a configuration that loads the files of either framework."""

    config_name = "config.json"
    weights_stems = ("diffusion_pytorch_model",)
    key_mappings: tuple[str, ...] = ("old_attention",)
    # settings of the moving average of weights, which diffusers' EMAModel saves in the network's configuration
    ignored_config_keys = (
        *("decay", "min_decay", "inv_gamma", "power"),
        *("optimization_step", "update_after_step", "use_ema_warmup"),
    )
    _supports_gradient_checkpointing = False  # as in diffusers, which only reads it

    def enable_gradient_checkpointing(self, enable: bool = True) -> None:
        """In training, keep only the inputs of each layer of a block and recompute the rest in the backward pass."""
        for layer in _checkpointed(self):
            layer.gradient_checkpointing = enable

    def disable_gradient_checkpointing(self) -> None:
        """Keep all activations in training."""
        self.enable_gradient_checkpointing(False)

    @property
    def is_gradient_checkpointing(self) -> bool:
        return any(layer.gradient_checkpointing for layer in _checkpointed(self))

    def _compute_dtype(self) -> paddle.dtype:
        return next(iter(self.parameters())).dtype


LegacyModelMixin = ModelMixin  # of classes that diffusers has split, which are whole here


def _checkpointed(layer: nn.Layer) -> Iterator[Any]:
    """Yield the outermost layers that support gradient checkpointing: what is inside them is recomputed anyway."""
    if hasattr(type(layer), "gradient_checkpointing"):
        yield layer
        return
    for child in layer.children():
        yield from _checkpointed(child)


def per_level(value: T | list[T] | tuple[T, ...], levels: int) -> tuple[T, ...]:
    """Expand a setting to one entry per level; a list is returned as a tuple."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * levels


def wrong_lengths(levels: int, **settings: object) -> list[str]:
    """Return a sentence for each per-level list whose length is not the number of levels."""
    return [
        f"{name} has {len(value)} entries for {levels} levels"
        for name, value in settings.items()
        if isinstance(value, (list, tuple)) and len(value) != levels
    ]
