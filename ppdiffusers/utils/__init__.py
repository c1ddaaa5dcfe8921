"""Helpers for users of pipelines; a module is imported when one of its names is first used."""

from __future__ import annotations

import importlib
from typing import Any

_MODULE_OF = {
    "as_generator": "torch_utils",
    "load_image": "loading_utils",
    "make_image_grid": "pil_utils",
    "rand_tensor": "torch_utils",
    "randn_tensor": "torch_utils",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'ppdiffusers.utils' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value  # later look-ups do not call this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
