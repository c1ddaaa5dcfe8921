"""Text and image encoders, tokenizers and image processors, with the names of transformers."""

from __future__ import annotations

from typing import Any

from ppdiffusers import registry

__all__ = sorted(e.name for e in registry.entries() if e.library == "transformers" and not e.alias_of)


def __getattr__(name: str) -> Any:
    entry = registry.find(name)
    if entry is None or entry.library != "transformers":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return entry.load()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
