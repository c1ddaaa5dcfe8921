"""Output of `StableDiffusionPipelineSafe`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.outputs import BaseOutput


@dataclass
class StableDiffusionSafePipelineOutput(BaseOutput):
    """Images, flags of the safety checker, and the safety concept.

    Args:
        images: a list of PIL images, an array [B, H, W, C] in [0, 1], or a tensor [B, C, H, W].
        nsfw_content_detected: a flag for each image; flagged ones are black. None without a safety checker.
        unsafe_images: the flagged images before they were blackened; the others are black. None without a checker.
        applied_safety_concept: the concept, or None without safety guidance.
    """

    images: list[PIL.Image.Image] | np.ndarray | paddle.Tensor
    nsfw_content_detected: list[bool] | None
    unsafe_images: list[PIL.Image.Image] | np.ndarray | paddle.Tensor | None
    applied_safety_concept: str | None
