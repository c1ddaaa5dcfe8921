"""Conversion of an original checkpoint, one file or several, to a pipeline folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import paddle
from paddle import nn

from ppdiffusers import registry
from ppdiffusers.conversion.configs import index_for
from ppdiffusers.conversion.options import Options, check_options
from ppdiffusers.conversion.original_files import Files, find_files, open_files
from ppdiffusers.conversion.paths import check_output
from ppdiffusers.conversion.plan import (
    MODEL_CONFIG,
    SCHEDULER_CONFIG,
    Component,
    Plan,
    converted_config,
    empty_layer,
    plan_tensors,
)
from ppdiffusers.conversion.report import ConversionReport
from ppdiffusers.conversion.verify import need_frameworks
from ppdiffusers.conversion.write import readable_os_errors, write_plan
from ppdiffusers.convert.apply import apply_rules, to_paddle_layout, to_torch_layout
from ppdiffusers.convert.checkpoints.base import Network, OriginalModel, Tokenizer
from ppdiffusers.convert.checkpoints.families import find_family
from ppdiffusers.convert.checkpoints.settings import read_settings
from ppdiffusers.convert.model_index import DIFFUSERS_VERSION, parse_model_index, render_entry
from ppdiffusers.convert.rules import inverse
from ppdiffusers.core.config_types import built_from_configuration
from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.files import absolute_path
from ppdiffusers.core.tensors import LazyTensor


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
    files: Files | None = None,
) -> ConversionReport:
    """Convert the checkpoint of an original repository to a pipeline folder. PyTorch is not needed.

    Args:
        checkpoint: the file, `.pt`, `.pth`, `.ckpt`, `.bin` or `.safetensors`; the folder with the files of a family
            whose checkpoints consist of several.
        output_path: folder to write. It appears when everything is written, or not at all.
        family: one of `ppdiffusers.convert.checkpoints.families.FAMILIES`.
        config: configuration of the original: a YAML or JSON file, a text file with command-line flags, or a
            dictionary; None if the shapes in the checkpoint and `settings` are enough.
        settings: single values that override those of `config`: ["image_size=64"].
        ema: use averaged (EMA) weights if the checkpoint contains them in addition to the trained ones.
        to: "paddle" or "diffusers".
        dtype, format, verify, overwrite, progress: as in `convert_diffusers_to_paddle`. Verification also converts
            the checkpoint for the other framework, to a temporary folder, and runs both.
        files: name of a part of such a family -> its file, which need not be in the folder.

    Raises:
        PPDiffusersError: the checkpoint cannot be converted; the message lists all problems, and nothing was written.
    """
    options = check_options(to, dtype, format)
    source = absolute_path(checkpoint)
    output = check_output(source, output_path, overwrite)
    if verify:
        need_frameworks()  # raises before the work rather than after it
    plan_for = partial(make_original_plan, source, family, config, settings, ema, files=files)
    with readable_os_errors(output), TemporaryDirectory() as temporary:
        plan = plan_for(options)
        if verify:
            other_options = check_options("diffusers" if to == "paddle" else "paddle", dtype, None)
            other = Path(temporary) / "other"
            write_plan(plan_for(other_options), source, other, other_options, verify=False, progress=False)
            for component in plan.components:
                component.source = other / component.name  # `write_plan` compares the output with it
        return write_plan(plan, source, output, options, verify=verify, progress=progress)


def make_original_plan(
    file: str | os.PathLike,
    family: str,
    config: str | os.PathLike | Mapping[str, Any] | None,
    overrides: Sequence[str],
    ema: bool,
    options: Options,
    files: Files | None = None,
) -> Plan:
    """Read names and shapes of the checkpoint and plan the folder of its pipeline.

    Args:
        file, files: see `find_files`.
        config, overrides: see `read_settings`.
        ema: use averaged weights if the checkpoint contains them.

    Raises:
        PPDiffusersError: problems in the configuration, or in all networks of the checkpoint.
    """
    known = find_family(family)
    paths = find_files(known, Path(file), files)
    checkpoint = open_files(known, paths)
    settings = read_settings(config, overrides)
    with built_from_configuration(known.title, file if config is None else config):
        model = known.reader().read(settings, checkpoint, ema)
    layers = {network.name: _empty_network(network, file) for network in model.networks}
    problems = [problem for network in model.networks for problem in _mismatches(network, layers[network.name])]
    if problems:
        raise WeightsError(
            "The checkpoint does not match the network that its configuration describes.",
            where=file,
            problems=problems,
            expected=f"the tensor names of {known.title}",
            remedy="check the configuration, and that the file is complete.",
        )
    plan = Plan(index=_index(model, options), left_out=dict(model.left_out))
    for network in model.networks:
        component = Component(network.name, network.class_name, Path(file))
        renamed = apply_rules(network.rules, network.tensors, where=file, name=known.title)
        layer = layers[network.name]
        plan_tensors(component, layer, to_paddle_layout(renamed, layer), options)
        component.config[MODEL_CONFIG] = _component_config(network.class_name, network.config, options)
        plan.components.append(component)
    for name, tokenizer in model.tokenizers.items():
        plan.components.append(_plan_tokenizer(name, tokenizer, paths, Path(file)))
    for name, (class_name, scheduler_config) in _schedulers(model).items():
        plan.components.append(_plan_scheduler(name, class_name, scheduler_config, options, Path(file)))
    return plan


def _empty_network(network: Network, file: str | os.PathLike) -> nn.Layer:
    cls = registry.components()[network.class_name].load()
    return empty_layer(network.class_name, file, partial(cls.from_config, network.config))


def _mismatches(network: Network, layer: nn.Layer) -> list[str]:
    """List missing, unexpected and mis-shaped tensors of the checkpoint, by their original names."""
    ours = {
        name: LazyTensor("float32", tuple(tensor.shape), partial(paddle.Tensor.numpy, tensor))
        for name, tensor in layer.state_dict().items()
    }
    expected = apply_rules(inverse(network.rules), to_torch_layout(ours, layer), name="the names of ppdiffusers")
    found = network.tensors
    problems = [f"missing: {name} {tensor.shape}" for name, tensor in expected.items() if name not in found]
    problems += [f"unexpected: {name} {tensor.shape}" for name, tensor in found.items() if name not in expected]
    problems += [
        f"{name}: shape {found[name].shape}, expected {tensor.shape}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    return [f"{network.name}: {problem}" for problem in problems]


def _index(model: OriginalModel, options: Options) -> dict[str, Any] | None:
    if model.pipeline is None:
        return None
    classes = {
        **{network.name: network.class_name for network in model.networks},
        **{name: tokenizer.class_name for name, tokenizer in model.tokenizers.items()},
        **{name: class_name for name, (class_name, _) in _schedulers(model).items()},
    }
    entries = {name: render_entry(class_name, "diffusers") for name, class_name in classes.items()}
    head = {"_class_name": model.pipeline, "_diffusers_version": DIFFUSERS_VERSION}
    return index_for(parse_model_index({**head, **entries}), options.to, options.layout)


def _schedulers(model: OriginalModel) -> dict[str, tuple[str, dict[str, Any]]]:
    return {**({} if model.scheduler is None else {"scheduler": model.scheduler}), **model.schedulers}


def _plan_scheduler(name: str, class_name: str, config: Mapping[str, Any], options: Options, source: Path) -> Component:
    with built_from_configuration(class_name, source):  # raises for values that it does not support
        registry.components()[class_name].load().from_config(config)
    component = Component(name, class_name, source)
    component.config[SCHEDULER_CONFIG] = _component_config(class_name, config, options)
    return component


def _plan_tokenizer(name: str, tokenizer: Tokenizer, paths: Mapping[str, Path], source: Path) -> Component:
    cls = registry.components()[tokenizer.class_name].load()
    files = {argument: paths[part] for argument, part in tokenizer.files.items()}
    make = partial(cls, **files) if files else cls.openai
    component = Component(name, tokenizer.class_name, source)
    component.save = make(**tokenizer.settings).save_pretrained
    return component


def _component_config(class_name: str, config: Mapping[str, Any], options: Options) -> dict[str, Any]:
    named = {"_class_name": class_name, "_diffusers_version": DIFFUSERS_VERSION, **config}
    return converted_config(named, class_name, options)
