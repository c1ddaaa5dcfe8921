"""Find and open one file of additional weights: given as a file, a folder, a name on a hub, or tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.core.files import expand_user, path_inside
from ppdiffusers.io.required_files import FirstOf
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.io.weight_names import SUFFIXES
from ppdiffusers.io.weights import Checkpoint, open_weights
from ppdiffusers.utils.lazy_tensors import as_lazy_tensor
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

# Files of these names in a folder belong to a training run.
_TRAINING_STATE = ("scheduler", "optimizer", "checkpoint")


def open_additional_weights(
    source: Any, default_names: tuple[str, ...], kwargs: Mapping[str, Any], nested: bool = False
) -> Checkpoint:
    """Open the file that the arguments of a `load_...` method mean.

    Args:
        source: a file, a folder, the name of a repository, or a dictionary of tensors or arrays.
        default_names: file names in a repository or folder, in order of preference.
        kwargs: `weight_name`, `subfolder`, `use_safetensors` and hub options.
        nested: as in `open_weights`.

    Raises:
        InputError: unknown arguments.
        SourceError: no such file.
    """
    kwargs = dict(kwargs)
    options = pop_hub_options(kwargs)
    weight_name, subfolder = kwargs.pop("weight_name", None), kwargs.pop("subfolder", None)
    use_safetensors = kwargs.pop("use_safetensors", None)
    if kwargs:
        raise InputError(
            "These arguments are unknown.",
            problems=[f"{key}={value!r}" for key, value in kwargs.items()],
            expected="weight_name, subfolder, use_safetensors, and options of hubs",
        )
    if isinstance(source, Mapping):
        tensors = {name: as_lazy_tensor(name, tensor) for name, tensor in source.items()}
        return Checkpoint(tensors, "pytorch", (), {})
    path = expand_user(source)
    if path.is_file():
        return open_weights(path, nested)
    names = [weight_name] if weight_name else _allowed(default_names, use_safetensors)
    if path.is_dir():
        folder = path_inside(path, subfolder, "subfolder") if subfolder else path
        return open_weights(_file_in(folder, names, [] if weight_name else _allowed(SUFFIXES, use_safetensors)), nested)
    folder = resolve_folder(source, subfolder, FirstOf(tuple(names)), options)
    return open_weights(_file_in(folder, names, []), nested)


def _allowed(names: tuple[str, ...], use_safetensors: bool | None) -> list[str]:
    return [name for name in names if use_safetensors is None or name.endswith(".safetensors") == use_safetensors]


def _file_in(folder: Path, names: list[str], suffixes: list[str]) -> Path:
    """Return the first of these files in the folder, otherwise a file with one of the suffixes."""
    for name in names:
        path = path_inside(folder, name, "weight_name")
        if path.is_file():
            return path
    found = sorted(path.name for path in folder.iterdir() if path.suffix in SUFFIXES) if folder.is_dir() else []
    others = [
        name
        for suffix in suffixes
        for name in found
        if name.endswith(suffix) and not any(word in name for word in _TRAINING_STATE)
    ]
    if not others:
        raise SourceError(
            f"The folder does not have {' or '.join(map(str, names))}.",
            where=folder,
            problems=[f"it has {', '.join(found)}"] if found else [],
            remedy="pass `weight_name=`, or the path of the file.",
        )
    if len(others) > 1:
        logger.warning("%s has several weights files; %s is loaded. Choose with `weight_name=`.", folder, others[0])
    return folder / others[0]
