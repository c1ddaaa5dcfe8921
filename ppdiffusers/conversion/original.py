"""The checkpoint of an original repository, one file, as a plan for the folder of a pipeline."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import paddle
from paddle import nn

from ppdiffusers.conversion.configs import DIFFUSERS_VERSION, index_for
from ppdiffusers.conversion.folder import checked_options, readable_os_errors, write_plan
from ppdiffusers.conversion.paths import check_output
from ppdiffusers.conversion.plan import (
    MODEL_CONFIG,
    SCHEDULER_CONFIG,
    Component,
    Options,
    Plan,
    converted_config,
    empty_layer,
    finish_tensors,
    import_class,
)
from ppdiffusers.conversion.report import ConversionReport
from ppdiffusers.conversion.verify import need_frameworks
from ppdiffusers.convert.apply import apply_rules, to_paddle_layout, to_torch_layout
from ppdiffusers.convert.checkpoints.base import Network, OriginalModel
from ppdiffusers.convert.checkpoints.settings import read_settings
from ppdiffusers.convert.model_index import parse_model_index
from ppdiffusers.convert.rules import inverse
from ppdiffusers.core.errors import InputError, WeightsError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.weights import open_weights

FAMILIES = ("guided_diffusion", "ddpm", "compvis_ldm", "ncsnpp", "dance_diffusion")


def convert_original(
    checkpoint: str | os.PathLike,
    output_path: str | os.PathLike,
    family: str,
    *,
    config: str | os.PathLike | Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    ema: bool = True,
    to: str = "paddle",
    dtype: str | None = None,
    format: str | None = None,
    verify: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> ConversionReport:
    """Convert the checkpoint of an original repository to the folder of a pipeline; PyTorch is not needed.

    Args:
        checkpoint: its file, `.pt`, `.pth`, `.ckpt`, `.bin` or `.safetensors`.
        output_path: folder to write. It appears when everything is written, or not at all.
        family: one of `FAMILIES`.
        config: the original's configuration: a YAML or JSON file, a text file with command-line flags, or a
            dictionary; None where the checkpoint's shapes and `settings` say everything.
        settings: single values that replace those of `config`: ["image_size=64"].
        ema: take averaged weights where the checkpoint has them beside the trained ones.
        to: "paddle" or "diffusers".
        dtype, format, verify, overwrite, progress: as in `convert_diffusers_to_paddle`. To verify, the same folder is
            written for the other framework too, in a temporary place, and both are run.

    Raises:
        PPDiffusersError: something is wrong; the message lists everything, and nothing was written.
    """
    options = checked_options(to, dtype, format)
    source = Path(checkpoint).expanduser().resolve()
    output = check_output(source, output_path, overwrite)
    if verify:
        need_frameworks()  # before the work, not after it
    plan_for = partial(make_original_plan, source, family, config, settings, ema)
    with readable_os_errors(output), TemporaryDirectory() as other:
        plan = plan_for(options)
        if verify:
            other_options = checked_options("diffusers" if to == "paddle" else "paddle", dtype, None)
            twin = Path(other) / "twin"
            write_plan(plan_for(other_options), source, twin, other_options, verify=False, progress=False)
            for component in plan.components:
                component.source = twin / component.name  # what `write_plan` compares with
        return write_plan(plan, source, output, options, verify=verify, progress=progress)


def load_original(family: str) -> ModuleType:
    """The reader of a family: a module with `TITLE` and `read`.

    Raises:
        InputError: there is no such family.
    """
    if family not in FAMILIES:
        raise InputError(f"{family!r} is no family of originals.", expected=", ".join(FAMILIES))
    return import_module(f"ppdiffusers.convert.checkpoints.{family}")


def make_original_plan(
    file: str | os.PathLike,
    family: str,
    config: str | os.PathLike | Mapping[str, Any] | None,
    pairs: Sequence[str],
    average: bool,
    options: Options,
) -> Plan:
    """Read names and shapes of the checkpoint and work out the folder of its pipeline.

    Args:
        config, pairs: see `read_settings`.
        average: take averaged weights where the checkpoint has them.

    Raises:
        PPDiffusersError: whatever is wrong with the configuration, or with all networks of the checkpoint.
    """
    reader = load_original(family)
    checkpoint = open_weights(file, nested=True)
    model: OriginalModel = reader.read(read_settings(config, pairs), checkpoint, average)
    layers = {network.name: _empty_network(network, file) for network in model.networks}
    problems = [problem for network in model.networks for problem in _differences(network, layers[network.name])]
    if problems:
        raise WeightsError(
            "The checkpoint is not the network that its configuration describes.",
            where=file,
            problems=problems,
            expected=f"the names of {reader.TITLE}",
            remedy="check the configuration, and that the file is complete.",
        )
    plan = Plan(index=_index(model, options), left_out=dict(model.left_out))
    for network in model.networks:
        component = Component(network.name, network.class_name, import_class(network.class_name), Path(file))
        renamed = apply_rules(network.rules, network.tensors, where=file, name=reader.TITLE)
        layer = layers[network.name]
        finish_tensors(component, layer, to_paddle_layout(renamed, layer), options)
        component.config[MODEL_CONFIG] = _component_config(network.class_name, network.config, options)
        plan.components.append(component)
    plan.components.append(_scheduler(model, options, Path(file)))
    return plan


def _empty_network(network: Network, file: str | os.PathLike) -> nn.Layer:
    make = partial(import_class(network.class_name).from_config, network.config)
    return empty_layer(network.class_name, file, make)


def _differences(network: Network, layer: nn.Layer) -> list[str]:
    """What the checkpoint lacks, has too much or in another shape, all in the names of the original."""
    ours = {
        name: LazyTensor("float32", tuple(tensor.shape), partial(paddle.Tensor.numpy, tensor))
        for name, tensor in layer.state_dict().items()
    }
    expected = apply_rules(inverse(network.rules), to_torch_layout(ours, layer), name="our own names")
    found = network.tensors
    problems = [f"missing: {name} {tensor.shape}" for name, tensor in expected.items() if name not in found]
    problems += [f"unexpected: {name} {tensor.shape}" for name, tensor in found.items() if name not in expected]
    problems += [
        f"{name}: shape {found[name].shape}, {tensor.shape} was expected"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    return [f"{network.name}: {problem}" for problem in problems]


def _index(model: OriginalModel, options: Options) -> dict[str, Any] | None:
    if model.pipeline is None:
        return None
    classes = {network.name: network.class_name for network in model.networks}
    entries = {name: ["diffusers", class_name] for name, class_name in classes.items()}
    head = {"_class_name": model.pipeline, "_diffusers_version": DIFFUSERS_VERSION}
    index = parse_model_index({**head, **entries, "scheduler": ["diffusers", model.scheduler[0]]})
    return index_for(index, options.to, options.layout)


def _scheduler(model: OriginalModel, options: Options, source: Path) -> Component:
    class_name, config = model.scheduler
    component = Component("scheduler", class_name, import_class(class_name), source)
    component.cls.from_config(config)  # raises for values that it cannot work with
    component.config[SCHEDULER_CONFIG] = _component_config(class_name, config, options)
    return component


def _component_config(class_name: str, config: Mapping[str, Any], options: Options) -> dict[str, Any]:
    named = {"_class_name": class_name, "_diffusers_version": DIFFUSERS_VERSION, **config}
    return converted_config(named, class_name, options)
