"""Images for CLIP's image encoder: their number, their check and their preprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.pil_modes import rgb_images

if TYPE_CHECKING:
    from ppdiffusers.transformers import CLIPImageProcessor, CLIPVisionModelWithProjection


def count_images(image: Any) -> int | None:
    """The number of images; None if the argument is not valid."""
    if isinstance(image, PIL.Image.Image):
        return 1
    if isinstance(image, list):
        return len(image) if image and all(isinstance(one, PIL.Image.Image) for one in image) else None
    return image.shape[0] if isinstance(image, paddle.Tensor) and image.ndim == 4 else None


def check_clip_images(image: Any) -> list[str]:
    """A PIL image, a list of them, or a tensor of preprocessed images."""
    if count_images(image):
        return []
    return [
        "`image` must be a PIL image, a list of them, or a Paddle tensor [images, 3, height, width], "
        f"not {type(image).__name__}"
    ]


def clip_pixels(
    image: Any, feature_extractor: CLIPImageProcessor, image_encoder: CLIPVisionModelWithProjection
) -> paddle.Tensor:
    """The input of the image encoder, [N, 3, h, w] in its dtype.

    Args:
        image: PIL images of every mode or arrays, which the feature extractor preprocesses; a tensor is preprocessed
            already.
    """
    if not isinstance(image, paddle.Tensor):
        pixels = feature_extractor(images=rgb_images(image), return_tensors="np")["pixel_values"]
        image = paddle.to_tensor(np.asarray(pixels))
    return image.astype(dtype_of(image_encoder))
