"""Pipelines of users: a class in a Python file on this machine (`custom_pipeline=`). No code is ever downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers.core.errors import ConfigError, InputError, SourceError
from ppdiffusers.core.files import expand_user

if TYPE_CHECKING:
    from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline

_FILE_NAME = "pipeline.py"  # in a folder, as in diffusers
_COMMUNITY = "https://github.com/PaddlePaddle/PaddleMIX/tree/develop/ppdiffusers/examples/community"


def custom_pipeline_class(
    custom_pipeline: str | os.PathLike, base: type[DiffusionPipeline], class_name: str | None = None
) -> type[DiffusionPipeline]:
    """Run a Python file of this machine and return the pipeline that it defines.

    Modules next to the file can be imported relatively (`from .utils import ...`).

    Args:
        custom_pipeline: a `.py` file, or a folder with `pipeline.py`.
        base: `DiffusionPipeline`.
        class_name: the class; by default the only pipeline that the file defines.

    Raises:
        SourceError: there is no such file; community pipelines of a hub have to be downloaded first.
        ConfigError: the file defines no pipeline, or several and none is named.
    """
    module = _run(_find(custom_pipeline))
    defined = {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__.startswith(module.__package__ or "")
    }
    # a base class of another pipeline of the file is not meant
    leaves = {
        name: value
        for name, value in defined.items()
        if not any(issubclass(other, value) for other in defined.values() if other is not value)
    }
    chosen = defined.get(class_name) if class_name is not None else None
    if class_name is None and len(leaves) == 1:
        chosen = next(iter(leaves.values()))
    if chosen is None:
        raise ConfigError(
            "The file does not define the pipeline."
            if class_name
            else "The file does not define exactly one pipeline.",
            where=module.__file__,
            problems=[f"defined: {name}" for name in defined],
            expected=class_name or "one subclass of DiffusionPipeline",
        )
    return chosen


def own_pipeline(raw: Mapping[str, Any]) -> tuple[str, str] | None:
    """(module, class) if a `model_index.json` names a pipeline in a file of its folder."""
    named = raw.get("_class_name")
    if (
        isinstance(named, list)
        and len(named) == 2
        and all(isinstance(part, str) and part.isidentifier() for part in named)
    ):
        return named[0], named[1]
    return None


def own_pipeline_class(
    module: str, class_name: str, folder: Path, base: type[DiffusionPipeline], *, trusted: bool, downloaded: bool
) -> type[DiffusionPipeline]:
    """Return the pipeline whose code is in a file of the folder.

    Raises:
        InputError: `trust_remote_code=True` is not given, or the folder was downloaded.
    """
    file = folder / f"{module}.py"
    if trusted and not downloaded:
        return custom_pipeline_class(file, base, class_name)
    raise InputError(
        f"The pipeline {class_name} is code in the folder, which is not run.",
        where=file,
        remedy=f"read the file, and pass custom_pipeline={str(file)!r} if you trust it"
        + (": code is never run from a download." if downloaded else ", or trust_remote_code=True."),
    )


def _find(custom_pipeline: str | os.PathLike) -> Path:
    path = expand_user(custom_pipeline)
    file = path / _FILE_NAME if path.is_dir() else path
    if file.is_file() and file.suffix == ".py":
        return file.resolve()
    raise SourceError(
        f"custom_pipeline={str(custom_pipeline)!r} is neither a Python file nor a folder with {_FILE_NAME}.",
        expected="a path: code is never downloaded",
        remedy=f"download the file of a community pipeline, for example from {_COMMUNITY}, read it, and pass its path.",
    )


def _run(file: Path) -> types.ModuleType:
    """Run the file as a module of a package of its own, so that its relative imports find the files next to it."""
    digest = hashlib.sha256(str(file).encode() + file.read_bytes()).hexdigest()[:12]
    package_name = f"ppdiffusers_custom_{digest}"
    name = f"{package_name}.{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    package = types.ModuleType(package_name)
    package.__path__ = [str(file.parent)]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None, file
    module = importlib.util.module_from_spec(spec)
    # registered before it runs, as the import system does: dataclasses and pickle look their module up
    sys.modules[package_name], sys.modules[name] = package, module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[package_name], sys.modules[name]
        raise
    return module
