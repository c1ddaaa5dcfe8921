"""Compiled programs: `compile` and related functions. Importing this package does not import Paddle."""

from __future__ import annotations

from typing import Any

from ppdiffusers.runtime.threads import get_num_threads, set_num_threads

_LAZY = ("compile", "decompile", "is_compiled")
__all__ = [*_LAZY, "get_num_threads", "set_num_threads"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ppdiffusers.runtime' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("ppdiffusers.runtime.compiling"), name)
