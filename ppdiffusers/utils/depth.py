"""Depth of images, estimated by DPT: as control images, and for pipelines that preserve depth.

Ranftl et al., "Vision Transformers for Dense Prediction", arXiv 2103.13413. Larger values are nearer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import paddle.nn.functional as F
import PIL.Image

from ppdiffusers.core.errors import InputError
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.pil_modes import rgb_images

if TYPE_CHECKING:
    from ppdiffusers.transformers import DPTForDepthEstimation, DPTImageProcessor


def depth_image(
    image: PIL.Image.Image, depth_estimator: DPTForDepthEstimation, feature_extractor: DPTImageProcessor
) -> PIL.Image.Image:
    """The depth as an RGB image of the same size, for ControlNets and T2I-Adapters that are trained on depth.

    The values are those of transformers' pipeline "depth-estimation": the nearest pixel is white, the farthest black.

    Args:
        image: of any mode and size.
        depth_estimator, feature_extractor: such as those in the folder of Intel/dpt-hybrid-midas.

    Raises:
        InputError: the estimated depth is constant.
    """
    with paddle.no_grad():
        depth = estimate_depth([image], depth_estimator, feature_extractor)
        levels = scale_depth(depth, (image.height, image.width))[0, 0]  # [H, W]
    gray = (levels.numpy() * 255).astype(np.uint8)
    return PIL.Image.fromarray(np.repeat(gray[..., None], 3, axis=2))


def estimate_depth(
    images: Sequence[Any], depth_estimator: DPTForDepthEstimation, feature_extractor: DPTImageProcessor
) -> paddle.Tensor:
    """Depth [N, H, W] in float32, of any scale and at the size of the estimator.

    Args:
        images: PIL images of every mode, arrays or tensors, as the feature extractor accepts them.
    """
    pixels = feature_extractor(images=rgb_images(images), return_tensors="np")["pixel_values"]  # [N, 3, h, w]
    return depth_estimator(paddle.to_tensor(pixels).astype(dtype_of(depth_estimator)))[0].astype("float32")


def scale_depth(depth: paddle.Tensor, size: Sequence[int], where: str = "the estimated depth") -> paddle.Tensor:
    """Resize depth [N, H, W] by bicubic interpolation, and scale it to [0, 1]: [N, 1, *size].

    Args:
        where: for the message.

    Raises:
        InputError: the depth of an image is constant.
    """
    depth = depth.astype("float32").unsqueeze(1)  # [N, 1, H, W]
    depth = F.interpolate(depth, size=list(size), mode="bicubic", align_corners=False)  # [N, 1, h, w]
    minimum, maximum = depth.amin(axis=[1, 2, 3], keepdim=True), depth.amax(axis=[1, 2, 3], keepdim=True)
    if bool((minimum == maximum).any()):
        raise InputError("The depth map is constant: it cannot be scaled.", where=where)
    return (depth - minimum) / (maximum - minimum)
