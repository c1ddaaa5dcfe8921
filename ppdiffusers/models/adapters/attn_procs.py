"""`load_attn_procs` and `save_attn_procs`: LoRA methods of UNets in scripts for older versions of diffusers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.files import expand_user
from ppdiffusers.io.additional_weights import open_additional_weights
from ppdiffusers.models.adapters.files import LORA_WEIGHT_NAMES, load_adapter, selected, write_network_lora
from ppdiffusers.models.adapters.inject import active_adapters, get_adapters
from ppdiffusers.models.adapters.network import PeftAdapterMixin


class UNet2DConditionLoadersMixin(PeftAdapterMixin):
    """LoRA of a UNet, also with the methods that came before `load_lora_adapter`."""

    def load_attn_procs(
        self, pretrained_model_name_or_path_or_dict: str | os.PathLike | Mapping[str, Any], **kwargs: Any
    ) -> None:
        """Load a LoRA into this UNet, and make it the active one.

        Tensors of other components, whose names do not start with "unet.", are ignored. If there are none with this
        start, all are loaded: old files have no prefix.

        Args:
            kwargs: as in `load_lora_adapter`.

        Raises:
            WeightsError: the file has no LoRA for this UNet; attention processors of Custom Diffusion are not loaded.
        """
        name, alphas = kwargs.pop("adapter_name", None), kwargs.pop("network_alphas", None)
        kwargs.pop("_pipeline", None)
        checkpoint = open_additional_weights(pretrained_model_name_or_path_or_dict, LORA_WEIGHT_NAMES, kwargs)
        own = selected(checkpoint, "unet", alphas) or selected(checkpoint, None, alphas)
        load_adapter({"unet": self}, own, name, target_rank=self._lora_target_rank)

    def save_attn_procs(
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        weight_name: str | None = None,
        save_function: Callable[[dict[str, Any], str], None] | None = None,
        safe_serialization: bool = True,
        **kwargs: Any,
    ) -> None:
        """Save the active LoRA to a file that diffusers' `load_attn_procs` loads.

        Args:
            is_main_process: if False, nothing is saved.
            save_function: called as `f({name: array}, path)` instead of writing safetensors.
            safe_serialization: must be True without a `save_function`.
        """
        if not is_main_process:
            return
        if not safe_serialization and save_function is None:
            raise InputError("LoRA files are saved as safetensors only.", remedy="pass a `save_function` for others.")
        active = active_adapters(self)
        if len(active) != 1:
            raise InputError(
                f"{len(active)} adapters are active.",
                problems=active,
                expected="one",
                remedy="call `set_adapter` first.",
            )
        write_network_lora(
            expand_user(save_directory), get_adapters(self)[active[0]], weight_name, save_function=save_function
        )
