"""`model_index.json`: the library and class of each component of a pipeline, in files of every library."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers import registry
from ppdiffusers.core.errors import ConfigError, UnsafeFileError
from ppdiffusers.core.reading import read_json
from ppdiffusers.registry import Entry

INDEX_NAME = "model_index.json"
DIFFUSERS_VERSION = "0.35.2"  # the release whose files we write


@dataclass(frozen=True)
class Component:
    """One component in a `model_index.json`.

    Attributes:
        name: of the component, which is also the name of its folder.
        library, class_name: as in the file; both None for a component that is switched off.
        known: our class; None for a component that is switched off, and for an unknown class in `given`.
    """

    name: str
    library: str | None
    class_name: str | None
    known: Entry | None

    @property
    def path(self) -> str | None:
        """Import path of our class."""
        return None if self.known is None else self.known.path


@dataclass(frozen=True)
class ModelIndex:
    """A parsed `model_index.json`.

    Attributes:
        pipeline: class name of the pipeline.
        components: name -> component, including those that are switched off.
        settings: all other arguments of the pipeline, such as `requires_safety_checker`.
        raw: content of the file.
        file: path of the file.
    """

    pipeline: str
    components: Mapping[str, Component]
    settings: Mapping[str, Any]
    raw: Mapping[str, Any]
    file: Path | None = None


def parse_model_index(
    path: str | os.PathLike | Mapping[str, Any], given: Iterable[str] = (), settings: Iterable[str] = ()
) -> ModelIndex:
    """Read a `model_index.json` that diffusers, ppdiffusers or paddlenlp wrote, legacy forms included.

    Args:
        path: the file, its folder, or its content.
        given: components that the caller passes: their classes in the file may be unknown.
        settings: arguments of the pipeline that are not components; two strings are a value of them.

    Raises:
        ConfigError: the file is missing, is not JSON, names no pipeline, or names unknown classes.
        UnsafeFileError: the name of a component is not a plain folder name, or that of a library not a module name.
    """
    if isinstance(path, Mapping):
        file, raw = None, dict(path)
    else:
        file = Path(path)
        file = file / INDEX_NAME if file.is_dir() else file
        raw = read_json(file)
    given, setting_names = set(given), set(settings)
    components: dict[str, Component] = {}
    found_settings: dict[str, Any] = {}
    unsafe: list[str] = []
    problems: list[str] = []
    pipeline = raw.get("_class_name")
    if not isinstance(pipeline, str) or not pipeline.isidentifier():
        problems.append(f"_class_name: {pipeline!r} is not a class name")
    entry_of_pipeline = registry.find(pipeline) if isinstance(pipeline, str) else None
    legacy_names = entry_of_pipeline.legacy_components if entry_of_pipeline is not None else {}
    for name, entry in raw.items():
        if name.startswith("_"):
            continue
        if legacy_names.get(name, name) not in raw:
            name = legacy_names.get(name, name)
        is_value = name in setting_names or entry_of_pipeline is None and not _may_be_class(entry, name, file)
        if not _is_entry(entry) or is_value and list(entry) != [None, None]:
            found_settings[name] = entry
            continue
        library, class_name = entry
        strange = [f"{text!r}" for text in (name, class_name) if text is not None and not text.isidentifier()]
        if library is not None and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", library):
            strange.append(f"{library!r}")
        if strange:
            unsafe.append(f"{name}: {', '.join(strange)} cannot be a component, class or module name")
            continue
        if library is not None and class_name is None and name not in given:
            problems.append(f"{name}: {list(entry)!r} names no class")
            continue
        known = None if class_name is None else find_class(library, class_name)
        if known is None and class_name is not None and name not in given:
            problems.append(f"{name}: [{library!r}, {class_name!r}] is not a known class")
        components[name] = Component(name, library, class_name, known)
    if unsafe:
        raise UnsafeFileError(
            "A model_index.json refers to something outside its folder.",
            where=file,
            problems=[*unsafe, *problems],
            expected="plain names of folders, modules and classes",
            remedy="do not load this folder unless you trust its author.",
        )
    if problems:
        raise ConfigError(
            "A model_index.json names classes that this version cannot load.",
            where=file,
            problems=problems,
            expected=f"one of {', '.join(sorted(registry.components()))}",
            remedy="pass the component as a keyword argument, or update ppdiffusers.",
        )
    return ModelIndex(str(pipeline), components, found_settings, raw, file)


def find_class(library: str | None, class_name: str) -> Entry | None:
    """The class that an entry `[library, class_name]` names; None if it is unknown."""
    known = registry.components().get(class_name)
    return known if known is not None and library is not None and _is_home(library, known) else None


def render_entry(class_name: str | None, world: str) -> list[str | None]:
    """The `[library, class]` of a component in a `model_index.json`.

    Args:
        class_name: name of the class; None for a component that is switched off.
        world: "diffusers" (PyTorch), "ppdiffusers", or "paddlenlp" (ppdiffusers with encoders from paddlenlp).

    Raises:
        ConfigError: the class is unknown.
    """
    if class_name is None:
        return [None, None]
    known = registry.components().get(class_name)
    if known is None:
        raise ConfigError(f"{class_name} is not a known component.", expected=", ".join(sorted(registry.components())))
    if world == "diffusers":
        return [known.index_module or known.library, class_name]
    if world == "paddlenlp" and known.library == "transformers":
        return ["paddlenlp.transformers", known.paddlenlp_name or class_name]
    return [known.paddle_library or _PADDLE_LIBRARIES.get(known.library, known.library), class_name]


_LIBRARIES = ("diffusers", "transformers", "ppdiffusers", "paddlenlp", "deprecated", "None")
_PADDLE_LIBRARIES = {"diffusers": "ppdiffusers", "transformers": "ppdiffusers.transformers"}


def _is_entry(value: Any) -> bool:
    # A list of two numbers is a setting; a component is two names or two nulls.
    pair = isinstance(value, (list, tuple)) and len(value) == 2
    return pair and all(part is None or isinstance(part, str) for part in value)


def _may_be_class(entry: Any, name: str, file: Path | None) -> bool:
    """Whether two strings of a pipeline that we do not know name a class rather than a setting."""
    library = str(entry[0]) if _is_entry(entry) else ""
    return library.partition(".")[0] in _LIBRARIES or file is None or (file.parent / name).is_dir()


def _is_home(library: str, known: Entry) -> bool:
    """Whether `library` is a module from which one of the libraries exports this class."""

    def within(*packages: str) -> bool:
        return any(library == package or library.startswith(package + ".") for package in packages)

    if known.library == "transformers":
        return within("transformers", "paddlenlp.transformers", "ppdiffusers.transformers")
    if known.library == "diffusers":
        # "deprecated": how new diffusers releases write schedulers that they moved there
        return within("diffusers", "ppdiffusers") and not within("ppdiffusers.transformers") or library == "deprecated"
    if library in (known.library, known.paddle_library, known.module):
        return True
    if library in ("diffusers", "ppdiffusers", "deprecated"):  # how newer diffusers writes networks of one pipeline
        return True
    pipelines = (f"{package}.pipelines.{known.library}" for package in ("diffusers", "ppdiffusers"))
    return within(*pipelines, f"diffusers.pipelines.deprecated.{known.library}")
