"""State dictionaries for scripts, with names of ppdiffusers 0.29: load files, change layouts, copy into layers."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.convert.layout import linear_weight_keys
from ppdiffusers.core.errors import SourceError
from ppdiffusers.core.tensors import bfloat16_to_float32
from ppdiffusers.io.required_files import FirstOf
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.io.weights import open_weights

# Names to tensors or arrays.
StateDict: TypeAlias = dict[str, Any]

_BATCH_NORM = {"running_var": "_variance", "running_mean": "_mean"}  # PyTorch's names -> Paddle's
_NOT_IN_PADDLE = ("position_ids", "num_batches_tracked")


def smart_load(
    path: str | os.PathLike,
    map_location: str | None = None,
    return_numpy: bool = False,
    return_global_step: bool = False,
    return_is_torch_weight: bool = False,
) -> StateDict:
    """Load all tensors of a weights file of either framework, in the layout of the file.

    Args:
        path: `.safetensors`, `.pdparams`, `.bin`, `.pt`, `.pth` or `.ckpt`.
        map_location: device of the tensors; by default Paddle's current device.
        return_numpy: return arrays; those of bfloat16 tensors are float32.
        return_global_step: keep the counter "global_step" of training checkpoints, if it is a tensor.
        return_is_torch_weight: add the entry "is_torch_weight": whether the layout is PyTorch's.

    Raises:
        SourceError, WeightsError, UnsafeFileError: as `open_weights`.
    """
    checkpoint = open_weights(path)
    place = paddle.get_device() if map_location is None else map_location
    loaded: StateDict = {}
    for name, lazy in checkpoint.items():
        if name == "global_step" and not return_global_step:
            continue
        array = lazy.read()
        if not return_numpy:
            loaded[name] = paddle.to_tensor(array, place=place)  # uint16 arrays are taken as the bits of bfloat16
        else:
            loaded[name] = bfloat16_to_float32(array) if lazy.dtype == "bfloat16" else array
    if return_is_torch_weight:
        loaded["is_torch_weight"] = checkpoint.framework == "pytorch"
    return loaded


def convert_pytorch_state_dict_to_paddle(
    layer: nn.Layer, pt_state_dict: MutableMapping[str, Any], sub_layer: str | None = None
) -> MutableMapping[str, Any]:
    """Transpose the matrices of Linear layers, and rename the statistics of BatchNorm, in place.

    Args:
        layer: the layer that the dictionary is for.
        pt_state_dict: tensors or arrays with the names and the layout of PyTorch.
        sub_layer: keep only names that contain this.
    """
    linear = linear_weight_keys(layer)
    for key in list(pt_state_dict):
        value = pt_state_dict.pop(key)
        path, _, leaf = key.rpartition(".")
        if (sub_layer is not None and sub_layer not in key) or leaf in _NOT_IN_PADDLE:
            continue
        if key in linear and value.ndim == 2:
            value = value.T
        pt_state_dict[f"{path}.{_BATCH_NORM[leaf]}" if leaf in _BATCH_NORM and path else key] = value
    return pt_state_dict


@paddle.no_grad()
def faster_set_state_dict(model: nn.Layer, state_dict: MutableMapping[str, Any]) -> None:
    """Move the values of a state dictionary into a layer, in the dtypes of the layer.

    Entries that the layer has are removed from the dictionary; the others remain in it. Weights that the dictionary
    does not have keep their values; those that have no memory yet (`paddle.LazyGuard`) are initialized.
    """
    for name, weight in model.state_dict(use_hook=False).items():
        if name not in state_dict:
            if not weight._is_initialized():
                weight.initialize()
            continue
        value = state_dict.pop(name)
        value = paddle.to_tensor(value) if isinstance(value, np.ndarray) else value
        if not weight._is_initialized():
            weight.initialize()
        weight.set_value(value.astype(weight.dtype))


def get_model_file(
    pretrained_model_name_or_path: str | os.PathLike,
    *,
    weights_name: str,
    subfolder: str | None = None,
    **kwargs: Any,
) -> str:
    """Return the path of a file of a model; it is downloaded if it is neither a local file nor in the cache.

    Args:
        pretrained_model_name_or_path: the file, a folder, or the name of a repository.
        weights_name: name of the file in the folder or repository.
        subfolder: folder of the file in it.
        kwargs: hub options, such as `revision` and `token`.

    Raises:
        SourceError: the file does not exist.
    """
    path = Path(pretrained_model_name_or_path).expanduser()
    if path.is_file():
        return str(path)
    if path.is_dir():
        file = path / (subfolder or "") / weights_name
        if not file.is_file():
            raise SourceError(
                "The folder does not have the file.", where=file, remedy="check its name and `subfolder`."
            )
        return str(file)
    options = pop_hub_options(dict(kwargs))
    return str(
        resolve_folder(pretrained_model_name_or_path, subfolder, FirstOf((weights_name,)), options) / weights_name
    )
