"""Noised latents of images."""

import numpy as np
import paddle
import torch

import ppdiffusers
from ppdiffusers.pipelines.stages.img2img import noised_image_latents
from tests.pipelines.support import generators
from tests.support.checkpoints import tiny_vae
from tests.support.parity import assert_close, noise


def prepare(vae, image, generator, batch_size=2):
    scheduler = ppdiffusers.DDIMScheduler()
    scheduler.set_timesteps(10)
    noised, clean = noised_image_latents(
        scheduler,
        vae,
        image=paddle.to_tensor(image),
        timestep=np.array([500] * batch_size),
        batch_size=batch_size,
        dtype="float32",
        generator=generator,
    )
    return scheduler, noised, clean


def test_latents_of_an_image(tmp_path):
    """The latents are drawn first, then the noise, from one stream."""
    reference_vae = tiny_vae()
    reference_vae.save_pretrained(tmp_path)
    mine, reference = generators(3)
    image = noise((1, 3, 16, 20)).clip(-1, 1)
    scheduler, noised, clean = prepare(ppdiffusers.AutoencoderKL.from_pretrained(tmp_path), image, mine)
    with torch.no_grad():
        expected = reference_vae.encode(torch.from_numpy(image)).latent_dist.sample(reference) * 0.18215
    expected = torch.cat([expected] * 2)
    assert_close(clean, expected, 1e-5)
    drawn = paddle.to_tensor(torch.randn(expected.shape, generator=reference).numpy())
    assert_close(noised, scheduler.add_noise(clean, drawn, np.array([500] * 2)), 1e-5)


def test_latents_are_noised_without_a_vae_call():
    vae = ppdiffusers.AutoencoderKL()
    vae.encode = None
    latents = noise((2, 4, 3, 5))
    _, noised, clean = prepare(vae, latents, generators(3)[0], batch_size=4)
    np.testing.assert_array_equal(clean.numpy(), np.concatenate([latents] * 2))
    assert noised.shape == clean.shape and np.abs((noised - clean).numpy()).min(axis=(1, 2, 3)).max() > 0
