"""Attention masks as biases that are added to attention scores."""

from __future__ import annotations

import paddle


def mask_to_bias(mask: paddle.Tensor | None, dtype: paddle.dtype) -> paddle.Tensor | None:
    """Convert a mask [B, K] of 1 (keep) and 0 (discard) to a bias [B, 1, K] of 0 and -10000.

    A mask with three axes is a bias already and is returned unchanged.
    """
    if mask is None or mask.ndim == 3:
        return mask
    return ((1 - mask.astype(dtype)) * -10000.0).unsqueeze(1)  # [B, 1, K]


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
