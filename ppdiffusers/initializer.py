"""Initialization of parameters, under the module path of ppdiffusers 0.29."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.utils.initializer_utils": [
            "bias_init_with_prob",
            "constant_",
            "conv_init_",
            "kaiming_normal_",
            "kaiming_uniform_",
            "linear_init_",
            "normal_",
            "ones_",
            "reset_initialized_parameter",
            "uniform_",
            "vector_",
            "xavier_normal_",
            "xavier_uniform_",
            "zeros_",
        ],
    },
)
