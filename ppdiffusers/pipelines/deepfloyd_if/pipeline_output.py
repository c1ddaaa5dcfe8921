"""Output of the DeepFloyd IF pipelines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.outputs import BaseOutput


@dataclass
class IFPipelineOutput(BaseOutput):
    """Images and the flags of the safety checker.

    Args:
        images: a list of PIL images, an array [B, H, W, C] in [0, 1], or a tensor [B, C, H, W] in [-1, 1] for the next
            stage.
        nsfw_detected, watermark_detected: flags for each image; flagged ones are black. None without a safety
            checker, and for tensors.
    """

    images: list[PIL.Image.Image] | np.ndarray | paddle.Tensor
    nsfw_detected: list[bool] | None
    watermark_detected: list[bool] | None
