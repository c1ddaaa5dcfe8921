"""The plan of a conversion: everything to write, worked out and checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from ppdiffusers import registry
from ppdiffusers.conversion.configs import config_for_diffusers, config_for_paddle, index_for
from ppdiffusers.conversion.options import Options
from ppdiffusers.conversion.weight_files import find_weights
from ppdiffusers.convert.apply import apply_rules, load_key_mapping, to_torch_layout
from ppdiffusers.convert.model_index import INDEX_NAME, ModelIndex, parse_model_index
from ppdiffusers.convert.rules import inverse
from ppdiffusers.core.config_types import built_from_configuration
from ppdiffusers.core.errors import ConfigError, ConversionError, PPDiffusersError, SourceError, UnsafeFileError
from ppdiffusers.core.files import absolute_path
from ppdiffusers.core.reading import read_json
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.hubs.local import component_folder, numbered_folders, numbered_name
from ppdiffusers.io.pretrained import PretrainedMixin, load_config_from, tensors_for
from ppdiffusers.io.snapshot import BOOKKEEPING
from ppdiffusers.io.weight_names import is_weights_file
from ppdiffusers.registry import Entry

WHOLE_FOLDER = "."  # name of a component whose folder is the source itself
LARGEST_COPY = 64 << 20  # bytes; a larger unknown file is reported and not copied
SCHEDULER_CONFIG = "scheduler_config.json"
MODEL_CONFIG = "config.json"
# Configuration files that identify the class of a single component, and the keys that name it. Networks come first: the
# folder of a network may also contain the configuration of its scheduler, which is copied.
_CLASS_KEYS = {
    MODEL_CONFIG: ("_class_name", "architectures"),
    "model_config.json": ("_class_name", "architectures", "init_class"),
    SCHEDULER_CONFIG: ("_class_name",),
    "tokenizer_config.json": ("tokenizer_class",),
    "preprocessor_config.json": ("image_processor_type", "feature_extractor_type"),
}


@dataclass
class Component:
    """One component to convert.

    Attributes:
        name: its folder in source and output; "." if it is the whole folder.
        class_name: name of its class, or of the checkpoint family that the output belongs to.
        source: its folder, or the checkpoint file.
        config: file name -> JSON object to write.
        tensors: tensors to write, with the names, layout and dtype of the target; None without weights.
        weights_stem: name of the weights file to write, without its extension.
        files: files to copy unchanged.
        reference: load the network in PyTorch from the checkpoint itself, to verify the output; None if `source` is a
            folder that PyTorch's libraries load.
        save: writes the files of a component without weights to a folder.
    """

    name: str
    class_name: str
    source: Path
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    tensors: dict[str, LazyTensor] | None = None
    weights_stem: str = "model_state"
    files: list[Path] = field(default_factory=list)
    reference: Callable[[], Any] | None = None
    save: Callable[[Path], None] | None = None


@dataclass
class Plan:
    """Everything that a conversion writes.

    Attributes:
        components: in the order of the index.
        index: content of `model_index.json`; None for a single component.
        files: other files in the root of the source to copy.
        left_out: files that are not converted, relative to the source, and the reason.
    """

    components: list[Component] = field(default_factory=list)
    index: dict[str, Any] | None = None
    files: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Size of all weights to write."""
        return sum(t.nbytes for component in self.components for t in (component.tensors or {}).values())


def make_plan(source: Path, options: Options) -> Plan:
    """Read the configurations and file headers in `source` and plan the output.

    Raises:
        ConversionError: components cannot be converted; the message lists every problem of every component.
    """
    plan = Plan()
    problems: list[str] = []
    _refuse_links_to_the_outside(source)
    if (source / INDEX_NAME).is_file():
        index = parse_model_index(source / INDEX_NAME)
        _refuse_malformed_components(source, index)
        folders, entries = _component_folders(source, index)
        plan.index = index_for(index, options.to, options.layout)
    else:
        entries = {WHOLE_FOLDER: entry_of_component(source)}
        folders = {WHOLE_FOLDER: source}
    used_in_root: set[str] = set()  # files of components that are stored in the root of the source
    for name, entry in entries.items():
        try:
            component = Component(name, entry.name, folders[name])
            used = _plan_component(component, entry, options)
            if component.source == source and plan.index is not None:
                used_in_root |= used
            else:
                _plan_files(component.source, used, component.files, plan, source)
            plan.components.append(component)
        except PPDiffusersError as error:
            problems.append(f"{name if name != WHOLE_FOLDER else entry.name}: {error}".replace("\n", "\n    "))
    if plan.index is not None:
        _plan_files(
            source,
            {INDEX_NAME, *entries, *(folder.name for folder in folders.values()), *used_in_root},
            plan.files,
            plan,
            source,
        )
    if problems:
        raise ConversionError(
            f"{len(problems)} of {len(entries)} components cannot be converted.",
            where=source,
            problems=problems,
            remedy="fix all of these and convert again; nothing was written.",
        )
    return plan


def _refuse_links_to_the_outside(source: Path) -> None:
    """Raise UnsafeFileError if files of the source, or their folders, are links to something outside of it.

    Copying such files would publish them with the output. In the cache of `huggingface_hub`, the files of a snapshot
    are links to the folder of the model.
    """
    root = source.parents[1] if source.parent.name == "snapshots" else source
    found = []
    for folder in (source, *(path for path in _visible(source) if path.is_dir() and not path.is_symlink())):
        for path in _visible(folder):
            target = absolute_path(path)
            if path.is_symlink() and root not in (target, *target.parents):
                found.append(f"{path.relative_to(source).as_posix()} -> {target}")
    if found:
        raise UnsafeFileError(
            "The folder contains links to files outside of it.",
            where=source,
            problems=found,
            remedy="replace the links by copies of the files, if you trust the author of the folder.",
        )


def _refuse_malformed_components(source: Path, index: ModelIndex) -> None:
    """Raise ConfigError if components of the pipeline are no pairs of library and class."""
    pipeline = registry.find(index.pipeline)
    components = pipeline.load().component_names()[0] if pipeline is not None and pipeline.kind == "pipeline" else ()
    wrong = [
        f"{name}: {value!r}"
        for name, value in index.settings.items()
        if (name in components and value is not None) or (source / name).is_dir()
    ]
    if wrong:
        raise ConfigError(
            "Components in the index are malformed.",
            where=index.file,
            problems=wrong,
            expected='pairs such as ["diffusers", "UNet2DConditionModel"], or [null, null]',
        )


def _component_folders(source: Path, index: ModelIndex) -> tuple[dict[str, Path], dict[str, Entry]]:
    """Return the folder and the class of each component; each of several networks is a component here."""
    folders: dict[str, Path] = {}
    entries: dict[str, Entry] = {}
    for name, component in index.components.items():
        entry = component.known
        if entry is None:
            continue
        network = registry.find(entry.networks_class)
        if network is None:
            folders[name], entries[name] = component_folder(source, name, entry), entry
            continue
        for n, folder in enumerate(numbered_folders(source / name) or [source / name]):  # missing: reported later
            folders[numbered_name(name, n)], entries[numbered_name(name, n)] = folder, network
    return folders, entries


# -- components ---------------------------------------------------------------------------------------------------


def _plan_component(component: Component, entry: Entry, options: Options) -> set[str]:
    """Fill in configuration and tensors; return the names of files that need not be copied."""
    if not component.source.is_dir():
        raise ConversionError("The folder of a component in the index is missing.", where=component.source)
    read: set[Path] = set()
    if entry.has_weights:
        read = _plan_network(component, entry, options)
    elif entry.kind == "scheduler":
        config = read_json(component.source / SCHEDULER_CONFIG)
        with built_from_configuration(entry.name, component.source / SCHEDULER_CONFIG):
            entry.load().from_config(config)  # warns about unknown keys, raises for unknown values
        component.config[SCHEDULER_CONFIG] = converted_config(config, entry.name, options)
    else:
        entry.load().from_pretrained(component.source)  # raises if files are missing or damaged
    written = {INDEX_NAME, *component.config, *(("model_config.json",) if component.tensors is not None else ())}
    return {path.name for path in read} | written


def _plan_network(component: Component, entry: Entry, options: Options) -> set[Path]:
    """Fill in configuration and tensors; return the weights files that are read."""
    config = load_config_from(component.source, MODEL_CONFIG)
    component.config[MODEL_CONFIG] = converted_config(config, entry.name, options)
    checkpoint = find_weights(component.source, options.source_framework, options.variant)
    layer = empty_layer(
        entry.name,
        component.source / MODEL_CONFIG,
        lambda: entry.load().from_config_folder(component.source, {})[0],
    )
    plan_tensors(component, layer, tensors_for(layer, checkpoint), options)
    return set(checkpoint.files)


def plan_tensors(component: Component, layer: nn.Layer, tensors: dict[str, LazyTensor], options: Options) -> None:
    """Fill in the tensors to write: `tensors`, in the names and layout of `layer`, as the options ask for."""
    if options.to == "diffusers":
        tensors = to_torch_layout(tensors, layer)
        component.weights_stem = type(layer).weights_stems[0]
    elif options.layout == "paddlenlp":
        tensors = _rename_to_paddlenlp(type(layer), tensors)
    if options.dtype is not None:
        tensors = {name: tensor.astype(options.dtype) for name, tensor in tensors.items()}
    component.tensors = tensors


def empty_layer(class_name: str, where: object, make: Callable[[], nn.Layer]) -> nn.Layer:
    """Build a network with names and shapes only: it allocates no memory and draws no random numbers.

    Raises:
        ConfigError: the configuration, at `where`, does not describe a network.
    """
    with built_from_configuration(class_name, where), paddle.LazyGuard():
        return make()


def _rename_to_paddlenlp(cls: type[PretrainedMixin], tensors: dict[str, LazyTensor]) -> dict[str, LazyTensor]:
    for name in cls.key_mappings:
        if name.startswith("paddlenlp"):
            tensors = apply_rules(inverse(load_key_mapping(name).rules), tensors, name=f"the names of {name}")
    return tensors


def converted_config(config: Mapping[str, Any], class_name: str, options: Options) -> dict[str, Any]:
    """Return a component's configuration as the target framework reads it."""
    if options.to == "paddle":
        return config_for_paddle(config, class_name, options.dtype)
    return config_for_diffusers(config, class_name, options.dtype)


# -- other files --------------------------------------------------------------------------------------------------


def _plan_files(folder: Path, used: Collection[str], files: list[Path], plan: Plan, root: Path) -> None:
    """Copy or leave out every file in `folder` that is not in `used`."""
    for path in _visible(folder):
        if path.name not in used:
            _copy_or_leave_out(path, files, plan, root)


def _copy_or_leave_out(path: Path, files: list[Path], plan: Plan, root: Path) -> None:
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        plan.left_out[name] = "not the folder of a component"
    elif not path.is_file():  # a pipe, a device, or a link to itself
        plan.left_out[name] = "not a file"
    elif is_weights_file(path.name):
        plan.left_out[name] = "other weights"
    elif path.stat().st_size > LARGEST_COPY:
        plan.left_out[name] = "unknown large file"
    else:
        files.append(path)


def _visible(folder: Path) -> list[Path]:
    visible = (path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in BOOKKEEPING)
    return sorted(visible)


def entry_of_component(source: Path) -> Entry:
    """Find the class of a single component by its configuration files."""
    known = registry.components()
    for name, keys in _CLASS_KEYS.items():
        if not (source / name).is_file():
            continue
        config = read_json(source / name)
        for key in keys:
            value = config.get(key)
            class_name = value[0] if isinstance(value, list) and value else value
            if isinstance(class_name, str) and class_name in known:
                return known[class_name]
        raise ConfigError(
            "The configuration does not name a known class.",
            where=source / name,
            problems=[f"{key}: {config.get(key)!r}" for key in keys],
            expected=f"one of {', '.join(sorted(known))}",
        )
    raise SourceError(
        "The folder is neither a pipeline nor a component.",
        where=source,
        expected=f"{INDEX_NAME}, or one of {', '.join(_CLASS_KEYS)}",
        remedy="pass the folder that contains model_index.json, or the folder of one component.",
    )
