"""Scaled dot-product attention: fused on a GPU, in cache-sized slices on a CPU, one operation while tracing."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import paddle
import paddle.nn.functional as F

from ppdiffusers.core.errors import InputError

# Number of scores in one slice. CPU: 8 MB in float32, which stay in the cache between the two matrix products.
# GPU: 256 MB, for calls that the fused kernel does not support.
_MAX_SCORES = {"cpu": 2**21, "gpu": 2**26}
# Very large inputs use larger slices instead of more slices: each slice is operations to trace and to launch.
_MAX_SLICES = 256

# What Paddle's fused kernels support (FlashAttention 2 for half precision, memory-efficient attention otherwise).
_FUSED_DTYPES = ("float16", "bfloat16", "float32")
_FUSED_ALIGNMENT = 8
_FUSED_MAX_HEAD_DIM = 256

_single_operation = contextvars.ContextVar("attention as a single operation", default=False)


@contextlib.contextmanager
def single_operation_attention() -> Iterator[None]:
    """Write attention without slices, for tracing: engines replace the pattern by one operation."""
    token = _single_operation.set(True)
    try:
        yield
    finally:
        _single_operation.reset(token)


def choose(device: str, dtype: str, head_dim: int, masked_keys: int | None = None) -> str:
    """Return the implementation for a call: "fused" or "sliced".

    Args:
        device: "gpu" or "cpu".
        dtype: name of the dtype of queries, keys and values.
        head_dim: width of one head.
        masked_keys: number of keys if the call has a mask, otherwise None.
    """
    if device != "gpu" or dtype not in _FUSED_DTYPES:
        return "sliced"
    if head_dim % _FUSED_ALIGNMENT or head_dim > _FUSED_MAX_HEAD_DIM:
        return "sliced"
    # memory-efficient attention reads masks in vectors; unaligned ones would fall back to a full score matrix
    if dtype == "float32" and masked_keys is not None and masked_keys % _FUSED_ALIGNMENT:
        return "sliced"
    return "fused"


@paddle.jit.not_to_static  # control flow depends on shapes only; operations are recorded as they are
def scaled_dot_product_attention(
    query: paddle.Tensor,
    key: paddle.Tensor,
    value: paddle.Tensor,
    attn_mask: paddle.Tensor | None = None,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
    upcast: bool = False,
    rows_at_once: int | None = None,
) -> paddle.Tensor:
    """Compute `softmax(query @ key^T * scale + mask) @ value`; exact, with bounded memory.

    The layout is PyTorch's. On a GPU the transposes to Paddle's fused layout [B, N, H, D] are views.

    Args:
        query: [B, H, Q, D].
        key: [B, H, K, D].
        value: [B, H, K, Dv].
        attn_mask: broadcastable to [B, H, Q, K]: a bias that is added to the scores, or boolean (True: attend).
            A query that may attend to nothing gets the mean of the values.
        scale: factor of the scores; by default `D ** -0.5`.
        dropout: probability of dropping an attention weight; pass 0 in evaluation.
        upcast: compute scores and softmax in float32 if the inputs are in half precision.
        rows_at_once: upper limit of the rows (batch times heads) that are computed together.

    Returns:
        [B, H, Q, Dv]

    Raises:
        InputError: a shape does not fit.
    """
    _check_shapes(query, key, value, attn_mask)
    if scale is None:
        scale = query.shape[-1] ** -0.5
    if rows_at_once is None and _can_fuse(query, key, value, attn_mask):
        return _fused(query, key, value, attn_mask, scale, dropout)
    bias = _as_bias(attn_mask, query.dtype)
    batch, heads, queries, _ = query.shape
    rows, limit = batch * heads, queries
    if not _single_operation.get():
        rows, limit = slice_sizes(batch * heads, queries, key.shape[2], _device_of(query), rows_at_once)
    if rows == batch * heads and limit == queries:
        return _attend(query, key, value, bias, scale, dropout, upcast)
    return _sliced(query, key, value, bias, (rows, limit), scale, dropout, upcast)


def _check_shapes(query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor, mask: paddle.Tensor | None) -> None:
    shapes = {"query": query.shape, "key": key.shape, "value": value.shape}
    problems = [f"{name} has shape {list(shape)}" for name, shape in shapes.items() if len(shape) != 4]
    if not problems:
        if not list(query.shape[:2]) == list(key.shape[:2]) == list(value.shape[:2]):
            problems.append("query, key and value differ in batch size or number of heads")
        if query.shape[3] != key.shape[3]:
            problems.append(f"query has width {query.shape[3]}, key has width {key.shape[3]}")
        if key.shape[2] != value.shape[2]:
            problems.append(f"{key.shape[2]} keys and {value.shape[2]} values")
        scores = [*query.shape[:3], key.shape[2]]
        if mask is not None and not _broadcastable(list(mask.shape), scores):
            problems.append(f"attn_mask has shape {list(mask.shape)}, which does not broadcast to {scores}")
    if problems:
        raise InputError(
            "The shapes of the attention's inputs do not fit together.",
            problems=[*problems, *(f"{name}: {list(shape)}" for name, shape in shapes.items())],
            expected="query [B, H, Q, D], key [B, H, K, D], value [B, H, K, Dv], attn_mask like [B, H, Q, K]",
        )


def _broadcastable(shape: list[int], target: list[int]) -> bool:
    return len(shape) <= len(target) and all(n in (1, full) for n, full in zip(shape[::-1], target[::-1]))


def _device_of(x: paddle.Tensor) -> str:
    # values of a traced program have no place
    on_gpu = x.place.is_gpu_place() if isinstance(x, paddle.Tensor) else paddle.get_device().startswith("gpu")
    return "gpu" if on_gpu else "cpu"


# -- fused ------------------------------------------------------------------------------------------------------


def _can_fuse(query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor, mask: paddle.Tensor | None) -> bool:
    if not isinstance(query, paddle.Tensor):  # traced programs contain plain operations, for every engine
        return False
    if not query.dtype == key.dtype == value.dtype or query.shape[3] != value.shape[3]:
        return False
    if mask is not None and not mask.stop_gradient and paddle.is_grad_enabled():  # the fused kernels give it none
        return False
    dtype = str(query.dtype).rpartition(".")[2]
    return choose(_device_of(query), dtype, query.shape[3], None if mask is None else key.shape[2]) == "fused"


def _fused(
    query: paddle.Tensor,
    key: paddle.Tensor,
    value: paddle.Tensor,
    mask: paddle.Tensor | None,
    scale: float,
    dropout: float,
) -> paddle.Tensor:
    """Call Paddle's fused operation. It accumulates scores in float32, so `upcast` needs no casts."""
    batch, _, queries, head_dim = query.shape
    factor = scale * head_dim**0.5
    if abs(factor - 1) > 1e-6:  # Paddle excludes FlashAttention if `scale` is passed
        query = query * factor
    if mask is not None:
        mask = _as_bias(mask, query.dtype).astype(query.dtype)
        mask = mask.expand([batch, mask.shape[1], queries, key.shape[2]])  # [B, 1 or H, Q, K]
    query, key, value = (x.transpose([0, 2, 1, 3]) for x in (query, key, value))  # [B, N, H, D]
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    return mixed.transpose([0, 2, 1, 3])  # [B, H, Q, D]


# -- sliced -----------------------------------------------------------------------------------------------------


def slice_sizes(rows: int, queries: int, keys: int, device: str, rows_at_once: int | None = None) -> tuple[int, int]:
    """Return how many rows (batch times heads), and how many of their queries, to compute at once."""
    limit = max(_MAX_SCORES[device], rows * queries * keys // _MAX_SLICES)
    if queries * keys <= limit:
        return min(rows_at_once or rows, rows, limit // max(1, queries * keys)), queries
    return 1, max(1, limit // keys)


def _as_bias(mask: paddle.Tensor | None, dtype: paddle.dtype) -> paddle.Tensor | None:
    """Convert a mask to a bias with four axes, each 1 or full."""
    if mask is None:
        return None
    if mask.dtype == paddle.bool:
        lowest = paddle.full([1], float(paddle.finfo(dtype).min), dtype=dtype)
        mask = paddle.where(mask, paddle.zeros([1], dtype=dtype), lowest)
    return mask if mask.ndim == 4 else mask.reshape([1] * (4 - mask.ndim) + list(mask.shape))


def _attend(
    query: paddle.Tensor,
    key: paddle.Tensor,
    value: paddle.Tensor,
    bias: paddle.Tensor | None,
    scale: float,
    dropout: float,
    upcast: bool,
) -> paddle.Tensor:
    """Attention as plain operations, over [..., N, D]."""
    query = query * scale
    if upcast and query.dtype in (paddle.float16, paddle.bfloat16):
        query, key = query.astype("float32"), key.astype("float32")
    scores = paddle.matmul(query, key, transpose_y=True)  # [..., Q, K]
    if bias is not None:
        scores = scores + bias.astype(scores.dtype)
    weights = F.softmax(scores, axis=-1).astype(value.dtype)
    return paddle.matmul(F.dropout(weights, dropout) if dropout else weights, value)  # [..., Q, Dv]


def _sliced(
    query: paddle.Tensor,
    key: paddle.Tensor,
    value: paddle.Tensor,
    bias: paddle.Tensor | None,
    sizes: tuple[int, int],
    scale: float,
    dropout: float,
    upcast: bool,
) -> paddle.Tensor:
    """Attention, `sizes` rows and queries at a time."""
    batch, heads, queries, _ = query.shape
    rows_at_once, queries_at_once = sizes
    q, k, v = (x.flatten(0, 1) for x in (query, key, value))  # [R, N, D], R = B * H
    if bias is not None:
        rows = [1, 1] if bias.shape[0] == bias.shape[1] == 1 else [batch, heads]
        bias = bias.expand([*rows, *bias.shape[2:]]).flatten(0, 1)  # [1 or R, 1 or Q, 1 or K]

    def attend_rows(start: int) -> paddle.Tensor:
        q_rows, k_rows, v_rows, b_rows = (_part(x, 0, start, rows_at_once) for x in (q, k, v, bias))
        parts = [
            _attend(
                _part(q_rows, 1, first, queries_at_once),
                k_rows,
                v_rows,
                _part(b_rows, 1, first, queries_at_once),
                scale,
                dropout,
                upcast,
            )
            for first in range(0, queries, queries_at_once)
        ]
        return _join(parts, 1)  # [rows, Q, Dv]

    mixed = _join([attend_rows(start) for start in range(0, batch * heads, rows_at_once)], 0)  # [R, Q, Dv]
    return mixed.reshape([batch, heads, queries, value.shape[3]])


def _part(x: paddle.Tensor | None, axis: int, start: int, count: int) -> paddle.Tensor | None:
    """Take `count` entries along axis 0 or 1; a tensor that has one entry or exactly `count` is returned whole."""
    if x is None or x.shape[axis] in (1, count):
        return x
    return x[start : start + count] if axis == 0 else x[:, start : start + count]


def _join(parts: list[paddle.Tensor], axis: int) -> paddle.Tensor:
    return parts[0] if len(parts) == 1 else paddle.concat(parts, axis=axis)
