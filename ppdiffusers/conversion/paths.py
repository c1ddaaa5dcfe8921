"""The two folders of a conversion, checked before anything is read or written."""

from __future__ import annotations

import os
from pathlib import Path

from ppdiffusers.core.errors import ConversionError
from ppdiffusers.io.required_files import AllFiles
from ppdiffusers.io.resolve import resolve_folder


def check_paths(
    source: str | os.PathLike, output: str | os.PathLike, overwrite: bool, variant: str | None = None
) -> tuple[Path, Path]:
    """Both as absolute paths; a source that is the name of a model is fetched, the weights of `variant` if it is given.

    Raises:
        SourceError: there is no such source.
        ConversionError: the output exists and may not be replaced, or one folder lies in the other.
    """
    source = resolve_folder(source, required=AllFiles(variant)).resolve()
    return source, check_output(source, output, overwrite)


def check_output(source: Path, output: str | os.PathLike, overwrite: bool) -> Path:
    """The output as an absolute path; `source` is one already, of a folder or a file.

    Raises:
        ConversionError: the output exists and may not be replaced, or one lies in the other.
    """
    output = Path(output).expanduser().resolve()
    if source == output or source in output.parents or output in source.parents:
        raise ConversionError(
            "Source and output lie in one another.",
            where=output,
            expected=f"a folder outside {source}",
            remedy="choose another --output_path.",
        )
    if output.exists() and not output.is_dir():
        raise ConversionError("The output exists and is not a folder.", where=output, remedy="choose another name.")
    if output.exists() and any(output.iterdir()) and not overwrite:
        raise ConversionError(
            "The output folder exists and is not empty.",
            where=output,
            remedy="choose another one, or give --overwrite (Python: overwrite=True) to replace it.",
        )
    return output
