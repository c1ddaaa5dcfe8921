"""The hubs that models are downloaded from, one module each; this table names and orders them."""

from __future__ import annotations

import os

from ppdiffusers.core.errors import InputError
from ppdiffusers.io.hubs.aistudio import AIStudioHub
from ppdiffusers.io.hubs.base import Hub
from ppdiffusers.io.hubs.huggingface import HuggingFaceHub
from ppdiffusers.io.hubs.modelscope import ModelScopeHub
from ppdiffusers.io.hubs.paddlenlp import PaddleNLPHub

HUBS: dict[str, Hub] = {hub.name: hub for hub in (PaddleNLPHub(), HuggingFaceHub(), ModelScopeHub(), AIStudioHub())}
# Other common spellings.
_ALIASES = {"huggingface": "hf", "hf_hub": "hf", "bos": "paddlenlp", "ms": "modelscope", "ai_studio": "aistudio"}


def find_hub(name: str) -> Hub:
    """Return a hub by its name.

    Raises:
        InputError: the name is unknown.
    """
    key = name.strip().lower() if isinstance(name, str) else ""
    key = _ALIASES.get(key, key)
    if key not in HUBS:
        raise InputError(f"The source {name!r} is unknown.", expected=f"one of {', '.join(HUBS)}")
    return HUBS[key]


def hubs_in_order(only: str | None = None) -> list[Hub]:
    """Return the hubs to search: the chosen one, or those of `PPDIFFUSERS_SOURCES` (default: all) in order."""
    if only is not None:
        return [find_hub(only)]
    names = [name for name in os.environ.get("PPDIFFUSERS_SOURCES", "").split(",") if name.strip()]
    # the local cache is always searched first: naming it has no effect
    return [find_hub(name) for name in names if name.strip() not in ("local", "cache")] if names else [*HUBS.values()]
