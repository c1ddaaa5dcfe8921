"""Open a single file, and assign its tensors to networks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from paddle import nn

from ppdiffusers.convert.apply import apply_rules, to_torch_layout
from ppdiffusers.convert.checkpoints.settings import Settings, parse_settings, read_settings
from ppdiffusers.convert.rules import inverse
from ppdiffusers.convert.single_files.layouts import (
    Layout,
    averaged,
    find_layout,
    has_averages,
    names_without_layout,
)
from ppdiffusers.core.errors import ConversionError, InputError, PPDiffusersError, SourceError, WeightsError
from ppdiffusers.core.files import expand_user
from ppdiffusers.core.tensors import FLOATING, LazyTensor, is_loadable
from ppdiffusers.io.http_client import HttpClient, split_address
from ppdiffusers.io.hubs import find_hub
from ppdiffusers.io.hubs.base import HubOptions
from ppdiffusers.io.pretrained import converted_tensors, lazy_state_dict
from ppdiffusers.io.required_files import FirstOf
from ppdiffusers.io.resolve import is_offline, resolve_folder
from ppdiffusers.io.weights import Checkpoint, open_weights
from ppdiffusers.utils.lazy_tensors import as_lazy_tensor
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

# Path of an address: owner/model, then blob or resolve with a revision, then the file. Without a revision, diffusers
# takes the rest for the name of the file. A revision has slashes only in refs/pr/<number> and refs/convert/<format>.
_PATH = re.compile(
    r"/(?:models/)?(?P<name>[^/]+/[^/]+)/"
    r"(?:(?:blob|resolve|raw)/(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+)/)?(?P<file>.*[^/])"
)
_HF_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_MODELSCOPE_HOSTS = ("modelscope.cn", "www.modelscope.cn")
_ACCEPTED = (
    "a path, or an address such as https://huggingface.co/<owner>/<model>/blob/main/<file> or "
    "https://modelscope.cn/models/<owner>/<model>/resolve/master/<file>"
)
_CONFIG_SUFFIXES = (".yaml", ".yml", ".json")
_SHOWN = 5  # names of tensors in a log line


def open_single_file(source: Any, options: HubOptions | None = None, extract_ema: bool = False) -> Checkpoint:
    """Open the single file that an argument of `from_single_file` means. No tensor is read.

    Args:
        source: a file, the address of a file on Hugging Face or ModelScope, or a dictionary of tensors or arrays.
        options: hub options.
        extract_ema: use the averaged weights of the UNet if the file has both.

    Raises:
        SourceError: no such file.
        WeightsError: the file is damaged, or averages are missing.
        UnsafeFileError: a pickle names code to run; nothing was run.
    """
    checkpoint = _open(source, options or HubOptions())
    if not has_averages(checkpoint):
        return checkpoint
    if not extract_ema:
        logger.warning(
            "The file has averaged (EMA) weights in addition to the trained ones, which are loaded. "
            "`extract_ema=True` loads the averages, which are usually better for inference."
        )
        return checkpoint
    logger.warning("The file has averaged (EMA) weights in addition to the trained ones; the averages are loaded.")
    return replace(checkpoint, tensors=averaged(checkpoint))


def _open(source: Any, options: HubOptions) -> Checkpoint:
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, Mapping):
        tensors = {name: as_lazy_tensor(name, tensor) for name, tensor in source.items()}
        return Checkpoint(tensors, "pytorch", (), {})
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(f"{type(source).__name__} is not a single file.", expected="a path, an address or tensors")
    path = expand_user(source)
    if not path.is_file():
        path = _download(str(source), options)
    checkpoint = open_weights(path)
    if checkpoint.framework != "pytorch":
        raise WeightsError(
            "This file is one network in Paddle's layout.",
            where=path,
            expected="a file with the names and the layout of PyTorch",
            remedy="load its folder with `from_pretrained`.",
        )
    return checkpoint


def _download(link: str, options: HubOptions) -> Path:
    found = parse_link(link)
    if found is None:
        is_folder = expand_user(link).is_dir()
        raise SourceError(
            "The path is a folder." if is_folder else "The file does not exist.",
            where=link,
            expected=_ACCEPTED,
            remedy="load a folder with `from_pretrained`." if is_folder else "check the path.",
        )
    changes = {"source": found.hub, "revision": found.revision if options.revision is None else options.revision}
    subfolder, _, name = found.file.rpartition("/")
    folder = resolve_folder(found.model, subfolder or None, FirstOf((name,)), replace(options, **changes))
    return folder / name


def read_original_config(source: Any, options: HubOptions | None = None) -> Settings:
    """Read the configuration of an original repository.

    Args:
        source: a YAML or JSON file of any name, its http(s) address, or its content.

    Raises:
        ConfigError: the file is missing or is not YAML.
        FetchError: the download failed, or the network may not be used.
    """
    if not _is_web_address(source):
        return read_settings(source, flags=False)
    options = options or HubOptions()
    text = HttpClient(options.proxies, is_offline(options)).read(source, limit=1 << 20)
    return parse_settings(text.decode("utf-8", "replace"), source.partition("?")[0])


def is_original_config(config: Any) -> bool:
    """Return whether a configuration is that of an original repository, and neither a folder nor a name on a hub."""
    if config is None or isinstance(config, Mapping) or _is_web_address(config):
        return config is not None
    return Path(config).suffix in _CONFIG_SUFFIXES or expand_user(config).is_file()


def _is_web_address(source: Any) -> bool:
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


@dataclass(frozen=True)
class Link:
    """The address of a file on a hub.

    Attributes:
        hub: "hf" or "modelscope".
        model: "owner/name".
        revision: branch, tag or commit; None for the default.
        file: path in the model.
    """

    hub: str
    model: str
    revision: str | None
    file: str


def parse_link(link: str) -> Link | None:
    """Parse the address of a file on a hub; None for a path.

    Raises:
        SourceError: the host is not one of a supported hub, or the address is not that of a file.
    """
    hosts = _hosts()
    is_web = _is_web_address(link)
    if not is_web and link.partition("/")[0] not in hosts:
        return None
    parts = split_address(link if is_web else f"https://{link}")
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # a query may have a token
    if parts.netloc.rpartition("@")[2] not in hosts:
        raise SourceError(
            "Files are not downloaded from this host.",
            where=shown,
            expected=_ACCEPTED,
            remedy="download the file, and pass its path.",
        )
    found = _PATH.fullmatch(unquote(parts.path))
    if found is None or found["name"].split("/")[0] in ("datasets", "spaces") or found["file"].startswith("tree/"):
        raise SourceError(
            "The address is not that of a file of a model.",
            where=shown,
            expected=_ACCEPTED,
            remedy="copy the address of the file from the page of the model; `from_pretrained` loads a whole model.",
        )
    return Link(hosts[parts.netloc.rpartition("@")[2]], found["name"], found["revision"], found["file"])


def _hosts() -> dict[str, str]:
    """Return host -> hub; a mirror that the environment names is a host of its hub."""
    mirrors = {split_address(find_hub(hub).endpoint).netloc.rpartition("@")[2]: hub for hub in ("hf", "modelscope")}
    return {**dict.fromkeys(_HF_HOSTS, "hf"), **dict.fromkeys(_MODELSCOPE_HOSTS, "modelscope"), **mirrors}


# -- the tensors of a network -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placed:
    """The tensors of one network in a single file.

    Attributes:
        layout: where and how they are stored.
        tensors: with the names and the layout of our network.
        problems: why they do not fit.
        used: their names in the file.
        unused: names in the file under the same prefix that the network does not have.
    """

    layout: Layout
    tensors: dict[str, LazyTensor]
    problems: list[str]
    used: set[str]
    unused: list[str]


def place(layer: nn.Layer, checkpoint: Checkpoint) -> Placed | None:
    """Assign the tensors of a single file to a network; None if the file has no network of its class.

    Args:
        layer: built under `paddle.LazyGuard`.
    """
    layout = find_layout(type(layer).__name__, checkpoint)
    if layout is None:
        return None
    where = checkpoint.files[0] if checkpoint.files else None
    stored = layout.tensors(checkpoint)
    try:
        rules = layout.optional_rules(layer.config)
        renamed = apply_rules(rules, stored, where=where, name="the original names")
    except PPDiffusersError as error:
        return Placed(layout, {}, error.problems or [error.what], set(), [])
    tensors = converted_tensors(layer, replace(checkpoint, tensors=renamed))
    state = layer.state_dict()
    kept = {name: tensor for name, tensor in tensors.items() if name in state}
    unused = _names_in_file(layout, layer, {name: tensors[name] for name in tensors if name not in state})
    problems = _problems(layout, layer, kept, checkpoint)
    return Placed(layout, kept, problems, {layout.prefix + name for name in stored} - set(unused), list(unused))


def _problems(layout: Layout, layer: nn.Layer, tensors: Mapping[str, LazyTensor], checkpoint: Checkpoint) -> list[str]:
    """List missing tensors and wrong shapes and dtypes, by the names in the file."""
    state = lazy_state_dict(layer)
    shared: dict[int, bool] = {}
    for name, parameter in layer.state_dict().items():
        shared[id(parameter)] = shared.get(id(parameter), False) or name in tensors
    missing = {name: state[name] for name, parameter in layer.state_dict().items() if not shared[id(parameter)]}
    shapes = {name: state[name] for name, tensor in tensors.items() if tensor.shape != state[name].shape}
    dtypes = {
        name: state[name]
        for name, tensor in tensors.items()
        if not is_loadable(tensor.dtype, floating=state[name].dtype in FLOATING)
    }
    problems = [f"missing: {name} {tensor.shape}" for name, tensor in _names_in_file(layout, layer, missing).items()]
    problems += [
        f"shape: {name} is {_stored(checkpoint, name)[1]}, expected {tensor.shape}"
        for name, tensor in _names_in_file(layout, layer, shapes).items()
    ]
    return problems + [
        f"dtype: {name} is {_stored(checkpoint, name)[0]}, expected {tensor.dtype}"
        for name, tensor in _names_in_file(layout, layer, dtypes).items()
    ]


def _stored(checkpoint: Checkpoint, name: str) -> tuple[str, object]:
    tensor = checkpoint.get(name)
    return ("different", "different") if tensor is None else (tensor.dtype, tensor.shape)


def _names_in_file(layout: Layout, layer: nn.Layer, ours: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Return tensors by the names that they have, or would have, in the file."""
    if not ours:
        return {}
    linear = to_torch_layout(ours, layer)
    try:
        found = apply_rules(inverse(layout.optional_rules(layer.config)), linear, name="the names of ppdiffusers")
    except PPDiffusersError:  # a part of a matrix: it has no name of its own
        found = linear
    return {layout.prefix + name: tensor for name, tensor in found.items()}


def log_unused(checkpoint: Checkpoint, placed: Iterable[Placed]) -> None:
    """Log, in one line, which tensors of the file no network has: what training tools leave."""
    used = {name for part in placed for name in part.used}
    unused = [name for name in checkpoint if name not in used]
    if unused:
        groups = dict.fromkeys(name.split(".")[0] for name in unused)
        shown = ", ".join(list(groups)[:_SHOWN]) + (", ..." if len(groups) > _SHOWN else "")
        logger.info("%d of %d tensors of the file are not used: %s", len(unused), len(checkpoint), shown)


# -- writing ----------------------------------------------------------------------------------------------------------


def tensors_to_write(layout: Layout, layer: nn.Layer, tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Return the tensors of a network as a single file stores them; they are read when they are written.

    Args:
        layer: the network, with or without memory.
        tensors: with its names and in Paddle's layout.

    Raises:
        ConversionError: a network that the original repositories do not have.
    """
    name = type(layer).__name__
    found = apply_rules(inverse(layout.rules(layer.config)), to_torch_layout(tensors, layer), name=f"those of {name}")
    wrong = [] if layout.has_our_names else names_without_layout(found)
    if wrong:
        raise ConversionError(
            f"This {name} has layers that single files do not have.",
            problems=wrong,
            remedy="save it as a folder: `save_pretrained(folder, to_diffusers=True)`.",
        )
    return {layout.prefix + name: tensor for name, tensor in found.items()}


def metadata_to_write(prediction_type: str | None) -> dict[str, str]:
    """Return the metadata of a single file; the prediction type is not visible in the tensors."""
    prediction = {"v_prediction": "v", "epsilon": "epsilon"}.get(prediction_type or "")
    return {"format": "pt", **({} if prediction is None else {"modelspec.prediction_type": prediction})}


def check_single_file_path(path: str | os.PathLike) -> Path:
    """Return the path of a file to write.

    Raises:
        InputError: its suffix is not `.safetensors`.
    """
    if Path(path).suffix != ".safetensors":
        raise InputError(f"{path} is not the name of a safetensors file.", expected="a name that ends in .safetensors")
    return expand_user(path)
