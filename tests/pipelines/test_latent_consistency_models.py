"""LatentConsistencyModelPipeline and LatentConsistencyModelImg2ImgPipeline against diffusers, live."""

import diffusers
import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers import LatentConsistencyModelImg2ImgPipeline, LatentConsistencyModelPipeline
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_round_trip,
    call_both,
    generators,
    load_classes,
    make_image,
)
from tests.support.checkpoints import tiny_stable_diffusion, tiny_unet
from tests.support.ip_adapter import FOLDER, save_ip_adapters
from tests.support.parity import noise, randomize

IMAGE = make_image(33, 39)
AUTO = {
    "AutoPipelineForText2Image": LatentConsistencyModelPipeline,
    "AutoPipelineForImage2Image": LatentConsistencyModelImg2ImgPipeline,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint with a UNet that takes the guidance scale, in an odd number of channels, and a safety checker."""
    root = tmp_path_factory.mktemp("lcm")
    source = tiny_stable_diffusion(root)
    config = {name: value for name, value in tiny_unet().config.items() if not name.startswith("_")}
    unet = diffusers.UNet2DConditionModel(**{**config, "time_cond_proj_dim": 21})
    pipeline = diffusers.LatentConsistencyModelPipeline.from_pretrained(
        source, unet=randomize(unet, 2), scheduler=diffusers.LCMScheduler()
    )
    pipeline.save_pretrained(root / "lcm")
    return root / "lcm"


@pytest.fixture(scope="module")
def pipes(folder):
    return load_classes(folder, LatentConsistencyModelPipeline, diffusers.LatentConsistencyModelPipeline)


@pytest.fixture(scope="module")
def img2img(folder):
    return load_classes(folder, LatentConsistencyModelImg2ImgPipeline, diffusers.LatentConsistencyModelImg2ImgPipeline)


CALLS = {
    "defaults": {},
    "two prompts, two images each": {"prompt": PROMPTS, "num_images_per_prompt": 2, "height": 24, "width": 40},
    "another guidance scale": {"guidance_scale": 2.5},
    "no guidance": {"guidance_scale": 1.0},
    "one step": {"num_inference_steps": 1},
    "original_inference_steps": {"original_inference_steps": 100, "num_inference_steps": 7},
    "timesteps": {"num_inference_steps": None, "timesteps": [799, 499, 259]},
    "clip_skip": {"clip_skip": 1},
    "height alone": {"height": 24},
    "latents": {"latents": noise((1, 4, 12, 20)), "height": 24, "width": 40},
}


@pytest.mark.parametrize("case", CALLS)
def test_text_to_image(pipes, case):
    mine, reference = call_both(*pipes, seed=3, **{"prompt": PROMPTS[1], "output_type": "np", **CALLS[case]})
    assert_images_agree(mine.images, reference.images)
    assert mine.nsfw_content_detected == reference.nsfw_content_detected


def test_guidance_scale_has_an_effect(pipes):
    one, other = (
        pipes[0]("a", guidance_scale=scale, generator=0, output_type="np").images for scale in (1.0, 8.5)
    )  # fmt: skip
    assert np.abs(one - other).max() > 0.02


def test_list_of_generators(pipes):
    settings = {"prompt": PROMPTS, "output_type": "np"}
    mine, reference = generators(count=2)
    ours, theirs = pipes[0](generator=mine, **settings), pipes[1](generator=reference, **settings)
    assert_images_agree(ours.images, theirs.images)


IMG2IMG_CALLS = {
    "defaults": {},
    "two prompts, two images each": {"prompt": PROMPTS, "num_images_per_prompt": 2},
    "an image for each prompt": {"prompt": PROMPTS, "image": [make_image(24, 40, 3), make_image(24, 40, 4)]},
    "strength": {"strength": 0.3, "num_inference_steps": 2},
    "strength of timesteps": {"num_inference_steps": None, "timesteps": [799, 499, 259], "strength": 0.7},
    "original_inference_steps": {"original_inference_steps": 100, "num_inference_steps": 7},
    "no guidance": {"guidance_scale": 1.0},
    "image latents": {"image": noise((1, 4, 12, 20))},
    "noised latents": {"latents": noise((1, 4, 12, 20))},
}


@pytest.mark.parametrize("case", IMG2IMG_CALLS)
def test_image_to_image(img2img, case):
    mine, reference = call_both(
        *img2img, seed=4, **{"prompt": PROMPTS[1], "image": IMAGE, "output_type": "np", **IMG2IMG_CALLS[case]}
    )
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("task", ["text to image", "image to image"])
def test_callbacks(pipes, img2img, task):
    """All tensors of the loop are passed, and those that the callback returns are used."""
    names = ["latents", "denoised", "prompt_embeds", "w_embedding"]
    calls = []

    def callback(pipe, index, timestep, tensors):
        calls.append((index, int(timestep), {name: tuple(value.shape) for name, value in tensors.items()}))
        factors = {"latents": 0.9, "denoised": 0.8, "prompt_embeds": 1.1, "w_embedding": 0.5}
        return {name: tensors[name] * factor for name, factor in factors.items()}

    both, image = (pipes, {}) if task == "text to image" else (img2img, {"image": IMAGE})
    mine, reference = call_both(
        *both, seed=5, prompt=PROMPTS, output_type="latent", num_inference_steps=3, callback_on_step_end=callback,
        callback_on_step_end_tensor_inputs=names, **image,
    )  # fmt: skip
    assert np.abs(mine.images.numpy() - reference.images.numpy()).max() <= 2e-3
    assert len(calls) == 6 and calls[:3] == calls[3:] and list(calls[0][2]) == names


def test_legacy_callback_and_tuple(pipes):
    calls = []
    mine, reference = call_both(
        *pipes, seed=5, prompt="a", output_type="latent", return_dict=False, callback_steps=2,
        callback=lambda index, timestep, latents: calls.append((index, int(timestep), tuple(latents.shape))),
    )  # fmt: skip
    assert np.abs(mine[0].numpy() - reference[0].numpy()).max() <= 2e-3 and mine[1] is reference[1] is None
    assert calls[:2] == calls[2:] and [call[0] for call in calls] == [0, 2, 0, 2]


def test_interrupt(pipes):
    """The images are those that the last step predicts."""
    found = []

    def callback(pipe, index, timestep, tensors):
        found.append(tensors["denoised"])
        pipe._interrupt = index == 1

    result = pipes[0](
        "a", generator=0, output_type="latent", callback_on_step_end=callback,
        callback_on_step_end_tensor_inputs=["denoised"],
    )  # fmt: skip
    assert len(found) == 2 and bool((result.images == found[1]).all())


def test_auto_pipeline(folder, pipes):
    for name, expected in AUTO.items():
        theirs = getattr(diffusers, name).from_pretrained(folder)
        assert type(theirs).__name__ == expected.__name__
        assert type(getattr(ppdiffusers, name).from_pretrained(folder)) is expected
        made = getattr(ppdiffusers, name).from_pipe(pipes[0])
        assert type(made) is expected and made.unet is pipes[0].unet
    with pytest.raises(InputError, match="no inpainting pipeline for the components of LatentConsistencyModelPipeline"):
        ppdiffusers.AutoPipelineForInpainting.from_pipe(pipes[0])


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt=PROMPTS[1], num_inference_steps=2)


def test_invalid_arguments_are_listed_together(pipes, img2img):
    with pytest.raises(InputError) as error:
        pipes[0](
            height=30, original_inference_steps=0, guidance_scale=float("nan"),
            callback_on_step_end_tensor_inputs=["negative_prompt_embeds"],
        )  # fmt: skip
    text = str(error.value)
    for part in ("neither `prompt`", "`height`", "`original_inference_steps`", "`guidance_scale`", "w_embedding"):
        assert part in text
    with pytest.raises(InputError) as error:
        img2img[0]("a", strength=2, latents=paddle.zeros([1, 3, 8, 8]))
    for part in ("`image` is required", "`strength`", "`latents` must be of shape (1, 4, any, any)"):
        assert part in str(error.value)


def test_more_steps_than_the_distillation(img2img):
    with pytest.raises(InputError, match="8 inference steps are more than the 5 steps of the distillation"):
        img2img[0]("a", IMAGE, num_inference_steps=8, strength=0.1)


def test_components_of_stable_diffusion(folder):
    source = LatentConsistencyModelPipeline.from_pretrained(folder, safety_checker=None)
    unet = ppdiffusers.UNet2DConditionModel.from_config(source.unet.config, time_cond_proj_dim=None)
    pipe = LatentConsistencyModelPipeline.from_pipe(source, unet=unet, scheduler=ppdiffusers.DDIMScheduler())
    with pytest.raises(InputError) as error:
        pipe("a")
    text = str(error.value)
    assert "the scheduler is DDIMScheduler, not LCMScheduler" in text and "use StableDiffusionPipeline" in text


@pytest.mark.parametrize("task", ["text to image", "image to image"])
def test_ip_adapter(pipes, img2img, task, tmp_path):
    """A step predicts once, so that the UNet gets no unconditional image embeddings."""
    pair, source = (pipes, {}) if task == "text to image" else (img2img, {"image": IMAGE})
    call = {"prompt": PROMPTS, "num_images_per_prompt": 2, "output_type": "np", **source}
    without = pair[0](**call, generator=3).images
    repository = save_ip_adapters(tmp_path, pair[1].unet)
    for pipeline in pair:
        pipeline.load_ip_adapter(str(repository), FOLDER, ["base.safetensors", "plus.safetensors"])
        pipeline.set_ip_adapter_scale([0.4, 0.7])
    images = [make_image(50, 36, 1), [make_image(32, 44, 2), make_image(50, 36, 1)]]
    mine, reference = call_both(*pair, seed=3, ip_adapter_image=images, **call)
    assert_images_agree(mine.images, reference.images)
    assert np.abs(mine.images - without).max() > 0.02
    for pipeline in pair:
        pipeline.unload_ip_adapter()
    assert np.array_equal(pair[0](**call, generator=3).images, without)
