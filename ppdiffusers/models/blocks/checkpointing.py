"""Gradient checkpointing."""

from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle import nn


class CheckpointedBlock(nn.Layer):
    """A block that can discard the activations of its layers in training and recompute them in the backward pass."""

    gradient_checkpointing = False

    def _run(self, layer: Callable[..., paddle.Tensor], *inputs: object) -> paddle.Tensor:
        """Call a layer, with gradient checkpointing if it is enabled."""
        if self.gradient_checkpointing and self.training:
            return paddle.distributed.fleet.utils.recompute(layer, *inputs)
        return layer(*inputs)
