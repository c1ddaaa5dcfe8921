"""Module path of diffusers and ppdiffusers 0.29; the code is in `core.config`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.core.config": ["ConfigMixin", "FrozenDict", "register_to_config"],
        "ppdiffusers.utils.deprecation_utils": ["deprecate"],
    },
    aliases={"LegacyConfigMixin": "ppdiffusers.core.config:ConfigMixin"},  # classes that diffusers has split
)
