"""What `StableDiffusionPipelineSafe` returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.outputs import BaseOutput


@dataclass
class StableDiffusionSafePipelineOutput(BaseOutput):
    """Pictures, what the safety checker says of them, and what they were steered away from.

    Args:
        images: a list of PIL pictures, an array [B, H, W, C] in [0, 1], or a tensor [B, C, H, W].
        nsfw_content_detected: one flag for each picture; flagged ones are black. None without a checker.
        unsafe_images: the flagged pictures as they were, black where nothing was flagged. None without a checker.
        applied_safety_concept: the concept, or None if safety guidance was off.
    """

    images: list[PIL.Image.Image] | np.ndarray | paddle.Tensor
    nsfw_content_detected: list[bool] | None
    unsafe_images: list[PIL.Image.Image] | np.ndarray | paddle.Tensor | None
    applied_safety_concept: str | None
