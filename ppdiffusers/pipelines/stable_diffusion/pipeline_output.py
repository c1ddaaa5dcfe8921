"""Output of the Stable Diffusion pipelines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.outputs import BaseOutput


@dataclass
class StableDiffusionPipelineOutput(BaseOutput):
    """Images and the flags of the safety checker.

    Args:
        images: a list of PIL images, an array [B, H, W, C] in [0, 1], or a tensor [B, C, H, W].
        nsfw_content_detected: a flag for each image; flagged ones are black. None without a safety checker.
    """

    images: list[PIL.Image.Image] | np.ndarray | paddle.Tensor
    nsfw_content_detected: list[bool] | None
