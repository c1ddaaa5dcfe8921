"""ppdiffusers: diffusion pipelines, models and schedulers on PaddlePaddle that load PyTorch weights.

Importing this package is cheap: a public name imports its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from ppdiffusers import registry
from ppdiffusers.runtime.memory import keep_freed_memory
from ppdiffusers.runtime.threads import get_num_threads, prepare, set_num_threads
from ppdiffusers.version import __version__

prepare()
keep_freed_memory()

# Modules that are attributes of the package before anything imports them, as in diffusers.
_SUBMODULES = frozenset(
    (
        *("callbacks", "configuration_utils", "image_processor", "initializer", "loaders", "logging", "models"),
        *("optimization", "pipelines", "schedulers", "training_utils", "transformers", "utils", "video_processor"),
    )
)

__all__ = [
    "__version__",
    "get_num_threads",
    "set_num_threads",
    *sorted(entry.name for entry in registry.entries() if entry.exported),
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"ppdiffusers.{name}")
    if name.startswith("is_"):  # whether an optional package is installed
        return getattr(importlib.import_module("ppdiffusers.utils.import_utils"), name)
    entry = registry.find(name)
    if entry is None or not entry.exported:
        raise AttributeError(f"module 'ppdiffusers' has no attribute {name!r}")
    return entry.load()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
