"""LoRA methods of pipelines, with the names of diffusers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.files import expand_user
from ppdiffusers.models.adapters import (
    AdapterLayer,
    disable_adapters,
    eject,
    enable_adapters,
    fuse,
    get_adapters,
    set_adapters,
    unfuse,
)
from ppdiffusers.models.adapters.layers import adapter_layers
from ppdiffusers.pipelines.loaders.files import open_additional_weights
from ppdiffusers.pipelines.loaders.lora_files import (
    LORA_WEIGHT_NAME,
    LORA_WEIGHT_NAME_SAFE,
    inject_all,
    padded,
    read_deltas,
    replace_all,
    write_lora,
)
from ppdiffusers.pipelines.loaders.lora_scales import block_weights
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


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
        _names([] if adapter_name is None else [adapter_name])
        networks, existing = self._lora_networks(), self.get_list_adapters()
        known = {name for names in existing.values() for name in names}
        if hotswap and adapter_name not in known:
            raise InputError(
                f"There is no adapter {adapter_name!r} to replace.",
                expected=f"one of {', '.join(sorted(known))}" if known else "load an adapter with hotswap=False first",
            )
        if not hotswap and adapter_name in known:
            raise InputError(f"The adapter {adapter_name!r} already exists.", remedy="choose another `adapter_name`.")
        kwargs.pop("unet_config", None)  # of diffusers, for names that do not depend on it here
        names = (LORA_WEIGHT_NAME_SAFE, LORA_WEIGHT_NAME)
        checkpoint = open_additional_weights(pretrained_model_name_or_path_or_dict, names, kwargs)
        deltas = read_deltas(networks, checkpoint)
        if self._lora_target_rank is not None:
            deltas = padded(deltas, self._lora_target_rank, hotswap)
        if hotswap:
            replace_all(networks, adapter_name, deltas)
        else:
            inject_all(networks, adapter_name or _unused_name(known), deltas)

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
        """Remove adapters. If no active one is left in a network, its first adapter becomes active, as in PEFT."""
        names = _names(adapter_names)
        self._check_adapters(names)
        for network in self._lora_networks().values():
            own = get_adapters(network)
            for name in names:
                if name in own:
                    eject(network, name)
            left = [name for name in own if name not in names]
            if left and len(left) < len(own) and not _active(network):
                set_adapters(network, left[0])

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
        networks = self._lora_networks()
        if self.get_list_adapters():
            if check_compiled not in ("error", "warn", "ignore"):
                raise InputError(f"check_compiled is {check_compiled!r}.", expected="'error', 'warn' or 'ignore'")
            message = "Adapters are loaded: call `enable_lora_hotswap` before the first one is loaded"
            if check_compiled == "error":
                raise InputError(f"{message}.", remedy="pass check_compiled='warn' or 'ignore'.")
            if check_compiled == "warn":
                logger.warning("%s, so that compiled networks are not compiled again.", message)
            for name in {name for names in self.get_list_adapters().values() for name in names}:
                loaded = {c: get_adapters(network).get(name, {}) for c, network in networks.items()}
                for component, some in padded(loaded, target_rank).items():
                    for path, delta in some.items():
                        networks[component].get_sublayer(path).adapters[name] = delta
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
        names = _names(adapter_names)
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
            component: {name: _weight_in(network, component, weight) for name, weight in zip(names, weights)}
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
        return next((names for network in self._lora_networks().values() if (names := _active(network))), [])

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
        if adapter_names is not None:
            self._check_adapters(adapter_names)
        networks = self._networks_named(components)
        if safe_fusing:
            _check_finite(networks, adapter_names)
        for network in networks.values():
            own = get_adapters(network)
            fuse(network, None if adapter_names is None else [n for n in adapter_names if n in own], lora_scale)

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
        return {
            n for net in self._lora_networks().values() for layer in adapter_layers(net) for n in layer.fused_adapters
        }

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


def _names(adapter_names: Any) -> list[str]:
    """Return one name or several as a list."""
    if isinstance(adapter_names, str):
        return [adapter_names]
    if not isinstance(adapter_names, (list, tuple, set, frozenset, Mapping)):
        adapter_names = [adapter_names]
    wrong = [repr(name) for name in adapter_names if not isinstance(name, str)]
    if wrong:
        raise InputError("These are not names of adapters.", problems=wrong, expected="a string, or a list of strings")
    return list(adapter_names)


def _unused_name(known: set[str]) -> str:
    number = len(known)
    while f"default_{number}" in known:
        number += 1
    return f"default_{number}"


def _active(network: nn.Layer) -> list[str]:
    weights: dict[str, bool] = {}
    for layer in adapter_layers(network):
        for name, weight in layer.adapter_weights.items():
            weights[name] = weights.get(name, False) or weight is not None
    return [name for name, active in weights.items() if active]


def _weight_in(network: nn.Layer, component: str, weight: Any) -> float | dict[str, float] | None:
    """Return the weight of an adapter in one component: a number, or numbers by path of the layer."""
    weight = weight.get(component) if isinstance(weight, Mapping) else weight
    if not isinstance(weight, Mapping):
        return weight
    if component != "unet":
        raise InputError(f"The weight for {component} is a dictionary.", expected="a number; only a UNet has blocks")
    by_block = block_weights(network, weight)
    paths = [path for path, layer in network.named_sublayers() if isinstance(layer, AdapterLayer)]
    inside = {path: ".".join(path.split(".")[: 3 if path.startswith("mid") else 4]) for path in paths}
    return {path: by_block.get(block, 1.0) for path, block in inside.items()}


def _check_finite(networks: Mapping[str, nn.Layer], names: Sequence[str] | None) -> None:
    problems = [
        f"{component}.{path}: {name}"
        for component, network in networks.items()
        for name, deltas in get_adapters(network).items()
        if names is None or name in names
        for path, delta in deltas.items()
        if not all(bool(paddle.isfinite(tensor.astype("float32")).all()) for tensor in delta.buffers())
    ]
    if problems:
        raise InputError("Adapters have values that are not finite; nothing was fused.", problems=problems)
