"""LoRA methods of pipelines, with the names of diffusers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import paddle
from paddle import nn

from ppdiffusers.convert.lora import adapter_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.core.files import expand_user
from ppdiffusers.io.additional_weights import open_additional_weights
from ppdiffusers.models.adapters import (
    active_adapters,
    check_finite,
    delete_adapters,
    disable_adapters,
    eject,
    enable_adapters,
    fuse,
    fused_adapters,
    get_adapters,
    set_adapters,
    unfuse,
)
from ppdiffusers.models.adapters.block_weights import layer_weights
from ppdiffusers.models.adapters.call_scale import scale_lora_layers
from ppdiffusers.models.adapters.files import (
    LORA_WEIGHT_NAMES,
    load_adapter,
    pad_adapters,
    selected,
    write_lora,
)
from ppdiffusers.models.adapters.names import as_names
from ppdiffusers.models.adapters.network import PeftAdapterMixin
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

# Arguments of diffusers: names of layers do not depend on the configuration, and tensors keep their dtype.
_REPORTED = ("prefix", "network_alphas", "metadata", "torch_dtype", "paddle_dtype")
_WITHOUT_EFFECT = ("unet_config", "return_lora_metadata", "_pipeline", *_REPORTED)


class StableDiffusionLoraLoaderMixin:
    """LoRA of pipelines with a UNet and a text encoder. The adapters belong to the networks, not to the pipeline."""

    _lora_loadable_modules: tuple[str, ...] = ("unet", "text_encoder")
    _lora_target_rank: int | None = None

    def _lora_networks(self) -> dict[str, nn.Layer]:
        networks = {name: getattr(self, name, None) for name in self._lora_loadable_modules}
        return {name: network for name, network in networks.items() if isinstance(network, nn.Layer)}

    # -- loading and saving -------------------------------------------------------------------------------------------

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | os.PathLike | Mapping[str, Any],
        adapter_name: str | None = None,
        hotswap: bool = False,
        **kwargs: Any,
    ) -> None:
        """Load a LoRA into the UNet and the text encoder, and make it the active one.

        The format is recognized from the names of the tensors: PEFT and diffusers, old attention processors, Kohya.

        Args:
            pretrained_model_name_or_path_or_dict: a file, a folder, the name of a repository on a hub, or a dictionary
                of tensors.
            adapter_name: name of the adapter; by default "default_0", "default_1", ...
            hotswap: replace the adapter of this name; as in diffusers, its weight becomes 1. A compiled network is
                not compiled again if the new adapter has the same layers, or fewer, and its rank is at most that of
                `enable_lora_hotswap`.
            kwargs: `weight_name`, the file in a folder or repository; `subfolder`; `use_safetensors`; options of hubs,
                as in `from_pretrained`.

        Raises:
            WeightsError: the file is not a LoRA for these networks; all of its problems are listed.
            InputError: the name is in use, or shapes do not fit; nothing is changed.
        """
        as_names([] if adapter_name is None else [adapter_name])
        _drop_without_effect(kwargs)
        checkpoint = open_additional_weights(pretrained_model_name_or_path_or_dict, LORA_WEIGHT_NAMES, kwargs)
        load_adapter(self._lora_networks(), checkpoint, adapter_name, hotswap, self._lora_target_rank)

    @classmethod
    def lora_state_dict(
        cls, pretrained_model_name_or_path_or_dict: str | os.PathLike | Mapping[str, Any], **kwargs: Any
    ) -> tuple[Any, ...]:
        """Read the tensors of a LoRA file: (tensors by name, None).

        The names are those of the file, and alphas are among the tensors, where diffusers renames tensors of Kohya's
        files and returns alphas as the second value. All methods that load a LoRA accept the result.

        Args:
            kwargs: as in `load_lora_weights`; with `return_lora_metadata=True` the result has a third value, PEFT's
                configuration, or None.
        """
        with_metadata = bool(kwargs.get("return_lora_metadata"))
        _drop_without_effect(kwargs)
        checkpoint = open_additional_weights(pretrained_model_name_or_path_or_dict, LORA_WEIGHT_NAMES, kwargs)
        tensors = {name: paddle.to_tensor(tensor.read()) for name, tensor in checkpoint.items()}
        if not with_metadata:
            return tensors, None
        return tensors, None, adapter_config(checkpoint.metadata, pretrained_model_name_or_path_or_dict) or None

    @classmethod
    def load_lora_into_unet(
        cls,
        state_dict: Mapping[str, Any],
        network_alphas: Mapping[str, float] | None,
        unet: PeftAdapterMixin,
        adapter_name: str | None = None,
        _pipeline: Any = None,
        low_cpu_mem_usage: bool = False,
        hotswap: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the tensors of a LoRA for the UNet; see `load_lora_adapter` of the UNet."""
        unet.load_lora_adapter(
            state_dict, "unet", hotswap, adapter_name=adapter_name, network_alphas=network_alphas, metadata=metadata
        )

    @classmethod
    def load_lora_into_text_encoder(
        cls,
        state_dict: Mapping[str, Any],
        network_alphas: Mapping[str, float] | None,
        text_encoder: nn.Layer,
        prefix: str | None = None,
        lora_scale: float = 1.0,
        adapter_name: str | None = None,
        _pipeline: Any = None,
        low_cpu_mem_usage: bool = False,
        hotswap: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the tensors of a LoRA for a text encoder; without any, a warning says so.

        Args:
            prefix: start of their names, by default "text_encoder".
            lora_scale: multiplies the weights of the encoder's active adapters.
        """
        component = prefix or "text_encoder"
        checkpoint = open_additional_weights(state_dict, (), {})
        checkpoint = selected(checkpoint, component, network_alphas, metadata)
        if not checkpoint:
            logger.warning(
                "The LoRA has no tensors for %s: no name starts with %r.", type(text_encoder).__name__, component
            )
            return
        load_adapter({component: text_encoder}, checkpoint, adapter_name, hotswap, cls._lora_target_rank)
        scale_lora_layers(text_encoder, lora_scale)

    @property
    def lora_scale(self) -> float:
        """The scale of adapters in the last call (`cross_attention_kwargs={"scale": ...}`), 1 without."""
        return (getattr(self, "cross_attention_kwargs", None) or {}).get("scale", 1.0)

    @classmethod
    def save_lora_weights(
        cls,
        save_directory: str | os.PathLike,
        unet_lora_layers: Mapping[str, Any] | None = None,
        text_encoder_lora_layers: Mapping[str, Any] | None = None,
        is_main_process: bool = True,
        weight_name: str | None = None,
        save_function: Callable[[dict[str, Any], str], None] | None = None,
        safe_serialization: bool = True,
        unet_lora_adapter_metadata: Mapping[str, Any] | None = None,
        text_encoder_lora_adapter_metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Save LoRA layers to a file that diffusers loads.

        Args:
            save_directory: the folder, which is created if necessary.
            unet_lora_layers, text_encoder_lora_layers: `get_adapters(network)[name]` of
                `ppdiffusers.models.adapters`, or a state dict with PEFT's names.
            is_main_process: if False, nothing is saved.
            weight_name: by default "pytorch_lora_weights.safetensors".
            save_function: called as `f({name: array}, path)` instead of writing safetensors.
            safe_serialization: must be True without a `save_function`.
            unet_lora_adapter_metadata, text_encoder_lora_adapter_metadata: PEFT's configurations, by default those
                of the layers.
        """
        if not is_main_process:
            return
        if not safe_serialization and save_function is None:
            raise InputError("LoRA files are saved as safetensors only.", remedy="pass a `save_function` for others.")
        write_lora(
            expand_user(save_directory),
            {"unet": unet_lora_layers, "text_encoder": text_encoder_lora_layers},
            {"unet": unet_lora_adapter_metadata, "text_encoder": text_encoder_lora_adapter_metadata},
            weight_name,
            save_function,
        )

    def unload_lora_weights(self) -> None:
        """Remove all adapters. Fused ones stay in the weights, as in diffusers: call `unfuse_lora` first to undo it."""
        for network in self._lora_networks().values():
            eject(network, keep_fused=True)

    def delete_adapters(self, adapter_names: str | Sequence[str]) -> None:
        """Remove adapters. If no active one is left in a network, its first adapter becomes active, as in PEFT.

        Fused ones stay in the weights: call `unfuse_lora` first to undo it.
        """
        names = as_names(adapter_names)
        self._check_adapters(names)
        for network in self._lora_networks().values():
            delete_adapters(network, names)

    def enable_lora_hotswap(
        self, target_rank: int = 128, check_compiled: Literal["error", "warn", "ignore"] = "error"
    ) -> None:
        """Pad LoRA matrices to one rank, so that a compiled network is not compiled again when one is replaced.

        Call it before the first adapter is loaded.

        Args:
            target_rank: the largest rank of all adapters.
            check_compiled: what to do if adapters are loaded: raise an error, warn or not; the last two pad them.

        Raises:
            InputError: adapters are loaded, or have a larger rank.
        """
        pad_adapters(self._lora_networks(), target_rank, check_compiled)
        self._lora_target_rank = target_rank

    # -- weights of adapters ------------------------------------------------------------------------------------------

    def set_adapters(
        self,
        adapter_names: str | Sequence[str],
        adapter_weights: float | Mapping[str, Any] | Sequence[float | Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Activate these adapters and deactivate all others.

        Args:
            adapter_weights: one for all adapters, or a list with one for each: a number, None for 1, or a dictionary
                {"unet": ..., "text_encoder": ...}. The value of "unet" may be a dictionary of blocks:
                `{"down": 0.5, "mid": 1.0, "up": {"block_0": 0.3, "block_1": [0.1, 0.2, 0.3]}}`.

        Raises:
            InputError: unknown adapters, or weights that do not fit.
        """
        names = as_names(adapter_names)
        weights: list[float | Mapping[str, Any] | None]
        if adapter_weights is None or isinstance(adapter_weights, (int, float, Mapping)):
            weights = [adapter_weights] * len(names)
        else:
            weights = list(adapter_weights)
        if len(names) != len(weights):
            raise InputError(f"There are {len(weights)} weights for {len(names)} adapters.", expected="one for each")
        self._check_adapters(names)
        self._warn_of_other_components(weights)
        chosen = {
            component: {
                name: layer_weights(network, _in_component(weight, component)) for name, weight in zip(names, weights)
            }
            for component, network in self._lora_networks().items()
        }
        for component, network in self._lora_networks().items():
            own = [name for name in names if name in get_adapters(network)]
            set_adapters(network, own, [chosen[component][name] for name in own])

    def _warn_of_other_components(self, weights: Sequence[Any]) -> None:
        given = {key for weight in weights if isinstance(weight, Mapping) for key in weight}
        others = sorted(given - set(self._lora_loadable_modules))
        if others:
            logger.warning(
                "`adapter_weights` has weights for %s, which are ignored; the pipeline has %s.",
                ", ".join(others),
                ", ".join(self._lora_loadable_modules),
            )

    def get_active_adapters(self) -> list[str]:
        """Return the active adapters of the UNet; without any, those of the other networks."""
        return next((names for network in self._lora_networks().values() if (names := active_adapters(network))), [])

    def get_list_adapters(self) -> dict[str, list[str]]:
        """Return all adapters of each component that has some."""
        found = {component: list(get_adapters(network)) for component, network in self._lora_networks().items()}
        return {component: names for component, names in found.items() if names}

    def disable_lora(self) -> None:
        """Compute without adapters, which stay loaded."""
        for network in self._lora_networks().values():
            disable_adapters(network)

    def enable_lora(self) -> None:
        """Compute with the active adapters again."""
        for network in self._lora_networks().values():
            enable_adapters(network)

    def set_lora_device(self, adapter_names: Sequence[str], device: Any) -> None:
        """Do nothing: adapters stay on the device of their network."""

    # -- fusing -------------------------------------------------------------------------------------------------------

    def fuse_lora(
        self,
        components: Sequence[str] = ("unet", "text_encoder"),
        lora_scale: float = 1.0,
        safe_fusing: bool = False,
        adapter_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add adapters to the weights of the networks, for calls as fast as without adapters.

        Args:
            components: the networks.
            lora_scale: multiplies the weights of the adapters.
            safe_fusing: raise if an adapter has values that are not finite.
            adapter_names: by default the active adapters.
            kwargs: legacy arguments, such as `fuse_unet`, have no effect.
        """
        names = None if adapter_names is None else as_names(adapter_names)
        if names is not None:
            self._check_adapters(names)
        networks = self._networks_named(components)
        if safe_fusing:
            check_finite(networks, names)
        for network in networks.values():
            own = get_adapters(network)
            fuse(network, None if names is None else [name for name in names if name in own], lora_scale)

    def unfuse_lora(self, components: Sequence[str] = ("unet", "text_encoder"), **kwargs: Any) -> None:
        """Restore the exact weights from before `fuse_lora`.

        Args:
            components: the networks.
            kwargs: legacy arguments, such as `unfuse_unet`, have no effect.
        """
        for network in self._networks_named(components).values():
            unfuse(network)

    @property
    def fused_loras(self) -> set[str]:
        """Names of the fused adapters."""
        return set().union(*map(fused_adapters, self._lora_networks().values()))

    @property
    def num_fused_loras(self) -> int:
        """Number of fused adapters."""
        return len(self.fused_loras)

    # -- checks -------------------------------------------------------------------------------------------------------

    def _networks_named(self, components: Sequence[str]) -> dict[str, nn.Layer]:
        unknown = [name for name in components if name not in self._lora_loadable_modules]
        if unknown or not components:
            raise InputError(
                "These components cannot be fused." if unknown else "`components` is empty.",
                problems=unknown,
                expected=f"some of {', '.join(self._lora_loadable_modules)}",
            )
        return {name: network for name, network in self._lora_networks().items() if name in components}

    def _check_adapters(self, names: Sequence[str]) -> None:
        known = {name for some in self.get_list_adapters().values() for name in some}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise InputError(
                "The pipeline does not have these adapters.",
                problems=unknown,
                expected=f"of {', '.join(sorted(known))}" if known else "load an adapter first",
            )


def _in_component(weight: Any, component: str) -> Any:
    """Return the weight for one component of a weight for all of them."""
    return weight.get(component) if isinstance(weight, Mapping) else weight


def _drop_without_effect(arguments: dict[str, Any]) -> None:
    """Remove arguments that `load_lora_weights` of diffusers accepts and ignores, or that have no effect here."""
    removed = {name: arguments.pop(name) for name in _WITHOUT_EFFECT if name in arguments}
    reported = [f"{name}={value!r}" for name, value in removed.items() if value is not None and name in _REPORTED]
    if reported:
        logger.warning("`load_lora_weights` ignores these arguments, as in diffusers: %s.", ", ".join(reported))
