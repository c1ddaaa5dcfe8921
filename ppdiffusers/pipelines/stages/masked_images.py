"""diffusers' legacy function that prepares image and mask of an inpainting call; pipelines use image processors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.errors import InputError
from ppdiffusers.utils.deprecation_utils import deprecate
from ppdiffusers.utils.pil_modes import to_grayscale, to_rgb

Images: TypeAlias = "PIL.Image.Image | np.ndarray | paddle.Tensor | Sequence[PIL.Image.Image] | Sequence[np.ndarray]"


def prepare_mask_and_masked_image(
    image: Images, mask: Images, height: int, width: int, return_image: bool = False
) -> tuple[paddle.Tensor, ...]:
    """Convert an image and a mask to tensors, and remove the masked part of the image.

    Args:
        image: PIL images, which are resized; arrays [H, W, 3] in [0, 255]; or a tensor [3, H, W] or [B, 3, H, W] in
            [-1, 1].
        mask: PIL images, which are resized; arrays [H, W] or [1, H, W] in [0, 1]; or a tensor [H, W], [1, H, W],
            [B, H, W] or [B, 1, H, W] in [0, 1].
        height, width: of the result, for PIL images.
        return_image: return the image, too.

    Returns:
        Mask [B, 1, H, W] of 0 and 1, masked image [B, 3, H, W] in [-1, 1], and the image if it is requested.

    Raises:
        TypeError: only one of the two is a tensor.
        InputError: one is missing, or out of range; or the shapes do not match.
    """
    deprecate(
        "prepare_mask_and_masked_image",
        "2.0.0",
        "The method `prepare_mask_and_masked_image` is deprecated: use `VaeImageProcessor.preprocess`.",
    )
    if image is None or mask is None:
        raise InputError("An image and a mask are required.", where="image" if image is None else "mask")
    if isinstance(image, paddle.Tensor) != isinstance(mask, paddle.Tensor):
        raise TypeError(f"image is {type(image).__name__} and mask is {type(mask).__name__}: both must be tensors.")
    if isinstance(image, paddle.Tensor):
        pixels, masks = _batch(image), _batch_of_masks(mask)
    else:
        pixels, masks = _pixels(image, height, width), _masks(mask, height, width)
    _check(pixels, masks)
    pixels, masks = pixels.astype("float32"), (masks.astype("float32") >= 0.5).astype("float32")
    masked = pixels * (1 - masks)
    return (masks, masked, pixels) if return_image else (masks, masked)


def _batch(image: paddle.Tensor) -> paddle.Tensor:
    return image.unsqueeze(0) if image.ndim == 3 else image  # [B, 3, H, W]


def _batch_of_masks(mask: paddle.Tensor) -> paddle.Tensor:
    """Return [B, 1, H, W]. Three axes are [1, H, W] or [B, H, W]."""
    if mask.ndim == 2:
        return mask.unsqueeze([0, 1])
    return mask.unsqueeze(1) if mask.ndim == 3 else mask


def _pixels(image: Images, height: int, width: int) -> paddle.Tensor:
    images = image if isinstance(image, (list, tuple)) else [image]
    resized = [
        np.asarray(to_rgb(one.resize((width, height), resample=PIL.Image.Resampling.LANCZOS)))
        if isinstance(one, PIL.Image.Image)
        else one
        for one in images
    ]
    stacked = np.stack(resized).astype(np.float32)  # [B, H, W, 3]
    return paddle.to_tensor(stacked.transpose(0, 3, 1, 2) / 127.5 - 1.0)


def _masks(mask: Images, height: int, width: int) -> paddle.Tensor:
    masks = mask if isinstance(mask, (list, tuple)) else [mask]
    resized = [
        np.asarray(to_grayscale(one.resize((width, height), resample=PIL.Image.Resampling.LANCZOS))) / np.float32(255)
        if isinstance(one, PIL.Image.Image)
        else one
        for one in masks
    ]
    return paddle.to_tensor(np.stack([one.reshape(-1, *one.shape[-2:])[:1] for one in resized]).astype(np.float32))


def _check(pixels: paddle.Tensor, masks: paddle.Tensor) -> None:
    shapes = f"image {list(pixels.shape)}, mask {list(masks.shape)}"
    if pixels.ndim != 4 or masks.ndim != 4 or pixels.shape[1] != 3 or masks.shape[1] != 1:
        raise InputError("The shapes are wrong.", where=shapes, expected="image [B, 3, H, W] and mask [B, 1, H, W]")
    if pixels.shape[0] != masks.shape[0] or pixels.shape[-2:] != masks.shape[-2:]:
        raise InputError("Image and mask do not match.", where=shapes, expected="the same batch size, height and width")
    if float(pixels.min()) < -1 or float(pixels.max()) > 1:
        raise InputError("The image is out of range.", where="image", expected="values in [-1, 1]")
    if float(masks.min()) < 0 or float(masks.max()) > 1:
        raise InputError("The mask is out of range.", where="mask", expected="values in [0, 1]")
