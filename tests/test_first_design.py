"""The loop of diffusers' first design document, against diffusers' DDPMScheduler and the original names of DDPM."""

import json

import numpy as np
import paddle
import pytest
import torch
from diffusers import DDPMScheduler as TorchDDPMScheduler
from diffusers import UNet2DModel as TorchUNet2DModel

from ppdiffusers import DDPMScheduler, GaussianDDPMScheduler, TorchGenerator, UNetModel
from ppdiffusers.core.errors import ConfigError, InputError
from tests.support import originals
from tests.support.parity import randomize

STEPS = 12
# what the first UNetModel was created with, and the same network in diffusers today
FIRST_CONFIG = {
    "ch": 32,
    "out_ch": 3,
    "ch_mult": [1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [8],
    "dropout": 0.0,
    "resamp_with_conv": True,
    "in_channels": 3,
    "resolution": 16,
}
SCHEDULER_CONFIG = {"timesteps": STEPS, "beta_start": 0.001, "beta_end": 0.05, "beta_schedule": "linear"}


@pytest.fixture(scope="module")
def network():
    model = TorchUNet2DModel(
        sample_size=16,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=0,
        attention_head_dim=None,
        norm_eps=1e-6,
        flip_sin_to_cos=False,
        freq_shift=1,
    )
    return randomize(model, 0).eval()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    """A folder as the first releases wrote it."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "config.json").write_text(json.dumps(FIRST_CONFIG), encoding="utf-8")
    (folder / "scheduler_config.json").write_text(json.dumps(SCHEDULER_CONFIG), encoding="utf-8")
    torch.save(originals.ddpm(network), folder / "diffusion_model.pt")
    return folder


def first_loop(model, scheduler, generator):
    """The loop of the document, with Paddle's names for torch's."""
    image = scheduler.sample_noise((1, model.in_channels, model.resolution, model.resolution), generator=generator)
    for t in reversed(range(len(scheduler))):
        clip_image_coeff = 1 / paddle.sqrt(scheduler.get_alpha_prod(t))
        clip_noise_coeff = paddle.sqrt(1 / scheduler.get_alpha_prod(t) - 1)
        before, now = scheduler.get_alpha_prod(t - 1), scheduler.get_alpha_prod(t)
        image_coeff = (1 - before) * paddle.sqrt(scheduler.get_alpha(t)) / (1 - now)
        clip_coeff = paddle.sqrt(before) * scheduler.get_beta(t) / (1 - now)
        with paddle.no_grad():
            noise_residual = model(image, t)
        pred_mean = paddle.clip(clip_image_coeff * image - clip_noise_coeff * noise_residual, -1, 1)
        prev_image = clip_coeff * pred_mean + image_coeff * image
        image = prev_image + scheduler.sample_variance(t, prev_image.shape, generator=generator)
    return image.numpy()


@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_large"])
def test_the_loop_gives_the_images_of_diffusers(network, folder, variance_type):
    scheduler = GaussianDDPMScheduler.from_pretrained(folder, variance_type=variance_type)
    ours = first_loop(UNetModel.from_pretrained(folder), scheduler, TorchGenerator(3))

    theirs = TorchDDPMScheduler(STEPS, 0.001, 0.05, variance_type=variance_type)
    generator = torch.Generator().manual_seed(3)
    image = torch.randn((1, 3, 16, 16), generator=generator)
    with torch.no_grad():
        for t in reversed(range(STEPS)):
            image = theirs.step(network(image, t).sample, t, image, generator=generator).prev_sample
    np.testing.assert_allclose(ours, image.numpy(), atol=2e-3)


def test_a_folder_of_today_gives_the_same_network(network, folder, tmp_path):
    network.save_pretrained(tmp_path)
    image = paddle.to_tensor(np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype("float32"))
    with torch.no_grad():
        expected = network(torch.from_numpy(image.numpy()), 7).sample.numpy()
    for path in (folder, tmp_path):
        found = UNetModel.from_pretrained(path)(image, 7).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_scheduler_accepts_configurations_of_ddpm():
    scheduler = GaussianDDPMScheduler.from_config(DDPMScheduler(num_train_timesteps=30, clip_sample=False).config)
    assert len(scheduler) == 30
    assert scheduler.config.clip_predicted_image is False
    assert scheduler.get_alpha_prod(-1).item() == 1
    assert len(GaussianDDPMScheduler(10)) == len(GaussianDDPMScheduler(timesteps=10)) == 10


def test_the_last_step_adds_no_noise(folder):
    scheduler = GaussianDDPMScheduler.from_pretrained(folder)
    assert not scheduler.sample_variance(0, [2, 3], generator=TorchGenerator(0)).any()
    assert scheduler.sample_variance(1, [2, 3], generator=TorchGenerator(0)).all()


@pytest.mark.parametrize("method", ["get_alpha", "get_beta", "get_alpha_prod"])
def test_timesteps_out_of_range_are_errors(folder, method):
    scheduler = GaussianDDPMScheduler.from_pretrained(folder)
    with pytest.raises(InputError, match=f"{STEPS} is out of range"):
        getattr(scheduler, method)(STEPS)


def test_a_configuration_that_does_not_fit_is_an_error(folder, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**FIRST_CONFIG, "resolution": "wide"}), encoding="utf-8")
    (tmp_path / "diffusion_model.pt").write_bytes((folder / "diffusion_model.pt").read_bytes())
    with pytest.raises(ConfigError, match="resolution"):
        UNetModel.from_pretrained(tmp_path)
