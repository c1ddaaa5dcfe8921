"""A network and a pipeline of another package, added to the registry with one row each (tests/test_registry.py)."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from ppdiffusers import DDPMScheduler, ModelMixin
from ppdiffusers.core.config import ConfigMixin, register_to_config
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.utils.dummy_inputs import DummyInputs, normal


class MadeUpModel(ModelMixin, ConfigMixin):
    """Two linear layers over the channels of [B, C]."""

    @register_to_config
    def __init__(self, channels: int = 4, hidden: int = 7):
        super().__init__()
        self.proj_in = nn.Linear(channels, hidden)
        self.proj_out = nn.Linear(hidden, channels)

    def forward(self, sample: paddle.Tensor) -> paddle.Tensor:
        return self.proj_out(paddle.tanh(self.proj_in(sample)))

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"sample": normal(rng, 3, self.config.channels)}

    @staticmethod
    def reference_outputs(network, inputs):
        return {"sample": network(**inputs)}


class MadeUpPipeline(DiffusionPipeline):
    """One step from noise to an array; `label` is a setting whose default is None."""

    def __init__(self, model: MadeUpModel, scheduler: DDPMScheduler, label: str | None = None):
        super().__init__()
        self.register_modules(model=model, scheduler=scheduler)
        self.register_to_config(label=label)

    def __call__(self) -> ImagePipelineOutput:
        return ImagePipelineOutput(images=self.model(paddle.ones([1, self.model.config.channels])).numpy())


class MadeUpImg2ImgPipeline(MadeUpPipeline):
    """The pipeline of the same family for another task."""
