"""What all networks share: configuration, loading and saving, dtype, memory savers."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn

from ppdiffusers.core.config import ConfigMixin
from ppdiffusers.core.errors import InputError
from ppdiffusers.io.pretrained import PretrainedMixin
from ppdiffusers.models.attention.attention import Attention


class ModelMixin(PretrainedMixin, ConfigMixin, nn.Layer):
    """Base of the networks: a Paddle layer with a configuration that loads either framework's files."""

    config_name = "config.json"
    weights_stems = ("diffusion_pytorch_model",)
    key_mappings: tuple[str, ...] = ("old_attention",)
    # how a moving average of weights was made: diffusers' training writes it among the settings of its result
    ignored_config_keys = (
        *("decay", "min_decay", "inv_gamma", "power"),
        *("optimization_step", "update_after_step", "use_ema_warmup"),
    )

    def set_attention_slice(self, slice_size: str | int | None = "auto") -> None:
        """Compute attention a few heads at a time: less memory, a little slower, the same result.

        Args:
            slice_size: "auto" is half of the heads at once, "max" one head, a number that many; None is the
                default (as many as fit 256 MB).
        """
        for layer in self.sublayers():
            if isinstance(layer, Attention):
                layer.slice_size = _heads_at_once(slice_size, layer.heads)

    def enable_gradient_checkpointing(self, enable: bool = True) -> None:
        """In training, keep only the inputs of each layer of a block and compute the rest again going backward."""
        for layer in self.sublayers():
            if hasattr(type(layer), "gradient_checkpointing"):
                layer.gradient_checkpointing = enable

    def disable_gradient_checkpointing(self) -> None:
        self.enable_gradient_checkpointing(False)

    @property
    def is_gradient_checkpointing(self) -> bool:
        return any(getattr(layer, "gradient_checkpointing", False) for layer in self.sublayers())

    def _compute_dtype(self) -> paddle.dtype:
        return next(iter(self.parameters())).dtype


def _heads_at_once(slice_size: str | int | None, heads: int) -> int | None:
    if slice_size is None:
        return None
    if slice_size == "auto":
        return max(1, heads // 2)
    if slice_size == "max":
        return 1
    if not isinstance(slice_size, int) or not 1 <= slice_size <= heads:
        raise InputError(
            f"slice_size is {slice_size!r}.", expected=f"'auto', 'max', None, or a number from 1 to {heads} (heads)"
        )
    return slice_size


def per_level(value: Any, levels: int) -> tuple:
    """A setting given once for all levels, or as a list with one entry for each."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * levels


def wrong_lengths(levels: int, **settings: Any) -> list[str]:
    """A sentence for each per-level list whose length is not the number of levels."""
    return [
        f"{name} has {len(value)} entries for {levels} levels"
        for name, value in settings.items()
        if isinstance(value, (list, tuple)) and len(value) != levels
    ]
