"""Checks of the source and output paths, made before anything is read or written."""

from __future__ import annotations

import os
from pathlib import Path

from ppdiffusers.core.errors import ConversionError
from ppdiffusers.core.files import absolute_path
from ppdiffusers.io.required_files import AllFiles
from ppdiffusers.io.resolve import resolve_folder


def check_paths(
    source: str | os.PathLike, output: str | os.PathLike, overwrite: bool, variant: str | None = None
) -> tuple[Path, Path]:
    """Return both as absolute paths; a source that is a model name is downloaded, with the weights of `variant`.

    Raises:
        SourceError: the source does not exist.
        ConversionError: the output exists and may not be replaced, or one folder contains the other.
    """
    source = absolute_path(resolve_folder(source, required=AllFiles(variant)))
    return source, check_output(source, output, overwrite)


def check_output(source: Path, output: str | os.PathLike, overwrite: bool) -> Path:
    """Return the output as an absolute path; `source` is the absolute path of a folder or file.

    Raises:
        ConversionError: the output exists and may not be replaced, or one path contains the other.
    """
    output = absolute_path(output)
    if source == output or source in output.parents or output in source.parents:
        raise ConversionError(
            "Source and output overlap: one contains the other.",
            where=output,
            expected=f"a folder outside {source}",
            remedy="choose another --output_path.",
        )
    if output.exists() and not output.is_dir():
        raise ConversionError(
            "The output path exists and is not a folder.", where=output, remedy="choose another --output_path."
        )
    if output.exists() and any(output.iterdir()) and not overwrite:
        raise ConversionError(
            "The output folder exists and is not empty.",
            where=output,
            remedy="choose another --output_path, or pass --overwrite (Python: overwrite=True) to replace the folder.",
        )
    return output
