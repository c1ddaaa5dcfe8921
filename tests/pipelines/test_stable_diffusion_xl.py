"""StableDiffusionXLPipeline against diffusers, live: same folder, prompts, noise and steps."""

import diffusers
import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers import StableDiffusionXLPipeline, registry
from ppdiffusers.core.errors import InputError, MissingDependencyError
from tests.pipelines.support import PROMPTS, assert_images_agree, assert_round_trip, call_both, generators, load_both
from tests.support.parity import assert_close, noise
from tests.support.stable_diffusion_xl import POOLED, WIDTHS, tiny_scheduler, tiny_stable_diffusion_xl

EMBEDS = {
    "prompt_embeds": noise((2, 77, sum(WIDTHS)), "prompt"),
    "negative_prompt_embeds": noise((2, 77, sum(WIDTHS)), "negative"),
    "pooled_prompt_embeds": noise((2, POOLED), "pooled"),
    "negative_pooled_prompt_embeds": noise((2, POOLED), "negative pooled"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion_xl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


@pytest.fixture
def pair(loaded):
    ours, theirs = loaded
    ours.scheduler = ppdiffusers.EulerDiscreteScheduler.from_config(ours.original_scheduler.config)
    theirs.scheduler = tiny_scheduler()
    for pipeline in loaded:
        pipeline.register_to_config(force_zeros_for_empty_prompt=True)
    return loaded


CALLS = {
    "defaults": {},
    "two prompts, two images each": {"prompt": PROMPTS, "num_images_per_prompt": 2},
    "prompts of the second encoder": {
        "prompt": PROMPTS,
        "prompt_2": ["a cat", "a red circle"],
        "negative_prompt": ["blurry", "丑陋"],
        "negative_prompt_2": "low quality",
    },
    "negative prompt": {"negative_prompt": "low quality, 模糊", "prompt": PROMPTS},
    "empty negative prompt": {"negative_prompt": ""},
    "without guidance": {"guidance_scale": 1.0, "prompt": PROMPTS},
    "without guidance, below one": {"guidance_scale": 0.0, "negative_prompt": "unused"},
    "guidance_rescale": {"guidance_rescale": 0.7},
    "clip_skip": {"clip_skip": 1, "negative_prompt": "blurry"},
    "wide": {"height": 16, "width": 48},
    "tall, batch": {"height": 48, "width": 32, "prompt": PROMPTS},
    "sizes": {
        "original_size": (50, 70),
        "crops_coords_top_left": (3, 9),
        "target_size": (64, 40),
        "height": 32,
        "width": 16,
        "prompt": PROMPTS,
    },
    "negative sizes": {
        "negative_original_size": (20, 30),
        "negative_crops_coords_top_left": (5, 1),
        "negative_target_size": (24, 56),
    },
    "one negative size": {"negative_original_size": (20, 30)},
    "denoising_end": {"denoising_end": 0.6, "num_inference_steps": 7},
    "denoising_end of all steps": {"denoising_end": 1.0},
    "latents of another size": {"latents": noise((1, 4, 8, 20))},
    "embeddings": {"prompt": None, **EMBEDS, "num_images_per_prompt": 2},
    "embeddings of the prompt": {
        "prompt": None,
        "prompt_embeds": EMBEDS["prompt_embeds"],
        "pooled_prompt_embeds": EMBEDS["pooled_prompt_embeds"],
        "negative_prompt": ["blurry", "bad"],
    },
    "one step": {"num_inference_steps": 1},
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    arguments = {"prompt": PROMPTS[1], "num_inference_steps": 3, "output_type": "np", **CALLS[case]}
    mine, reference = call_both(*pair, seed=3, **arguments)
    assert_images_agree(mine.images, reference.images)
    assert pair[0].num_timesteps == pair[1].num_timesteps


def test_embeddings_of_empty_negative_prompts(pair):
    """With `force_zeros_for_empty_prompt=False` the text encoders read an empty negative prompt."""
    for pipeline in pair:
        pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    settings = {"prompt": PROMPTS, "num_inference_steps": 3, "output_type": "np"}
    mine, reference = call_both(*pair, seed=3, **settings)
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("name", ["HeunDiscreteScheduler", "DPMSolverMultistepScheduler", "DDIMScheduler"])
def test_schedulers_with_denoising_end(pair, name):
    ours, theirs = pair
    ours.scheduler = getattr(ppdiffusers, name).from_config(ours.scheduler.config)
    theirs.scheduler = getattr(diffusers, name).from_config(theirs.scheduler.config)
    settings = {"prompt": PROMPTS[0], "num_inference_steps": 7, "denoising_end": 0.7, "output_type": "np"}
    mine, reference = call_both(*pair, seed=3, **settings)
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("steps", [1, 4])
def test_distilled_settings(pair, steps):
    """Settings of SDXL-Turbo (one step) and SDXL-Lightning (four): trailing timesteps, no guidance."""
    ours, theirs = pair
    ours.scheduler = ppdiffusers.EulerDiscreteScheduler.from_config(ours.scheduler.config, timestep_spacing="trailing")
    theirs.scheduler = diffusers.EulerDiscreteScheduler.from_config(
        theirs.scheduler.config, timestep_spacing="trailing"
    )
    settings = {"prompt": PROMPTS, "num_inference_steps": steps, "guidance_scale": 0.0, "output_type": "np"}
    mine, reference = call_both(*pair, seed=3, **settings)
    assert_images_agree(mine.images, reference.images)


def test_one_generator_for_each_image(pair):
    mine, reference = generators(20, count=4)
    settings = {"prompt": PROMPTS, "num_images_per_prompt": 2, "num_inference_steps": 2, "output_type": "np"}
    assert_images_agree(pair[0](generator=mine, **settings).images, pair[1](generator=reference, **settings).images)


def test_encode_prompt(pair):
    settings = {"prompt": PROMPTS, "prompt_2": ["a", "b"], "num_images_per_prompt": 2, "negative_prompt": ["c", "d"]}
    mine, reference = pair[0].encode_prompt(**settings), pair[1].encode_prompt(**settings)
    for one, other in zip(mine, reference, strict=True):
        assert_close(one, other, 1e-5)


def test_negative_sizes_of_a_batch(pair):
    """Each image of a batch has the sizes that it has alone; diffusers exchanges some of them."""
    ours = pair[0]
    settings = {**CALLS["negative sizes"], "num_inference_steps": 2, "output_type": "np"}
    latents = noise((2, 4, 16, 16))
    together = ours(PROMPTS, latents=latents, **settings).images
    for n, prompt in enumerate(PROMPTS):
        alone = ours(prompt, latents=latents[n : n + 1], **settings).images
        assert_images_agree(together[n : n + 1], alone)


def test_callback_replaces_tensors(pair):
    def change(pipeline, index, timestep, tensors):
        assert set(tensors) == {"latents", "prompt_embeds", "add_text_embeds", "add_time_ids"}
        return {"add_text_embeds": tensors["add_text_embeds"] * 1.3, "add_time_ids": tensors["add_time_ids"] + 2}

    mine, reference = call_both(
        *pair, seed=3, prompt=PROMPTS, num_inference_steps=3, output_type="np", callback_on_step_end=change,
        callback_on_step_end_tensor_inputs=["latents", "prompt_embeds", "add_text_embeds", "add_time_ids"],
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_latents_mean_and_std(pair):
    ours, theirs = pair
    statistics = {"latents_mean": [0.1, -0.3, 0.2, 0.4], "latents_std": [1.2, 0.7, 0.9, 1.5]}
    before = {key: ours.vae.config.get(key) for key in statistics}
    settings = {"prompt": PROMPTS[0], "num_inference_steps": 2, "output_type": "np"}
    plain = ours(generator=3, **settings).images
    try:
        for vae in (ours.vae, theirs.vae):
            vae.register_to_config(**statistics)
        mine, reference = call_both(*pair, seed=3, **settings)
    finally:
        for vae in (ours.vae, theirs.vae):
            vae.register_to_config(**before)
    assert_images_agree(mine.images, reference.images)
    assert np.abs(mine.images - plain).max() > 0.01


# -- prompts ----------------------------------------------------------------------------------------------------------


def test_weights_and_long_prompts(pair):
    ours = pair[0]
    long = "a red circle on a white background, " * 20
    embeds, negative, pooled, _ = ours.encode_prompt(long, "short", negative_prompt="a", long_prompts="split")
    assert embeds.shape == negative.shape and embeds.shape[1] % 77 == 0 and embeds.shape[1] > 77
    assert pooled.shape == [1, POOLED]
    plain = ours.encode_prompt("a red circle", do_classifier_free_guidance=False)
    same = ours.encode_prompt("a red circle", do_classifier_free_guidance=False, prompt_syntax="webui")
    weighted = ours.encode_prompt("a (red:1.5) circle", do_classifier_free_guidance=False, prompt_syntax="webui")
    assert_close(same[0], plain[0], 1e-6)
    for first in (0, WIDTHS[0]):  # of both encoders
        assert np.abs((weighted[0] - plain[0]).numpy()[..., first:]).max() > 1e-3
    assert_close(weighted[2], plain[2], 1e-6)
    images = ours(long, long_prompts="split", num_inference_steps=2, generator=0, output_type="np").images
    truncated = ours(long, num_inference_steps=2, generator=0, output_type="np").images
    assert np.abs(images - truncated).max() > 1e-3


# -- errors -----------------------------------------------------------------------------------------------------------


def test_all_problems_are_in_one_message(pair):
    with pytest.raises(InputError) as caught:
        pair[0](
            PROMPTS,
            prompt_2=["one", "two", "three"],
            negative_prompt_2=["one"],
            pooled_prompt_embeds=paddle.zeros([3, POOLED]),
            height=30,
            denoising_end=1.5,
            original_size=32,
        )
    message = str(caught.value)
    for part in (
        "`prompt_2` has 3 entries for 2",
        "`negative_prompt_2` has 1 entries for 2",
        "`pooled_prompt_embeds` has batch size 3",
        "`height`",
        "`denoising_end`",
        "`original_size`",
    ):
        assert part in message


def test_embeddings_of_another_model(pair):
    with pytest.raises(InputError) as caught:
        pair[0](prompt_embeds=paddle.zeros([1, 77, 10]), prompt_2="a")
    for part in ("has 10 channels, the UNet accepts 56", "`prompt_2` and `prompt_embeds`", "`pooled_prompt_embeds`"):
        assert part in str(caught.value)


# -- settings and components ------------------------------------------------------------------------------------------


def test_watermark(pair, monkeypatch):
    components = pair[0].components
    assert StableDiffusionXLPipeline(**components).watermark is None  # the package is not installed
    with pytest.raises(MissingDependencyError, match="invisible-watermark"):
        StableDiffusionXLPipeline(**components, add_watermarker=True)
    pipeline = StableDiffusionXLPipeline(**components, add_watermarker=False)
    assert pipeline.config.add_watermarker is False and "add_watermarker" not in pair[0].config


def test_watermark_of_an_installed_package(monkeypatch):
    import sys
    import types

    from ppdiffusers.pipelines.stable_diffusion_xl.watermark import StableDiffusionXLWatermarker

    class Encoder:
        def set_watermark(self, kind, content):
            assert kind == "bits" and len(content) == 48 and set(content) == {0, 1}

        def encode(self, image, method):
            assert method == "dwtDct" and image.shape == (8, 256, 3)
            assert np.allclose(image[0, 0], [255, 127.5, 0])  # BGR
            return image + np.float32([0, 51, 0])

    monkeypatch.setitem(sys.modules, "imwatermark", types.SimpleNamespace(WatermarkEncoder=Encoder))
    image = paddle.to_tensor([-1.0, 0.0, 1.0]).reshape([1, 3, 1, 1]).expand([2, 3, 8, 256])
    marked = StableDiffusionXLWatermarker().apply_watermark(image)
    assert marked.shape == image.shape
    np.testing.assert_allclose(marked[1, :, 3, 7].numpy(), [-1, 0.4, 1], atol=1e-6)
    small = image[..., :255]
    assert StableDiffusionXLWatermarker().apply_watermark(small) is small


def test_vae_runs_in_float32(pair, monkeypatch, half_kernels):
    """A float16 VAE with `force_upcast` decodes in float32, and is float16 again afterwards."""
    ours = pair[0]
    vae = ours.vae
    seen = []
    decode = type(vae).decode
    monkeypatch.setattr(type(vae), "decode", lambda self, z, *a, **k: seen.append(z.dtype) or decode(self, z, *a, **k))
    vae.to(dtype="float16")
    try:
        images = ours(PROMPTS[0], num_inference_steps=1, generator=0, output_type="np").images
        assert vae.decoder.conv_in.weight.dtype == paddle.float16
    finally:
        vae.to(dtype="float32")
    assert seen == [paddle.float32] and np.isfinite(images).all()


def test_conversion_and_saving(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt=PROMPTS, num_inference_steps=2)


def test_auto_pipeline(folder):
    entry = registry.find("StableDiffusionXLPipeline")
    assert (entry.family, entry.task) == ("stable-diffusion-xl", registry.TEXT_TO_IMAGE)
    assert type(ppdiffusers.AutoPipelineForText2Image.from_pretrained(folder)) is StableDiffusionXLPipeline


def test_lora_of_all_networks(folder, tmp_path):
    """A LoRA of diffusers for the UNet and both text encoders gives diffusers' image."""
    from peft import LoraConfig

    ours, theirs = load_both(folder)
    layers = {}
    for name in ("unet", "text_encoder", "text_encoder_2"):
        network = getattr(theirs, name)
        targets = ["to_q", "to_v"] if name == "unet" else ["q_proj", "v_proj"]
        network.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=targets), "default")
        layers[f"{name}_lora_layers"] = {
            key.replace(".default", ""): value.detach() for key, value in network.named_parameters() if "lora_" in key
        }
        randomize_lora = [value for key, value in network.named_parameters() if "lora_" in key]
        for number, value in enumerate(randomize_lora):
            value.data.copy_(value.new_tensor(noise(tuple(value.shape), f"{name}{number}")) * 0.3)
    type(theirs).save_lora_weights(tmp_path, **layers)
    ours.load_lora_weights(tmp_path)
    settings = {"prompt": PROMPTS[0], "num_inference_steps": 2, "output_type": "np"}
    mine, reference = call_both(ours, theirs, seed=3, **settings)
    assert_images_agree(mine.images, reference.images)
    ours.fuse_lora()
    fused, _ = ours(generator=3, **settings).images, ours.unfuse_lora()
    assert_images_agree(fused, reference.images)
    ours.unload_lora_weights()
    assert np.abs(ours(generator=3, **settings).images - reference.images).max() > 0.01
