"""Helpers for training scripts, under the module path of diffusers and ppdiffusers 0.29."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.training.distributed": ["main_process_first", "unwrap_model"],
        "ppdiffusers.training.ema": ["EMAModel"],
        "ppdiffusers.training.parameters": [
            "cast_training_params",
            "freeze_model",
            "freeze_params",
            "unfreeze_model",
            "unfreeze_params",
        ],
        "ppdiffusers.training.seeding": ["set_seed"],
        "ppdiffusers.training.snr": ["compute_snr"],
    },
)
