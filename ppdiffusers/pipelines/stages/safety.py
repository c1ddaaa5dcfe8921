"""Safety checking of generated images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.errors import InputError

if TYPE_CHECKING:
    from ppdiffusers.image_processor import VaeImageProcessor
    from ppdiffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from ppdiffusers.transformers import CLIPImageProcessor


def require_feature_extractor(safety_checker: object | None, feature_extractor: object | None) -> None:
    """Raise InputError if there is a safety checker without a feature extractor."""
    if safety_checker is not None and feature_extractor is None:
        raise InputError(
            "The safety checker requires a feature extractor, which is None.",
            remedy="pass `feature_extractor=CLIPImageProcessor(...)`, or `safety_checker=None`.",
        )


def checker_pixels(
    feature_extractor: CLIPImageProcessor, images: list[PIL.Image.Image], dtype: paddle.dtype
) -> paddle.Tensor:
    """The input of a safety checker's vision model, [B, 3, h, w]."""
    pixels = np.asarray(feature_extractor(images, return_tensors="np")["pixel_values"])
    return paddle.to_tensor(pixels).astype(dtype)


def black_if_flagged(flags: list[bool], images: paddle.Tensor | np.ndarray | list) -> paddle.Tensor | np.ndarray | list:
    """Replace flagged images of a tensor [B, ...], an array, or a list by zeros."""
    if not any(flags):
        return images
    checked = [_zeros_like(image) if flag else image for image, flag in zip(images, flags, strict=True)]
    if isinstance(images, paddle.Tensor):
        return paddle.stack(checked)
    return np.stack(checked) if isinstance(images, np.ndarray) else checked


def _zeros_like(image: paddle.Tensor | np.ndarray) -> paddle.Tensor | np.ndarray:
    return paddle.zeros_like(image) if isinstance(image, paddle.Tensor) else np.zeros_like(image)


def run_safety_checker(
    safety_checker: StableDiffusionSafetyChecker | None,
    feature_extractor: CLIPImageProcessor | None,
    image_processor: VaeImageProcessor,
    image: paddle.Tensor | np.ndarray,
    dtype: paddle.dtype,
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
    images: Any
    if isinstance(image, paddle.Tensor):
        images = image_processor.postprocess(image, output_type="pil")
    else:
        images = image_processor.numpy_to_pil(image)
    return safety_checker(images=image, clip_input=checker_pixels(feature_extractor, images, dtype))
