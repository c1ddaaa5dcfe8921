"""A whole folder from one framework to the other: plan, write beside the target, verify, rename."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ppdiffusers.conversion.paths import check_paths
from ppdiffusers.conversion.plan import Component, Options, Plan, check_room, make_plan
from ppdiffusers.conversion.report import ComponentReport, ConversionReport
from ppdiffusers.conversion.verify import need_frameworks, verify_component
from ppdiffusers.conversion.weight_files import frameworks_in
from ppdiffusers.convert.model_index import INDEX_NAME
from ppdiffusers.core.errors import ConversionError, InputError, PPDiffusersError
from ppdiffusers.core.files import replace_folder
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.required_files import AllFiles
from ppdiffusers.io.resolve import resolve_folder
from ppdiffusers.io.snapshot import digest_of
from ppdiffusers.io.weights import write_pdparams, write_safetensors

_CHOICES = {
    "to": ("paddle", "diffusers"),
    "dtype": (None, "float32", "float16", "bfloat16"),
    "format": (None, "pdparams", "safetensors"),
    "layout": ("transformers", "paddlenlp"),
}


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
    """Convert a diffusers folder (PyTorch weights) for Paddle; PyTorch is not needed.

    Args:
        pretrained_model_name_or_path: folder of a pipeline or of one component, or the name of a model on a hub.
        output_path: folder to write. It appears when everything is written, or not at all.
        dtype: "float32", "float16" or "bfloat16" casts floating tensors; None keeps every tensor exactly.
        format: "pdparams" (default) or "safetensors".
        layout: "paddlenlp" writes paddlenlp's names of the CLIP encoders' parameters.
        variant: convert the weights of this variant, such as "fp16"; the output's names are without it.
        verify: run both frameworks on the same random inputs; needs torch, diffusers and transformers.
        overwrite: replace `output_path` if it exists.
        progress: show a progress bar.

    Raises:
        PPDiffusersError: something is wrong; the message lists everything, and nothing was written.
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
    """Convert a Paddle folder so that diffusers and transformers load it; PyTorch is not needed.

    The arguments are those of `convert_diffusers_to_paddle`. The weights are written as safetensors under the names
    of transformers, whichever format and layout the source has: other values of `format` and `layout` are refused.
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
    options = checked_options(to, dtype, format, layout, variant)
    source, output = check_paths(source, output, overwrite, variant)
    if verify:
        need_frameworks()  # before the work, not after it
    with readable_os_errors(output):
        return write_plan(make_plan(source, options), source, output, options, verify=verify, progress=progress)


def write_plan(
    plan: Plan, source: Path, output: Path, options: Options, *, verify: bool, progress: bool
) -> ConversionReport:
    """Write the folder that `plan` describes, whole or not at all, and verify it if asked."""
    check_room(plan, output)
    with replace_folder(output) as staging:
        with tqdm(total=plan.nbytes, unit="B", unit_scale=True, disable=not progress, desc="writing") as bar:
            written = [_write_component(component, staging, options, bar) for component in plan.components]
        _write_root(plan, staging)
        if verify:
            distances = _verify(plan, staging, options)
            written = [replace(report, distance=distances[report.name]) for report in written]
    copied = [path.relative_to(source).as_posix() for path in plan.files]
    return ConversionReport(source, output, options.to, written, copied, plan.left_out)


def detect_direction(source: str | os.PathLike, variant: str | None = None) -> str:
    """The framework that `source`, a folder or a model's name, is not for: "paddle" or "diffusers".

    Raises:
        SourceError: there is no such folder.
        ConversionError: it holds weights of both frameworks, or none and nothing that tells whose it is.
    """
    folder = resolve_folder(source, required=AllFiles(variant))
    found = frameworks_in([folder, *(path for path in folder.iterdir() if path.is_dir())])
    if not found:
        ours = any("_ppdiffusers_version" in path.read_text("utf-8") for path in folder.rglob("*config.json"))
        found = {"paddle" if ours else "pytorch"}
    if len(found) > 1:
        raise ConversionError(
            "The folder holds weights of both frameworks.",
            where=folder,
            remedy="say which way to convert: --to paddle or --to diffusers.",
        )
    return "diffusers" if "paddle" in found else "paddle"


# -- writing ------------------------------------------------------------------------------------------------------


def _write_component(component: Component, staging: Path, options: Options, bar: tqdm) -> ComponentReport:
    folder = staging / component.name
    folder.mkdir(exist_ok=True)
    for path in component.files:
        shutil.copyfile(path, folder / path.name)
    for name, config in component.config.items():
        _write_json(folder / name, config)
    digests = {}
    if component.tensors is not None:
        bar.set_postfix_str(component.name)
        path = folder / f"{component.weights_stem}.{options.format}"
        tensors = {name: _counted(tensor, bar) for name, tensor in component.tensors.items()}
        if options.format == "pdparams":
            write_pdparams(path, tensors)
        else:
            write_safetensors(path, tensors, {"format": "pd" if options.to == "paddle" else "pt"})
        digests[path.name] = digest_of(path, "sha256")
    tensors = component.tensors or {}
    return ComponentReport(
        name=component.name,
        class_name=component.class_name,
        tensors=len(tensors),
        parameters=sum(tensor.size for tensor in tensors.values()),
        dtype=", ".join(sorted({tensor.dtype for tensor in tensors.values()})),
        bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        sha256=digests,
    )


def _counted(tensor: LazyTensor, bar: tqdm) -> LazyTensor:
    """The same tensor; reading it moves the progress bar."""

    def read() -> Any:
        array = tensor.read()
        bar.update(tensor.nbytes)
        return array

    return LazyTensor(tensor.dtype, tensor.shape, read)


def _write_root(plan: Plan, staging: Path) -> None:
    for path in plan.files:
        shutil.copyfile(path, staging / path.name)
    if plan.index is not None:
        _write_json(staging / INDEX_NAME, plan.index)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# -- checks -------------------------------------------------------------------------------------------------------


def checked_options(
    to: str, dtype: str | None, format: str | None, layout: str = "transformers", variant: str | None = None
) -> Options:
    """The options of a conversion.

    Raises:
        InputError: a value is not known, or two do not go together; all of them are listed.
    """
    given = {"to": to, "dtype": dtype, "format": format, "layout": layout}
    problems = [
        f"{name}={value!r}; known are {', '.join(str(choice) for choice in _CHOICES[name])}"
        for name, value in given.items()
        if value not in _CHOICES[name]
    ]
    if to == "diffusers" and format == "pdparams":
        problems.append("format='pdparams': diffusers does not read it; leave it out, safetensors is written")
    if to == "diffusers" and layout == "paddlenlp":
        problems.append("layout='paddlenlp': it is one of Paddle's; leave it out, the source's is recognised")
    if problems:
        raise InputError("These options cannot be used.", problems=problems)
    return Options(to, dtype, format or ("pdparams" if to == "paddle" else "safetensors"), layout, variant)


def _verify(plan: Plan, staging: Path, options: Options) -> dict[str, float]:
    """Distance by component's name; ConversionError that names every component above its tolerance."""
    distances: dict[str, float] = {}
    problems: list[str] = []
    for component in plan.components:
        folders = {"paddle": staging / component.name, "torch": component.source}
        variants = {"paddle": None, "torch": options.variant}
        if options.to == "diffusers":
            folders = {"paddle": component.source, "torch": staging / component.name}
            variants = {"paddle": options.variant, "torch": None}
        try:
            distances[component.name] = verify_component(
                component.class_name,
                component.cls,
                folders["torch"],
                folders["paddle"],
                dtype=options.dtype,
                torch_variant=variants["torch"],
                paddle_variant=variants["paddle"],
            )
        except ConversionError as error:
            problems.append(f"{component.name}: {error}".replace("\n", "\n    "))
    if problems:
        raise ConversionError("The frameworks disagree; nothing was written.", problems=problems)
    return distances


@contextmanager
def readable_os_errors(output: Path) -> Iterator[None]:
    """Turn what the system says of files and disks into a ConversionError."""
    try:
        yield
    except PPDiffusersError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise ConversionError(
            "The disk is full." if full else f"A file cannot be read or written: {error.strerror or error}.",
            where=error.filename or output,
            remedy=("free some space or choose another --output_path; " if full else "check permissions and paths; ")
            + "nothing was written.",
        ) from error
