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
            # the reentrant form loses the gradients of tensors inside `inputs`, such as those of a prompt's embeddings
            return paddle.distributed.fleet.utils.recompute(layer, *inputs, use_reentrant=False)
        return layer(*inputs)
