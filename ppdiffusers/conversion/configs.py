"""Conversion of configuration files between frameworks.

Every value of the source is kept, so that converting back gives the same file. Keys that only one framework writes are
added or removed:

- `_ppdiffusers_version` is added to diffusers' configurations for Paddle, and removed on the way back;
- `_diffusers_version` is kept in ours (diffusers decides by it how to read legacy files) and added if it is missing;
- `torch_dtype` (transformers) follows a cast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppdiffusers import registry
from ppdiffusers.convert.model_index import DIFFUSERS_VERSION, ModelIndex, render_entry
from ppdiffusers.version import __version__

TRANSFORMERS_VERSION = "4.55.4"
# Keys that only Paddle libraries write and read.
PADDLE_KEYS = ("_ppdiffusers_version", "paddlenlp_version", "paddle_dtype")


def config_for_paddle(config: Mapping[str, Any], class_name: str, dtype: str | None = None) -> dict[str, Any]:
    """Return a component's configuration as it is written for Paddle."""
    version = {} if _model_type(class_name) else {"_ppdiffusers_version": __version__}
    return {**_with_dtype(config, dtype), **version}


def config_for_diffusers(config: Mapping[str, Any], class_name: str, dtype: str | None = None) -> dict[str, Any]:
    """Return a component's configuration as diffusers or transformers reads it."""
    kept = {key: value for key, value in _with_dtype(config, dtype).items() if key not in PADDLE_KEYS}
    if not _model_type(class_name):
        version = kept.get("_diffusers_version", DIFFUSERS_VERSION)
        return {**kept, "_class_name": class_name, "_diffusers_version": version}
    kept.pop("_class_name", None)
    kept.pop("_diffusers_version", None)
    defaults = {
        "architectures": [class_name],
        "model_type": _model_type(class_name),
        "transformers_version": TRANSFORMERS_VERSION,
    }
    return {**kept, **{key: kept.get(key) or value for key, value in defaults.items()}}


def index_for(index: ModelIndex, to: str, layout: str) -> dict[str, Any]:
    """Return `model_index.json` for the framework `to`, with paddlenlp's classes if `layout` is "paddlenlp"."""
    world = "diffusers" if to == "diffusers" else {"transformers": "ppdiffusers", "paddlenlp": "paddlenlp"}[layout]
    head = {key: value for key, value in index.raw.items() if key.startswith("_")}
    if to == "paddle":
        head["_ppdiffusers_version"] = __version__
    else:
        head = {"_diffusers_version": DIFFUSERS_VERSION, **head}
        head.pop("_ppdiffusers_version", None)
    entries = {
        name: render_entry(component.known.name if component.known else None, world)
        for name, component in index.components.items()
    }
    return {**head, **index.settings, **entries}


def _with_dtype(config: Mapping[str, Any], dtype: str | None) -> dict[str, Any]:
    changed = dict(config)
    for key in ("torch_dtype", "dtype"):
        if dtype is not None and changed.get(key) is not None:
            changed[key] = dtype
    return changed


def _model_type(class_name: str) -> str:
    """Return the `model_type` of a class with a configuration of transformers; "" for all others."""
    entry = registry.find(class_name)
    return entry.model_type if entry is not None else ""
