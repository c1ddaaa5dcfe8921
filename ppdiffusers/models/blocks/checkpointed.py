"""Trading time for memory in training."""

from __future__ import annotations

from collections.abc import Callable

import paddle
from paddle import nn


class Checkpointed(nn.Layer):
    """A block that can forget its activations in training and compute them again going backward."""

    gradient_checkpointing = False

    def _run(self, layer: Callable, *inputs: object) -> paddle.Tensor:
        if self.gradient_checkpointing and self.training:
            return paddle.distributed.fleet.utils.recompute(layer, *inputs)
        return layer(*inputs)
