"""Kernels against torch: attention in slices, convolutions in bands."""

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.runtime.kernels import attention, convolution
from ppdiffusers.runtime.kernels.attention import scaled_dot_product_attention
from tests.support.parity import assert_close


def both(rng: np.random.Generator, *shape: int, dtype: str = "float32") -> tuple[paddle.Tensor, torch.Tensor]:
    array = rng.standard_normal(shape).astype(dtype)
    return paddle.to_tensor(array), torch.from_numpy(array)


# -- convolution ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 5000, 2**30], ids=["single rows", "bands", "whole"])
@pytest.mark.parametrize("kernel, stride, padding", [(3, 1, 1), (3, 2, 0), (3, 2, 1), (5, 1, 2), (1, 1, 0), (3, 1, 0)])
@pytest.mark.parametrize("height, width", [(13, 9), (8, 21), (5, 5)])
def test_convolution_in_bands(monkeypatch, limit, kernel, stride, padding, height, width):
    monkeypatch.setattr(convolution, "_MAX_IM2COL_BYTES", limit)
    rng = np.random.default_rng(height)
    ours = Conv2D(6, 7, kernel, stride=stride, padding=padding)
    theirs = torch.nn.Conv2d(6, 7, kernel, stride=stride, padding=padding)
    (weight, _), (bias, _) = both(rng, 7, 6, kernel, kernel), both(rng, 7)
    ours.weight.set_value(weight), ours.bias.set_value(bias)
    theirs.load_state_dict({"weight": torch.from_numpy(weight.numpy()), "bias": torch.from_numpy(bias.numpy())})
    x, y = both(rng, 2, 6, height, width)
    x.stop_gradient, y.requires_grad = False, True
    found, reference = ours(x), theirs(y)
    assert_close(found, reference)
    with paddle.no_grad():  # without gradients, bands are written directly into the result
        assert_close(ours(x), reference)
    (found**2).sum().backward()
    (reference**2).sum().backward()
    assert_close(x.grad, y.grad)
    assert_close(ours.weight.grad, theirs.weight.grad)


def test_traced_program_contains_one_convolution(monkeypatch):
    """Engines have their own kernel for it."""
    monkeypatch.setattr(convolution, "_MAX_IM2COL_BYTES", 1)
    layer = Conv2D(3, 4, 3, padding=1)
    static = paddle.jit.to_static(layer, input_spec=[paddle.static.InputSpec([1, 3, 8, 8])], full_graph=True)
    names = [operation.name() for operation in static.forward.concrete_program.main_program.global_block().ops]
    assert names.count("pd_op.conv2d") == 1
    assert "pd_op.concat" not in names


# -- attention --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 40, 100, 700, 2**30])
@pytest.mark.parametrize(
    "mask_shape", [None, (1, 1, 1, 11), (2, 1, 1, 11), (2, 3, 1, 11), (2, 3, 13, 11), (1, 3, 13, 1), (13, 11)]
)
@pytest.mark.parametrize("rows_at_once", [None, 1, 4])
def test_attention_in_slices(monkeypatch, limit, mask_shape, rows_at_once):
    monkeypatch.setattr(attention, "_MAX_SCORES", {"cpu": limit})
    rng = np.random.default_rng(limit % 97)
    (query, q), (key, k), (value, v) = both(rng, 2, 3, 13, 5), both(rng, 2, 3, 11, 5), both(rng, 2, 3, 11, 7)
    mask, m = both(rng, *mask_shape) if mask_shape else (None, None)
    found = scaled_dot_product_attention(query, key, value, mask, scale=0.3, rows_at_once=rows_at_once)
    reference = torch.nn.functional.scaled_dot_product_attention(q, k, v, m, scale=0.3)
    assert_close(found, reference)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mask_shape", [(2, 1, 1, 9), (2, 4, 7, 9), (7, 9)])
@pytest.mark.parametrize("limit", [30, 2**21], ids=["slices", "whole"])
def test_boolean_masks(monkeypatch, limit, mask_shape, dtype):
    monkeypatch.setattr(attention, "_MAX_SCORES", {"cpu": limit})
    rng = np.random.default_rng(5)
    (query, q), (key, k), (value, v) = (both(rng, 2, 4, n, 6, dtype=dtype) for n in (7, 9, 9))
    keep = rng.random(mask_shape) < 0.6
    keep[..., 0] = True  # torch gives zeros where nothing is attended to
    found = scaled_dot_product_attention(query, key, value, paddle.to_tensor(keep))
    reference = torch.nn.functional.scaled_dot_product_attention(q, k, v, torch.from_numpy(keep))
    assert str(found.dtype) == f"paddle.{dtype}"
    np.testing.assert_allclose(found.numpy(), reference.numpy(), rtol=0, atol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("upcast", [True, False])
@pytest.mark.parametrize("scale", [None, 1.0, 0.05])
def test_scale_and_upcast(scale, upcast):
    rng = np.random.default_rng(6)
    (query, q), (key, k), (value, v) = both(rng, 1, 2, 1, 8), both(rng, 1, 2, 3, 8), both(rng, 1, 2, 3, 8)
    found = scaled_dot_product_attention(query, key, value, scale=scale, upcast=upcast)
    assert_close(found, torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale))


def test_query_without_keys_to_attend_to_gets_the_mean():
    value = paddle.to_tensor(np.arange(6, dtype=np.float32).reshape(1, 1, 3, 2))
    query, keep = paddle.zeros([1, 1, 1, 2]), paddle.zeros([1, 3], dtype="bool")
    found = scaled_dot_product_attention(query, value, value, keep)
    np.testing.assert_allclose(found.numpy(), [[[[2, 3]]]])


def test_gradients_in_slices(monkeypatch):
    monkeypatch.setattr(attention, "_MAX_SCORES", {"cpu": 40})
    rng = np.random.default_rng(7)
    pairs = [both(rng, 2, 3, n, 4) for n in (5, 6, 6)]
    for ours, theirs in pairs:
        ours.stop_gradient, theirs.requires_grad = False, True
    (scaled_dot_product_attention(*(ours for ours, _ in pairs)) ** 2).sum().backward()
    (torch.nn.functional.scaled_dot_product_attention(*(theirs for _, theirs in pairs)) ** 2).sum().backward()
    for ours, theirs in pairs:
        assert_close(ours.grad, theirs.grad)


def test_dropout_drops_weights():
    paddle.seed(0)
    value = paddle.ones([1, 1, 1000, 1])
    query = paddle.zeros([1, 1, 200, 4])
    found = scaled_dot_product_attention(query, paddle.zeros([1, 1, 1000, 4]), value, dropout=0.5).numpy()
    assert 0 < found.std() < 0.1  # weights that remain are scaled up
    assert abs(found.mean() - 1) < 0.02


@pytest.mark.parametrize(
    "rows, queries, keys, expected",
    [
        (16, 4096, 4096, (1, 512)),
        (16, 4096, 77, (6, 4096)),
        (16, 1024, 1024, (2, 1024)),
        (1, 64, 64, (1, 64)),
        (20, 16384, 16384, (1, 1280)),
    ],
)
def test_slice_sizes(rows, queries, keys, expected):
    """Slices fit the cache, but there are at most 256 of them."""
    assert attention.slice_sizes(rows, queries, keys, "cpu") == expected


@pytest.mark.parametrize("single", [True, False])
def test_single_operation_while_tracing(monkeypatch, single):
    monkeypatch.setattr(attention, "_MAX_SCORES", {"cpu": 16})

    class Attend(paddle.nn.Layer):
        def forward(self, x):
            return scaled_dot_product_attention(x, x, x, rows_at_once=1)

    specs = [paddle.static.InputSpec([1, 2, 8, 4])]
    static = paddle.jit.to_static(Attend(), input_spec=specs, full_graph=True)
    if single:
        with attention.single_operation_attention():
            program = static.forward.concrete_program.main_program
    else:
        program = static.forward.concrete_program.main_program
    names = [operation.name() for operation in program.global_block().ops]
    assert names.count("pd_op.softmax") == (1 if single else 8)


@pytest.mark.parametrize(
    ("device", "dtype", "head_dim", "masked_keys", "expected"),
    [
        ("cpu", "float32", 64, None, "sliced"),
        ("gpu", "float32", 64, None, "fused"),
        ("gpu", "float16", 40, None, "fused"),
        ("gpu", "bfloat16", 128, 77, "fused"),
        ("gpu", "float32", 64, 77, "sliced"),
        ("gpu", "float32", 64, 80, "fused"),
        ("gpu", "float64", 64, None, "sliced"),
        ("gpu", "float16", 512, None, "sliced"),
        ("gpu", "float16", 20, None, "sliced"),
    ],
)
def test_choice_of_the_implementation(device, dtype, head_dim, masked_keys, expected):
    assert attention.choose(device, dtype, head_dim, masked_keys) == expected


@pytest.mark.parametrize("mask_shape", [None, (2, 1, 1, 16), (12, 16)])
@pytest.mark.parametrize("boolean", [True, False])
@pytest.mark.parametrize("scale", [None, 0.11])
def test_fused_path(monkeypatch, mask_shape, boolean, scale):
    """Paddle's fused operation, on a CPU by its own reference implementation, gives the same result."""
    monkeypatch.setattr(attention, "_device_of", lambda x: "gpu")
    calls = []
    fused = attention.F.scaled_dot_product_attention
    monkeypatch.setattr(
        attention.F, "scaled_dot_product_attention", lambda *args, **kwargs: calls.append(1) or fused(*args, **kwargs)
    )
    rng = np.random.default_rng(8)
    (query, q), (key, k), (value, v) = (both(rng, 2, 3, n, 8) for n in (12, 16, 16))
    mask = m = None
    if mask_shape:
        mask, m = both(rng, *mask_shape)
        if boolean:
            mask, m = mask > -1, m > -1
    found = scaled_dot_product_attention(query, key, value, mask, scale=scale)
    assert_close(found, torch.nn.functional.scaled_dot_product_attention(q, k, v, m, scale=scale))
    assert calls == [1]


def test_shapes_that_do_not_fit():
    query, key = paddle.zeros([2, 3, 4, 8]), paddle.zeros([2, 1, 5, 6])
    with pytest.raises(InputError) as error:
        scaled_dot_product_attention(query, key, paddle.zeros([2, 1, 7, 6]), paddle.zeros([3, 1, 1, 5]))
    for part in ("number of heads", "width 8", "5 keys and 7 values", "[3, 1, 1, 5]"):
        assert part in str(error.value)
    with pytest.raises(InputError, match=r"query has shape \[3, 4, 8\]"):
        scaled_dot_product_attention(query[0], key, key)
