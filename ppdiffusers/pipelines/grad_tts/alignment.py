"""From durations of symbols to frames: the monotonic alignment at inference."""

from __future__ import annotations

import paddle

from ppdiffusers.models.attention.masks import sequence_mask


def frame_ends(log_durations: paddle.Tensor, mask: paddle.Tensor, length_scale: float) -> paddle.Tensor:
    """Return the frame at which each symbol ends, fractional numbers [B, T]; the last one is the length.

    The durations are whole numbers times `length_scale`. Their sums are accumulated in float64, as PyTorch does on a
    CPU: where a sum is a whole number, the last digit decides which symbol a frame belongs to.

    Args:
        log_durations: [B, 1, T].
        mask: 1 for symbols, 0 for padding, [B, 1, T].
    """
    durations = paddle.ceil(paddle.exp(log_durations) * mask) * length_scale
    return durations.squeeze(1).astype("float64").cumsum(axis=1).astype("float32")


def generate_path(ends: paddle.Tensor, lengths: paddle.Tensor, total: int) -> paddle.Tensor:
    """Return which symbol each frame belongs to: 1 or 0, [B, T, total].

    Args:
        ends: the frame at which each symbol ends, [B, T].
        lengths: number of frames of each text, [B].
        total: number of frames, padding included.
    """
    positions = paddle.arange(total, dtype=ends.dtype)  # [total]
    before = (positions < ends.unsqueeze(-1)).astype(ends.dtype)  # [B, T, total]
    first, others = before[:, :1], before[:, 1:] - before[:, :-1]
    return paddle.concat([first, others], axis=1) * sequence_mask(lengths, total, ends.dtype)
