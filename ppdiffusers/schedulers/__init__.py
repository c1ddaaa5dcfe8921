"""Schedulers: one sampler in each file. Names are imported on first access."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(
    __name__,
    {
        "ppdiffusers.schedulers.align_your_steps": ["AysSchedules"],
        "ppdiffusers.schedulers.scheduling_utils": ["KarrasDiffusionSchedulers", "SchedulerOutput"],
    },
)
