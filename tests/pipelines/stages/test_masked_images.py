"""The legacy `prepare_mask_and_masked_image`, and `retrieve_latents`."""

from types import SimpleNamespace

import numpy as np
import paddle
import PIL.Image
import pytest
import torch
from diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2_inpainting import prepare_mask_and_masked_image as original

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.vae import DiagonalGaussianDistribution
from ppdiffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import retrieve_latents
from ppdiffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint import prepare_mask_and_masked_image

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
HEIGHT, WIDTH = 24, 40


def images() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8), random.integers(0, 2, (HEIGHT, WIDTH))


def pil() -> tuple:
    image, mask = images()
    return PIL.Image.fromarray(image), PIL.Image.fromarray((mask * 255).astype(np.uint8)).resize((50, 30))


def arrays() -> tuple:
    image, mask = images()
    return image, mask.astype(np.float32)


def tensors(mask_axes: int) -> tuple:
    image, mask = images()
    pixels = image.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
    return pixels, mask.astype(np.float32).reshape([1] * (mask_axes - 2) + [HEIGHT, WIDTH])


# diffusers' later version returns the mask inverted, and the image as it is
@pytest.mark.parametrize("inputs", [pil(), arrays()])
def test_images_and_arrays_are_those_of_diffusers(inputs):
    mask, masked, image = prepare_mask_and_masked_image(*inputs, HEIGHT, WIDTH, return_image=True)
    expected_mask, expected = original(*inputs, HEIGHT, WIDTH)
    assert np.array_equal(mask.numpy(), 1 - expected_mask.numpy()) and np.array_equal(image.numpy(), expected.numpy())
    assert np.array_equal(masked.numpy(), (expected * expected_mask).numpy())


@pytest.mark.parametrize("axes", [2, 3, 4])
def test_tensors_are_those_of_diffusers(axes):
    image, mask = tensors(axes)
    ours = prepare_mask_and_masked_image(paddle.to_tensor(image), paddle.to_tensor(mask), HEIGHT, WIDTH)
    expected_mask, expected = original(torch.tensor(image), torch.tensor(mask), HEIGHT, WIDTH)
    assert len(ours) == 2 and np.array_equal(ours[0].numpy(), 1 - expected_mask.numpy())
    assert np.array_equal(ours[1].numpy(), (expected * expected_mask).numpy())


def test_wrong_inputs():
    image, mask = (paddle.to_tensor(value) for value in tensors(2))
    with pytest.raises(TypeError, match="both must be tensors"):
        prepare_mask_and_masked_image(image, images()[1], HEIGHT, WIDTH)
    for wrong, message in (((image * 3, mask), "range"), ((image, mask * 3), "range"), ((image, mask[:8]), "match")):
        with pytest.raises(InputError, match=message):
            prepare_mask_and_masked_image(*wrong, HEIGHT, WIDTH)
    with pytest.raises(InputError, match="required"):
        prepare_mask_and_masked_image(None, mask, HEIGHT, WIDTH)


def test_latents_of_an_encoder_output():
    distribution = DiagonalGaussianDistribution(paddle.randn([1, 8, 2, 3]))
    output = SimpleNamespace(latent_dist=distribution)
    assert np.array_equal(retrieve_latents(output, sample_mode="argmax").numpy(), distribution.mode().numpy())
    assert np.array_equal(retrieve_latents(output, 5).numpy(), distribution.sample(5).numpy())
    assert retrieve_latents(SimpleNamespace(latents=3)) == 3
    with pytest.raises(AttributeError, match="no latents"):
        retrieve_latents(object())
