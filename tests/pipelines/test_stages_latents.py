"""Between images and latents: draws, repeats, and half precision that overflows."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import AutoencoderKL, TorchGenerator
from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages import images
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.images import encode_image, first_image_latents, repeat_to
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


def test_a_draw_is_that_of_the_original(vae, saved):
    mine, reference = generators(5)
    with torch.no_grad():
        expected = saved[1].encode(torch.from_numpy(IMAGES)).latent_dist.sample(reference) * 0.18215
        assert_close(encode_image(vae, paddle.to_tensor(IMAGES), mine), expected, 1e-5)


def test_each_generator_draws_for_its_own_image(vae):
    """Also when one image is repeated: each copy is drawn anew."""
    images = paddle.to_tensor(IMAGES)
    both = first_image_latents(vae, images, 2, [TorchGenerator(1), TorchGenerator(2)])
    copies = first_image_latents(vae, images[:1], 2, [TorchGenerator(1), TorchGenerator(2)])
    for n in range(2):
        own = encode_image(vae, images[n : n + 1], TorchGenerator(n + 1))
        assert_close(both[n : n + 1], own, 1e-6)
    assert_close(copies[:1], both[:1], 1e-6)
    assert not np.allclose(copies[0].numpy(), copies[1].numpy())


def test_one_generator_draws_once_for_a_repeated_image(vae):
    latents = first_image_latents(vae, paddle.to_tensor(IMAGES), 4, TorchGenerator(1))
    np.testing.assert_array_equal(latents[:2].numpy(), latents[2:].numpy())


def test_latents_are_not_encoded(vae):
    given = paddle.to_tensor(noise((1, 4, 10, 14)))
    generator = TorchGenerator(0)
    np.testing.assert_array_equal(first_image_latents(vae, given, 2, generator)[1].numpy(), given[0].numpy())
    assert_close(generator.randn((3,)), TorchGenerator(0).randn((3,)), 0)


def test_counts_that_do_not_fit():
    with pytest.raises(InputError, match=r"`mask_image` has 2 image\(s\), which cannot be repeated for a batch of 3"):
        repeat_to(paddle.zeros([2, 1, 4, 4]), 3, "mask_image")


@pytest.fixture
def half(vae, monkeypatch):
    """A VAE in bfloat16, and the dtypes it was asked to encode; Paddle has no 16-bit convolutions on a CPU, so its
    encode is played: by one that overflows, and in float32 by the real one. What comes of the moments is left out."""
    real, asked = AutoencoderKL.encode, []

    def encode(self, x, *args, **kwargs):
        asked.append(str(x.dtype).rpartition(".")[2])
        if x.dtype != paddle.bfloat16:
            return real(self, x, *args, **kwargs)
        moments = paddle.full([2, 8, 10, 14], float("inf"), dtype="bfloat16")
        return SimpleNamespace(latent_dist=SimpleNamespace(parameters=moments))

    monkeypatch.setattr(AutoencoderKL, "encode", encode)
    monkeypatch.setattr(images, "DiagonalGaussianDistribution", lambda moments: moments)
    return vae.to(dtype="bfloat16"), asked


def test_an_encode_that_overflows_is_done_again_in_float32(half, saved, caplog):
    vae, asked = half
    watch = FiniteCheck()
    before = {name: p.astype("float32").numpy() for name, p in vae.state_dict().items()}
    moments = images.encode_distribution(vae, paddle.to_tensor(IMAGES), watch)
    assert asked == ["bfloat16", "float32"]
    assert "overflows in bfloat16: encoding once more" in caplog.text and watch.first_bad() is None
    assert vae.dtype == moments.dtype == paddle.bfloat16
    assert all((before[name] == p.astype("float32").numpy()).all() for name, p in vae.state_dict().items())
    with torch.no_grad():
        exact = saved[1].encode(torch.from_numpy(IMAGES)).latent_dist.parameters
    assert_close(moments.astype("float32"), exact, 0.03)  # the weights, too, have 8 bits


def test_images_with_nan_are_not_encoded_again(half):
    vae, asked = half
    watch, images = FiniteCheck(), IMAGES.copy()
    images[0, 0, 0, 0] = np.nan
    images.encode_distribution(vae, paddle.to_tensor(images), watch)
    assert asked == ["bfloat16"] and watch.first_bad() == "the VAE's encoder"
