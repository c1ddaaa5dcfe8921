"""DDPMPipeline against diffusers, live."""

import diffusers
import numpy as np
import paddle
import pytest

from ppdiffusers import DDPMPipeline, DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    assert_images_agree,
    assert_levels_agree,
    call_both,
    generators,
    load_both,
    set_schedulers,
)
from tests.support.parity import assert_close
from tests.support.round_trip import saved_both_ways, there_and_back
from tests.support.unconditional import every_sample, tiny_unconditional

SHORT = {"num_inference_steps": 3, "output_type": "np"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_unconditional("DDPMPipeline", tmp_path_factory.mktemp("ddpm"))


@pytest.fixture
def both(folder):
    return load_both(folder)


def test_the_same_seed_generates_the_same_image(both):
    ours, theirs = both
    mine, reference = call_both(ours, theirs, seed=7, batch_size=2, num_inference_steps=25, output_type="np")
    assert_images_agree(mine.images, reference.images)
    assert isinstance(ours, DDPMPipeline) and isinstance(mine, ImagePipelineOutput)


def test_every_step_agrees(both):
    """Before images are clipped to what can be shown."""
    ours, theirs = both
    mine, reference = every_sample(ours), every_sample(theirs)
    call_both(ours, theirs, seed=3, batch_size=2, **SHORT)
    for n, (sample, expected) in enumerate(zip(mine, reference, strict=True)):
        assert_close(sample, expected, 1e-4, f"step {n}")


def test_a_whole_number_is_a_torch_seed(both):
    ours, theirs = both
    mine = ours(generator=11, num_inference_steps=3, output_type="np").images
    reference = theirs(generator=generators(11)[1], num_inference_steps=3, output_type="np").images
    assert_images_agree(mine, reference)


def test_a_generator_for_each_image(both):
    ours, theirs = both
    mine, reference = generators(5, count=2)
    ours_out = ours(batch_size=2, generator=mine, num_inference_steps=4, output_type="np").images
    theirs_out = theirs(batch_size=2, generator=reference, num_inference_steps=4, output_type="np").images
    assert_images_agree(ours_out, theirs_out)


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerAncestralDiscreteScheduler"])
def test_another_scheduler(both, name):
    ours, theirs = both
    set_schedulers(ours, theirs, name)
    mine, reference = call_both(ours, theirs, seed=7, num_inference_steps=20, output_type="np")
    assert_images_agree(mine.images, reference.images)


def test_output_types(both):
    ours, theirs = both
    settings = {"num_inference_steps": 3, "batch_size": 2}
    images, reference = call_both(ours, theirs, seed=1, **settings)
    assert [p.size for p in images.images] == [p.size for p in reference.images] == [(16, 16)] * 2
    for mine, expected in zip(images.images, reference.images, strict=True):
        assert_levels_agree(np.asarray(mine), np.asarray(expected))
    array = ours(**settings, generator=1, output_type="np").images
    (tensor,) = ours(**settings, generator=1, output_type="pd", return_dict=False)
    assert isinstance(tensor, paddle.Tensor)
    np.testing.assert_array_equal(tensor.numpy().transpose(0, 2, 3, 1), array)


@pytest.mark.parametrize("variance", ["fixed_large", "fixed_small_log", "learned_range"])
def test_variances(variance, tmp_path):
    """A network that learned the variance gives twice the channels; guided-diffusion's do."""
    learned = {"out_channels": 6} if variance == "learned_range" else {}
    ours, theirs = load_both(tiny_unconditional("DDPMPipeline", tmp_path, **learned))
    set_schedulers(ours, theirs, "DDPMScheduler", variance_type=variance)
    mine, reference = call_both(ours, theirs, seed=4, num_inference_steps=8, output_type="np")
    assert_images_agree(mine.images, reference.images)


def test_images_that_are_not_square(tmp_path):
    ours, theirs = load_both(tiny_unconditional("DDPMPipeline", tmp_path, sample_size=(12, 20)))
    mine, reference = call_both(ours, theirs, seed=4, **SHORT)
    assert mine.images.shape == (1, 12, 20, 3)
    assert_images_agree(mine.images, reference.images)


def test_converted_both_ways(folder, tmp_path):
    paddle_folder, torch_folder = there_and_back(folder, tmp_path)
    theirs = diffusers.DiffusionPipeline.from_pretrained(torch_folder)
    mine, reference = call_both(DiffusionPipeline.from_pretrained(paddle_folder), theirs, seed=2, **SHORT)
    assert_images_agree(mine.images, reference.images)


def test_saved_and_loaded_again(both, tmp_path):
    ours, _ = both
    saved, for_torch = saved_both_ways(ours, tmp_path)
    theirs = diffusers.DiffusionPipeline.from_pretrained(for_torch)
    mine, reference = call_both(DiffusionPipeline.from_pretrained(saved), theirs, seed=2, **SHORT)
    np.testing.assert_array_equal(mine.images, ours(generator=2, **SHORT).images)
    assert_images_agree(mine.images, reference.images)


def test_everything_wrong_is_listed(both):
    with pytest.raises(InputError) as raised:
        both[0](batch_size=0, num_inference_steps=2.5, output_type="jpeg", generator="seven")
    for name in ("batch_size", "num_inference_steps", "output_type", "generator"):
        assert f"`{name}`" in str(raised.value)
    with pytest.raises(InputError, match="3 generators for 2 image"):
        both[0](batch_size=2, generator=[1, 2, 3], num_inference_steps=2)


def test_nan_is_named(both, caplog):
    ours, _ = both
    ours.unet.conv_in.bias.set_value(paddle.full_like(ours.unet.conv_in.bias, float("nan")))
    ours(num_inference_steps=3, generator=0, output_type="np")
    first = ours.scheduler.timesteps[0]
    assert f"denoising at timestep {first}" in caplog.text
