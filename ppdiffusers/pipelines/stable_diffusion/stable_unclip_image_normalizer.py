"""Mean and standard deviation of CLIP's image embeddings, for the noise levels of Stable unCLIP."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal


class StableUnCLIPImageNormalizer(ModelMixin):
    """Map CLIP's embeddings to mean 0 and standard deviation 1, and back.

    Args:
        embedding_dim: channels of the embeddings.
    """

    @register_to_config
    def __init__(self, embedding_dim: int = 768):
        super().__init__()
        self.mean = self.create_parameter([1, embedding_dim], default_initializer=nn.initializer.Constant())
        self.std = self.create_parameter([1, embedding_dim], default_initializer=nn.initializer.Constant(1.0))

    def scale(self, embeds: paddle.Tensor) -> paddle.Tensor:  # [B, D] -> [B, D]
        return (embeds - self.mean) / self.std

    def unscale(self, embeds: paddle.Tensor) -> paddle.Tensor:  # [B, D] -> [B, D]
        return embeds * self.std + self.mean

    def forward(self, embeds: paddle.Tensor) -> paddle.Tensor:
        """`scale`: diffusers' module has no call."""
        return self.scale(embeds)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"embeds": normal(rng, BATCH, self.config.embedding_dim)}

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        embeds = inputs["embeds"]
        return {"scaled": network.scale(embeds), "unscaled": network.unscale(embeds)}
