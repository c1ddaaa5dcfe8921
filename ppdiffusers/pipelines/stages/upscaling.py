"""What the upscaling pipelines share: latents whose size does not come from the VAE."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.latents import first_latents


class UpscalerMixin:
    """It stands before `LatentsMixin` among the base classes."""

    def prepare_latents(
        self,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        dtype: Any,
        device: Any,
        generator: Any,
        latents: paddle.Tensor | np.ndarray | None = None,
    ) -> paddle.Tensor:
        """The first latents, [batch_size, num_channels_latents, height, width]."""
        shape = (batch_size, num_channels_latents, height, width)
        checks.refuse(self, checks.check_latents(latents, shape))
        return first_latents(shape, self.scheduler.init_noise_sigma, dtype, generator, latents)
