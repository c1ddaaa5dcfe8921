"""Module path of ppdiffusers 0.29; the code is in other modules of `utils`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.utils.context_managers": ["no_init_weights"],
        "ppdiffusers.utils.torch_utils": ["is_compiled_module", "rand_tensor", "randn_tensor"],
    },
)
