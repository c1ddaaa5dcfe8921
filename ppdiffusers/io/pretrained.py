"""`from_pretrained` and `save_pretrained` of all networks."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn
from paddle.base.framework import EagerParamBase

from ppdiffusers.convert.apply import apply_key_mappings, to_paddle_layout, to_torch_layout
from ppdiffusers.core.config import ConfigMixin, config_result
from ppdiffusers.core.config_types import built_from_configuration
from ppdiffusers.core.errors import InputError, SourceError, WeightsError
from ppdiffusers.core.files import expand_user, in_use
from ppdiffusers.core.reading import read_json
from ppdiffusers.core.saving import save_together
from ppdiffusers.core.tensors import FLOAT8, FLOATING, LazyTensor, is_loadable
from ppdiffusers.io.half_precision import (
    as_saved,
    cast_floating,
    held_dtype,
    hold_in_float32,
    record_saved_dtypes,
    stays_in_float32,
)
from ppdiffusers.io.hubs.base import HubOptions
from ppdiffusers.io.ignored_arguments import drop_unknown
from ppdiffusers.io.required_files import ModelFiles, NamedFiles
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.io.snapshot import commit_of
from ppdiffusers.io.weight_names import (
    OUR_STEM,
    candidate_names,
    index_names,
    is_shard,
    shard_names,
    weight_map_of,
    weights_name,
)
from ppdiffusers.io.weights import Checkpoint, open_weights, write_pdparams, write_safetensors
from ppdiffusers.utils.dtypes import as_dtype_name
from ppdiffusers.utils.dummy_inputs import DummyInputs, tensor_fields

if TYPE_CHECKING:
    from typing_extensions import Self

_LEGACY_CONFIG_NAMES = {"config.json": ("model_config.json",)}


def load_config_from(
    name_or_path: str | os.PathLike,
    config_name: str,
    subfolder: str | None = None,
    options: HubOptions | None = None,
) -> dict[str, Any]:
    """Read a configuration by its file name from a folder or a hub; legacy names of the file are tried too.

    Raises:
        SourceError: the folder does not exist.
        ConfigError: the file does not exist, or is not JSON.
    """
    folder = resolve_folder(name_or_path, subfolder, NamedFiles(config_names(config_name)), options)
    return read_json(config_file(folder, config_name))


def config_names(config_name: str) -> tuple[str, ...]:
    """Return the file name of a configuration and its legacy names."""
    return (config_name, *_LEGACY_CONFIG_NAMES.get(config_name, ()))


def config_file(folder: Path, config_name: str) -> Path:
    """Return the path of a configuration in a folder, which may have a legacy name."""
    names = config_names(config_name)
    return next((folder / name for name in names if os.path.lexists(folder / name)), folder / config_name)


class HubConfigMixin(ConfigMixin):
    """`load_config` from a folder or from a hub, for the classes that are loaded from them."""

    @classmethod
    def load_config(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        return_unused_kwargs: bool = False,
        return_commit_hash: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Read the configuration from a folder, a JSON file, or a hub.

        Args:
            pretrained_model_name_or_path: the folder or file, or the name of a model on a hub.
            return_unused_kwargs: return (configuration, arguments that are not options of loading).
            return_commit_hash: append the commit of a downloaded model, None for a folder.
            kwargs: `subfolder`, and the options of hubs (`io.resolve.pop_hub_options`).
        """
        if expand_user(pretrained_model_name_or_path).is_file():
            return super().load_config(
                pretrained_model_name_or_path, return_unused_kwargs, return_commit_hash, **kwargs
            )
        options = pop_hub_options(kwargs)
        name = str(cls.config_name)
        folder = resolve_folder(
            pretrained_model_name_or_path, kwargs.pop("subfolder", None), NamedFiles(config_names(name)), options
        )
        config = read_json(config_file(folder, name))
        return config_result(config, kwargs, commit_of(folder), return_unused_kwargs, return_commit_hash)


class PretrainedMixin:
    """Loading and saving for an `nn.Layer` that is a `ConfigMixin` too (or overrides `from_config_folder`).

    Class attributes a subclass may set:
        weights_stems: file names, without suffixes, of PyTorch's weights for this kind of network.
        key_mappings: names of the `convert/names` modules whose key mappings are tried on checkpoints.
        ignore_unexpected: regular expressions for keys of checkpoints that are not needed.
        ignore_missing: regular expressions for our keys that keep their initial values when they are missing.
        keep_in_float32: regular expressions for our keys that stay in float32 when the network is cast to float16.
    """

    weights_stems: tuple[str, ...] = ("diffusion_pytorch_model",)
    key_mappings: tuple[str, ...] = ()
    ignore_unexpected: tuple[str, ...] = ()
    ignore_missing: tuple[str, ...] = ()
    keep_in_float32: tuple[str, ...] = ()
    saved_dtypes: Mapping[str, str] = MappingProxyType({})  # of tensors that are held in float32 (io/half_precision.py)

    # -- loading ----------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *,
        subfolder: str | None = None,
        paddle_dtype: object = None,
        variant: str | None = None,
        use_safetensors: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load a network, in eval mode, from a folder of either framework or from a hub.

        The first of these files that exists is read (`io/weight_names.py`): `model_state.safetensors`,
        `diffusion_paddle_model.safetensors`, the same as `.pdparams`, then PyTorch's `.safetensors`, `.bin`; always a
        whole file before its shards.

        Args:
            pretrained_model_name_or_path: the folder, or the name of a model on a hub (`io/resolve.py`).
            subfolder: a folder inside it, such as "unet".
            paddle_dtype: floating weights are cast to it; float32 by default; "auto" keeps the dtype of the file.
                `torch_dtype` and `dtype` are aliases. On a CPU, weights in half precision are held in float32, with
                a warning, and saved in half precision (`io/half_precision.py`).
            variant: read only files of this variant, such as "fp16" (`model_state.fp16.safetensors`).
            use_safetensors: True: only `.safetensors`; False: only pickles (`.pdparams`, `.bin`); None: both.
            kwargs: values that replace those of the configuration, and the hub arguments: `source`, `revision`,
                `cache_dir`, `force_download`, `local_files_only`, `token`, `proxies`, and the legacy flags
                `from_hf_hub=`, `from_aistudio=`, `from_diffusers=` (`io.resolve.pop_hub_options`). With
                `output_loading_info=True` the result is the network and a dict with the keys that were missing or
                unexpected, as in diffusers. Other arguments are ignored with a warning.

        Raises:
            SourceError: the folder, its configuration or the requested weights do not exist.
            WeightsError: weights are damaged, missing, unexpected or have wrong shapes; all of them are listed.
            UnsafeFileError: a pickle names code to run; nothing was run.
        """
        with_info = kwargs.pop("output_loading_info", False)
        for alias in ("torch_dtype", "dtype"):
            given = kwargs.pop(alias, None)
            paddle_dtype = given if paddle_dtype is None else paddle_dtype
        options = pop_hub_options(kwargs)
        dtype = target_dtype(paddle_dtype)
        required = ModelFiles(cls.weights_stems, variant, use_safetensors)
        folder = resolve_folder(pretrained_model_name_or_path, subfolder, required, options)
        path = find_weights(folder, cls.weights_stems, variant, use_safetensors)
        with paddle.LazyGuard():  # parameters get neither memory nor random values here
            layer, unused = cls.from_config_folder(folder, kwargs)
        drop_unknown(unused, ("the keys of its configuration",), f"{cls.__name__}.from_pretrained")
        with in_use(folder):
            info = load_checkpoint(layer, open_weights(path), dtype)
        layer.eval()
        return (layer, info) if with_info else layer

    @classmethod
    def from_config_folder(cls, folder: Path, overrides: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Build the network, without weights, from the configuration in `folder`: (network, unused overrides)."""
        config = load_config_from(folder, cls.config_name)
        with built_from_configuration(cls.__name__, config_file(folder, cls.config_name)):
            layer, unused = cls.from_config(config, return_unused_kwargs=True, **overrides)
        layer.register_to_config(_name_or_path=str(folder))
        return layer, unused

    # -- saving -----------------------------------------------------------------------------------------------

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        *,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str = "10GB",
        to_diffusers: bool = False,
        **kwargs: Any,
    ) -> None:
        """Write configuration and weights into a folder; an interruption leaves the previous files.

        Args:
            save_directory: the folder; created if it does not exist.
            safe_serialization: write `model_state.safetensors`; False: `model_state.pdparams`, which paddle.load reads.
            variant: part of the file name, such as "fp16".
            max_shard_size: larger weights are written as several files and an index; bytes or "10GB".
            to_diffusers: write PyTorch's layout and file name (safetensors), for diffusers and transformers.
            kwargs: `is_main_process` and `push_to_hub=False` are accepted.

        Raises:
            InputError: unknown arguments, or PyTorch's layout with safe_serialization=False.
        """
        if not kwargs.pop("is_main_process", True):
            return
        unknown = {key: value for key, value in kwargs.items() if key not in ("save_function", "push_to_hub") or value}
        if unknown:
            raise InputError(f"save_pretrained does not know these arguments: {', '.join(unknown)}.")
        if to_diffusers and not safe_serialization:
            raise InputError(
                "Weights in PyTorch's layout are written as safetensors only.",
                remedy="leave out safe_serialization=False; diffusers and transformers read safetensors.",
            )
        tensors: Mapping[str, LazyTensor] = as_saved(self, lazy_state_dict(self))
        if to_diffusers:
            tensors = to_torch_layout(tensors, self)
        with save_together(expand_user(save_directory)) as save:
            self.save_config(save.folder)
            save_weights(
                tensors,
                save.folder,
                stem=self.weights_stems[0] if to_diffusers else OUR_STEM,
                suffix=".safetensors" if safe_serialization else ".pdparams",
                framework="pytorch" if to_diffusers else "paddle",
                variant=variant,
                max_shard_size=max_shard_size,
                stems=self.weights_stems,
            )

    # -- device and dtype -------------------------------------------------------------------------------------

    def to(
        self,
        *args: object,
        device: str | paddle.base.core.Place | None = None,
        dtype: object = None,
        blocking: bool | None = None,
    ) -> Self:
        """Move to a device ("cpu", "gpu:0"), cast floating parameters and buffers, or both; return the network.

        `to("gpu")`, `to("float16")` and `to(paddle.float16)` work without keywords. Integers and booleans keep their
        dtype; Paddle's `to` would also cast positions and masks. On a CPU, weights in half precision are held in
        float32, with a warning.
        """
        for given in args:
            name = given.lower().partition(":")[0] if isinstance(given, str) else None
            is_place = name in ("cpu", "gpu", "cuda", "xpu", "npu") or isinstance(given, paddle.base.core.Place)
            if given is not None and is_place:
                device = given
            elif given is not None:
                dtype = given
        if isinstance(device, str):
            device = device.replace("cuda", "gpu")
        dtype = None if dtype is None else as_dtype_name(dtype)
        if device is not None:
            self._to_impl(device=device, blocking=blocking)
        if dtype is not None:
            cast_floating(self, dtype, blocking)
            record_saved_dtypes(self, {})
        hold_in_float32(self)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or copied network: parameters are parameters again, and pickles are not compiled."""
        own = {k: v for k, v in state.items() if not (inspect.ismethod(v) and v.__self__ is self)}  # compiled methods
        nn.Layer.__setstate__(self, own)
        for layer in self.sublayers(include_self=True):
            for name, tensor in layer._parameters.items():
                if tensor is not None and not isinstance(tensor, EagerParamBase):
                    layer._parameters[name] = _as_parameter(tensor)

    def __repr__(self) -> str:
        return nn.Layer.__repr__(self)  # the layers; that of ConfigMixin is the configuration

    # -- properties -------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> paddle.dtype:
        """Return the Paddle dtype of the first floating parameter."""
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.is_floating_point():
                return tensor.dtype
        return paddle.get_default_dtype()

    @property
    def device(self) -> paddle.base.core.Place:
        """Return the place of the first parameter."""
        for parameter in self.parameters():
            return parameter.place
        return paddle.CPUPlace()

    def num_parameters(self, only_trainable: bool = False) -> int:
        """Return the number of parameter elements."""
        return sum(math.prod(p.shape) for p in self.parameters() if not (only_trainable and p.stop_gradient))

    # -- verification -----------------------------------------------------------------------------------------

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        """Make small random inputs from the configuration that pass through every layer.

        Verification turns the arrays into tensors of each framework and calls `reference_outputs` with them.

        Raises:
            InputError: the class defines no dummy inputs.
        """
        raise InputError(
            f"{type(self).__name__} has no dummy inputs, so that it cannot be verified.",
            remedy="define dummy_inputs(self, rng) on the class.",
        )

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        """Call `network`, a PyTorch module or a Paddle layer, with the tensors in `inputs`; returns tensors by name."""
        return tensor_fields(network(**inputs))


# -- which file ---------------------------------------------------------------------------------------------------


def find_weights(
    folder: Path, stems: tuple[str, ...], variant: str | None = None, use_safetensors: bool | None = None
) -> Path:
    """Find the weights file (or shard index) of a folder, in the order that `from_pretrained` documents.

    Raises:
        SourceError: none of these files exists; the message lists the files of the folder.
    """
    names = candidate_names(stems, variant, use_safetensors)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    present = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    wanted = "" if variant is None else f" of the variant {variant!r}"
    kind = {None: "", True: " as safetensors", False: " as pickles"}[use_safetensors]
    raise SourceError(
        f"The folder has no weights{wanted}{kind}.",
        where=folder,
        problems=[f"present: {name}" for name in present],
        expected=f"one of {', '.join(names)}",
        remedy="check `variant` and `use_safetensors`; other files are not loaded instead.",
    )


# -- loading weights into a network ------------------------------------------------------------------------------


def load_checkpoint(layer: nn.Layer, checkpoint: Checkpoint, dtype: str | None) -> dict[str, list[str]]:
    """Load the tensors of a checkpoint into a network, one after the other.

    On a CPU, tensors in half precision are held in float32 (`io/half_precision.py`).

    Args:
        layer: built normally or under `paddle.LazyGuard`.
        checkpoint: of either framework.
        dtype: floating tensors are cast to it; None keeps their dtypes.

    Returns:
        what `from_pretrained(..., output_loading_info=True)` returns: the missing and the unexpected keys that are
        allowed; all others raise an error.

    Raises:
        WeightsError: keys are missing, unexpected or have wrong shapes; all of them are listed.
    """
    return fill_layer(layer, tensors_for(layer, checkpoint), dtype)


def fill_layer(layer: nn.Layer, tensors: Mapping[str, LazyTensor], dtype: str | None) -> dict[str, list[str]]:
    """Read tensors, which have the layer's names and Paddle's layout, into a network, one after the other.

    On a CPU, tensors in half precision are held in float32 (`io/half_precision.py`).

    Args:
        dtype: floating tensors are cast to it; None keeps their dtypes.

    Returns:
        as `load_checkpoint`.
    """
    state = layer.state_dict()
    filled: set[int] = set()
    saved: dict[str, str] = {}
    for key, target in state.items():
        if key in tensors and id(target) not in filled:
            tensor = tensors[key] if dtype is None else tensors[key].astype(dtype)
            if tensor.dtype in FLOAT8:  # nothing computes in them; float16 has all their values
                tensor = tensor.astype("float16")
            if tensor.dtype == "float16" and stays_in_float32(layer, key):
                tensor = tensors[key].astype("float32")
            if held_dtype(tensor.dtype) != tensor.dtype:
                saved[key] = tensor.dtype
                tensor = tensor.astype(held_dtype(tensor.dtype))
            fill_tensor(target, tensor)
            filled.add(id(target))
    record_saved_dtypes(layer, saved)
    for parameter in layer.parameters():
        if not parameter._is_initialized():  # known missing: it keeps the layer's initial value
            parameter.initialize()
    _clear_initializers(layer)
    missing = [key for key, target in state.items() if id(target) not in filled]
    unexpected = [key for key in tensors if key not in state]
    return {"missing_keys": missing, "unexpected_keys": unexpected, "mismatched_keys": [], "error_msgs": []}


def tensors_for(layer: nn.Layer, checkpoint: Checkpoint) -> dict[str, LazyTensor]:
    """Return the lazy tensors of a checkpoint of either framework in Paddle's layout, with the layer's names.

    Raises:
        WeightsError: keys are missing, unexpected or have wrong shapes; all of them are listed.
    """
    tensors = converted_tensors(layer, checkpoint)
    source = checkpoint.files[0] if checkpoint.files else None
    _check_fit(layer, layer.state_dict(), tensors, source)
    return tensors


def converted_tensors(layer: nn.Layer, checkpoint: Checkpoint) -> dict[str, LazyTensor]:
    """Return the tensors of a checkpoint with the layer's names and in Paddle's layout, whether they fit or not."""
    where = checkpoint.files[0] if checkpoint.files else None
    tensors = apply_key_mappings(getattr(layer, "key_mappings", ()), checkpoint, where=where)
    return to_paddle_layout(tensors, layer) if checkpoint.framework == "pytorch" else tensors


def fill_tensor(target: paddle.Tensor, tensor: LazyTensor) -> None:
    """Give a parameter or buffer the values and the dtype of `tensor`; the Python object stays the same."""
    value = paddle.to_tensor(tensor.read())  # uint16 arrays are taken as the bits of bfloat16
    value._share_buffer_to(target)


def _as_parameter(tensor: paddle.Tensor) -> EagerParamBase:
    """Return the parameter that was pickled as a tensor; the same one wherever a network refers to it."""
    if getattr(tensor, "_parameter", None) is None:
        tensor._parameter = EagerParamBase.from_tensor(tensor, trainable=not tensor.stop_gradient)
    return tensor._parameter


def _clear_initializers(layer: nn.Layer) -> None:
    # LazyGuard leaves the initializer on every parameter, and with it a reference to a block of a program: neither can
    # be pickled, and a deep copy would copy them.
    for parameter in layer.parameters():
        for name in ("_init_func", "_init_op_creator"):
            if getattr(parameter, name, None) is not None:
                setattr(parameter, name, None)


def _check_fit(
    layer: nn.Layer, state: Mapping[str, paddle.Tensor], tensors: Mapping[str, LazyTensor], source: Path | None
) -> None:
    def allowed(key: str, patterns: tuple[str, ...]) -> bool:
        return any(re.search(pattern, key) for pattern in patterns)

    shared: dict[int, list[str]] = {}
    for key, target in state.items():
        shared.setdefault(id(target), []).append(key)
    missing = [
        f"missing: {key} {tuple(target.shape)}"
        for key, target in state.items()
        if not any(name in tensors for name in shared[id(target)])
        and not allowed(key, getattr(layer, "ignore_missing", ()))
    ]
    unexpected = [
        f"unexpected: {key} {tensor.shape}"
        for key, tensor in tensors.items()
        if key not in state and not allowed(key, getattr(layer, "ignore_unexpected", ()))
    ]
    both = [(key, state[key], tensor) for key, tensor in tensors.items() if key in state]
    shapes = [
        f"shape: {key} is {tensor.shape}, expected {tuple(target.shape)}"
        for key, target, tensor in both
        if tuple(target.shape) != tuple(tensor.shape)
    ]
    kinds = [
        f"dtype: {key} is {tensor.dtype}, expected {as_dtype_name(target.dtype)}"
        for key, target, tensor in both
        if not is_loadable(tensor.dtype, floating=target.is_floating_point())
    ]
    problems = [*missing, *unexpected, *shapes, *kinds]
    if problems:
        raise WeightsError(
            f"The weights do not fit {type(layer).__name__}: {len(missing)} missing, {len(unexpected)} unexpected, "
            f"{len(shapes)} with wrong shapes, {len(kinds)} with wrong dtypes. Shapes are Paddle's.",
            where=source,
            problems=problems,
            expected=f"{len(state)} tensors",
            remedy="check that the configuration belongs to the weights.",
        )


def target_dtype(paddle_dtype: object) -> str | None:
    """Return the name of the dtype to load weights as: float32 by default, None for "auto"."""
    if paddle_dtype is None:
        return "float32"
    if isinstance(paddle_dtype, str) and paddle_dtype == "auto":
        return None
    name = as_dtype_name(paddle_dtype)
    if name not in FLOATING:
        raise InputError(f"Weights cannot be loaded as {name}.", expected=f"{', '.join(FLOATING)} or 'auto'")
    return name


# -- writing ------------------------------------------------------------------------------------------------------


def lazy_state_dict(layer: nn.Layer) -> dict[str, LazyTensor]:
    """Return the state dict of a network as lazy tensors, copied from the device one at a time."""
    return {key: _lazy(tensor) for key, tensor in layer.state_dict().items()}


def _lazy(tensor: paddle.Tensor) -> LazyTensor:
    # numpy() returns the bits of a bfloat16 tensor as uint16
    shape = tuple(tensor.shape)
    return LazyTensor(as_dtype_name(tensor.dtype), shape, lambda: np.asarray(tensor.numpy()).reshape(shape))


def save_weights(
    tensors: Mapping[str, LazyTensor],
    folder: Path,
    *,
    stem: str,
    suffix: str,
    framework: str,
    variant: str | None = None,
    max_shard_size: int | str = "10GB",
    stems: tuple[str, ...] = (),
) -> list[Path]:
    """Write weights into a folder as one file, or as shards and an index; return the paths, the index first.

    All files appear together when everything is written. Files of earlier saves that have the same name, or that would
    be loaded instead, are removed.

    Args:
        stem: file name without suffix.
        suffix: ".safetensors" or ".pdparams".
        framework: the layout of the tensors, "pytorch" or "paddle".
        stems: PyTorch's file names for this network, to find the files of earlier saves.
    """
    shards = _into_shards(tensors, parse_size(max_shard_size))
    names = shard_names(stem, suffix, variant, len(shards))
    index_name = index_names(stem, suffix, variant)[0] if len(shards) > 1 else None
    with save_together(folder) as save:
        for name, shard in zip(names, shards, strict=True):
            if suffix == ".safetensors":
                write_safetensors(save.folder / name, shard, {"format": "pt" if framework == "pytorch" else "pd"})
            else:
                write_pdparams(save.folder / name, shard)
        if index_name:
            weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
            total = sum(tensor.nbytes for tensor in tensors.values())
            index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
            (save.folder / index_name).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        written = [index_name, *names] if index_name else names
        save.remove(_stale_files(save.target, set(written), stem, suffix, variant, stems or (stem,)))
    return [folder / name for name in written]


def _stale_files(
    folder: Path, written: set[str], stem: str, suffix: str, variant: str | None, stems: tuple[str, ...]
) -> set[str]:
    if not folder.is_dir():
        return set()
    candidates = candidate_names(stems, variant)
    # Candidates before the written one would be loaded instead of it.
    first = min((candidates.index(name) for name in written if name in candidates), default=len(candidates))
    stale = {name for name in candidates[:first] if (folder / name).is_file()}
    own = {weights_name(stem, suffix, variant), *index_names(stem, suffix, variant)}
    names = {entry.name for entry in folder.iterdir()}
    stale |= {name for name in names if name in own or is_shard(name, stem, suffix, variant)}
    for name in stale - written:
        if name.endswith(".json"):
            stale |= _shards_of(folder / name)
    return {name for name in stale - written if (folder / name).exists()}


def _shards_of(index: Path) -> set[str]:
    weight_map = weight_map_of(read_json(index)) or {}
    return {name for name in weight_map.values() if Path(name).name == name}


def _into_shards(tensors: Mapping[str, LazyTensor], limit: int) -> list[dict[str, LazyTensor]]:
    """Fill one shard after the other; a tensor above the limit gets a separate shard."""
    shards: list[dict[str, LazyTensor]] = [{}]
    used = 0
    for key, tensor in tensors.items():
        if shards[-1] and used + tensor.nbytes > limit:
            shards.append({})
            used = 0
        shards[-1][key] = tensor
        used += tensor.nbytes
    return shards


def parse_size(size: int | str) -> int:
    """Return the bytes in "10GB", "500MB", "2GiB", or in a number.

    Raises:
        InputError: the size is not positive, or cannot be parsed.
    """
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(size))
    bytes_ = int(float(found[1]) * units[found[2].upper()]) if found and found[2].upper() in units else 0
    if bytes_ <= 0:
        raise InputError(f"max_shard_size={size!r} is not a size.", expected='bytes, or a string such as "10GB"')
    return bytes_
