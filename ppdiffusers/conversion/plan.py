"""What a conversion will write, worked out and checked in full before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from ppdiffusers import registry
from ppdiffusers.conversion.configs import config_for_diffusers, config_for_paddle, index_for
from ppdiffusers.conversion.weight_files import find_weights, is_weights_file
from ppdiffusers.convert.apply import apply_rules, load_family, to_torch_layout
from ppdiffusers.convert.model_index import INDEX_NAME, parse_model_index
from ppdiffusers.convert.rules import inverse
from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import ConfigError, ConversionError, PPDiffusersError, SourceError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.hubs.local import component_folder
from ppdiffusers.io.pretrained import load_config_from, tensors_for
from ppdiffusers.io.snapshot import BOOKKEEPING

SINGLE = "."  # the name of a component that is the whole folder
LARGEST_COPY = 64 << 20  # bytes; a bigger unknown file is named, not copied
SCHEDULER_CONFIG = "scheduler_config.json"
MODEL_CONFIG = "config.json"
# The configuration files by which the class of a lone component is known, and the key that names it.
_CLASS_KEYS = {
    SCHEDULER_CONFIG: ("_class_name",),
    MODEL_CONFIG: ("_class_name", "architectures"),
    "model_config.json": ("_class_name", "architectures", "init_class"),
    "tokenizer_config.json": ("tokenizer_class",),
    "preprocessor_config.json": ("image_processor_type", "feature_extractor_type"),
}


@dataclass(frozen=True)
class Options:
    """How to convert; see `convert_folder`."""

    to: str
    dtype: str | None
    format: str
    layout: str
    variant: str | None

    @property
    def source_framework(self) -> str:
        return "pytorch" if self.to == "paddle" else "paddle"


@dataclass
class Component:
    """One component on its way.

    Attributes:
        name: its folder in source and output; "." where it is the whole folder.
        class_name: as the original library calls it.
        cls: our class.
        source: its folder.
        config: file name -> JSON object to write.
        tensors: what to write, in the target's names, layout and dtype; None for a component without weights.
        weights_stem: the output's file name without its ending.
        files: files to copy, as they are.
    """

    name: str
    class_name: str
    cls: type
    source: Path
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    tensors: dict[str, LazyTensor] | None = None
    weights_stem: str = "model_state"
    files: list[Path] = field(default_factory=list)


@dataclass
class Plan:
    """Everything that a conversion will write.

    Attributes:
        components: in the order of the index.
        index: what `model_index.json` will say; None for a lone component.
        files: other files of the source's root to copy.
        left_out: what is not taken over, relative to the source, and why.
    """

    components: list[Component] = field(default_factory=list)
    index: dict[str, Any] | None = None
    files: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all weights to write."""
        return sum(t.nbytes for component in self.components for t in (component.tensors or {}).values())


def make_plan(source: Path, options: Options) -> Plan:
    """Read the headers of everything in `source` and work out the output.

    Raises:
        ConversionError: whatever is wrong in any component, all of it.
    """
    plan = Plan()
    problems: list[str] = []
    if (source / INDEX_NAME).is_file():
        index = parse_model_index(source / INDEX_NAME)
        found = {name: entry.known for name, entry in index.components.items() if entry.known is not None}
        folders = {name: component_folder(source, name, known) for name, known in found.items()}
        plan.index = index_for(index, options.to, options.layout)
    else:
        found = {SINGLE: _lone_class(source)}
        folders = {SINGLE: source}
    beside: set[str] = set()  # files of components that have no folder of their own
    for name, known in found.items():
        try:
            component = Component(name, known.name, import_class(known.name), folders[name])
            used = _plan_component(component, options)
            if component.source == source and plan.index is not None:
                beside |= used
            else:
                _plan_files(component.source, used, component.files, plan, source)
            plan.components.append(component)
        except PPDiffusersError as error:
            problems.append(f"{name if name != SINGLE else known.name}: {error}".replace("\n", "\n    "))
    if plan.index is not None:
        _plan_files(source, {INDEX_NAME, *found, *beside}, plan.files, plan, source)
    if problems:
        raise ConversionError(
            f"{len(problems)} of {len(found)} components cannot be converted.",
            where=source,
            problems=problems,
            remedy="mend all of these; nothing was written.",
        )
    return plan


def check_room(plan: Plan, output: Path) -> None:
    """Raise ConversionError if the disk that `output` is on has no room for the weights."""
    folder = next(parent for parent in output.parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if plan.nbytes > free:
        raise ConversionError(
            "The disk has not enough room for the output.",
            where=output,
            problems=[f"needed: {plan.nbytes:,} bytes", f"free: {free:,} bytes"],
            remedy="free some space or choose another --output_path; nothing was written.",
        )


# -- components ---------------------------------------------------------------------------------------------------


def _plan_component(component: Component, options: Options) -> set[str]:
    """Fill in all but the files to copy; gives the names of those that need no copying."""
    if not component.source.is_dir():
        raise ConversionError("The folder that the index names is missing.", where=component.source)
    read: set[Path] = set()
    if issubclass(component.cls, nn.Layer):
        read = _plan_model(component, options)
    elif (component.source / SCHEDULER_CONFIG).is_file():
        config = read_json(component.source / SCHEDULER_CONFIG)
        component.cls.from_config(config)  # raises for a key that we do not know
        component.config[SCHEDULER_CONFIG] = converted_config(config, component.class_name, options)
    else:
        component.cls.from_pretrained(component.source)  # raises when files are missing or damaged
    written = {INDEX_NAME, *component.config, *(("model_config.json",) if component.tensors is not None else ())}
    return {path.name for path in read} | written


def _plan_files(folder: Path, used: Collection[str], files: list[Path], plan: Plan, root: Path) -> None:
    """Copy or leave out what lies in `folder` and is not `used`."""
    for path in _visible(folder):
        if path.name not in used:
            _copy_or_leave(path, files, plan, root)


def _plan_model(component: Component, options: Options) -> set[Path]:
    """Fill in configuration and tensors; gives the weights files that they come from."""
    config = load_config_from(component.source, MODEL_CONFIG)
    component.config[MODEL_CONFIG] = converted_config(config, component.class_name, options)
    checkpoint = find_weights(component.source, options.source_framework, options.variant)
    layer = empty_layer(
        component.class_name,
        component.source / MODEL_CONFIG,
        lambda: component.cls.from_config_folder(component.source, {})[0],
    )
    finish_tensors(component, layer, tensors_for(layer, checkpoint), options)
    return set(checkpoint.files)


def finish_tensors(component: Component, layer: nn.Layer, tensors: dict[str, LazyTensor], options: Options) -> None:
    """Fill in the tensors to write: `tensors`, in our names and layout, as the options want them."""
    if options.to == "diffusers":
        tensors = to_torch_layout(tensors, layer)
        component.weights_stem = component.cls.weights_stems[0]
    elif options.layout == "paddlenlp":
        tensors = _in_paddlenlp_names(component.cls, tensors)
    if options.dtype is not None:
        tensors = {name: tensor.astype(options.dtype) for name, tensor in tensors.items()}
    component.tensors = tensors


def empty_layer(class_name: str, where: object, make: Callable[[], nn.Layer]) -> nn.Layer:
    """The network that `make` builds, with names and shapes only: no memory, no random numbers.

    Raises:
        ConfigError: the configuration, at `where`, describes no network.
    """
    try:
        with paddle.LazyGuard():
            return make()
    except PPDiffusersError:
        raise
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError) as error:
        raise ConfigError(
            f"No {class_name} can be made from the configuration: {type(error).__name__}: {error}",
            where=where,
            remedy="check its values: types, signs, lengths of lists.",
        ) from error


def _in_paddlenlp_names(cls: type, tensors: dict[str, LazyTensor]) -> dict[str, LazyTensor]:
    for name in cls.load_families:
        if name.startswith("paddlenlp"):
            tensors = apply_rules(inverse(load_family(name).rules), tensors, name=f"the names of {name}")
    return tensors


def converted_config(config: Mapping[str, Any], class_name: str, options: Options) -> dict[str, Any]:
    """A component's configuration for the framework that the options name."""
    if options.to == "paddle":
        return config_for_paddle(config, class_name, options.dtype)
    return config_for_diffusers(config, class_name, options.dtype)


def _copy_or_leave(path: Path, files: list[Path], plan: Plan, root: Path) -> None:
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        plan.left_out[name] = "a folder that is no component"
    elif is_weights_file(path):
        plan.left_out[name] = "other weights"
    elif path.stat().st_size > LARGEST_COPY:
        plan.left_out[name] = "an unknown large file"
    else:
        files.append(path)


def _lone_class(source: Path) -> registry.Entry:
    """The class of a component that lies in a folder of its own."""
    for name, keys in _CLASS_KEYS.items():
        if not (source / name).is_file():
            continue
        config = read_json(source / name)
        for key in keys:
            value = config.get(key)
            class_name = value[0] if isinstance(value, list) and value else value
            if isinstance(class_name, str) and class_name in registry.components():
                return registry.components()[class_name]
        raise ConfigError(
            "The configuration names no class that we have.",
            where=source / name,
            problems=[f"{key}: {config.get(key)!r}" for key in keys],
            expected=f"one of {', '.join(sorted(registry.components()))}",
        )
    raise SourceError(
        "The folder is neither a pipeline nor a component.",
        where=source,
        expected=f"{INDEX_NAME}, or one of {', '.join(_CLASS_KEYS)}",
        remedy="give the folder that holds model_index.json, or that of one component.",
    )


def import_class(class_name: str) -> type:
    """Our class by its name, which is one of `registry.components()`."""
    return registry.components()[class_name].load()


def _visible(folder: Path) -> list[Path]:
    hidden = (path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in BOOKKEEPING)
    return sorted(hidden)
