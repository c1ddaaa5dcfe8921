"""Latent Diffusion against diffusers, live: text to image with LDMBert, super-resolution, conversion both ways."""

import diffusers
import numpy as np
import paddle
import PIL.Image
import pytest
import torch
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig as TheirConfig
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertModel as TheirModel

from ppdiffusers import DiffusionPipeline, LDMSuperResolutionPipeline, LDMTextToImagePipeline
from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.latent_diffusion.ldmbert import LDMBertConfig, LDMBertModel
from tests.pipelines.support import (
    assert_images_agree,
    assert_levels_agree,
    call_both,
    generators,
    load_both,
    set_schedulers,
)
from tests.support.latent_diffusion import tiny_latent_diffusion, tiny_ldmbert, tiny_super_resolution
from tests.support.parity import assert_close, noise
from tests.support.round_trip import saved_both_ways, there_and_back

PROMPTS = ["a red circle on a white background", "一个红色的圆形，白色背景"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_latent_diffusion(tmp_path_factory.mktemp("ldm"))


@pytest.fixture(scope="module")
def large_folder(tmp_path_factory):
    return tiny_super_resolution(tmp_path_factory.mktemp("sr"))


@pytest.fixture
def both(folder):
    return load_both(folder)


@pytest.fixture
def both_large(large_folder):
    return load_both(large_folder)


# -- LDMBert ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head_dim", [8, 6])  # square projections, and narrower ones
def test_ldmbert(tmp_path, head_dim):
    theirs = tiny_ldmbert(50, head_dim)
    theirs.save_pretrained(tmp_path)
    ours = LDMBertModel.from_pretrained(tmp_path)
    ids = np.random.default_rng(0).integers(0, 50, (2, 11))
    mask = np.ones_like(ids)
    mask[1, 6:] = 0
    for given in (None, mask):
        with torch.no_grad():
            reference = theirs(
                torch.tensor(ids),
                attention_mask=None if given is None else torch.tensor(given),
                output_hidden_states=True,
            )
        mine = ours(
            paddle.to_tensor(ids),
            attention_mask=None if given is None else paddle.to_tensor(given),
            output_hidden_states=True,
        )
        assert_close(mine.last_hidden_state, reference.last_hidden_state)
        assert len(mine.hidden_states) == len(reference.hidden_states)
        for state, expected in zip(mine.hidden_states, reference.hidden_states, strict=True):
            assert_close(state, expected)
    with pytest.raises(InputError, match="78 tokens"):
        ours(paddle.zeros([1, 78], dtype="int64"))
    with pytest.raises(InputError, match="input_ids is None"):
        ours()


def test_ldmbert_is_the_published_one_by_default():
    """CompVis/ldm-text2im-large-256 says what the defaults say."""
    mine, reference = LDMBertConfig(), TheirConfig()
    assert {key: getattr(reference, key) for key in LDMBertConfig.defaults} == LDMBertConfig.defaults
    with paddle.LazyGuard():
        ours = LDMBertModel(mine)
    with torch.device("meta"):
        theirs = TheirModel(reference)
    shapes = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    linear = {f"{name}.weight" for name, module in theirs.named_modules() if isinstance(module, torch.nn.Linear)}
    shapes |= {key: shapes[key][::-1] for key in linear}
    assert {key: tuple(value.shape) for key, value in ours.state_dict().items()} == shapes


# -- text to image --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0, 0.5])
def test_the_same_seed_generates_the_same_image(both, guidance_scale):
    ours, theirs = both
    settings = {"num_inference_steps": 22, "guidance_scale": guidance_scale, "height": 64, "width": 48}
    mine, reference = call_both(ours, theirs, seed=7, prompt=PROMPTS, output_type="np", **settings)
    assert_images_agree(mine.images, reference.images)
    assert isinstance(ours, LDMTextToImagePipeline)


def test_default_size_given_latents_and_pil(both):
    ours, theirs = both
    latents = noise((1, 4, 8, 8))
    mine, reference = call_both(ours, theirs, prompt=PROMPTS[0], latents=latents, num_inference_steps=3)
    assert mine.images[0].size == reference.images[0].size == (64, 64)
    assert_levels_agree(np.asarray(mine.images[0]), np.asarray(reference.images[0]))


def test_fresh_noise_in_each_step(both):
    """The original draws the steps' noise from PyTorch's global stream, ours from the generator."""
    ours, theirs = both
    latents = noise((2, 4, 8, 8))
    settings = {"prompt": PROMPTS, "num_inference_steps": 5, "eta": 0.7, "output_type": "np"}
    torch.manual_seed(5)
    reference = theirs(latents=torch.from_numpy(latents), **settings).images
    assert_images_agree(ours(latents=latents, generator=5, **settings).images, reference)


@pytest.mark.parametrize("name", ["PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler"])
def test_other_schedulers(both, name):
    """The original scales neither the noise nor the network's input, which LMS and Euler need: here it is helped."""
    ours, theirs = both
    set_schedulers(ours, theirs, name, clip_sample=False)
    theirs.unet.register_forward_pre_hook(lambda _, args: (theirs.scheduler.scale_model_input(*args), *args[1:]))
    settings = {"prompt": PROMPTS, "num_inference_steps": 20, "guidance_scale": 2.0, "output_type": "np"}
    latents = noise((2, 4, 8, 8))
    theirs.scheduler.set_timesteps(20)
    scaled = torch.from_numpy(latents) * theirs.scheduler.init_noise_sigma
    reference = theirs(latents=scaled, **settings)
    assert_images_agree(ours(latents=latents, **settings).images, reference.images)


def test_a_long_prompt_is_cut_and_said(both, caplog):
    ours, theirs = both
    settings = {"prompt": "red " * 90 + "blue circle", "num_inference_steps": 2, "output_type": "np"}
    mine, reference = call_both(ours, theirs, seed=1, **settings)
    assert_images_agree(mine.images, reference.images)
    assert "77 tokens" in caplog.text and "blue circle" in caplog.text


def test_a_generator_for_each_image(both):
    ours, theirs = both
    mine, reference = generators(5, count=2)
    settings = {"prompt": PROMPTS, "num_inference_steps": 3, "output_type": "np"}
    assert_images_agree(ours(generator=mine, **settings).images, theirs(generator=reference, **settings).images)


def test_bad_calls_list_every_problem(both):
    ours, _ = both
    with pytest.raises(InputError) as caught:
        ours(3, height=20, num_inference_steps=0, guidance_scale=float("nan"), output_type="jpeg")
    for word in ("`prompt`", "`height`", "num_inference_steps", "guidance_scale", "output_type"):
        assert word in str(caught.value)
    with pytest.raises(InputError, match=r"\(2, 4, 8, 8\)"):
        ours(PROMPTS, latents=noise((1, 4, 8, 8)))
    with pytest.raises(InputError, match="3 generators for 2"):
        ours(PROMPTS, generator=[1, 2, 3])


def test_converted_round_trip(folder, tmp_path):
    settings = {"prompt": PROMPTS[0], "num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "np"}
    paddle_folder, torch_folder = there_and_back(folder, tmp_path)
    ours = DiffusionPipeline.from_pretrained(paddle_folder)
    for saved in (torch_folder, saved_both_ways(ours, tmp_path)[1]):
        theirs = diffusers.LDMTextToImagePipeline.from_pretrained(saved)
        reference = theirs(generator=generators(2)[1], **settings).images
        assert_images_agree(ours(generator=2, **settings).images, reference)
    again = DiffusionPipeline.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(again(generator=2, **settings).images, ours(generator=2, **settings).images)


def test_nan_is_said(both, caplog):
    ours, _ = both
    ours.vqvae.post_quant_conv.bias.set_value(paddle.full_like(ours.vqvae.post_quant_conv.bias, float("nan")))
    ours(PROMPTS[0], num_inference_steps=2)
    assert "first appeared in: the VAE's decoder" in caplog.text


# -- super-resolution -------------------------------------------------------------------------------------------


def latents_of(pipeline):
    """What the pipeline's autoencoder is given to decode: the codes that it picks may jump, these may not."""
    seen, decode = [], pipeline.vqvae.decode

    def spy(latents, *args, **kwargs):
        seen.append(latents)
        return decode(latents, *args, **kwargs)

    pipeline.vqvae.decode = spy
    return seen


def test_super_resolution(both_large):
    ours, theirs = both_large
    seen, expected = latents_of(ours), latents_of(theirs)
    settings = {"image": noise((2, 3, 8, 12)).clip(-1, 1), "num_inference_steps": 22, "output_type": "np"}
    mine, reference = call_both(ours, theirs, seed=3, **settings)
    assert_close(seen[0], expected[0], 2e-3)
    assert mine.images.shape == reference.images.shape == (2, 32, 48, 3)
    # the same latents give the same image
    with torch.no_grad():
        again = theirs.vqvae.decode(torch.from_numpy(seen[0].numpy())).sample
    assert_images_agree(mine.images, (again.clip(-1, 1) / 2 + 0.5).permute(0, 2, 3, 1).numpy())
    assert isinstance(ours, LDMSuperResolutionPipeline)


@pytest.mark.parametrize("name", ["PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler"])
def test_super_resolution_by_other_schedulers(both_large, name):
    ours, theirs = both_large
    set_schedulers(ours, theirs, name, clip_sample=False)
    seen, expected = latents_of(ours), latents_of(theirs)
    call_both(ours, theirs, seed=3, image=noise((1, 3, 8, 12)).clip(-1, 1), num_inference_steps=20)
    assert_close(seen[0], expected[0], 2e-3)


def test_super_resolution_of_a_pil_image(both_large):
    """Sides are rounded down to multiples of 32, by Lanczos; noise comes from one stream."""
    ours, theirs = both_large
    seen, expected = latents_of(ours), latents_of(theirs)
    image = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 70, 3)).astype(np.uint8))
    settings = {"num_inference_steps": 3, "eta": 1.0}
    torch.manual_seed(3)
    reference = theirs(image, **settings).images
    mine = ours(image, generator=3, **settings).images
    assert mine[0].size == reference[0].size == (256, 128)
    assert_close(seen[0], expected[0], 1e-4)


def test_super_resolution_nan_is_said(both_large, caplog):
    ours, _ = both_large
    ours.unet.conv_in.bias.set_value(paddle.full_like(ours.unet.conv_in.bias, float("nan")))
    ours(noise((1, 3, 8, 8)), num_inference_steps=2)
    assert "first appeared in: denoising at timestep 501" in caplog.text


def test_super_resolution_bad_calls(both_large):
    ours, _ = both_large
    with pytest.raises(InputError) as caught:
        ours(None, num_inference_steps=-1, output_type="x")
    for word in ("`image` is required", "num_inference_steps", "output_type"):
        assert word in str(caught.value)
    with pytest.raises(InputError, match="at least 32 x 32"):
        ours(PIL.Image.new("RGB", (31, 64)))
    with pytest.raises(InputError, match="`image` must be of shape"):
        ours(noise((1, 4, 8, 8)))
    with pytest.raises(InputError, match="multiples of 2, not \\(7, 10\\)"):
        ours(noise((1, 3, 7, 10)))


def test_super_resolution_converted_round_trip(large_folder, tmp_path):
    settings = {"num_inference_steps": 2, "output_type": "np"}
    image = noise((1, 3, 8, 8)).clip(-1, 1)
    paddle_folder, torch_folder = there_and_back(large_folder, tmp_path)
    ours = DiffusionPipeline.from_pretrained(paddle_folder)
    theirs = diffusers.LDMSuperResolutionPipeline.from_pretrained(torch_folder)
    seen, expected = latents_of(ours), latents_of(theirs)
    call_both(ours, theirs, seed=2, image=image, **settings)
    assert_close(seen[0], expected[0], 1e-4)
