"""Casts of bfloat16 and float16 against torch, lazy reads, transposing."""

import numpy as np
import pytest
import torch

from ppdiffusers.core.tensors import LazyTensor, bfloat16_to_float32, cast_floating, float32_to_bfloat16


def every_kind_of_float() -> np.ndarray:
    rng = np.random.default_rng(0)
    random_bits = rng.integers(0, 2**32, 4096, dtype=np.uint64).astype(np.uint32).view(np.float32)
    # ties both ways, overflow by rounding, subnormals, signed zeros, infinities, NaN
    corner_bits = np.array(
        [0x3F808000, 0x3F818000, 0x7F7FFFFF, 0xFF7FFFFF, 1, 0x8000, 0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000],
        dtype=np.uint32,
    )
    return np.concatenate([random_bits, corner_bits.view(np.float32)])


def test_float32_to_bfloat16_equals_torch():
    values = every_kind_of_float()
    theirs = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    ours = float32_to_bfloat16(values)
    numbers = ~np.isnan(values)
    assert np.array_equal(ours[numbers], theirs[numbers])
    assert np.isnan(bfloat16_to_float32(ours[~numbers])).all()


def test_bfloat16_to_float32_is_exact():
    bits = np.arange(2**16, dtype=np.uint32).astype(np.uint16)
    theirs = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    assert np.array_equal(bfloat16_to_float32(bits), theirs, equal_nan=True)


@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 1, 3)])
def test_shapes_survive_casts(shape):
    values = np.ones(shape, dtype=np.float32)
    bits = cast_floating(values, "float32", "bfloat16")
    assert bits.shape == shape and bits.dtype == np.uint16
    assert np.array_equal(cast_floating(bits, "bfloat16", "float32"), values)


def test_float16_casts_equal_torch():
    values = every_kind_of_float()
    theirs = torch.from_numpy(values).half().numpy()
    assert np.array_equal(cast_floating(values, "float32", "float16"), theirs, equal_nan=True)


def test_lazy_tensor_reads_on_request():
    reads = []

    def read():
        reads.append(1)
        return np.arange(6, dtype=np.float32).reshape(2, 3)

    tensor = LazyTensor("float32", (2, 3), read)
    changed = tensor.transposed().astype("bfloat16")
    assert (changed.shape, changed.dtype, changed.nbytes, changed.size) == ((3, 2), "bfloat16", 12, 6)
    assert not reads
    assert np.array_equal(bfloat16_to_float32(changed.read()), read().T)


def test_integers_are_not_cast():
    tensor = LazyTensor.of(np.arange(3))
    assert tensor.astype("float16") is tensor
    assert LazyTensor.of(np.zeros(2, np.uint16), "bfloat16").astype("bfloat16").dtype == "bfloat16"


@pytest.mark.parametrize("source", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("target", ["float16", "bfloat16", "float32", "float64"])
def test_all_eight_bit_floats_equal_torch(source, target):
    stored = np.arange(256, dtype=np.uint8)
    theirs = torch.from_numpy(stored).view(getattr(torch, source)).to(getattr(torch, target))
    found = LazyTensor.of(stored, source).astype(target).read()
    if target == "bfloat16":
        found, theirs = bfloat16_to_float32(found), theirs.float()
    assert np.array_equal(found, theirs.numpy(), equal_nan=True)
