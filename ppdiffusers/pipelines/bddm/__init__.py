"""BDDM: mel spectrogram to waveform, with a noise schedule that a network finds."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
