"""Module path of diffusers; here these schedulers are next to the others."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.schedulers.scheduling_karras_ve": ["KarrasVeScheduler"],
        "ppdiffusers.schedulers.scheduling_sde_vp": ["ScoreSdeVpScheduler"],
    },
)
