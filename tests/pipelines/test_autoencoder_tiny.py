"""Pipelines with an AutoencoderTiny as `vae`, against diffusers, live; previews."""

import diffusers
import numpy as np
import PIL.Image
import pytest

import ppdiffusers
from ppdiffusers import AutoencoderTiny, DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline, callbacks
from ppdiffusers.callbacks import PreviewCallback
from ppdiffusers.core.errors import InputError
from ppdiffusers.runtime import compile, is_compiled
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_round_trip,
    box_mask,
    call_both,
    generators,
    make_image,
)
from tests.runtime.support import BACKENDS, program_cache
from tests.support.checkpoints import tiny_stable_diffusion, tiny_stable_diffusion_as
from tests.support.parity import assert_close, randomize
from tests.support.stable_diffusion_xl import tiny_stable_diffusion_xl

__all__ = ["program_cache"]

# Two levels, like the VAE of the tiny checkpoints.
CONFIG = {
    "encoder_block_out_channels": (8, 8),
    "decoder_block_out_channels": (8, 8),
    "num_encoder_blocks": (1, 2),
    "num_decoder_blocks": (2, 1),
}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
IMAGE, MASK = make_image(40, 36), box_mask(40, 36, (9, 7, 30, 22))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folder of a tiny autoencoder."""
    folder = tmp_path_factory.mktemp("taesd")
    network = diffusers.AutoencoderTiny(**CONFIG)
    randomize(network)
    network.save_pretrained(folder)
    return folder


def load(folder, tiny, name):
    """(ours, diffusers') pipelines of the class `name`, with the tiny autoencoder."""
    pair = []
    for library in (ppdiffusers, diffusers):
        pipeline = getattr(library, name).from_pretrained(folder, vae=library.AutoencoderTiny.from_pretrained(tiny))
        pipeline.set_progress_bar_config(disable=True)
        pair.append(pipeline)
    return pair


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folder of each family."""
    return {
        "StableDiffusion": tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False),
        "StableDiffusionXL": tiny_stable_diffusion_xl(tmp_path_factory.mktemp("sdxl")),
    }


@pytest.fixture(scope="module")
def sd(folders, tiny):
    return load(folders["StableDiffusion"], tiny, "StableDiffusionPipeline")[0]


TASKS = {
    "text to image": ("{}Pipeline", {"height": 24, "width": 40, "num_images_per_prompt": 2}),
    "image to image": ("{}Img2ImgPipeline", {"image": IMAGE, "strength": 0.6}),
    "inpainting": ("{}InpaintPipeline", {"image": IMAGE, "mask_image": MASK, "strength": 0.8}),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", ["StableDiffusion", "StableDiffusionXL"])
def test_tasks(folders, tiny, family, task):
    name, settings = TASKS[task]
    pair = load(folders[family], tiny, name.format(family))
    settings = {"prompt": PROMPTS, "num_inference_steps": 6, "output_type": "np", **settings}
    mine, reference = call_both(*pair, seed=4, **settings)
    assert_images_agree(mine.images, reference.images)


EDITS = {"StableDiffusionInpaintPipeline": (9, {"mask_image": MASK}), "StableDiffusionInstructPix2PixPipeline": (8, {})}


@pytest.mark.parametrize("name", EDITS)
def test_image_as_input_of_the_unet(tmp_path, tiny, name):
    """InstructPix2Pix reads the mode of a distribution; latents have none."""
    channels, settings = EDITS[name]
    pair = load(tiny_stable_diffusion_as(tmp_path, getattr(diffusers, name), in_channels=channels), tiny, name)
    settings = {"prompt": PROMPTS[0], "image": IMAGE, "num_inference_steps": 6, "output_type": "np", **settings}
    mine, reference = call_both(*pair, seed=4, **settings)
    assert_images_agree(mine.images, reference.images)


def test_saved_pipelines(tmp_path, tiny):
    """A folder of diffusers whose VAE is tiny: converted, verified by its images, and back."""
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(
        tiny_stable_diffusion(tmp_path / "sd", safety_checker=False),
        vae=diffusers.AutoencoderTiny.from_pretrained(tiny),
    )
    pipe.save_pretrained(tmp_path / "folder")
    assert_round_trip(tmp_path / "folder", tmp_path, prompt="a", num_inference_steps=2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled(sd, tiny, backend, program_cache, caplog):
    ours = StableDiffusionPipeline(**{**sd.components, "vae": AutoencoderTiny.from_pretrained(tiny)})
    settings = {"prompt": "a", "num_inference_steps": 3, "output_type": "np"}
    eager = ours(generator=generators(1)[0], **settings).images
    compile(ours.vae, backend=backend)
    np.testing.assert_allclose(ours(generator=generators(1)[0], **settings).images, eager, rtol=0, atol=1e-4)
    assert is_compiled(ours.vae) and "is not compiled" not in caplog.text


def test_previews(sd):
    """A preview every two steps, of the size of the image; it does not change the image."""
    seen = []
    settings = {"prompt": PROMPTS, "num_inference_steps": 5, "output_type": "np", "width": 24, "height": 32}
    sd.scheduler = DDIMScheduler.from_config(sd.scheduler.config)
    plain = sd(generator=generators(1)[0], **settings).images
    preview = PreviewCallback(sd.vae, lambda *arguments: seen.append(arguments), interval=2)
    image = sd(generator=generators(1)[0], callback_on_step_end=preview, **settings).images
    np.testing.assert_array_equal(image, plain)
    assert [index for index, _, _ in seen] == [1, 3, 4]  # the last step is always shown
    assert all(isinstance(one, PIL.Image.Image) and one.size == (24, 32) for _, _, many in seen for one in many)
    assert all(len(many) == 2 for _, _, many in seen)
    np.testing.assert_array_equal(np.asarray(seen[-1][2][0]), (plain[0] * 255).round().astype(np.uint8))


def test_previews_of_latents_with_a_large_scale(sd, monkeypatch):
    """Euler's latents have the scale of sigma: previews decode them with the variance that the network sees."""
    shown, latents = [], []
    monkeypatch.setattr(callbacks, "decode_latents", lambda vae, latents: shown.append(latents) or latents[:, :3])
    ours = StableDiffusionPipeline(**{**sd.components, "scheduler": EulerDiscreteScheduler(**BETAS)})
    preview = PreviewCallback(ours.vae, lambda *arguments: None)

    def record(pipe, index, timestep, tensors):
        latents.append(tensors["latents"])
        return tensors

    for callback in (preview, record):
        ours("a", num_inference_steps=4, generator=1, callback_on_step_end=callback, output_type="latent")
    assert len(shown) == len(latents) == 4
    for one, given, sigma in zip(shown, latents, ours.scheduler.sigmas.numpy()[1:], strict=True):
        assert_close(one, given / float(sigma**2 + 1) ** 0.5, 1e-6)


def test_bad_interval(sd):
    with pytest.raises(InputError, match="interval=0"):
        PreviewCallback(sd.vae, print, interval=0)
