"""Pipelines: components that turn a prompt, an image or noise into an output. Names are imported on first access."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
