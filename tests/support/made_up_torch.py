"""The PyTorch originals of `tests/support/made_up.py`."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, DDPMScheduler, DiffusionPipeline, ModelMixin
from diffusers.configuration_utils import register_to_config


class MadeUpModel(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, channels: int = 4, hidden: int = 7):
        super().__init__()
        self.proj_in = torch.nn.Linear(channels, hidden)
        self.proj_out = torch.nn.Linear(hidden, channels)

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        return self.proj_out(torch.tanh(self.proj_in(sample)))


class MadeUpPipeline(DiffusionPipeline):
    def __init__(self, model: MadeUpModel, scheduler: DDPMScheduler, label: str | None = None):
        super().__init__()
        self.register_modules(model=model, scheduler=scheduler)
        self.register_to_config(label=label)
