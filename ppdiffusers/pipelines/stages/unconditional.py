"""What the pipelines without a condition share: checking the arguments, and the first noise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import paddle

from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.prompts import dtype_of
from ppdiffusers.utils.torch_utils import randn_tensor


def check_call(
    pipeline: Any,
    batch_size: Any,
    num_inference_steps: Any,
    generator: Any,
    output_type: Any = "np",
    *findings: Iterable[str],
) -> None:
    """The arguments that all of them have; `findings` are those of the others.

    Raises:
        InputError: arguments that do not fit; all of them are listed.
    """
    checks.refuse(
        pipeline,
        checks.check_counts(batch_size=batch_size, num_inference_steps=num_inference_steps),
        checks.check_output_type(output_type),
        checks.check_generator(generator, batch_size),
        *findings,
    )


def first_noise(unet: paddle.nn.Layer, batch_size: int, generator: Any, sigma: float = 1.0) -> paddle.Tensor:
    """`sigma` times standard normal noise of the size that the network was trained for, [B, C, H, W]."""
    side = unet.config.sample_size
    height, width = (side, side) if isinstance(side, int) else side
    shape = (batch_size, unet.config.in_channels, height, width)
    return randn_tensor(shape, generator=generator, dtype=dtype_of(unet)) * float(sigma)
