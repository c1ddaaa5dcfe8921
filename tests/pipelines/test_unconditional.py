"""What the pipelines without a condition have in common, each against diffusers: the same call, the same images;
saving, converting both ways, output types, bad calls."""

import json

import diffusers
import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers import DiffusionPipeline, convert_diffusers_to_paddle
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import assert_images_agree, assert_levels_agree, call_both, generators, load_both
from tests.support.parity import assert_close
from tests.support.round_trip import saved_both_ways, there_and_back
from tests.support.unconditional import every_sample, tiny_unconditional

NAMES = ["DDIMPipeline", "PNDMPipeline", "LDMPipeline", "ScoreSdeVePipeline", "KarrasVePipeline"]
STEPS = {"num_inference_steps": 20, "output_type": "np"}
SHORT = {"num_inference_steps": 4, "output_type": "np"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: tiny_unconditional(name, tmp_path_factory.mktemp(name)) for name in NAMES}


def load(folder, torch_folder=None):
    """(ours, diffusers'): diffusers 0.35 writes KarrasVeScheduler in a form that it cannot load again; we do not."""
    ours, changes = DiffusionPipeline.from_pretrained(folder), {}
    if torch_folder is None and isinstance(ours, ppdiffusers.KarrasVePipeline):
        changes["scheduler"] = diffusers.KarrasVeScheduler.from_pretrained(folder / "scheduler")
    reference = diffusers.DiffusionPipeline.from_pretrained(torch_folder or folder, **changes)
    for pipeline in (ours, reference):
        pipeline.set_progress_bar_config(disable=True)
    return ours, reference


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_generates_the_same_image(folders, name):
    ours, theirs = load(folders[name])
    assert type(ours) is getattr(ppdiffusers, name)
    mine, reference = call_both(ours, theirs, seed=7, batch_size=2, **STEPS)
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("name", NAMES)
def test_every_step_agrees(folders, name):
    """Before images are clipped to what can be shown."""
    ours, theirs = load(folders[name])
    mine, reference = every_sample(ours), every_sample(theirs)
    call_both(ours, theirs, seed=3, batch_size=2, **SHORT)
    assert len(mine) == len(reference) >= 4
    for n, (sample, expected) in enumerate(zip(mine, reference, strict=True)):
        assert_close(sample, expected, 1e-4, f"result {n} of the scheduler")


@pytest.mark.parametrize("name", NAMES)
def test_a_generator_for_each_image(folders, name):
    ours, theirs = load(folders[name])
    mine, reference = generators(5, count=2)
    settings = {**SHORT, "batch_size": 2}
    assert_images_agree(ours(generator=mine, **settings).images, theirs(generator=reference, **settings).images)


@pytest.mark.parametrize("name", NAMES)
def test_output_types(folders, name):
    ours, theirs = load(folders[name])
    settings = {"num_inference_steps": 4, "batch_size": 2}
    images, reference = call_both(ours, theirs, seed=1, **settings)
    for mine, expected in zip(images.images, reference.images, strict=True):
        assert_levels_agree(np.asarray(mine), np.asarray(expected))
    array = ours(**settings, generator=1, output_type="np").images
    (tensor,) = ours(**settings, generator=1, output_type="pd", return_dict=False)
    np.testing.assert_array_equal(tensor.numpy().transpose(0, 2, 3, 1), array)


@pytest.mark.parametrize("name", NAMES)
def test_converted_both_ways(folders, name, tmp_path):
    mine, reference = call_both(*load(*there_and_back(folders[name], tmp_path)), seed=2, **SHORT)
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_again(folders, name, tmp_path):
    ours, _ = load(folders[name])
    again, torch_again = load(*saved_both_ways(ours, tmp_path))
    mine, reference = call_both(again, torch_again, seed=2, **SHORT)
    np.testing.assert_array_equal(mine.images, ours(generator=2, **SHORT).images)
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("name", NAMES)
def test_everything_wrong_is_listed(folders, name):
    ours, _ = load(folders[name])
    with pytest.raises(InputError) as raised:
        ours(batch_size=0, num_inference_steps=2.5, output_type="jpeg", generator="seven")
    for argument in ("batch_size", "num_inference_steps", "output_type", "generator"):
        assert f"`{argument}`" in str(raised.value)
    with pytest.raises(InputError, match="3 generators for 2 image"):
        ours(batch_size=2, generator=[1, 2, 3], num_inference_steps=2)
    with pytest.raises(InputError, match="not a generator"):
        ours(batch_size=2, generator=[1, "two"], num_inference_steps=2)


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_named(folders, name, caplog):
    ours, _ = load(folders[name])
    ours.unet.conv_in.bias.set_value(paddle.full_like(ours.unet.conv_in.bias, float("nan")))
    ours(num_inference_steps=4, generator=0, output_type="np")
    assert "first appeared in: denoising" in caplog.text


@pytest.mark.parametrize("name", ["DDIMPipeline", "LDMPipeline"])
def test_eta(folders, name):
    """Upstream's LDM hands its generator to the first draw only: the global stream serves all of them."""
    ours, theirs = load(folders[name])
    torch.manual_seed(3)
    assert_images_agree(ours(generator=3, eta=0.7, **STEPS).images, theirs(eta=0.7, **STEPS).images)
    with pytest.raises(InputError, match="`eta`"):
        ours(eta=float("nan"))


def test_ddim_from_the_clipped_output(folders):
    ours, theirs = load(folders["DDIMPipeline"])
    mine, reference = call_both(ours, theirs, seed=4, use_clipped_model_output=True, **STEPS)
    assert_images_agree(mine.images, reference.images)
    plain = ours(generator=4, **STEPS).images
    assert np.abs(plain - mine.images).max() > 0.01


@pytest.mark.parametrize(("name", "scheduler"), [("DDIMPipeline", "DDIMScheduler"), ("PNDMPipeline", "PNDMScheduler")])
def test_any_scheduler_becomes_its_own(folders, name, scheduler):
    ours, theirs = load(folders[name])
    mine = getattr(ppdiffusers, name)(ours.unet, ppdiffusers.DDPMScheduler(beta_end=0.01))
    reference = getattr(diffusers, name)(theirs.unet, diffusers.DDPMScheduler(beta_end=0.01))
    assert type(mine.scheduler).__name__ == scheduler
    for pipeline in (mine, reference):
        pipeline.set_progress_bar_config(disable=True)
    got, expected = call_both(mine, reference, seed=1, num_inference_steps=8, output_type="np")
    assert_images_agree(got.images, expected.images)


def test_latents_of_ldm(folders):
    ours, _ = load(folders["LDMPipeline"])
    settings = {"num_inference_steps": 4, "generator": 1}
    latents = ours(**settings, output_type="latent").images
    assert latents.shape == [1, 3, 16, 16]
    image = ours.vqvae.decode(latents / ours.vqvae.config.scaling_factor).sample
    expected = (image / 2 + 0.5).clip(0, 1).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours(**settings, output_type="np").images, expected, atol=1e-6)


def test_latents_of_2022_are_not_scaled(tmp_path):
    """CompVis/ldm-celebahq-256: diffusers before 0.22 generated it as one with a scaling factor of 1 today."""
    folder = tiny_unconditional("LDMPipeline", tmp_path / "made")
    config_file = folder / "vqvae" / "config.json"
    config = json.loads(config_file.read_text())
    config_file.write_text(json.dumps({**config, "scaling_factor": 1.0}))
    theirs = diffusers.LDMPipeline.from_pretrained(folder)
    config.pop("scaling_factor")
    config_file.write_text(json.dumps({**config, "_diffusers_version": "0.1.2"}))
    convert_diffusers_to_paddle(folder, tmp_path / "paddle", progress=False)
    for place in (folder, tmp_path / "paddle"):
        with pytest.warns(FutureWarning, match="`scaling_factor` 0.18215, which is outdated"):
            ours = DiffusionPipeline.from_pretrained(place)
        mine, reference = call_both(ours, theirs, seed=4, **SHORT)
        assert_images_agree(mine.images, reference.images)


def test_correct_steps_of_the_ve_sde(folders):
    """More corrections draw more noise."""
    ours, theirs = load(folders["ScoreSdeVePipeline"])
    for pipeline in (ours, theirs):
        pipeline.scheduler.register_to_config(correct_steps=2)
    mine, reference = call_both(ours, theirs, seed=4, num_inference_steps=6, output_type="np")
    assert_images_agree(mine.images, reference.images)


def test_images_that_are_not_square(tmp_path):
    folder = tiny_unconditional("DDIMPipeline", tmp_path, sample_size=(12, 20))
    mine, reference = call_both(*load_both(folder), seed=4, num_inference_steps=5, output_type="np")
    assert mine.images.shape == (1, 12, 20, 3)
    assert_images_agree(mine.images, reference.images)
