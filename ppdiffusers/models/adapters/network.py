"""LoRA methods of networks, with the names of diffusers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.files import expand_user
from ppdiffusers.io.additional_weights import open_additional_weights
from ppdiffusers.models.adapters.block_weights import layer_weights
from ppdiffusers.models.adapters.files import (
    LORA_WEIGHT_NAMES,
    inject_all,
    load_adapter,
    pad_adapters,
    selected,
    write_network_lora,
)
from ppdiffusers.models.adapters.inject import (
    active_adapters,
    check_finite,
    check_names,
    delete_adapters,
    disable_adapters,
    eject,
    enable_adapters,
    fuse,
    get_adapters,
    set_adapters,
    unfuse,
)
from ppdiffusers.models.adapters.layers import adapter_layers
from ppdiffusers.models.adapters.lora_config import lora_of_config
from ppdiffusers.models.adapters.names import as_names
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


class PeftAdapterMixin(nn.Layer):
    """LoRA of one network. The methods of pipelines (`load_lora_weights`, ...) change the same adapters."""

    _lora_target_rank: int | None = None

    def load_lora_adapter(
        self,
        pretrained_model_name_or_path_or_dict: str | os.PathLike | Mapping[str, Any],
        prefix: str | None = "transformer",
        hotswap: bool = False,
        **kwargs: Any,
    ) -> None:
        """Load a LoRA into this network, and make it the active one.

        Args:
            prefix: load the tensors whose names start with it, such as "unet"; None for all. If there are none, a
                warning says so, as in diffusers.
            hotswap: replace the adapter of this name.
            kwargs: `adapter_name`; `network_alphas`, which `lora_state_dict` returned; `metadata`, PEFT's
                configuration instead of that of the file; `weight_name`, `subfolder`, `use_safetensors` and options of
                hubs, as in `load_lora_weights`.
        """
        name, alphas = kwargs.pop("adapter_name", None), kwargs.pop("network_alphas", None)
        metadata = kwargs.pop("metadata", None)
        kwargs.pop("_pipeline", None)
        checkpoint = open_additional_weights(pretrained_model_name_or_path_or_dict, LORA_WEIGHT_NAMES, kwargs)
        checkpoint = selected(checkpoint, prefix, alphas, metadata)
        if not checkpoint and prefix is not None:
            logger.warning(
                "The LoRA has no tensors for %s: no name starts with %r. Pass another `prefix`, or None for all.",
                type(self).__name__,
                prefix,
            )
            return
        load_adapter({prefix or "unet": self}, checkpoint, name, hotswap, self._lora_target_rank)

    def save_lora_adapter(
        self,
        save_directory: str | os.PathLike,
        adapter_name: str = "default",
        upcast_before_saving: bool = False,
        safe_serialization: bool = True,
        weight_name: str | None = None,
    ) -> None:
        """Save a LoRA of this network to a file that diffusers' `load_lora_adapter(prefix=None)` loads.

        Args:
            upcast_before_saving: save in float32.
            safe_serialization: must be True.
        """
        check_names(self, [adapter_name])
        if not safe_serialization:
            raise InputError("LoRA files are saved as safetensors only.", remedy="omit `safe_serialization`.")
        deltas = get_adapters(self)[adapter_name]
        write_network_lora(expand_user(save_directory), deltas, weight_name, upcast_before_saving)

    def add_adapter(self, adapter_config: Any, adapter_name: str = "default") -> None:
        """Add a new LoRA for training, and make it the active one.

        Args:
            adapter_config: `ppdiffusers.models.adapters.LoraConfig`, or that of PEFT.
        """
        component = type(self).__name__
        inject_all({component: self}, adapter_name, {component: dict(lora_of_config(self, adapter_config))})

    def set_adapter(self, adapter_name: str | Sequence[str]) -> None:
        """Activate these adapters and deactivate all others; those that are active keep their weights."""
        names = as_names(adapter_name)
        check_names(self, names)
        for layer in adapter_layers(self):
            weights = layer.adapter_weights
            kept = {name: 1.0 if weight is None else weight for name, weight in weights.items()}
            layer.adapter_weights = {name: kept[name] if name in names else None for name in weights}

    def set_adapters(self, adapter_names: str | Sequence[str], weights: Any = None) -> None:
        """Activate these adapters and deactivate all others.

        Args:
            weights: one for all adapters, or a list with one for each: a number, None for 1, or a dictionary of blocks
                as in `set_adapters` of pipelines.
        """
        names = as_names(adapter_names)
        given = list(weights) if isinstance(weights, (list, tuple)) else [weights] * len(names)
        set_adapters(self, names, [layer_weights(self, weight) for weight in given])

    def active_adapters(self) -> list[str]:
        """Return the names of the active adapters."""
        return active_adapters(self)

    def delete_adapters(self, adapter_names: str | Sequence[str]) -> None:
        """Remove adapters. If no active one is left, the first one becomes active, as in PEFT."""
        names = as_names(adapter_names)
        check_names(self, names)
        delete_adapters(self, names)

    def unload_lora(self) -> None:
        """Remove all adapters. Fused ones stay in the weights: call `unfuse_lora` first to undo it."""
        eject(self, keep_fused=True)

    def disable_lora(self) -> None:
        """Compute without adapters, which stay loaded."""
        disable_adapters(self)

    def enable_lora(self) -> None:
        """Compute with the active adapters again."""
        enable_adapters(self)

    disable_adapters, enable_adapters = disable_lora, enable_lora  # the names of PEFT's models

    def fuse_lora(
        self, lora_scale: float = 1.0, safe_fusing: bool = False, adapter_names: Sequence[str] | None = None
    ) -> None:
        """Add adapters to the weights; see `fuse_lora` of pipelines."""
        names = None if adapter_names is None else as_names(adapter_names)
        if safe_fusing:
            check_finite({type(self).__name__: self}, names)
        fuse(self, names, lora_scale)

    def unfuse_lora(self) -> None:
        """Restore the exact weights from before `fuse_lora`."""
        unfuse(self)

    def enable_lora_hotswap(
        self, target_rank: int = 128, check_compiled: Literal["error", "warn", "ignore"] = "error"
    ) -> None:
        """Pad LoRA matrices to one rank; see `enable_lora_hotswap` of pipelines."""
        pad_adapters({type(self).__name__: self}, target_rank, check_compiled)
        self._lora_target_rank = target_rank
