"""`from_pretrained` and `save_pretrained`, written once for every network."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.convert.apply import apply_families, to_paddle_layout, to_torch_layout
from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import InputError, SourceError, WeightsError
from ppdiffusers.core.files import replace_file
from ppdiffusers.core.tensors import FLOATING, LazyTensor
from ppdiffusers.io.hubs.base import SourceOptions
from ppdiffusers.io.required_files import NeedFiles, NeedNetwork
from ppdiffusers.io.resolve import resolve_folder, take_source_options
from ppdiffusers.io.weight_names import OUR_STEM, candidate_names, index_names
from ppdiffusers.io.weights import Checkpoint, open_weights, write_pdparams, write_safetensors
from ppdiffusers.utils.dtypes import as_dtype_name
from ppdiffusers.utils.dummy_inputs import DummyInputs, tensor_fields

_OLD_CONFIG_NAMES = {"config.json": ("model_config.json",)}


def load_config_from(
    name_or_path: str | os.PathLike,
    config_name: str,
    subfolder: str | None = None,
    options: SourceOptions | None = None,
) -> dict[str, Any]:
    """Read a configuration by its file name from a folder or a hub's model; older names of the file are tried too.

    Raises:
        SourceError: there is no such folder.
        ConfigError: there is no such file in it, or it is not JSON.
    """
    names = (config_name, *_OLD_CONFIG_NAMES.get(config_name, ()))
    folder = resolve_folder(name_or_path, subfolder, NeedFiles(names), options)
    for name in names:
        if (folder / name).is_file():
            return read_json(folder / name)
    return read_json(folder / config_name)  # raises: it is missing


class PretrainedMixin:
    """Loading and saving for an `nn.Layer` that is a `ConfigMixin` too (or overrides `from_config_folder`).

    Class attributes a subclass may set:
        weights_stems: file names, without endings, that PyTorch's side uses for this kind of network.
        load_families: names of `convert/names` modules that foreign checkpoints are tried against.
        ignore_unexpected: regular expressions for keys of checkpoints that are not needed.
        ignore_missing: regular expressions for keys of ours that keep their initial value when they are missing.
    """

    weights_stems: tuple[str, ...] = ("diffusion_pytorch_model",)
    load_families: tuple[str, ...] = ()
    ignore_unexpected: tuple[str, ...] = ()
    ignore_missing: tuple[str, ...] = ()

    # -- loading ----------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *,
        subfolder: str | None = None,
        paddle_dtype: Any = None,
        variant: str | None = None,
        use_safetensors: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Load a network from a folder that either framework wrote, or from a hub; it is in eval mode.

        Files are looked for in this order, and the first that is there is read: `model_state.safetensors`,
        `diffusion_paddle_model.safetensors`, the same as `.pdparams`, then PyTorch's `.safetensors`, `.bin`; of
        each the whole file before the sharded one.

        Args:
            pretrained_model_name_or_path: the folder, or the name of a model on a hub (`io/resolve.py`).
            subfolder: a folder inside it, such as "unet".
            paddle_dtype: floating weights are cast to it; float32 unless given; "auto" keeps the file's.
                `torch_dtype` and `dtype` mean the same.
            variant: only files of this variant are read, such as "fp16" (`model_state.fp16.safetensors`).
            use_safetensors: True: only `.safetensors`; False: only pickles (`.pdparams`, `.bin`); None: either.
            kwargs: values that replace those of the configuration; and where to look for a name: `source`,
                `revision`, `cache_dir`, `force_download`, `local_files_only`, `token`, `proxies`, and the old flags
                `from_hf_hub=`, `from_aistudio=`, `from_diffusers=` (`io.resolve.take_source_options`).

        Raises:
            SourceError: the folder, its configuration or the weights asked for are not there.
            WeightsError: weights are damaged, missing, unexpected or mis-shaped; all of them are listed.
            UnsafeFileError: a pickle wants to run code; nothing was run.
            InputError: unknown arguments.
        """
        for alias in ("torch_dtype", "dtype"):
            given = kwargs.pop(alias, None)
            paddle_dtype = given if paddle_dtype is None else paddle_dtype
        options = take_source_options(kwargs)
        dtype = _wanted_dtype(paddle_dtype)
        needs = NeedNetwork(cls.weights_stems, variant, use_safetensors)
        folder = resolve_folder(pretrained_model_name_or_path, subfolder, needs, options)
        path = find_weights(folder, cls.weights_stems, variant, use_safetensors)
        with paddle.LazyGuard():  # parameters get neither memory nor random values yet
            layer, unused = cls.from_config_folder(folder, kwargs)
        if unused:
            raise InputError(
                f"{cls.__name__}.from_pretrained does not know these arguments.",
                problems=[f"{key}={value!r}" for key, value in unused.items()],
                expected="arguments of from_pretrained and keys of the configuration",
            )
        load_checkpoint(layer, open_weights(path), dtype)
        layer.eval()
        return layer

    @classmethod
    def from_config_folder(cls, folder: Path, overrides: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Make the network, without weights, from the configuration in `folder`: (network, unused overrides)."""
        config = load_config_from(folder, cls.config_name)
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
        """Write configuration and weights into a folder, so that an interruption leaves what was there before.

        Args:
            save_directory: where to; made if it is not there.
            safe_serialization: `model_state.safetensors`; False: `model_state.pdparams`, which paddle.load reads.
            variant: part of the file's name, such as "fp16".
            max_shard_size: weights that take more are written as several files and an index; bytes or "10GB".
            to_diffusers: PyTorch's layout and file name (safetensors), for diffusers or transformers to load.
            kwargs: `is_main_process` and `push_to_hub=False` are accepted.

        Raises:
            InputError: unknown arguments, or pickles asked for in PyTorch's layout.
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
        self.save_config(save_directory)
        tensors: Mapping[str, LazyTensor] = lazy_state_dict(self)
        if to_diffusers:
            tensors = to_torch_layout(tensors, self)
        save_weights(
            tensors,
            Path(save_directory),
            stem=self.weights_stems[0] if to_diffusers else OUR_STEM,
            suffix=".safetensors" if safe_serialization else ".pdparams",
            framework="pytorch" if to_diffusers else "paddle",
            variant=variant,
            max_shard_size=max_shard_size,
            stems=self.weights_stems,
        )

    # -- device and dtype -------------------------------------------------------------------------------------

    def to(self, *args: Any, device: Any = None, dtype: Any = None, blocking: bool | None = None) -> Any:
        """Move to a device ("cpu", "gpu:0"), cast floating parameters and buffers, or both; returns the network.

        `to("gpu")`, `to("float16")` and `to(paddle.float16)` work without keywords. Integers and booleans keep their
        dtype, where Paddle's own `to` would make positions and masks floating.
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
            self._to_impl(dtype=dtype, blocking=blocking, floating_only=True)
        return self

    # -- properties -------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> Any:
        """Paddle dtype of the first floating parameter."""
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.is_floating_point():
                return tensor.dtype
        return paddle.get_default_dtype()

    @property
    def device(self) -> Any:
        """Place of the first parameter."""
        for parameter in self.parameters():
            return parameter.place
        return paddle.CPUPlace()

    def num_parameters(self, only_trainable: bool = False) -> int:
        """Number of parameter elements."""
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
    """The weights file (or shard index) of a folder, by the order that `from_pretrained` documents.

    Raises:
        SourceError: none of the names is there; the message lists what is.
    """
    names = candidate_names(stems, variant, use_safetensors)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    present = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    asked = "" if variant is None else f" of the variant {variant!r}"
    kind = {None: "", True: " as safetensors", False: " as pickles"}[use_safetensors]
    raise SourceError(
        f"The folder has no weights{asked}{kind}.",
        where=folder,
        problems=[f"present: {name}" for name in present],
        expected=f"one of {', '.join(names)}",
        remedy="check `variant` and `use_safetensors`; no other file is taken in their place.",
    )


# -- filling a network --------------------------------------------------------------------------------------------


def load_checkpoint(layer: nn.Layer, checkpoint: Checkpoint, dtype: str | None) -> None:
    """Put the tensors of a checkpoint into a network, one after the other.

    Args:
        layer: built normally or under `paddle.LazyGuard`.
        checkpoint: of either framework.
        dtype: floating tensors are cast to it; None keeps theirs.

    Raises:
        WeightsError: keys are missing, unexpected or mis-shaped; all of them are listed.
    """
    tensors = tensors_for(layer, checkpoint)
    state = layer.state_dict()
    filled: set[int] = set()
    for key, target in state.items():
        if key in tensors and id(target) not in filled:
            tensor = tensors[key] if dtype is None else tensors[key].astype(dtype)
            fill_tensor(target, tensor)
            filled.add(id(target))
    for parameter in layer.parameters():
        if not parameter._is_initialized():  # absent and allowed to be: the layer's own initial value
            parameter.initialize()
    _forget_lazy_state(layer)


def tensors_for(layer: nn.Layer, checkpoint: Checkpoint) -> dict[str, LazyTensor]:
    """The tensors of a checkpoint of either framework, not yet read, in Paddle's layout under the layer's own names.

    Raises:
        WeightsError: keys are missing, unexpected or mis-shaped; all of them are listed.
    """
    source = checkpoint.files[0]
    tensors = apply_families(getattr(layer, "load_families", ()), checkpoint, where=source)
    if checkpoint.framework == "pytorch":
        tensors = to_paddle_layout(tensors, layer)
    _compare(layer, layer.state_dict(), tensors, source)
    return tensors


def fill_tensor(target: paddle.Tensor, tensor: LazyTensor) -> None:
    """Give a parameter or buffer the values and the dtype of `tensor`, keeping it the same Python object."""
    value = paddle.to_tensor(tensor.read())  # uint16 arrays become bfloat16: their bits
    value._share_buffer_to(target)


def _forget_lazy_state(layer: nn.Layer) -> None:
    # LazyGuard leaves on every parameter the function that would have made its initial values, and with it a
    # reference to a block of a program: neither can be pickled, and a deep copy would copy them.
    for parameter in layer.parameters():
        for name in ("_init_func", "_init_op_creator"):
            if getattr(parameter, name, None) is not None:
                setattr(parameter, name, None)


def _compare(
    layer: nn.Layer, state: Mapping[str, paddle.Tensor], tensors: Mapping[str, LazyTensor], source: Path
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
        if (tensor.dtype in FLOATING) != target.is_floating_point()
    ]
    problems = [*missing, *unexpected, *shapes, *kinds]
    if problems:
        raise WeightsError(
            f"The weights do not fit {type(layer).__name__}: {len(missing)} missing, {len(unexpected)} unexpected, "
            f"{len(shapes)} of another shape, {len(kinds)} of another kind. Shapes are Paddle's.",
            where=source,
            problems=problems,
            expected=f"{len(state)} tensors",
            remedy="check that configuration and weights belong together.",
        )


def _wanted_dtype(paddle_dtype: Any) -> str | None:
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
    """The state dict of a network as tensors that are fetched (from the device) one at a time."""
    return {key: _lazy(tensor) for key, tensor in layer.state_dict().items()}


def _lazy(tensor: paddle.Tensor) -> LazyTensor:
    # numpy() of a bfloat16 tensor gives its bits as uint16
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
    """Write weights into a folder as one file, or as shards and an index; gives the paths, the index first.

    All files appear together when everything is written. Then what would be loaded in their place, or belonged to
    an earlier save under the same name, is removed.

    Args:
        stem: file name without ending; suffix: ".safetensors" or ".pdparams".
        framework: the layout the tensors have, "pytorch" or "paddle".
        stems: the names PyTorch's side uses for this network, to find what an earlier save left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = _into_shards(tensors, parse_size(max_shard_size))
    base = f"{stem}.{variant}" if variant else stem
    if len(shards) == 1:
        names = [base + suffix]
    else:
        names = [f"{base}-{n:05d}-of-{len(shards):05d}{suffix}" for n in range(1, len(shards) + 1)]
    index_name = index_names(stem, suffix, variant)[0] if len(shards) > 1 else None
    with ExitStack() as stack:  # leaving it renames every file into its place
        for name, shard in zip(names, shards, strict=True):
            staging = stack.enter_context(replace_file(folder / name))
            if suffix == ".safetensors":
                write_safetensors(staging, shard, {"format": "pt" if framework == "pytorch" else "pd"})
            else:
                write_pdparams(staging, shard)
        if index_name:
            weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
            total = sum(tensor.nbytes for tensor in tensors.values())
            index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
            staging = stack.enter_context(replace_file(folder / index_name))
            staging.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    written = [index_name, *names] if index_name else names
    _remove_stale(folder, set(written), base, suffix, variant, stems or (stem,))
    return [folder / name for name in written]


def _remove_stale(
    folder: Path, written: set[str], base: str, suffix: str, variant: str | None, stems: tuple[str, ...]
) -> None:
    candidates = candidate_names(stems, variant)
    # PyTorch's names of all stems and ours: those before the one written would win when the folder is loaded.
    first = min((candidates.index(name) for name in written if name in candidates), default=len(candidates))
    stale = {name for name in candidates[:first] if (folder / name).is_file()}
    own = {f"{base}{suffix}", *index_names(base.split(".")[0], suffix, variant)}
    shard = re.compile(re.escape(base) + r"-\d{5}-of-\d{5}" + re.escape(suffix))
    stale |= {e.name for e in folder.iterdir() if e.name in own or shard.fullmatch(e.name)}
    for name in stale - written:
        if name.endswith(".json"):
            stale |= _shards_of(folder / name)
    for name in stale - written:
        (folder / name).unlink(missing_ok=True)


def _shards_of(index: Path) -> set[str]:
    listed = read_json(index).get("weight_map", {})
    return {name for name in listed.values() if isinstance(name, str) and Path(name).name == name}


def _into_shards(tensors: Mapping[str, LazyTensor], limit: int) -> list[dict[str, LazyTensor]]:
    """Fill one shard after the other; a tensor above the limit gets one of its own."""
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
    """Bytes of "10GB", "500MB", "2GiB", or of a number.

    Raises:
        InputError: it is no positive size.
    """
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(size))
    bytes_ = int(float(found[1]) * units[found[2].upper()]) if found and found[2].upper() in units else 0
    if bytes_ <= 0:
        raise InputError(f"max_shard_size={size!r} is not a size.", expected='bytes, or a text such as "10GB"')
    return bytes_
