"""Normalization of latents against diffusers' pipelines, and distinguishing latents from images."""

from types import SimpleNamespace

import diffusers
import numpy as np
import paddle
import PIL.Image
import pytest
import torch

from ppdiffusers import AutoencoderKL, VQModel
from ppdiffusers.core.errors import ConfigError, InputError
from tests.models.support import both, twins
from tests.support.parity import assert_close, noise

SMALL = {"block_out_channels": (8,), "norm_num_groups": 4, "sample_size": 16}
STATISTICS = {"latents_mean": [0.1, -0.4, 2.0, 0.0], "latents_std": [1.5, 0.3, 2.0, 0.9]}


def autoencoder(**config):
    with paddle.LazyGuard():  # the weights are not used
        return AutoencoderKL(**{**SMALL, **config})


def test_normalize_latents_as_sdxl(tmp_path):
    config = {**SMALL, **STATISTICS, "scaling_factor": 0.13025}
    ours, reference = twins(tmp_path, diffusers.AutoencoderKL(**config))
    image, their_image = both(noise((2, 3, 16, 16)))
    expected = diffusers.StableDiffusionXLImg2ImgPipeline.prepare_latents(
        SimpleNamespace(vae=reference), their_image, None, 2, 1, torch.float32, "cpu", torch.manual_seed(5), False
    )
    latents = ours.encode(image).latent_dist.sample(generator=5)
    assert_close(ours.normalize_latents(latents), expected)
    assert_close(ours.denormalize_latents(ours.normalize_latents(latents)), latents, 1e-6, "round trip")


def test_normalize_latents_as_sd3(tmp_path):
    config = {**SMALL, "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609}
    ours, reference = twins(tmp_path, diffusers.AutoencoderKL(**config))
    image, their_image = both(noise((2, 3, 16, 16)))
    scheduler = SimpleNamespace(scale_noise=lambda latents, timestep, noise: latents)
    expected = diffusers.StableDiffusion3Img2ImgPipeline.prepare_latents(
        SimpleNamespace(vae=reference, scheduler=scheduler),
        *(their_image, None, 2, 1, torch.float32, "cpu", torch.manual_seed(5)),
    )
    latents = ours.encode(image).latent_dist.sample(generator=5)
    assert_close(ours.normalize_latents(latents), expected)
    assert_close(ours.denormalize_latents(ours.normalize_latents(latents)), latents, 1e-6, "round trip")


def unscale_as_in_diffusers(latents, config):
    """The decoding step of StableDiffusionXLPipeline (mean and std) and StableDiffusion3Pipeline (shift)."""
    mean, std = (config.get(key) for key in ("latents_mean", "latents_std"))
    if mean is not None and std is not None:
        mean, std = (torch.tensor(v).view(1, -1, 1, 1).to(latents.dtype) for v in (mean, std))
        return latents * std / config["scaling_factor"] + mean
    latents = latents / config["scaling_factor"]
    return latents if config.get("shift_factor") is None else latents + config["shift_factor"]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("channels", [4, 16])
@pytest.mark.parametrize(
    "normalization",
    [
        {},
        {"shift_factor": 0.1159},
        {"mean and std": True},
        {"mean and std": True, "shift_factor": 0.5},
        {"latents_mean": [0.5] * 4},  # without latents_std it has no effect
    ],
    ids=str,
)
def test_denormalize_latents(normalization, channels, dtype):
    config = {"latent_channels": channels, "scaling_factor": 0.3611, **normalization}
    if config.pop("mean and std", False):
        config["latents_mean"] = noise((channels,), "mean").tolist()
        config["latents_std"] = (np.abs(noise((channels,), "std")) + 0.2).tolist()
    vae = autoencoder(**config)
    ours, theirs = both(noise((2, channels, 5, 7)))
    ours, theirs = ours.astype(dtype), theirs.to(getattr(torch, dtype))
    found = vae.denormalize_latents(ours)
    assert found.dtype == ours.dtype and vae.normalize_latents(ours).dtype == ours.dtype
    assert_close(found, unscale_as_in_diffusers(theirs, config), {"float16": 2e-3, "bfloat16": 1e-2}.get(dtype, 1e-6))
    if dtype == "float32":
        assert_close(vae.normalize_latents(found), ours, 1e-5, "round trip")


def test_vq_model():
    with paddle.LazyGuard():
        vae = VQModel(**SMALL, latent_channels=8, vq_embed_dim=5, scaling_factor=0.5)
    latents = paddle.to_tensor(noise((1, 5, 3, 3)))
    assert vae.latent_channels == 5
    assert_close(vae.normalize_latents(latents), latents * 0.5, 1e-7)
    assert_close(vae.denormalize_latents(latents), latents / 0.5, 1e-7)
    assert vae.is_latents(latents) and not vae.is_latents(paddle.zeros([1, 8, 3, 3]))


def test_wrong_number_of_statistics():
    vae = autoencoder(latents_mean=[0.0] * 3, latents_std=[1.0] * 5)
    for method in (vae.normalize_latents, vae.denormalize_latents):
        with pytest.raises(ConfigError, match="latents_mean has 3 values\n.*latents_std has 5 values\n.*4 values"):
            method(paddle.zeros([1, 4, 2, 2]))


def test_latents_are_recognized_by_their_channels():
    four, sixteen = autoencoder(), autoencoder(latent_channels=16)
    latents = {4: paddle.zeros([2, 4, 8, 8]), 16: paddle.zeros([2, 16, 8, 8])}
    assert four.is_latents(latents[4]) and sixteen.is_latents(latents[16])
    assert not four.is_latents(latents[16]) and not sixteen.is_latents(latents[4])
    assert four.is_latents(latents[4][0]) and four.is_latents([latents[4], latents[4]])
    images = [
        paddle.zeros([2, 3, 8, 8]), paddle.zeros([8, 8]), np.zeros((2, 4, 8, 8)), np.zeros((8, 8, 4)), [],
        PIL.Image.new("RGBA", (8, 8)), [PIL.Image.new("RGB", (8, 8))], None,
    ]  # fmt: skip
    assert not any(vae.is_latents(image) for vae in (four, sixteen) for image in images)


def test_declared_kind():
    """An RGBA image has as many channels as the latents of Stable Diffusion."""
    rgba, same = autoencoder(), autoencoder(in_channels=4, out_channels=4)
    image = paddle.zeros([1, 4, 8, 8])
    assert rgba.is_latents(image) and not rgba.is_latents(image, kind="image")
    assert not same.is_latents(image) and same.is_latents(image, kind="latents")
    with pytest.raises(InputError, match=r"got a tensor of shape \[1, 3, 8, 8\](.|\n)*\[batch, 4, height, width\]"):
        rgba.is_latents(paddle.zeros([1, 3, 8, 8]), kind="latents")
    with pytest.raises(InputError, match="got Image"):
        rgba.is_latents(PIL.Image.new("RGB", (8, 8)), kind="latents")
    with pytest.raises(InputError, match="kind='photo'"):
        rgba.is_latents(image, kind="photo")
