"""torch's random streams: the CPU stream against torch live, the CUDA stream against published vectors and values."""

import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers import RecordedNoise, TorchGenerator
from ppdiffusers.core.errors import InputError
from ppdiffusers.core.tensors import bfloat16_to_float32
from ppdiffusers.core.torch_random.philox import philox4x32

SIZES = [*range(1, 41), 63, 64, 65, 1000, 16384, 2**20]
SEEDS = [0, 1, 42, 2**31, 2**32 + 5, 2**63]
# float64 is exact. A float32 normal that differs in the last bit may round to the next 16-bit number: the tolerance of
# the 16-bit dtypes is their resolution at the largest normals.
TOLERANCE = {"float32": 1e-6, "float64": 0.0, "float16": 2.0**-8, "bfloat16": 2.0**-5}


def torch_generator(seed):
    return torch.Generator().manual_seed(seed)


def to_float64(array, dtype):
    return (bfloat16_to_float32(array) if dtype == "bfloat16" else array).astype(np.float64)


# -- CPU, against torch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("seed", SEEDS)
def test_randn_of_every_size(seed, dtype):
    for size in SIZES:
        theirs = torch.randn(size, generator=torch_generator(seed), dtype=getattr(torch, dtype)).double().numpy()
        ours = to_float64(TorchGenerator(seed).randn(size, dtype), dtype)
        assert ours.shape == theirs.shape
        distance = np.abs(ours - theirs)
        assert distance.max() <= TOLERANCE[dtype], (size, distance.max())
        if dtype in ("float16", "bfloat16"):  # rounding hides most differences in the last bit
            assert (distance > 0).mean() <= 1e-4 or (distance > 0).sum() <= 1, (size, (distance > 0).mean())


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("seed", SEEDS)
def test_rand_and_exponential_of_every_size(seed, dtype):
    for size in SIZES:
        theirs = torch.rand(size, generator=torch_generator(seed), dtype=getattr(torch, dtype)).double().numpy()
        np.testing.assert_array_equal(to_float64(TorchGenerator(seed).rand(size, dtype), dtype), theirs)
    for size in (1, 7, 16, 1000):
        empty = torch.empty(size, dtype=getattr(torch, dtype))
        theirs = empty.exponential_(generator=torch_generator(seed)).double().numpy()
        ours = to_float64(TorchGenerator(seed).exponential(size, dtype), dtype)
        np.testing.assert_allclose(ours, theirs, rtol={"bfloat16": 2.0**-7, "float16": 2.0**-10}.get(dtype, 1e-6))


@pytest.mark.parametrize("seed", SEEDS)
def test_integers_and_permutations(seed):
    ranges = [(0, 10), (-5, 1000), (0, 2**28 - 1), (0, 2**28), (0, 2**31), (0, 2**32 + 1), (-(2**62), 2**62)]
    for low, high in ranges:
        theirs = torch.randint(low, high, (3, 17), generator=torch_generator(seed)).numpy()
        np.testing.assert_array_equal(TorchGenerator(seed).randint(low, high, (3, 17)), theirs)
    for count in (0, 1, 2, 3, 100, 5000):
        ours, theirs = TorchGenerator(seed), torch_generator(seed)
        np.testing.assert_array_equal(ours.randperm(count), torch.randperm(count, generator=theirs).numpy())
        np.testing.assert_array_equal(ours.rand(3), torch.rand(3, generator=theirs).numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("replacement, count", [(False, 1), (False, 5), (True, 1), (True, 40)])
def test_multinomial(dtype, replacement, count):
    for seed in SEEDS:
        for shape in ((7,), (3, 50)):
            weights = np.random.default_rng(seed).random(shape).astype(dtype)
            weights[..., 2] = 0.0
            ours, theirs = TorchGenerator(seed), torch_generator(seed)
            expected = torch.multinomial(torch.from_numpy(weights), count, replacement, generator=theirs).numpy()
            np.testing.assert_array_equal(ours.multinomial(weights, count, replacement), expected)
            np.testing.assert_array_equal(ours.rand(3), torch.rand(3, generator=theirs).numpy())


def mixed_draws(steps, seed=0):
    """Yield pairs (our draw, the same draw of torch) of all kinds; odd sizes leave a cached normal behind."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        size = int(rng.choice([1, 2, 3, 5, 9, 15, 16, 17, 20, 33, 700]))
        dtype = str(rng.choice(["float32", "float64", "float16", "bfloat16"]))
        kind = str(rng.choice(["randn", "rand", "randint", "randperm", "exponential"]))
        if kind in ("randn", "rand"):
            yield (
                lambda g, kind=kind, size=size, dtype=dtype: to_float64(getattr(g, kind)(size, dtype), dtype),
                lambda g, kind=kind, size=size, dtype=dtype: getattr(torch, kind)(
                    size, generator=g, dtype=getattr(torch, dtype)
                ),
            )
        elif kind == "randint":
            high = int(rng.choice([3, 1000, 2**40]))
            yield (
                lambda g, high=high, size=size: g.randint(0, high, size),
                lambda g, high=high, size=size: torch.randint(0, high, (size,), generator=g),
            )
        elif kind == "randperm":
            yield lambda g, size=size: g.randperm(size), lambda g, size=size: torch.randperm(size, generator=g)
        else:
            yield (
                lambda g, size=size: g.exponential(size),
                lambda g, size=size: torch.empty(size).exponential_(generator=g),
            )


@pytest.mark.parametrize("seed", SEEDS)
def test_consecutive_draws_of_all_kinds_continue_the_stream(seed):
    ours, theirs = TorchGenerator(seed), torch_generator(seed)
    for index, (mine, other) in enumerate(mixed_draws(300, seed=seed % 1000)):
        a, b = mine(ours), other(theirs).double().numpy()
        np.testing.assert_allclose(a, b, rtol=2.0**-7, atol=1e-6, err_msg=f"draw {index}")
        np.testing.assert_array_equal(ours.get_state(), theirs.get_state().numpy(), err_msg=f"state after draw {index}")


def test_shapes():
    assert TorchGenerator(0).randn(()).shape == ()
    assert TorchGenerator(0).randn((2, 0, 3)).shape == (2, 0, 3)
    assert TorchGenerator(0).randn([2, np.int64(3)]).shape == (2, 3)
    expected = torch.randn(2, 3, 4, generator=torch_generator(5)).numpy()
    np.testing.assert_allclose(TorchGenerator(5).randn((2, 3, 4)), expected, atol=1e-6)
    with pytest.raises(InputError, match="integers"):
        TorchGenerator(0).randn((2.5,))
    with pytest.raises(InputError, match="negative"):
        TorchGenerator(0).randn((-1,))


# -- seeds and states --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [*SEEDS, -1, -(2**63), 2**64 - 1, np.int64(3), True])
def test_seeds_equal_torch(seed):
    theirs = torch.Generator().manual_seed(int(seed))
    ours = TorchGenerator()
    assert ours.manual_seed(seed) is ours
    assert ours.initial_seed() == theirs.initial_seed()
    np.testing.assert_array_equal(ours.rand(5), torch.rand(5, generator=theirs).numpy())


def test_default_seed():
    theirs = torch.Generator()
    assert TorchGenerator().initial_seed() == theirs.initial_seed()
    np.testing.assert_array_equal(TorchGenerator().rand(5), torch.rand(5, generator=theirs).numpy())


def test_seed_is_unpredictable():
    generator = TorchGenerator(0)
    seeds = {generator.seed() for _ in range(5)}
    assert len(seeds) == 5
    assert generator.initial_seed() in seeds
    assert not np.array_equal(generator.rand(8), TorchGenerator(0).rand(8))


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_seeds_of_more_than_64_bits_raise(seed):
    with pytest.raises(InputError, match="64 bits"):
        TorchGenerator(seed)


@pytest.mark.parametrize("drawn", [0, 1, 3, 16, 311, 623, 624, 625, 1300])
def test_states_are_exchanged_with_torch(drawn):
    ours = TorchGenerator(9)
    for _ in range(drawn):
        ours.randn(1)  # an odd number of normals leaves one cached
    theirs = torch.Generator()
    theirs.set_state(torch.from_numpy(ours.get_state()))
    assert theirs.initial_seed() == 9
    back = TorchGenerator(0).set_state(theirs.get_state())
    assert back.initial_seed() == 9
    for size in (1, 5, 40):
        expected = torch.randn(size, generator=theirs).numpy()
        np.testing.assert_allclose(ours.randn(size), expected, atol=1e-6)
        np.testing.assert_allclose(back.randn(size), expected, atol=1e-6)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_states_round_trip(device):
    generator = TorchGenerator(3, device)
    generator.randn(7)
    state = generator.get_state()
    first = [generator.randn(5), generator.rand(20), generator.randn(100)]
    generator.set_state(state)
    for a, b in zip(first, [generator.randn(5), generator.rand(20), generator.randn(100)], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_invalid_states_raise(device):
    with pytest.raises(InputError, match="state"):
        TorchGenerator(0, device).set_state(np.zeros(10, dtype=np.uint8))
    with pytest.raises(InputError):
        TorchGenerator(0, device).set_state(np.full(5056 if device == "cpu" else 16, 255, dtype=np.uint8))


# -- CUDA --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "counter, key, expected",
    [  # Random123, tests/kat_vectors, "philox4x32 10"
        ([0, 0, 0, 0], 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, 0xFFFFFFFF_FFFFFFFF, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], 0x299F31D0_A4093822, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter, key, expected):
    words = philox4x32(np.array(counter, dtype=np.uint64)[:, None], key)[:, 0]
    assert " ".join(f"{int(word):08x}" for word in words) == expected


def corners(matrix):
    """The first and last three rows and columns, which torch prints of a large matrix."""
    ends = [0, 1, 2, -3, -2, -1]
    return matrix[np.ix_(ends, ends)]


def test_cuda_values_of_public_documents():
    """Values that real GPUs gave, printed with 4 digits in the documents named below."""
    # "Fused Kernels" notes on a LoRA talk (torch.manual_seed(0); torch.randn(8, 8, device="cuda")), first two rows
    row = [-0.9247, -0.4253, -2.6438, 0.1452, -0.1209, -0.5797, -0.6229, -0.3284]
    row += [-1.0745, -0.3631, -1.6711, 2.2655, 0.3117, -0.1842, 1.2866, 1.1820]
    np.testing.assert_allclose(TorchGenerator(0, "cuda").randn((8, 8)).reshape(-1)[:16], row, atol=6e-5)
    # FlashInfer, the docstring of LogitsPipe's Sample: torch.manual_seed(42); torch.randn(2, 5, device="cuda")
    row = [0.1940, 2.1614, -0.1721, 0.8491, -1.9244, 0.6530, -0.6494, -0.8175, 0.5280, -1.2753]
    np.testing.assert_allclose(TorchGenerator(42, "cuda").randn((2, 5)).reshape(-1), row, atol=6e-5)
    # storch's README: torch.rand(Seq(3, 3)) twice on CUDA: the second draw continues
    generator = TorchGenerator(0, "cuda")
    row = [0.3990, 0.5167, 0.0249, 0.9401, 0.9459, 0.7967, 0.4150, 0.8203, 0.2290]
    np.testing.assert_allclose(generator.rand((3, 3)).reshape(-1), row, atol=6e-5)
    row = [0.9722, 0.7910, 0.4690, 0.3300, 0.3345, 0.3783, 0.7640, 0.6405, 0.1103]
    np.testing.assert_allclose(generator.rand((3, 3)).reshape(-1), row, atol=6e-5)


def test_draws_of_more_elements_than_threads_on_an_a100():
    """Triton's matrix multiplication tutorial, printed on an A100, which has fewer threads than 512 * 512."""
    printed = np.array(
        [
            [-10.9531, -4.7109, 15.6953, -28.4062, 4.3320, -26.4219],
            [26.8438, 10.0469, -5.4297, -11.2969, -8.5312, 30.7500],
            [-13.2578, 15.8516, 18.0781, -21.7656, -8.6406, 10.2031],
            [40.2812, 18.6094, -25.6094, -2.7598, -3.2441, 41.0000],
            [-6.1211, -16.8281, 4.4844, -21.0312, 24.7031, 15.0234],
            [-17.0938, -19.0000, -0.3831, 21.5469, -30.2344, -13.2188],
        ]
    )

    def product(**gpu):
        generator = TorchGenerator(0, "cuda", **gpu)
        a, b = (generator.randn((512, 512), "float16").astype(np.float32) for _ in range(2))
        return corners(a @ b)

    np.testing.assert_allclose(product(), printed, atol=0.02)  # the resolution of float16 at 41 is 1/32
    assert np.abs(product(multiprocessors=132) - printed).max() > 1  # an H100 draws other numbers


@pytest.mark.parametrize(
    "gpu, last",
    [
        ({}, [0.6724, 1.2141, 0.9733]),  # Triton's page: one thread per element
        ({"multiprocessors": 68, "max_threads_per_multiprocessor": 1024}, [1.1495, 0.9265, 1.1323]),
        ({"multiprocessors": 28, "max_threads_per_multiprocessor": 1536}, [1.3374, 1.4960, 0.9115]),
    ],
    ids=["large", "RTX 2080 Ti", "RTX 3060"],
)
def test_uniform_numbers_on_smaller_gpus(gpu, last):
    """Three published printouts of Triton's vector addition tutorial: x = rand(98432), y = rand(98432), x + y.

    The last two do not name their GPU; among GPUs on the market, these sizes reproduce them.
    """
    generator = TorchGenerator(0, "cuda", **gpu)
    total = generator.rand(98432) + generator.rand(98432)
    np.testing.assert_allclose(total[[0, 1, 2, -3, -2, -1]], [1.3713, 1.3076, 0.4940, *last], atol=6e-5)


def test_cuda_16_bit_numbers_are_rounded_float32():
    single = TorchGenerator(7, "cuda").randn(3000)
    np.testing.assert_array_equal(TorchGenerator(7, "cuda").randn(3000, "float16"), single.astype(np.float16))
    half = TorchGenerator(7, "cuda").rand(3000).astype(np.float16)
    half[half == 1] = 0  # 1 is out of range
    np.testing.assert_array_equal(TorchGenerator(7, "cuda").rand(3000, "float16"), half)
    assert TorchGenerator(7, "cuda").rand(300_000, "bfloat16").max() < 0x3F80  # 1.0 in bfloat16


def test_cuda_float64_is_normal():
    values = TorchGenerator(1, "cuda").randn(200_001, "float64")
    assert values.dtype == np.float64
    assert abs(values.mean()) < 0.01 and abs(values.std() - 1) < 0.01
    assert np.unique(values).size == values.size
    uniform = TorchGenerator(1, "cuda").rand(200_001, "float64")
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.005


def test_cuda_state_is_seed_and_offset():
    generator = TorchGenerator(42, "cuda:0")
    generator.randn(5)
    generator.randn(512 * 512)  # at most four elements per thread: one call
    assert generator.get_state().view(np.int64).tolist() == [42, 8]
    generator.rand(221184 * 4 + 1)
    assert generator.get_state().view(np.int64).tolist() == [42, 16]
    with pytest.raises(InputError, match="CPU stream"):
        generator.randint(0, 3, (2,))


def test_devices():
    assert TorchGenerator(0, torch.device("cpu")).device == "cpu"
    assert TorchGenerator(0, "gpu:1").device == "cuda"
    with pytest.raises(InputError, match="mps"):
        TorchGenerator(0, "mps")
    with pytest.raises(InputError, match="multiprocessor"):
        TorchGenerator(0, "cuda", multiprocessors=0)


# -- errors ------------------------------------------------------------------------------------------------------


def test_invalid_arguments_raise():
    with pytest.raises(InputError, match="float32"):
        TorchGenerator(0).randn(3, "int32")
    with pytest.raises(InputError, match="low < high"):
        TorchGenerator(0).randint(3, 3, 1)
    with pytest.raises(InputError) as caught:
        TorchGenerator(0).multinomial([0.5, -0.5], 3)
    assert "negative" in str(caught.value) and "3 draws from 2" in str(caught.value)


# -- recorded noise ----------------------------------------------------------------------------------------------


def test_recorded_noise_is_replayed_in_order():
    first, second = torch.randn(2, 3), np.arange(4.0)
    noise = RecordedNoise([first, second, [[1, 2]]])
    np.testing.assert_array_equal(noise.randn((2, 3)), first.numpy())
    assert noise.remaining == 2
    assert noise.rand(4, "float16").dtype == np.float16
    np.testing.assert_array_equal(noise.randint(0, 3, (1, 2)), [[1, 2]])
    assert noise.remaining == 0
    np.testing.assert_array_equal(noise.rewind().randn((2, 3)), first.numpy())


def test_recorded_noise_in_bfloat16():
    drawn = torch.randn(5, dtype=torch.bfloat16)
    float32_noise = drawn.float().numpy()
    bits = TorchGenerator(0).randn(5, "bfloat16")
    noise = RecordedNoise([drawn, paddle.to_tensor(float32_noise).astype("bfloat16"), bits, bits])
    np.testing.assert_array_equal(noise.randn(5), float32_noise)
    np.testing.assert_array_equal(to_float64(noise.randn(5, "bfloat16"), "bfloat16"), float32_noise)
    np.testing.assert_array_equal(noise.randn(5, "bfloat16"), bits)
    np.testing.assert_array_equal(noise.randn(5), bfloat16_to_float32(bits))


def test_recorded_noise_names_the_draw_that_does_not_match():
    noise = RecordedNoise([np.zeros((1, 4)), np.zeros((2, 4))])
    noise.randn((1, 4))
    with pytest.raises(InputError) as caught:
        noise.randn((1, 4))
    assert "draw 1" in str(caught.value) and "(1, 4)" in str(caught.value) and "(2, 4)" in str(caught.value)
    assert noise.remaining == 1  # a failed draw consumes nothing
    noise.randn((2, 4))
    with pytest.raises(InputError, match="more noise than was recorded"):
        noise.randn((2, 4))
    with pytest.raises(InputError, match="list"):
        RecordedNoise(np.zeros((2, 4)))


def test_public_names():
    assert {"TorchGenerator", "RecordedNoise"} <= set(ppdiffusers.__all__)
