"""Module path of ppdiffusers 0.29; the code is in `io`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__, {"ppdiffusers.io.state_dicts": ["convert_pytorch_state_dict_to_paddle"]}
)
