"""LoRA methods of Stable Diffusion XL pipelines, which have two text encoders."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.files import expand_user
from ppdiffusers.models.adapters.files import write_lora
from ppdiffusers.pipelines.loaders.lora import StableDiffusionLoraLoaderMixin

COMPONENTS = ("unet", "text_encoder", "text_encoder_2")


class StableDiffusionXLLoraLoaderMixin(StableDiffusionLoraLoaderMixin):
    """LoRA of pipelines with a UNet and two text encoders."""

    _lora_loadable_modules: tuple[str, ...] = COMPONENTS

    @classmethod
    def save_lora_weights(
        cls,
        save_directory: str | os.PathLike,
        unet_lora_layers: Mapping[str, Any] | None = None,
        text_encoder_lora_layers: Mapping[str, Any] | None = None,
        text_encoder_2_lora_layers: Mapping[str, Any] | None = None,
        is_main_process: bool = True,
        weight_name: str | None = None,
        save_function: Callable[[dict[str, Any], str], None] | None = None,
        safe_serialization: bool = True,
        unet_lora_adapter_metadata: Mapping[str, Any] | None = None,
        text_encoder_lora_adapter_metadata: Mapping[str, Any] | None = None,
        text_encoder_2_lora_adapter_metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Save LoRA layers to a file that diffusers loads; see `StableDiffusionLoraLoaderMixin`."""
        if not is_main_process:
            return
        if not safe_serialization and save_function is None:
            raise InputError("LoRA files are saved as safetensors only.", remedy="pass a `save_function` for others.")
        layers = (unet_lora_layers, text_encoder_lora_layers, text_encoder_2_lora_layers)
        metadata = (
            unet_lora_adapter_metadata,
            text_encoder_lora_adapter_metadata,
            text_encoder_2_lora_adapter_metadata,
        )
        write_lora(
            expand_user(save_directory),
            dict(zip(COMPONENTS, layers, strict=True)),
            dict(zip(COMPONENTS, metadata, strict=True)),
            weight_name,
            save_function,
        )

    def fuse_lora(
        self,
        components: Sequence[str] = COMPONENTS,
        lora_scale: float = 1.0,
        safe_fusing: bool = False,
        adapter_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add adapters to the weights of the networks; see `StableDiffusionLoraLoaderMixin`."""
        present = [name for name in components if name in self._lora_networks() or name not in COMPONENTS]
        super().fuse_lora(present, lora_scale, safe_fusing, adapter_names, **kwargs)

    def unfuse_lora(self, components: Sequence[str] = COMPONENTS, **kwargs: Any) -> None:
        """Restore the exact weights from before `fuse_lora`."""
        present = [name for name in components if name in self._lora_networks() or name not in COMPONENTS]
        super().unfuse_lora(present, **kwargs)
