"""Grad-TTS: text to speech."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
