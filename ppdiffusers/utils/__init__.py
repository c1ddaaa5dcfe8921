"""Helpers that users of pipelines reach for; a name brings in its module when it is first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "as_generator": "torch_utils",
    "load_image": "loading_utils",
    "make_image_grid": "pil_utils",
    "rand_tensor": "torch_utils",
    "randn_tensor": "torch_utils",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ppdiffusers.utils' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # the next look-up is a plain one
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
