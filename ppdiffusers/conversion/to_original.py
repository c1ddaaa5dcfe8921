"""The way back: networks of a folder, of either framework, under the names of an original repository."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ppdiffusers.conversion.folder import checked_options, readable_os_errors, write_plan
from ppdiffusers.conversion.original import load_original
from ppdiffusers.conversion.paths import check_paths
from ppdiffusers.conversion.plan import MODEL_CONFIG, SINGLE, Component, Plan, empty_layer, import_class
from ppdiffusers.conversion.report import ConversionReport
from ppdiffusers.conversion.weight_files import find_weights, frameworks_in
from ppdiffusers.convert.apply import apply_rules, to_torch_layout
from ppdiffusers.convert.checkpoints.base import Layout
from ppdiffusers.convert.checkpoints.settings import read_settings
from ppdiffusers.convert.rules import inverse
from ppdiffusers.core.errors import ConfigError, ConversionError, PPDiffusersError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.pretrained import tensors_for


def convert_to_original(
    pretrained_model_name_or_path: str | os.PathLike,
    output_path: str | os.PathLike,
    family: str,
    *,
    settings: Sequence[str] = (),
    dtype: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> ConversionReport:
    """Write the networks of a pipeline's folder as one `model.safetensors` in an original repository's names.

    It is the state dict that the original's code loads; the configuration is the original's own, and is not written.

    Args:
        pretrained_model_name_or_path: folder of a pipeline, of either framework.
        output_path: folder to write. It appears when everything is written, or not at all.
        family: one of `ppdiffusers.conversion.original.FAMILIES`.
        settings: ["use_new_attention_order=True"] is the only one, for guided_diffusion.
        dtype, overwrite, progress: as in `convert_diffusers_to_paddle`.

    Raises:
        PPDiffusersError: something is wrong; the message lists everything, and nothing was written.
    """
    options = checked_options("diffusers", dtype, None)  # PyTorch's layout, as safetensors
    reader = load_original(family)
    source, output = check_paths(pretrained_model_name_or_path, output_path, overwrite)
    given = read_settings(None, settings)
    layouts = reader.layouts(given)
    given.finish(sections=[""])
    with readable_os_errors(output):
        component = Component(SINGLE, reader.TITLE, object, source, weights_stem="model")
        component.tensors = _all_tensors(source, layouts, reader.TITLE)
        if dtype is not None:
            component.tensors = {name: tensor.astype(dtype) for name, tensor in component.tensors.items()}
        return write_plan(Plan([component]), source, output, options, verify=False, progress=progress)


def _all_tensors(source: Path, layouts: dict[str, Layout], title: str) -> dict[str, LazyTensor]:
    tensors: dict[str, LazyTensor] = {}
    problems: list[str] = []
    for name, layout in layouts.items():
        try:
            tensors.update(_tensors(source / name, layout, title))
        except PPDiffusersError as error:
            problems.append(f"{name}: {error}".replace("\n", "\n    "))
    if problems:
        raise ConversionError(f"The networks cannot be written as {title}.", where=source, problems=problems)
    return tensors


def _tensors(folder: Path, layout: Layout, title: str) -> dict[str, LazyTensor]:
    cls = import_class(layout.class_name)
    layer = empty_layer(layout.class_name, folder / MODEL_CONFIG, lambda: cls.from_config_folder(folder, {})[0])
    problems = layout.problems(layer.config)
    if problems:
        raise ConfigError(f"It is no network of {title}.", where=folder, problems=problems)
    framework = "paddle" if "paddle" in frameworks_in([folder]) else "pytorch"
    tensors = to_torch_layout(tensors_for(layer, find_weights(folder, framework, None)), layer)
    renamed = apply_rules(inverse(layout.rules(layer.config)), tensors, where=folder, name=f"the names of {title}")
    return {layout.prefix + name: tensor for name, tensor in renamed.items()}
