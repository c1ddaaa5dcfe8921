"""Blacking out pictures that the safety checker objects to."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import VaeImageProcessor


def run_safety_checker(
    safety_checker: Any,
    feature_extractor: Any,
    image_processor: VaeImageProcessor,
    image: paddle.Tensor | np.ndarray,
    dtype: Any,
) -> tuple[paddle.Tensor | np.ndarray, list[bool] | None]:
    """Have pictures judged.

    Args:
        image: [B, 3, H, W] in [-1, 1], or an array [B, H, W, 3] in [0, 1].
        dtype: what the checker's vision model computes in.

    Returns:
        The pictures, objectionable ones all zero, and a flag for each (None without a checker).
    """
    if safety_checker is None:
        return image, None
    if isinstance(image, paddle.Tensor):
        pictures = image_processor.postprocess(image, output_type="pil")
    else:
        pictures = image_processor.numpy_to_pil(image)
    pixels = np.asarray(feature_extractor(pictures, return_tensors="np")["pixel_values"])  # [B, 3, h, w]
    return safety_checker(images=image, clip_input=paddle.to_tensor(pixels).astype(dtype))
