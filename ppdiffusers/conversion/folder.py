"""Conversion of a whole folder from one framework to the other: plan, write next to the target, verify, rename."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ppdiffusers.conversion.options import check_options
from ppdiffusers.conversion.paths import check_paths
from ppdiffusers.conversion.plan import make_plan
from ppdiffusers.conversion.report import ConversionReport
from ppdiffusers.conversion.verify import need_frameworks
from ppdiffusers.conversion.weight_files import frameworks_in
from ppdiffusers.conversion.write import readable_os_errors, write_plan
from ppdiffusers.core.errors import ConfigError, ConversionError
from ppdiffusers.core.reading import read_text
from ppdiffusers.io.required_files import AllFiles
from ppdiffusers.io.resolve import resolve_folder


def convert_diffusers_to_paddle(
    pretrained_model_name_or_path: str | os.PathLike,
    output_path: str | os.PathLike,
    *,
    dtype: str | None = None,
    format: str | None = None,
    layout: str = "transformers",
    variant: str | None = None,
    verify: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> ConversionReport:
    """Convert a diffusers folder (PyTorch weights) to Paddle. PyTorch is not needed.

    Args:
        pretrained_model_name_or_path: folder of a pipeline or of one component, or the name of a model on a hub.
        output_path: folder to write. It appears when everything is written, or not at all.
        dtype: "float32", "float16" or "bfloat16" casts floating-point tensors; None keeps every tensor bit for bit.
        format: "pdparams" (default) or "safetensors".
        layout: "paddlenlp" writes the parameters of CLIP encoders with paddlenlp's names.
        variant: convert the weights of this variant, such as "fp16"; output file names do not contain it.
        verify: run both frameworks on the same random inputs; requires torch, diffusers and transformers.
        overwrite: replace `output_path` if it exists.
        progress: show a progress bar.

    Raises:
        PPDiffusersError: the folder cannot be converted; the message lists all problems, and nothing was written.
    """
    return convert_folder(
        pretrained_model_name_or_path,
        output_path,
        to="paddle",
        dtype=dtype,
        format=format,
        layout=layout,
        variant=variant,
        verify=verify,
        overwrite=overwrite,
        progress=progress,
    )


def convert_paddle_to_diffusers(
    pretrained_model_name_or_path: str | os.PathLike,
    output_path: str | os.PathLike,
    *,
    dtype: str | None = None,
    format: str | None = None,
    layout: str = "transformers",
    variant: str | None = None,
    verify: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> ConversionReport:
    """Convert a Paddle folder so that diffusers and transformers load it. PyTorch is not needed.

    The arguments are those of `convert_diffusers_to_paddle`. Weights are written as safetensors with the names of
    transformers, whatever the format and layout of the source: other values of `format` and `layout` raise an error.
    """
    return convert_folder(
        pretrained_model_name_or_path,
        output_path,
        to="diffusers",
        dtype=dtype,
        format=format,
        layout=layout,
        variant=variant,
        verify=verify,
        overwrite=overwrite,
        progress=progress,
    )


def convert_folder(
    source: str | os.PathLike,
    output: str | os.PathLike,
    *,
    to: str,
    dtype: str | None = None,
    format: str | None = None,
    layout: str = "transformers",
    variant: str | None = None,
    verify: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> ConversionReport:
    """Convert a folder to the framework `to`, "paddle" or "diffusers"; see `convert_diffusers_to_paddle`."""
    options = check_options(to, dtype, format, layout, variant)
    source, output = check_paths(source, output, overwrite, variant)
    if verify:
        need_frameworks()  # raises before the work rather than after it
    with readable_os_errors(output):
        return write_plan(make_plan(source, options), source, output, options, verify=verify, progress=progress)


def detect_direction(source: str | os.PathLike, variant: str | None = None) -> str:
    """Return the framework to convert `source`, a folder or model name, to: "paddle" or "diffusers".

    Raises:
        SourceError: the folder does not exist.
        ConversionError: the folder contains weights of both frameworks.
    """
    folder = resolve_folder(source, required=AllFiles(variant))
    found = frameworks_in([folder, *(path for path in folder.iterdir() if path.is_dir())])
    if not found:
        ours = any(_is_ours(path) for path in folder.rglob("*config.json"))
        found = {"paddle" if ours else "pytorch"}
    if len(found) > 1:
        raise ConversionError(
            "The folder contains weights of both frameworks.",
            where=folder,
            remedy="choose the direction: --to paddle or --to diffusers.",
        )
    return "diffusers" if "paddle" in found else "paddle"


def _is_ours(config: Path) -> bool:
    with suppress(ConfigError):  # the conversion reports files that cannot be read
        return "_ppdiffusers_version" in read_text(config)
    return False
