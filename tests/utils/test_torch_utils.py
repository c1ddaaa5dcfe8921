"""randn_tensor with every kind of generator, against diffusers."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle
import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor as reference

from ppdiffusers import RecordedNoise, TorchGenerator
from ppdiffusers.core.errors import InputError
from ppdiffusers.utils import as_generator, rand_tensor, randn_tensor

SHAPES = [(1, 3), (2, 4, 8, 8), (3, 5, 7), (2, 1, 1, 1)]


def torch_generator(seed):
    return torch.Generator().manual_seed(seed)


def paddle_generator(seed):
    generator = paddle.framework.core.Generator()
    generator.manual_seed(seed)
    return generator


def numbers(tensor):
    return tensor.astype("float64").numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_one_generator(shape, dtype):
    theirs = torch_generator(3)
    ours = TorchGenerator(3)
    for _ in range(3):
        expected = reference(shape, generator=theirs, dtype=getattr(torch, dtype)).double().numpy()
        drawn = randn_tensor(shape, ours, dtype)
        assert str(drawn.dtype) == f"paddle.{dtype}"
        step = {"float16": 2.0**-8, "bfloat16": 2.0**-5}.get(dtype, 1e-6)
        np.testing.assert_allclose(numbers(drawn), expected, rtol=0, atol=step)


def test_a_list_has_one_generator_for_each_image():
    seeds = [5, 6]
    theirs = reference((2, 4, 8, 8), generator=[torch_generator(seed) for seed in seeds]).numpy()
    ours = randn_tensor((2, 4, 8, 8), [TorchGenerator(5), 6])
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)
    # a list of one generator draws for the whole batch, as diffusers does
    theirs = reference((2, 4, 8, 8), generator=[torch_generator(5)]).numpy()
    np.testing.assert_allclose(randn_tensor((2, 4, 8, 8), [5]).numpy(), theirs, atol=1e-6)
    with pytest.raises(InputError, match="3 images"):
        randn_tensor((3, 4), [1, 2])


def test_integers_are_seeds():
    np.testing.assert_array_equal(randn_tensor((3, 4), 7).numpy(), TorchGenerator(7).randn((3, 4)))
    np.testing.assert_array_equal(randn_tensor((3, 4), np.int64(7)).numpy(), TorchGenerator(7).randn((3, 4)))
    assert isinstance(as_generator(7), TorchGenerator)
    assert [one.initial_seed() for one in as_generator([1, TorchGenerator(2)])] == [1, 2]


def test_cuda_streams_and_recordings():
    np.testing.assert_array_equal(
        randn_tensor((3, 4), TorchGenerator(0, "cuda")).numpy(), TorchGenerator(0, "cuda").randn((3, 4))
    )
    one, two = np.ones((1, 4), "float32"), np.full((1, 4), 2, "float32")
    noise = RecordedNoise([one, two])
    np.testing.assert_array_equal(randn_tensor((1, 4), noise, "bfloat16").astype("float32").numpy(), one)
    np.testing.assert_array_equal(randn_tensor((1, 4), noise).numpy(), two)
    both = randn_tensor((2, 4), [RecordedNoise([one]), RecordedNoise([two])])
    np.testing.assert_array_equal(both.numpy(), np.concatenate([one, two]))


def test_uniform():
    theirs = torch.rand(2, 5, generator=torch_generator(1)).numpy()
    np.testing.assert_array_equal(rand_tensor((2, 5), 1).numpy(), theirs)


def test_the_default_is_the_global_stream_of_paddle():
    paddle.seed(11)
    expected = paddle.randn([2, 3]).numpy()
    paddle.seed(11)
    np.testing.assert_array_equal(randn_tensor((2, 3)).numpy(), expected)
    paddle.seed(11)
    np.testing.assert_array_equal(randn_tensor((2, 3), [None]).numpy(), expected)


def test_a_paddle_generator_has_a_separate_stream():
    paddle.seed(11)
    first, second = paddle.randn([2, 3]).numpy(), paddle.randn([2, 3]).numpy()
    paddle.seed(1)
    undisturbed = paddle.randn([4]).numpy()
    paddle.seed(1)
    generator = paddle_generator(11)
    np.testing.assert_array_equal(randn_tensor((2, 3), generator).numpy(), first)
    np.testing.assert_array_equal(randn_tensor((2, 3), generator).numpy(), second)
    np.testing.assert_array_equal(paddle.randn([4]).numpy(), undisturbed)
    # two images, two streams
    both = randn_tensor((2, 2, 3), [paddle_generator(11), paddle_generator(11)]).numpy()
    np.testing.assert_array_equal(both, np.stack([first, first]))


def test_a_failed_draw_keeps_the_global_stream():
    paddle.seed(1)
    expected = paddle.randn([4]).numpy()
    paddle.seed(1)
    with pytest.raises((MemoryError, ValueError, RuntimeError)):
        randn_tensor((2**40, 2**10), paddle_generator(11))
    np.testing.assert_array_equal(paddle.randn([4]).numpy(), expected)


def test_the_default_generator_of_paddle_can_be_passed():
    paddle.seed(11)
    expected = [paddle.randn([3]).numpy() for _ in range(2)]
    paddle.seed(11)
    default = paddle.Generator("cpu")
    for one in expected:
        np.testing.assert_array_equal(randn_tensor((3,), default).numpy(), one)


def global_generator(seed):
    """What scripts write: the one global generator of Paddle, which is seeded."""
    return paddle.Generator("cpu").manual_seed(seed)


def global_state():
    """The state of the global generator as text, without the address of its engine."""
    words = str(paddle.get_rng_state()[0]).split()
    return words[:3] + words[4:]


def test_a_call_draws_from_a_copy_of_the_global_generator():
    """Two draws of a call differ, each call starts at the seed, and the global stream does not advance."""
    paddle.seed(11)
    expected = [paddle.randn([3]).numpy() for _ in range(2)]
    for _ in range(2):
        generator = as_generator(global_generator(11))
        before = global_state()
        for one in expected:
            np.testing.assert_array_equal(randn_tensor((3,), generator).numpy(), one)
        assert global_state() == before
    np.testing.assert_array_equal(paddle.randn([3]).numpy(), expected[0])


def test_separate_generators_of_paddle_are_not_copied():
    generator = paddle_generator(3)
    assert as_generator(generator) is generator
    assert as_generator([generator, None, 4])[0] is generator


def test_the_global_generator_twice_in_a_list():
    """The seed of the first is lost before the call: the warning names it."""
    generators = [global_generator(seed) for seed in range(2)]
    assert generators[0] is generators[1]
    for use in (as_generator, lambda one: randn_tensor((2, 3), one)):
        with pytest.warns(UserWarning, match=r"the one global generator of Paddle(.|\n)*last \(1\)(.|\n)*=\[0, 1\]"):
            use(generators)
    with pytest.warns(UserWarning):
        first, second = as_generator(generators)
    assert first is second and first is not generators[0]


@pytest.mark.parametrize("generator", [TorchGenerator(0), paddle_generator(0)])
def test_a_generator_twice_in_a_list(generator):
    with pytest.warns(UserWarning, match="One generator is several times in the list"):
        as_generator([generator, generator])


@pytest.mark.filterwarnings("error")
def test_lists_without_repeated_generators():
    as_generator([0, 0, TorchGenerator(0), TorchGenerator(0), paddle_generator(0), global_generator(0), None, None])


def test_generators_of_paddle_in_threads():
    """Each thread draws the stream of its generator."""
    expected = [[randn_tensor((50,), one).numpy() for _ in range(20)] for one in map(paddle_generator, range(4))]

    def draw(seed):
        generator = paddle_generator(seed)
        return [randn_tensor((50,), generator).numpy() for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(draw, range(4)))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [None, "float32", paddle.float32, torch.float32, np.float32, np.dtype("float32")])
def test_names_of_a_dtype(dtype):
    assert randn_tensor((2,), 0, dtype).dtype == paddle.float32


def test_calls_written_for_diffusers():
    drawn = randn_tensor((2, 3), generator=TorchGenerator(0), device="cpu", dtype=paddle.float32, layout=None)
    np.testing.assert_array_equal(drawn.numpy(), TorchGenerator(0).randn((2, 3)))


def test_invalid_arguments():
    for generator in ("42", 4.2, True, torch.Generator()):
        with pytest.raises(InputError, match="TorchGenerator"):
            randn_tensor((2, 3), generator)
    with pytest.raises(InputError, match="floating"):
        randn_tensor((2, 3), 0, "int64")
