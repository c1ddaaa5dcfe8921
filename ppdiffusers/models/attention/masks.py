"""Attention masks as biases of attention scores, masks of regions as factors of tokens, and masks of sequences."""

from __future__ import annotations

import math
import warnings

import paddle
import paddle.nn.functional as F


def mask_to_bias(mask: paddle.Tensor | None, dtype: paddle.dtype) -> paddle.Tensor | None:
    """Convert a mask [B, K] of 1 (keep) and 0 (discard) to a bias [B, 1, K] of 0 and -10000.

    A mask with three axes is a bias already and is returned unchanged.
    """
    if mask is None or mask.ndim == 3:
        return mask
    return ((1 - mask.astype(dtype)) * -10000.0).unsqueeze(1)  # [B, 1, K]


def sequence_mask(lengths: paddle.Tensor, total: int, dtype: paddle.dtype) -> paddle.Tensor:
    """Return 1 for the first `lengths` [B] of `total` positions, 0 for padding: [B, 1, total]."""
    return (paddle.arange(total, dtype=lengths.dtype) < lengths.unsqueeze(-1)).astype(dtype).unsqueeze(1)


def bias_per_head(bias: paddle.Tensor | None, batch: int) -> paddle.Tensor | None:
    """Add the axis of the heads to a bias.

    Args:
        bias: [B, K], [B, 1 or Q, K], or with the heads folded into the batch, as diffusers prepares masks,
            [B * heads, 1 or Q, K].
        batch: B.
    """
    if bias is None or bias.ndim == 4:
        return bias
    if bias.ndim == 2:
        bias = bias.unsqueeze(1)  # [B, 1, K]
    if bias.shape[0] in (1, batch):
        return bias.unsqueeze(1)  # [B, 1, 1 or Q, K]
    return bias.reshape([batch, -1, *bias.shape[1:]])  # [B, heads, 1 or Q, K]


def mask_to_tokens(mask: paddle.Tensor, batch: int, tokens: int) -> paddle.Tensor:
    """Resize the mask of a region to the grid of the tokens of an image.

    If the aspect ratio of the mask is not that of the image, the grid has another number of tokens: zeros are appended
    or the last ones are removed, with a warning, as in diffusers.

    Args:
        mask: [N, H, W].
        batch: a mask with fewer entries is repeated this often.
        tokens: number of tokens of the image, Q.

    Returns:
        [N or N * batch, Q]
    """
    ratio = mask.shape[2] / mask.shape[1]
    height = max(1, int(math.sqrt(tokens / ratio)))
    height += int(tokens % height != 0)
    width = tokens // height
    resized = F.interpolate(mask.unsqueeze(0), size=(height, width), mode="bicubic").squeeze(0)  # [N, h, w]
    if resized.shape[0] < batch:
        resized = resized.tile([batch, 1, 1])
    flat = resized.flatten(1)  # [N, h * w]
    if height * width != tokens:
        warnings.warn(
            "The aspect ratio of the mask is not that of the image: the mask is shifted. Pass `height` and `width` of "
            "the image to `IPAdapterMaskProcessor.preprocess`.",
            UserWarning,
            stacklevel=2,
        )
    if height * width < tokens:
        zeros = paddle.zeros([flat.shape[0], tokens - height * width], dtype=flat.dtype)
        return paddle.concat([flat, zeros], axis=1)
    return flat[:, :tokens]
