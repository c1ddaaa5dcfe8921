"""Calls without a prompt: checks of their common arguments, and initial noise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import paddle

from ppdiffusers.pipelines.stages import checks
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.torch_utils import randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_2d import UNet2DModel


def check_call(
    pipeline: object,
    *problems: Iterable[str],
    batch_size: Any,
    num_inference_steps: Any,
    generator: Any,
    output_type: Any = "np",
) -> None:
    """Check the arguments that these pipelines share; `problems` are those of the other arguments.

    Raises:
        InputError: invalid arguments; all of them are listed.
    """
    checks.raise_problems(
        pipeline,
        checks.check_counts(batch_size=batch_size, num_inference_steps=num_inference_steps),
        checks.check_output_type(output_type),
        checks.check_generator(generator, batch_size),
        *problems,
    )


def initial_noise(unet: UNet2DModel, batch_size: int, generator: Any, sigma: float = 1.0) -> paddle.Tensor:
    """Draw `sigma` times standard normal noise [B, C, H, W] of the network's `sample_size`."""
    size = unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    shape = (batch_size, unet.config.in_channels, height, width)
    return randn_tensor(shape, generator=generator, dtype=dtype_of(unet)) * float(sigma)
