"""Module path of ppdiffusers 0.29; the code is in `utils.torch_utils`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__, {"ppdiffusers.utils.torch_utils": ["rand_tensor", "randn_tensor"]}
)
