"""Conversion of the networks in a pipeline folder to the checkpoint of an original repository."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ppdiffusers import registry
from ppdiffusers.conversion.options import check_options
from ppdiffusers.conversion.paths import check_paths
from ppdiffusers.conversion.plan import MODEL_CONFIG, WHOLE_FOLDER, Component, Plan, empty_layer
from ppdiffusers.conversion.report import ConversionReport
from ppdiffusers.conversion.weight_files import find_weights, frameworks_in
from ppdiffusers.conversion.write import readable_os_errors, write_plan
from ppdiffusers.convert.apply import apply_rules, to_torch_layout
from ppdiffusers.convert.checkpoints.base import Layout
from ppdiffusers.convert.checkpoints.families import find_family
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
    """Write the networks of a pipeline folder as `model.safetensors` with the names of an original repository.

    Families whose checkpoints consist of several files have one for each, such as `base.safetensors`. A file is the
    state dict that the original code loads. The configuration of the original is not written.

    Args:
        pretrained_model_name_or_path: folder of a pipeline, of either framework.
        output_path: folder to write. It appears when everything is written, or not at all.
        family: one of `ppdiffusers.convert.checkpoints.families.FAMILIES`.
        settings: only ["use_new_attention_order=True"], for guided_diffusion.
        dtype, overwrite, progress: as in `convert_diffusers_to_paddle`.

    Raises:
        PPDiffusersError: the folder cannot be converted; the message lists all problems, and nothing was written.
    """
    options = check_options("diffusers", dtype, None)  # PyTorch's layout, as safetensors
    known = find_family(family)
    source, output = check_paths(pretrained_model_name_or_path, output_path, overwrite)
    given = read_settings(None, settings)
    layouts = known.reader().layouts(given)
    given.raise_problems(sections=[""])
    with readable_os_errors(output):
        plan = Plan()
        for stem, tensors in _files(source, layouts, known.title).items():
            component = Component(WHOLE_FOLDER, known.title, source, weights_stem=stem, tensors=tensors)
            if dtype is not None:
                component.tensors = {name: tensor.astype(dtype) for name, tensor in tensors.items()}
            plan.components.append(component)
        return write_plan(plan, source, output, options, verify=False, progress=progress)


def _files(source: Path, layouts: Mapping[str, Layout], title: str) -> dict[str, dict[str, LazyTensor]]:
    """Return the tensors of each file by its name without the extension."""
    files: dict[str, dict[str, LazyTensor]] = {}
    problems: list[str] = []
    for name, layout in layouts.items():
        if layout.optional and not (source / name).exists():
            continue
        try:
            for original, tensor in _tensors(source / name, layout, title).items():
                part, _, inside = original.rpartition("/")
                files.setdefault(part or "model", {})[inside] = tensor
        except PPDiffusersError as error:
            problems.append(f"{name}: {error}".replace("\n", "\n    "))
    if problems:
        raise ConversionError(f"The networks cannot be converted to {title}.", where=source, problems=problems)
    return files


def _tensors(folder: Path, layout: Layout, title: str) -> dict[str, LazyTensor]:
    cls = registry.components()[layout.class_name].load()
    layer = empty_layer(layout.class_name, folder / MODEL_CONFIG, lambda: cls.from_config_folder(folder, {})[0])
    problems = layout.problems(layer.config)
    if problems:
        raise ConfigError(f"The network is not one of {title}.", where=folder, problems=problems)
    framework = "paddle" if "paddle" in frameworks_in([folder]) else "pytorch"
    tensors = to_torch_layout(tensors_for(layer, find_weights(folder, framework, None)), layer)
    renamed = apply_rules(inverse(layout.rules(layer.config)), tensors, where=folder, name=f"the names of {title}")
    return {name if "/" in name else layout.prefix + name: tensor for name, tensor in renamed.items()}
