"""Conversion of a single file to a pipeline folder, and of a folder to a single file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from paddle import nn
from tqdm import tqdm

from ppdiffusers import registry
from ppdiffusers.conversion.configs import index_for
from ppdiffusers.conversion.options import Options, check_options
from ppdiffusers.conversion.paths import check_output
from ppdiffusers.conversion.plan import (
    MODEL_CONFIG,
    SCHEDULER_CONFIG,
    WHOLE_FOLDER,
    Component,
    Plan,
    converted_config,
    empty_layer,
    entry_of_component,
    plan_tensors,
)
from ppdiffusers.conversion.report import ComponentReport, ConversionReport
from ppdiffusers.conversion.single_file_verification import prepare_verification
from ppdiffusers.conversion.verify import need_frameworks
from ppdiffusers.conversion.weight_files import find_weights, frameworks_in
from ppdiffusers.conversion.write import readable_os_errors, with_progress, write_plan
from ppdiffusers.convert.model_index import DIFFUSERS_VERSION, INDEX_NAME, parse_model_index, render_entry
from ppdiffusers.convert.single_files.layouts import LAYOUTS, layouts_to_write
from ppdiffusers.convert.single_files.original_config import with_original_config
from ppdiffusers.convert.single_files.published import Family
from ppdiffusers.convert.single_files.recognition import is_playground, recognise
from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import ConversionError, WeightsError
from ppdiffusers.core.files import absolute_path
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.hubs.local import component_folder
from ppdiffusers.io.pretrained import load_config_from, tensors_for
from ppdiffusers.io.required_files import AllFiles, Configs
from ppdiffusers.io.resolve import resolve_folder
from ppdiffusers.io.single_file import (
    check_single_file_path,
    is_original_config,
    metadata_to_write,
    open_single_file,
    place,
    read_original_config,
    tensors_to_write,
)
from ppdiffusers.io.snapshot import digest_of
from ppdiffusers.io.weights import Checkpoint, write_safetensors
from ppdiffusers.models.single_file import does_not_fit
from ppdiffusers.pipelines.loaders.single_file_parts import FolderParts, Parts, PublishedParts
from ppdiffusers.registry import Entry

_NOT_STORED = "single files do not have it"


# -- a single file to a folder ----------------------------------------------------------------------------------------


def convert_single_file(
    file: str | os.PathLike,
    output_path: str | os.PathLike,
    *,
    config: str | os.PathLike | Mapping[str, Any] | None = None,
    ema: bool = False,
    to: str = "paddle",
    dtype: str | None = None,
    format: str | None = None,
    verify: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> ConversionReport:
    """Convert a single file to the folder of a pipeline or, for a file with one network, of that network.

    Args:
        file: `.safetensors`, `.ckpt`, `.pt` or `.bin`.
        output_path: folder to write. It appears when everything is written, or not at all.
        config: a folder in diffusers' format of a pipeline or of one network, or its name on a hub, with the
            configurations, or the YAML file of the original repository, or its address; by default those of the
            published model whose architecture the file has.
        ema: convert the averaged weights of the UNet if the file has both.
        to: "paddle" or "diffusers".
        dtype, format, verify, overwrite, progress: as in `convert_original`.

    Raises:
        PPDiffusersError: the file cannot be converted; the message lists all problems, and nothing was written.
    """
    options = check_options(to, dtype, format)
    source = absolute_path(file)
    checkpoint = open_single_file(source, extract_ema=ema)
    output = check_output(source, output_path, overwrite)
    if verify:
        need_frameworks()  # raises before the work rather than after it
    with readable_os_errors(output), TemporaryDirectory() as temporary:
        plan_for = partial(make_single_file_plan, checkpoint, config, Path(temporary) / "small")
        plan = plan_for(options)
        if verify:
            prepare_verification(plan, plan_for, source, Path(temporary), options, ema)
        return write_plan(plan, source, output, options, verify=verify, progress=progress)


def make_single_file_plan(
    checkpoint: Checkpoint, config: str | os.PathLike | Mapping[str, Any] | None, small: Path, options: Options
) -> Plan:
    """Plan the folder of a single file.

    Args:
        small: a temporary folder, for the files of tokenizers and image processors.

    Raises:
        PPDiffusersError: the kind of the file is unknown, or tensors are missing; all of them are listed.
    """
    file = checkpoint.files[0]
    pipeline, parts = _parts(checkpoint, config)
    plan = Plan()
    problems: list[str] = []
    for name in parts.names():
        entry = parts.entry(name)
        if entry is None:
            continue
        if name == "safety_checker":
            plan.left_out[name] = _NOT_STORED
            continue
        component = Component(name if pipeline else WHOLE_FOLDER, entry.name, file)
        if entry.has_weights:
            problems += _plan_network(component, entry, parts.config(name), checkpoint, options)
        else:
            _plan_other(component, entry, parts.load(name), small / name, options)
        plan.components.append(component)
    if problems:
        raise does_not_fit(pipeline or "the network", problems, checkpoint)
    if pipeline:
        plan.index = _index(pipeline, parts, plan, options)
    return plan


def _parts(checkpoint: Checkpoint, config: Any) -> tuple[str, Parts]:
    """Return the class name of the pipeline, "" for a single network, and the configurations."""
    family = recognise(checkpoint, checkpoint.metadata)
    is_original = is_original_config(config)
    if config is not None and not is_original:
        return _parts_of_folder(resolve_folder(config, None, Configs()), family, checkpoint)
    if family is None or is_playground(checkpoint):
        raise WeightsError(
            "The kind of the file is unknown.",
            where=checkpoint.files[0],
            problems=["it is: Playground v2.5"] if family is not None else [],
            remedy="pass --config with the folder of its model; `ppdiffusers info FILE` shows what the file is.",
        )
    if is_original:
        family = with_original_config(family, read_original_config(config))
    family = _present(family, checkpoint)
    return family.pipeline, PublishedParts(family)


def _parts_of_folder(folder: Path, family: Family | None, checkpoint: Checkpoint) -> tuple[str, Parts]:
    """Return those of a pipeline's folder; of the folder of a network, or for a file with one network, only that."""
    if not (folder / INDEX_NAME).is_file():
        entry = entry_of_component(folder)
        if entry.name not in LAYOUTS:
            raise ConversionError(
                f"Single files do not have a {entry.name}.", where=folder, expected=f"one of {', '.join(LAYOUTS)}"
            )
        return "", _one_network(entry, load_config_from(folder, MODEL_CONFIG))
    parts = FolderParts(folder)
    present = None if family is None else _present(family, checkpoint)
    if present is None or present.pipeline:
        return parts.index.pipeline, parts
    (name,) = present.components
    entry_of_folder = parts.entry(name)
    if entry_of_folder is None:
        raise ConversionError(
            "The folder has no configuration for the network of the file.",
            where=folder,
            problems=[f"the file is: {present.title}", f"the folder has no {name}"],
            remedy="pass --config with the folder of the network, which has a config.json.",
        )
    return "", _one_network(entry_of_folder, parts.config(name))


def _one_network(entry: Entry, config: Mapping[str, Any]) -> Parts:
    return PublishedParts(Family("", entry.name, "", {"network": (entry.name, config)}))


def _present(family: Family, checkpoint: Checkpoint) -> Family:
    """Return the family; of a file with the UNet alone, only that."""
    prefixes = {name.partition(".")[0] for name in checkpoint}
    if not family.pipeline or prefixes & {"first_stage_model", "vae", "cond_stage_model", "conditioner"}:
        return family
    return replace(family, pipeline="", components={"unet": family.components["unet"]})


def _plan_network(
    component: Component, entry: Entry, config: Mapping[str, Any], checkpoint: Checkpoint, options: Options
) -> list[str]:
    """Fill in configuration and tensors; return why the tensors do not fit."""
    cls = entry.load()
    layer = empty_layer(entry.name, component.source, lambda: cls.from_config(config))
    placed = place(layer, checkpoint)
    if placed is None or placed.problems:
        found = ["not in the file"] if placed is None else placed.problems
        return [f"{component.name}: {problem}" for problem in found]
    plan_tensors(component, layer, placed.tensors, options)
    component.config[MODEL_CONFIG] = _config(entry.name, _values(layer.config), options)
    return []


def _values(config: Any) -> dict[str, Any]:
    values = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return {key: value for key, value in values.items() if not key.startswith("_")}


def _plan_other(component: Component, entry: Entry, part: Any, folder: Path, options: Options) -> None:
    """Fill in the configuration of a scheduler, or the files of a tokenizer or image processor."""
    if entry.kind == "scheduler":
        component.config[SCHEDULER_CONFIG] = _config(entry.name, _values(part.config), options)
        return
    part.save_pretrained(folder)
    component.files = sorted(path for path in folder.iterdir() if path.is_file())


def _config(class_name: str, config: Mapping[str, Any], options: Options) -> dict[str, Any]:
    named = {"_class_name": class_name, "_diffusers_version": DIFFUSERS_VERSION, **config}
    return converted_config(named, class_name, options)


def _index(pipeline: str, parts: Parts, plan: Plan, options: Options) -> dict[str, Any]:
    names, settings = _class_of(pipeline).component_names()
    entries = {name: [None, None] for name in names}
    entries |= {component.name: render_entry(component.class_name, "diffusers") for component in plan.components}
    head = {"_class_name": pipeline, "_diffusers_version": DIFFUSERS_VERSION}
    kept = {name: value for name, value in parts.settings.items() if name in settings}
    return index_for(parse_model_index({**head, **kept, **entries}, settings=settings), options.to, options.layout)


def _class_of(pipeline: str) -> Any:
    entry = registry.find(pipeline)
    if entry is None or entry.kind != "pipeline":
        raise ConversionError(f"{pipeline} is not a known pipeline.")
    return entry.load()


# -- a folder to a single file ----------------------------------------------------------------------------------------


def convert_to_single_file(
    pretrained_model_name_or_path: str | os.PathLike,
    output_path: str | os.PathLike,
    *,
    dtype: str | None = None,
    variant: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> ConversionReport:
    """Write a folder as one file that the web UI, ComfyUI and `diffusers.from_single_file` load.

    Args:
        pretrained_model_name_or_path: folder of a pipeline or of one network, of either framework, or a name on a hub.
        output_path: the file, which ends in `.safetensors`. It appears when it is complete.
        dtype: cast floating tensors; by default they are kept bit for bit.
        variant: write the weights of this variant, such as "fp16".
        overwrite: replace the file if it exists.

    Raises:
        PPDiffusersError: the folder cannot be converted; nothing was written.
    """
    options = check_options("diffusers", dtype, None, variant=variant)  # PyTorch's layout, as safetensors
    output = absolute_path(check_single_file_path(output_path))
    if output.exists() and not overwrite:
        raise ConversionError("The file exists.", where=output, remedy="choose another name, or pass --overwrite.")
    source = absolute_path(resolve_folder(pretrained_model_name_or_path, required=AllFiles(variant)))
    with readable_os_errors(output):
        layers, left_out = _networks(source)
        layouts = layouts_to_write({name: (type(layer).__name__, layer.config) for name, (layer, _) in layers.items()})
        left_out |= {name: _NOT_STORED for name in layers if name not in layouts}
        if not layouts:
            raise ConversionError("The folder has no network that single files store.", where=source)
        tensors: dict[str, dict[str, LazyTensor]] = {}
        for name, layout in layouts.items():
            layer, folder = layers[name]
            framework = "paddle" if "paddle" in frameworks_in([folder]) else "pytorch"
            stored = tensors_to_write(layout, layer, tensors_for(layer, find_weights(folder, framework, variant)))
            tensors[name] = stored if dtype is None else {key: part.astype(dtype) for key, part in stored.items()}
        everything = {key: tensor for part in tensors.values() for key, tensor in part.items()}
        with tqdm(
            total=sum(tensor.nbytes for tensor in everything.values()),
            unit="B",
            unit_scale=True,
            disable=not progress,
            desc="writing",
        ) as bar:
            written = {key: with_progress(tensor, bar) for key, tensor in everything.items()}
            output.parent.mkdir(parents=True, exist_ok=True)
            write_safetensors(output, written, metadata_to_write(_prediction_type(source)))
        components = [_report(name, type(layers[name][0]).__name__, part) for name, part in tensors.items()]
        components[0].sha256[output.name] = digest_of(output, "sha256")
    return ConversionReport(source, output, options.to, components, [], left_out)


def _networks(source: Path) -> tuple[dict[str, tuple[nn.Layer, Path]], dict[str, str]]:
    """Return networks without memory and their folders, and what is left out."""
    if not (source / INDEX_NAME).is_file():
        entry = entry_of_component(source)
        return {WHOLE_FOLDER: (_empty(entry, source), source)}, {}
    index = parse_model_index(source / INDEX_NAME)
    known = {name: component.known for name, component in index.components.items() if component.known is not None}
    networks = {name: entry for name, entry in known.items() if entry.has_weights and not entry.networks_class}
    others = {name: _NOT_STORED for name, entry in known.items() if name not in networks}
    folders = {name: component_folder(source, name, entry) for name, entry in networks.items()}
    return {name: (_empty(entry, folders[name]), folders[name]) for name, entry in networks.items()}, others


def _empty(entry: Entry, folder: Path) -> nn.Layer:
    return empty_layer(entry.name, folder / MODEL_CONFIG, lambda: entry.load().from_config_folder(folder, {})[0])


def _prediction_type(source: Path) -> str | None:
    for path in (source / "scheduler" / SCHEDULER_CONFIG, source / SCHEDULER_CONFIG):
        if path.is_file():
            return read_json(path).get("prediction_type")
    return None


def _report(name: str, class_name: str, tensors: Mapping[str, LazyTensor]) -> ComponentReport:
    return ComponentReport(
        name=name,
        class_name=class_name,
        tensors=len(tensors),
        parameters=sum(tensor.size for tensor in tensors.values()),
        dtype=", ".join(sorted({tensor.dtype for tensor in tensors.values()})),
        bytes=sum(tensor.nbytes for tensor in tensors.values()),
    )
