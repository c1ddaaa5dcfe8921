"""Safety checking of generated images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

if TYPE_CHECKING:
    from ppdiffusers.image_processor import VaeImageProcessor
    from ppdiffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from ppdiffusers.transformers import CLIPImageProcessor


def run_safety_checker(
    safety_checker: StableDiffusionSafetyChecker | None,
    feature_extractor: CLIPImageProcessor | None,
    image_processor: VaeImageProcessor,
    image: paddle.Tensor | np.ndarray,
    dtype: Any,
) -> tuple[paddle.Tensor | np.ndarray, list[bool] | None]:
    """Run the safety checker on images.

    Args:
        image: [B, 3, H, W] in [-1, 1], or an array [B, H, W, 3] in [0, 1].
        dtype: of the checker's vision model.

    Returns:
        The images, in which flagged ones are all zero, and a flag for each image (None without a checker).
    """
    if safety_checker is None:
        return image, None
    if isinstance(image, paddle.Tensor):
        images = image_processor.postprocess(image, output_type="pil")
    else:
        images = image_processor.numpy_to_pil(image)
    pixels = np.asarray(feature_extractor(images, return_tensors="np")["pixel_values"])  # [B, 3, h, w]
    return safety_checker(images=image, clip_input=paddle.to_tensor(pixels).astype(dtype))
