"""Write a planned conversion to a folder that appears complete or not at all."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ppdiffusers import registry
from ppdiffusers.conversion.options import Options
from ppdiffusers.conversion.plan import Component, Plan
from ppdiffusers.conversion.report import ComponentReport, ConversionReport
from ppdiffusers.conversion.verify import verify_component
from ppdiffusers.convert.model_index import INDEX_NAME
from ppdiffusers.core.errors import ConversionError, PPDiffusersError
from ppdiffusers.core.files import replace_folder
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.snapshot import digest_of
from ppdiffusers.io.weights import write_pdparams, write_safetensors


def write_plan(
    plan: Plan, source: Path, output: Path, options: Options, *, verify: bool, progress: bool
) -> ConversionReport:
    """Write everything in `plan` to the folder `output`, and verify it if asked to.

    Raises:
        ConversionError: the disk is too small, or verification failed; `output` is left as it was.
    """
    _check_disk_space(plan, output)
    with replace_folder(output) as staging:
        with tqdm(total=plan.nbytes, unit="B", unit_scale=True, disable=not progress, desc="writing") as bar:
            written = [_write_component(component, staging, options, bar) for component in plan.components]
        for path in plan.files:
            shutil.copyfile(path, staging / path.name)
        if plan.index is not None:
            _write_json(staging / INDEX_NAME, plan.index)
        if verify:
            distances = _verify(plan, staging, options)
            written = [replace(report, distance=distances.get(report.name)) for report in written]
    copied = [path.relative_to(source).as_posix() for path in plan.files]
    return ConversionReport(source, output, options.to, written, copied, plan.left_out)


@contextmanager
def readable_os_errors(output: Path) -> Iterator[None]:
    """Turn errors of the file system into a ConversionError."""
    try:
        yield
    except PPDiffusersError:  # SourceError is an OSError too
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise ConversionError(
            "The disk is full." if full else f"A file cannot be read or written: {error.strerror or error}.",
            where=error.filename or output,
            remedy=("free some space or choose another --output_path; " if full else "check permissions and paths; ")
            + "nothing was written.",
        ) from error


def _check_disk_space(plan: Plan, output: Path) -> None:
    folder = next(parent for parent in output.parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if plan.nbytes > free:
        raise ConversionError(
            "There is not enough free disk space for the output.",
            where=output,
            problems=[f"required: {plan.nbytes:,} bytes", f"free: {free:,} bytes"],
            remedy="free some space or choose another --output_path; nothing was written.",
        )


def _write_component(component: Component, staging: Path, options: Options, bar: tqdm) -> ComponentReport:
    folder = staging / component.name
    folder.mkdir(exist_ok=True)
    before = set(folder.iterdir())
    for path in component.files:
        shutil.copyfile(path, folder / path.name)
    if component.save is not None:
        component.save(folder)
    for name, config in component.config.items():
        _write_json(folder / name, config)
    digests = {}
    if component.tensors is not None:
        bar.set_postfix_str(component.name)
        path = folder / f"{component.weights_stem}.{options.format}"
        tensors = {name: with_progress(tensor, bar) for name, tensor in component.tensors.items()}
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
        bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file() and path not in before),
        sha256=digests,
    )


def with_progress(tensor: LazyTensor, bar: tqdm) -> LazyTensor:
    """Return the same tensor; reading it advances the progress bar."""

    def read() -> np.ndarray:
        array = tensor.read()
        bar.update(tensor.nbytes)
        return array

    return LazyTensor(tensor.dtype, tensor.shape, read)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _verify(plan: Plan, staging: Path, options: Options) -> dict[str, float]:
    """Return the distance of each component; raise ConversionError listing those above their tolerance.

    Components that no PyTorch library has are not verified.
    """
    distances: dict[str, float] = {}
    problems: list[str] = []
    for component in plan.components:
        entry = registry.components()[component.class_name]
        if not entry.has_original:
            continue
        torch_folder, paddle_folder = component.source, staging / component.name
        torch_variant, paddle_variant = options.variant, None
        if options.to == "diffusers":
            torch_folder, paddle_folder = paddle_folder, torch_folder
            torch_variant, paddle_variant = paddle_variant, torch_variant
        # the folder of PyTorch is compared if it is the output, or if nothing else is the reference
        references = dict.fromkeys([component.reference, *((None,) if options.to == "diffusers" else ())])
        try:
            distances[component.name] = max(
                verify_component(
                    entry,
                    torch_folder,
                    paddle_folder,
                    dtype=options.dtype,
                    torch_variant=torch_variant,
                    paddle_variant=paddle_variant,
                    reference=reference,
                )
                for reference in references
            )
        except ConversionError as error:
            problems.append(f"{component.name}: {error}".replace("\n", "\n    "))
    if problems:
        raise ConversionError("The frameworks disagree; nothing was written.", problems=problems)
    return distances
