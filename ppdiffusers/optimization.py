"""Learning rate schedules, under the module path of diffusers and ppdiffusers 0.29."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.training.lr_schedules": [
            "SchedulerType",
            "TYPE_TO_SCHEDULER_FUNCTION",
            "get_constant_schedule",
            "get_constant_schedule_with_warmup",
            "get_cosine_schedule_with_warmup",
            "get_cosine_with_hard_restarts_schedule_with_warmup",
            "get_linear_schedule_with_warmup",
            "get_piecewise_constant_schedule",
            "get_polynomial_decay_schedule_with_warmup",
            "get_scheduler",
        ],
    },
)
