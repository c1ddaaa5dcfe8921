"""What pipelines with a safety checker return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.outputs import BaseOutput


@dataclass
class StableDiffusionPipelineOutput(BaseOutput):
    """Pictures and what the safety checker says of them.

    Args:
        images: a list of PIL pictures, an array [B, H, W, C] in [0, 1], or a tensor [B, C, H, W].
        nsfw_content_detected: one flag for each picture; flagged ones are black. None without a checker.
    """

    images: list[PIL.Image.Image] | np.ndarray | paddle.Tensor
    nsfw_content_detected: list[bool] | None
