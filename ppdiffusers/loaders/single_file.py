"""Module path of diffusers; the code is in `pipelines.loaders`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__, {"ppdiffusers.pipelines.loaders.single_file": ["FromSingleFileMixin"]}
)
