"""What is computed piece by piece equals what torch computes at once: convolutions in bands, attention in slices."""

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers.models.attention import attention
from ppdiffusers.models.blocks import conv
from tests.support.parity import assert_close


def both(rng: np.random.Generator, *shape: int) -> tuple[paddle.Tensor, torch.Tensor]:
    array = rng.standard_normal(shape).astype(np.float32)
    return paddle.to_tensor(array), torch.from_numpy(array)


@pytest.mark.parametrize("at_once", [1, 5000, 2**30], ids=["a line", "some lines", "all"])
@pytest.mark.parametrize("kernel, stride, padding", [(3, 1, 1), (3, 2, 0), (3, 2, 1), (5, 1, 2), (1, 1, 0), (3, 1, 0)])
@pytest.mark.parametrize("height, width", [(13, 9), (8, 21), (5, 5)])
def test_a_convolution_in_bands(monkeypatch, at_once, kernel, stride, padding, height, width):
    monkeypatch.setattr(conv, "_NEIGHBOURHOODS_AT_ONCE", at_once)
    rng = np.random.default_rng(height)
    ours = conv.Conv2D(6, 7, kernel, stride=stride, padding=padding)
    theirs = torch.nn.Conv2d(6, 7, kernel, stride=stride, padding=padding)
    (weight, _), (bias, _) = both(rng, 7, 6, kernel, kernel), both(rng, 7)
    ours.weight.set_value(weight), ours.bias.set_value(bias)
    theirs.load_state_dict({"weight": torch.from_numpy(weight.numpy()), "bias": torch.from_numpy(bias.numpy())})
    x, y = both(rng, 2, 6, height, width)
    x.stop_gradient, y.requires_grad = False, True
    found, wanted = ours(x), theirs(y)
    assert_close(found, wanted)
    with paddle.no_grad():  # where nobody asks for gradients, bands are written to their places at once
        assert_close(ours(x), wanted)
    (found**2).sum().backward()
    (wanted**2).sum().backward()
    assert_close(x.grad, y.grad)
    assert_close(ours.weight.grad, theirs.weight.grad)


def test_bands_are_for_eager_mode_only(monkeypatch):
    """A program contains one convolution, which its engine has a kernel for."""
    monkeypatch.setattr(conv, "_NEIGHBOURHOODS_AT_ONCE", 1)
    layer = conv.Conv2D(3, 4, 3, padding=1)
    static = paddle.jit.to_static(layer, input_spec=[paddle.static.InputSpec([1, 3, 8, 8])], full_graph=True)
    names = [operation.name() for operation in static.forward.concrete_program.main_program.global_block().ops]
    assert names.count("pd_op.conv2d") == 1
    assert "pd_op.concat" not in names


@pytest.mark.parametrize("at_once", [1, 40, 100, 700, 2**30])
@pytest.mark.parametrize("bias_shape", [None, (1, 1, 11), (6, 1, 11), (6, 13, 11), (1, 13, 11)])
@pytest.mark.parametrize("slice_size", [None, 1, 4])
def test_attention_in_slices(monkeypatch, at_once, bias_shape, slice_size):
    monkeypatch.setattr(attention, "_SCORES_AT_ONCE", {"cpu": at_once})
    rng = np.random.default_rng(at_once % 97)
    (query, q), (key, k), (value, v) = both(rng, 6, 13, 5), both(rng, 6, 11, 5), both(rng, 6, 11, 7)
    bias, b = both(rng, *bias_shape) if bias_shape else (None, None)
    found = attention.scaled_dot_product(query, key, value, bias, scale=0.3, slice_size=slice_size)
    wanted = torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None], b, scale=0.3)[0]
    assert_close(found, wanted)


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
def test_slices_fit_the_cache_unless_they_were_too_many(rows, queries, keys, expected):
    assert attention._slices(rows, queries, keys, None) == expected
    with attention.attention_in_one_piece():
        assert attention._slices(rows, queries, keys, 1) == (rows, queries)
