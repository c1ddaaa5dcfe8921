"""Learned unconditional embeddings (arXiv 2205.16007, section 3.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.utils.dummy_inputs import DummyInputs


class LearnedClassifierFreeSamplingEmbeddings(ModelMixin):
    """`embeddings`: [length, hidden_size], or [0] if the pipeline encodes empty prompts instead.

    Args:
        learnable: whether the model has embeddings.
        hidden_size, length: required if it has.
    """

    @register_to_config
    def __init__(self, learnable: bool, hidden_size: int | None = None, length: int | None = None):
        super().__init__()
        missing = [name for name in ("hidden_size", "length") if self.config[name] is None]
        if learnable and missing:
            raise ConfigError(f"Learned embeddings require {' and '.join(missing)}.")
        self.learnable = learnable
        shape = [length, hidden_size] if learnable else [0]  # checkpoints contain an empty tensor then
        self.embeddings = self.create_parameter(shape, default_initializer=nn.initializer.Constant())

    def forward(self, batch_size: int) -> paddle.Tensor:
        """Repeat the embeddings for each prompt: [batch_size, length, hidden_size]."""
        return self.embeddings.unsqueeze(0).tile([batch_size, 1, 1])

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {}

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        """Compare the table itself: diffusers' module has no call."""
        return {"embeddings": network.embeddings}
