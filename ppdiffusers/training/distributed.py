"""Training with several processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import paddle
from paddle import nn


def unwrap_model(model: nn.Layer) -> nn.Layer:
    """Return the model inside the containers of distributed training, such as `paddle.DataParallel`."""
    while hasattr(model, "_layers"):
        model = model._layers
    return model


@contextlib.contextmanager
def main_process_first(desc: str = "work") -> Iterator[None]:
    """Run a block in the main process first and in the other processes after it, such as to fill a shared cache.

    Args:
        desc: accepted for scripts written for ppdiffusers 0.29; not used.
    """
    if paddle.distributed.get_world_size() == 1:
        yield
        return
    is_main = paddle.distributed.get_rank() == 0
    if not is_main:
        paddle.distributed.barrier()
    try:
        yield
    finally:
        if is_main:
            paddle.distributed.barrier()
