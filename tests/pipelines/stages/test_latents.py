"""Encoding, repeating and decoding of latents; half precision that overflows."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import AutoencoderKL, TorchGenerator
from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages import latents as latents_stage
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.latents import (
    decode_latents,
    encode,
    encode_image,
    image_latents,
    initial_latents,
    repeat_to,
)
from tests.pipelines.support import generators
from tests.support.checkpoints import tiny_vae
from tests.support.parity import assert_close, noise

IMAGES = noise((2, 3, 20, 28), "images").clip(-1, 1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae")
    theirs = tiny_vae()
    theirs.save_pretrained(folder)
    return folder, theirs


@pytest.fixture
def vae(saved):
    return AutoencoderKL.from_pretrained(saved[0])


def test_initial_latents():
    shape = (2, 4, 6, 8)
    drawn = initial_latents(shape, 14.6, "float32", TorchGenerator(3))
    expected = torch.randn(shape, generator=torch.Generator().manual_seed(3)) * 14.6
    assert_close(drawn, expected, 1e-6)
    given = noise(shape)
    np.testing.assert_allclose(initial_latents(shape, 2.0, "float32", latents=given).numpy(), given * 2)


def test_encoding_agrees_with_diffusers(vae, saved):
    mine, reference = generators(5)
    with torch.no_grad():
        expected = saved[1].encode(torch.from_numpy(IMAGES)).latent_dist.sample(reference) * 0.18215
        assert_close(encode_image(vae, paddle.to_tensor(IMAGES), mine), expected, 1e-5)


def test_decoding_agrees_with_diffusers(vae, saved):
    z = noise((2, 4, 5, 7))
    finite = FiniteCheck()
    with torch.no_grad():
        expected = saved[1].decode(torch.from_numpy(z) / 0.18215).sample
    assert_close(decode_latents(vae, paddle.to_tensor(z), finite), expected)
    assert finite.first_bad() is None


def test_each_generator_samples_the_latents_of_its_image(vae):
    """Also if one image is repeated: each copy has another sample."""
    images = paddle.to_tensor(IMAGES)
    both = image_latents(vae, images, 2, [TorchGenerator(1), TorchGenerator(2)])
    copies = image_latents(vae, images[:1], 2, [TorchGenerator(1), TorchGenerator(2)])
    for n in range(2):
        alone = encode_image(vae, images[n : n + 1], TorchGenerator(n + 1))
        assert_close(both[n : n + 1], alone, 1e-6)
    assert_close(copies[:1], both[:1], 1e-6)
    assert not np.allclose(copies[0].numpy(), copies[1].numpy())


def test_one_generator_samples_once_for_a_repeated_image(vae):
    latents = image_latents(vae, paddle.to_tensor(IMAGES), 4, TorchGenerator(1))
    np.testing.assert_array_equal(latents[:2].numpy(), latents[2:].numpy())


def test_latents_are_not_encoded(vae):
    given = paddle.to_tensor(noise((1, 4, 10, 14)))
    generator = TorchGenerator(0)
    np.testing.assert_array_equal(image_latents(vae, given, 2, generator)[1].numpy(), given[0].numpy())
    assert_close(generator.randn((3,)), TorchGenerator(0).randn((3,)), 0)


def test_repeat_to():
    repeated = repeat_to(paddle.to_tensor([[1.0], [2.0]]), 4)
    np.testing.assert_array_equal(repeated.numpy(), [[1], [2], [1], [2]])
    with pytest.raises(InputError, match=r"`mask_image` has 2 image\(s\), which cannot be repeated for a batch of 3"):
        repeat_to(paddle.zeros([2, 1, 4, 4]), 3, "mask_image")


@pytest.fixture
def half(vae, monkeypatch, half_kernels):
    """A VAE in bfloat16, and the dtypes with which its encoder was called.

    Paddle has no 16-bit convolutions on a CPU: encoding in bfloat16 is simulated by a result that overflows.
    """
    encode_in_float32, dtypes = AutoencoderKL.encode, []

    def encode(self, x, *args, **kwargs):
        dtypes.append(str(x.dtype).rpartition(".")[2])
        if x.dtype != paddle.bfloat16:
            return encode_in_float32(self, x, *args, **kwargs)
        moments = paddle.full([2, 8, 10, 14], float("inf"), dtype="bfloat16")
        return (SimpleNamespace(parameters=moments),)

    monkeypatch.setattr(AutoencoderKL, "encode", encode)
    monkeypatch.setattr(latents_stage, "DiagonalGaussianDistribution", lambda moments: moments)
    return vae.to(dtype="bfloat16"), dtypes


def test_overflow_is_repeated_in_float32(half, saved, caplog):
    vae, dtypes = half
    finite = FiniteCheck()
    before = {name: p.astype("float32").numpy() for name, p in vae.state_dict().items()}
    moments = encode(vae, paddle.to_tensor(IMAGES), lambda moments: moments, finite)
    assert dtypes == ["bfloat16", "float32"]
    assert "overflows in bfloat16: encoding is repeated" in caplog.text and finite.first_bad() is None
    assert vae.dtype == moments.dtype == paddle.bfloat16
    assert all((before[name] == p.astype("float32").numpy()).all() for name, p in vae.state_dict().items())
    with torch.no_grad():
        exact = saved[1].encode(torch.from_numpy(IMAGES)).latent_dist.parameters
    assert_close(moments.astype("float32"), exact, 0.03)  # the weights have 8 bits too


def test_images_with_nan_are_not_encoded_again(half):
    vae, dtypes = half
    finite, images = FiniteCheck(), IMAGES.copy()
    images[0, 0, 0, 0] = np.nan
    encode(vae, paddle.to_tensor(images), lambda moments: moments, finite)
    assert dtypes == ["bfloat16"] and finite.first_bad() == "the VAE's encoder"
