"""Lazy exports: importing a module is cheap, and each public name imports its own module on first access."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ppdiffusers import registry

# What a module assigns to `__getattr__`, `__dir__` and `__all__`.
Exports = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]


def lazy_exports(
    module: str,
    names: Mapping[str, Sequence[str]],
    aliases: Mapping[str, str] | None = None,
    submodules: Iterable[str] = (),
) -> Exports:
    """Export names of other modules without importing them.

    Usage: `__getattr__, __dir__, __all__ = lazy_exports(__name__, {"ppdiffusers.core.config": ["ConfigMixin"]})`.

    Args:
        module: `__name__` of the module that exports the names.
        names: module that defines names -> these names.
        aliases: exported name -> "module:name" of what it stands for.
        submodules: submodules of a package that are attributes of it before anything imports them.
    """
    targets = {name: (source, name) for source, exported in names.items() for name in exported}
    for alias, target in (aliases or {}).items():
        source, _, name = target.partition(":")
        targets[alias] = (source, name)
    nested = frozenset(submodules)

    def get_attribute(name: str) -> Any:
        if name in nested:
            return importlib.import_module(f"{module}.{name}")  # the import system sets the attribute
        if name not in targets:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        source, original = targets[name]
        value = getattr(importlib.import_module(source), original)
        setattr(sys.modules[module], name, value)  # later accesses do not come here
        return value

    public = sorted({*targets, *nested})

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *public})

    return get_attribute, list_names, public


def registry_exports(
    package: str, names: Mapping[str, Sequence[str]] | None = None, submodules: Iterable[str] = ()
) -> Exports:
    """Export all names that the registry places in a package, and further ones.

    Args:
        package: `__name__` of the package.
        names: further names, as in `lazy_exports`.
        submodules: as in `lazy_exports`.
    """
    found: dict[str, list[str]] = {}
    aliases = {}
    for entry in registry.entries():
        if not entry.module.startswith(f"{package}."):
            continue
        if entry.alias_of:
            aliases[entry.name] = f"{entry.module}:{entry.alias_of}"
        else:
            found.setdefault(entry.module, []).append(entry.name)
    for source, exported in (names or {}).items():
        found.setdefault(source, []).extend(exported)
    return lazy_exports(package, found, aliases, submodules)
