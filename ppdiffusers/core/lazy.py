"""Lazy exports: importing a module is cheap, and each public name imports its own module on first access."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppdiffusers import registry

# What a module assigns to `__getattr__`, `__dir__` and `__all__`.
Exports = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]


def lazy_exports(
    module: str,
    names: Mapping[str, Sequence[str]],
    aliases: Mapping[str, str] | None = None,
) -> Exports:
    """Export names of other modules without importing them; submodules of a package are attributes of it, too.

    Usage: `__getattr__, __dir__, __all__ = lazy_exports(__name__, {"ppdiffusers.core.config": ["ConfigMixin"]})`.

    Args:
        module: `__name__` of the module that exports the names.
        names: module that defines names -> these names.
        aliases: exported name -> "module:name" of what it stands for.
    """
    targets = {name: (source, name) for source, exported in names.items() for name in exported}
    for alias, target in (aliases or {}).items():
        source, _, name = target.partition(":")
        targets[alias] = (source, name)

    def get_attribute(name: str) -> Any:
        if name not in targets:
            if _is_submodule(module, name):
                return importlib.import_module(f"{module}.{name}")  # the import system sets the attribute
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        source, original = targets[name]
        value = getattr(importlib.import_module(source), original)
        setattr(sys.modules[module], name, value)  # later accesses do not come here
        return value

    public = sorted(targets)

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *public})

    return get_attribute, list_names, public


def _is_submodule(module: str, name: str) -> bool:
    is_package = "__path__" in vars(sys.modules[module])
    return is_package and not name.startswith("__") and importlib.util.find_spec(f"{module}.{name}") is not None


def registry_exports(package: str, names: Mapping[str, Sequence[str]] | None = None) -> Exports:
    """Export all names that the registry places in a package, and further ones.

    Args:
        package: `__name__` of the package.
        names: further names, as in `lazy_exports`.
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
    return lazy_exports(package, found, aliases)
