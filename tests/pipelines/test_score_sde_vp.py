"""ScoreSdeVpPipeline against the paper's equations, written out in PyTorch: diffusers' own class is gone."""

import diffusers
import numpy as np
import paddle
import pytest
import torch
from diffusers.schedulers.deprecated import ScoreSdeVpScheduler as ScoreSdeVpSchedulerOfDiffusers

from ppdiffusers import DDPMPipeline, DiffusionPipeline, ScoreSdeVpPipeline, ScoreSdeVpScheduler
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import assert_images_agree, assert_levels_agree, generators
from tests.support.parity import assert_close
from tests.support.round_trip import there_and_back
from tests.support.unconditional import every_sample, tiny_unconditional

# so little noise that random networks leave most of the image between black and white
NOISE = {"beta_min": 0.05, "beta_max": 0.6, "num_train_timesteps": 1000}
SHORT = {"num_inference_steps": 4, "output_type": "np"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_unconditional("ScoreSdeVpPipeline", tmp_path_factory.mktemp("vp"))


@pytest.fixture
def ours(folder):
    pipeline = ScoreSdeVpPipeline(DDPMPipeline.from_pretrained(folder).unet, ScoreSdeVpScheduler(**NOISE))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def network(folder):
    return diffusers.UNet2DModel.from_pretrained(folder / "unet").eval()


@torch.no_grad()
def by_the_paper(network, batch, steps, generator, beta_min, beta_max, sampling_eps=1e-3):
    """Every x of the Euler-Maruyama steps of dx = [f - g^2 score] dt + g dw from time 1 to nearly 0, and the last mean.

    The VP SDE has f = -beta(t) x / 2 and g^2 = beta(t) (eq. 11); a network of discrete DDPM steps is scored at
    -eps(x, t (N - 1)) / std(t), with the standard deviation of p(x_t | x_0) (eq. 29, appendix C).
    """
    draw = diffusers.utils.torch_utils.randn_tensor
    size = (batch, 3, network.config.sample_size, network.config.sample_size)
    x = draw(size, generator=generator)  # [B, C, H, W]
    samples, dt = [], -1.0 / steps
    for t in torch.linspace(1, sampling_eps, steps, dtype=torch.float64).tolist():
        beta = beta_min + t * (beta_max - beta_min)
        integral = beta_min * t + 0.5 * t**2 * (beta_max - beta_min)  # of beta from 0 to t
        std = (1 - np.exp(-integral)) ** 0.5
        eps = network(x, torch.full((batch,), t * (steps - 1))).sample
        drift = -0.5 * beta * x - beta * (-eps / std)
        mean = x + drift * dt
        x = mean + beta**0.5 * (-dt) ** 0.5 * draw(size, generator=generator)
        samples.append(x)
    return samples, mean


def reference_images(network, batch, steps, generator):
    _, mean = by_the_paper(network, batch, steps, generator, NOISE["beta_min"], NOISE["beta_max"])
    return (mean / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def test_the_same_seed_generates_the_same_image(ours, network):
    mine, reference = generators(7)
    images = ours(batch_size=2, generator=mine, num_inference_steps=20, output_type="np").images
    assert_images_agree(images, reference_images(network, 2, 20, reference))


def test_every_step_agrees(ours, network):
    mine, reference = generators(3)
    samples = every_sample(ours)
    ours(batch_size=2, generator=mine, **SHORT)
    expected, _ = by_the_paper(network, 2, 4, reference, NOISE["beta_min"], NOISE["beta_max"])
    for n, ((sample, _), theirs) in enumerate(zip(samples, expected, strict=True)):
        assert_close(sample, theirs, 1e-4, f"step {n}")


def test_a_generator_for_each_image(ours, network):
    mine, reference = generators(5, count=2)
    images = ours(batch_size=2, generator=mine, **SHORT).images
    assert_images_agree(images, reference_images(network, 2, 4, reference))


def test_output_types(ours, network):
    settings = {"num_inference_steps": 4, "batch_size": 2, "generator": 1}
    reference = (reference_images(network, 2, 4, generators(1)[1]) * 255).round()
    for mine, expected in zip(ours(**settings).images, reference, strict=True):
        assert_levels_agree(np.asarray(mine), expected)
    array = ours(**settings, output_type="np").images
    (tensor,) = ours(**settings, output_type="pd", return_dict=False)
    np.testing.assert_array_equal(tensor.numpy().transpose(0, 2, 3, 1), array)


def test_saved_and_loaded_again(ours, tmp_path):
    ours.save_pretrained(tmp_path / "saved")
    again = DiffusionPipeline.from_pretrained(tmp_path / "saved")
    assert type(again) is ScoreSdeVpPipeline
    assert again.scheduler.config.beta_max == NOISE["beta_max"]
    np.testing.assert_array_equal(again(generator=2, **SHORT).images, ours(generator=2, **SHORT).images)


def test_converted_both_ways(ours, tmp_path):
    """A pipeline that diffusers no longer has; its network and scheduler load there all the same."""
    ours.save_pretrained(tmp_path / "for-torch", to_diffusers=True)
    paddle_folder, torch_folder = there_and_back(tmp_path / "for-torch", tmp_path)
    again = diffusers.UNet2DModel.from_pretrained(torch_folder / "unet")
    scheduler = ScoreSdeVpSchedulerOfDiffusers.from_pretrained(torch_folder / "scheduler")
    assert scheduler.config.beta_max == NOISE["beta_max"]
    images = DiffusionPipeline.from_pretrained(paddle_folder)(generator=2, **SHORT).images
    assert_images_agree(images, reference_images(again, 1, 4, generators(2)[1]))


def test_everything_wrong_is_listed(ours):
    with pytest.raises(InputError) as raised:
        ours(batch_size=0, num_inference_steps=2.5, output_type="jpeg", generator="seven")
    for argument in ("batch_size", "num_inference_steps", "output_type", "generator"):
        assert f"`{argument}`" in str(raised.value)
    with pytest.raises(InputError, match="3 generators for 2 image"):
        ours(batch_size=2, generator=[1, 2, 3], num_inference_steps=2)


def test_nan_is_named(ours, caplog):
    ours.unet.conv_in.bias.set_value(paddle.full_like(ours.unet.conv_in.bias, float("nan")))
    ours(generator=0, **SHORT)
    assert "first appeared in: denoising at time 1.0000" in caplog.text
