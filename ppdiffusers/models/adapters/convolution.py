"""A convolution whose weight is an input of a program."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F


def convolve_by_products(
    x: paddle.Tensor,
    weight: paddle.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> paddle.Tensor:
    """Compute a convolution as a sum of matrix products, one for each position of the kernel.

    oneDNN's convolution stores the rearranged weight of the first call, so that it ignores a weight that changes
    between calls.
    """
    x = F.pad(x, [padding[1], padding[1], padding[0], padding[0]]) if any(padding) else x  # [B, C, H, W]
    outputs, _, *kernel = weight.shape
    height, width = ((size - d * (k - 1) - 1) // s + 1 for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation))
    total = None
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = slice(i * dilation[0], i * dilation[0] + (height - 1) * stride[0] + 1, stride[0])
            columns = slice(j * dilation[1], j * dilation[1] + (width - 1) * stride[1] + 1, stride[1])
            patch = x[:, :, rows, columns].flatten(2)  # [B, C, H' * W']
            product = paddle.matmul(weight[:, :, i, j], patch)  # [B, O, H' * W']
            total = product if total is None else total + product
    return total.reshape([x.shape[0], outputs, height, width])
