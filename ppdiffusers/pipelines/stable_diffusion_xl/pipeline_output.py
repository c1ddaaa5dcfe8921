"""Output of the Stable Diffusion XL pipelines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.outputs import BaseOutput


@dataclass
class StableDiffusionXLPipelineOutput(BaseOutput):
    """Generated images.

    Args:
        images: a list of PIL images, an array [B, H, W, C] in [0, 1], or a tensor [B, C, H, W].
    """

    images: list[PIL.Image.Image] | np.ndarray | paddle.Tensor
