"""Module path of ppdiffusers 0.29; the code is in `training`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"ppdiffusers.training.lit_ema": ["LitEma"]})
