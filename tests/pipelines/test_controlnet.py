"""StableDiffusionControlNetPipeline against diffusers, live: same folder, prompts, control images, noise and steps."""

import diffusers
import numpy as np
import paddle
import pytest

from ppdiffusers import ControlNetModel, StableDiffusionControlNetPipeline
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_round_trip,
    call_both,
    generators,
    load_both,
    make_image,
    set_schedulers,
)
from tests.support.checkpoints import tiny_controlnet, tiny_controlnet_pipeline
from tests.support.parity import assert_close, noise

IMAGE = make_image(32, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_controlnet_pipeline(tmp_path_factory.mktemp("one"), diffusers.StableDiffusionControlNetPipeline)


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


@pytest.fixture
def pipes(loaded):
    set_schedulers(*loaded, "PNDMScheduler")
    return loaded


CALLS = {
    "one image": {},
    "two prompts": {"prompt": PROMPTS, "negative_prompt": ["blurry", "丑陋"]},
    "an image for each prompt": {
        "prompt": PROMPTS,
        "image": [make_image(24, 40, 1), make_image(24, 40, 2)],
        "num_images_per_prompt": 2,
    },
    "without guidance": {"guidance_scale": 1.0},
    "scale": {"controlnet_conditioning_scale": 0.4},
    "guess mode": {"guess_mode": True, "num_images_per_prompt": 2},
    "guess mode without guidance": {"guess_mode": True, "guidance_scale": 1.0},
    "interval": {"control_guidance_start": 0.2, "control_guidance_end": 0.7},
    "interval as lists": {"control_guidance_start": [0.0], "control_guidance_end": [0.5]},
    "wide, size of the image": {"image": make_image(57, 25)},
    "another size": {"height": 24, "width": 48},
    "an image of four channels": {"image": make_image(32, 48).convert("RGBA")},
    "a grayscale image": {"image": make_image(32, 48).convert("L")},
    "an array": {"image": np.asarray(make_image(32, 48), dtype=np.float32)[None] / 255},
    "given latents": {"latents": noise((1, 4, 16, 16))},
    "embeddings": {"prompt": None, "prompt_embeds": noise((2, 77, 32), "prompt"), "negative_prompt": ["a", "b"]},
    "clip_skip": {"clip_skip": 1},
    "legacy callback": {"callback_steps": 2, "callback": lambda *_: None},
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pipes, case):
    arguments = {"prompt": PROMPTS[1], "image": IMAGE, "num_inference_steps": 5, "output_type": "np", **CALLS[case]}
    if case == "an array":  # diffusers reads it as an image too; `call_both` would make it a tensor
        mine, reference = generators(3)
        results = pipes[0](generator=mine, **arguments), pipes[1](generator=reference, **arguments)
    else:
        results = call_both(*pipes, **({} if case == "given latents" else {"seed": 3}), **arguments)
    assert_images_agree(results[0].images, results[1].images)


@pytest.mark.parametrize("scheduler", ["EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_schedulers(loaded, scheduler):
    set_schedulers(*loaded, scheduler)
    mine, reference = call_both(
        *loaded, seed=4, prompt=PROMPTS[0], image=IMAGE, num_inference_steps=20, output_type="np"
    )
    assert_images_agree(mine.images, reference.images)


def test_residuals_matter(pipes):
    ours, _ = pipes
    settings = {"prompt": PROMPTS[0], "num_inference_steps": 3, "generator": 1, "output_type": "np"}
    images = [ours(image=make_image(32, 32, seed), **settings).images for seed in (0, 1)]
    assert np.abs(images[0] - images[1]).max() > 0.05


def test_callback_replaces_the_control_image(pipes):
    """A callback ends guidance and changes the control image, as in diffusers."""

    def callback(pipe, index, t, tensors):
        if index == 1:
            pipe._guidance_scale = 0.0
            return {"prompt_embeds": tensors["prompt_embeds"][-1:], "image": tensors["image"][-1:] * 0.5}
        return {}

    mine, reference = call_both(
        *pipes, seed=4, prompt=PROMPTS[0], image=IMAGE, num_inference_steps=4, output_type="np",
        callback_on_step_end=callback, callback_on_step_end_tensor_inputs=["prompt_embeds", "image"],
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_residuals_averaged_over_pixels(tmp_path):
    folder = tiny_controlnet_pipeline(
        tmp_path, diffusers.StableDiffusionControlNetPipeline, global_pool_conditions=True
    )
    pipes = load_both(folder)
    mine, reference = call_both(*pipes, seed=3, prompt="a", image=IMAGE, num_inference_steps=4, output_type="np")
    assert_images_agree(mine.images, reference.images)


def test_steps_outside_of_the_interval_skip_the_network(pipes, monkeypatch):
    ours, _ = pipes
    calls = []
    forward = ControlNetModel.forward
    monkeypatch.setattr(ControlNetModel, "forward", lambda *args, **kw: calls.append(0) or forward(*args, **kw))
    set_schedulers(*pipes, "DDIMScheduler")
    ours("a", IMAGE, num_inference_steps=4, control_guidance_end=0.5, output_type="latent")
    assert len(calls) == 2


def test_conversion_both_ways(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt="a", image=IMAGE, num_inference_steps=3)


def test_compiled_networks_agree(folder):
    """Residuals are inputs of the compiled UNet; a scale is an input of the compiled ControlNet."""
    ours = StableDiffusionControlNetPipeline.from_pretrained(folder)
    ours.set_progress_bar_config(disable=True)
    settings = {"prompt": "a", "image": IMAGE, "num_inference_steps": 3, "generator": 1, "output_type": "latent"}
    scales = (1.0, 0.4)
    expected = [ours(**settings, controlnet_conditioning_scale=scale).images for scale in scales]
    ours.compile()
    for scale, eager in zip(scales, expected, strict=True):
        assert_close(ours(**settings, controlnet_conditioning_scale=scale).images, eager, 1e-3)


# -- errors -----------------------------------------------------------------------------------------------------------


def test_invalid_arguments_are_listed_together(pipes):
    with pytest.raises(InputError) as error:
        pipes[0](
            ["a", "b", "c"], [IMAGE, IMAGE], height=-8, controlnet_conditioning_scale=[1.0, 2.0],
            control_guidance_start=0.8, control_guidance_end=float("nan"), num_inference_steps=0,
        )  # fmt: skip
    text = str(error.value)
    for part in ("`image` has 2 images for 3 prompt(s)", "`height` must be", "`controlnet_conditioning_scale` has 2",
                 "`control_guidance_end` must be a finite number", "`num_inference_steps`"):  # fmt: skip
        assert part in text


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (-0.1, 1.0), (0.0, 1.1)])
def test_invalid_intervals(pipes, start, end):
    with pytest.raises(InputError, match="0 <= start < end <= 1"):
        pipes[0]("a", IMAGE, control_guidance_start=start, control_guidance_end=end)


@pytest.mark.parametrize(("image", "message"), [(None, "`image` is required"), ("edges.png", "must be a PIL image")])
def test_invalid_control_images(pipes, image, message):
    with pytest.raises(InputError, match=message):
        pipes[0]("a", image)
    with pytest.raises(InputError, match=message):
        pipes[0].check_image(image, "a", None)


def test_latents_of_another_size_than_the_control_image(pipes):
    with pytest.raises(InputError, match=r"`latents` must be of shape \(1, 4, 12, 16\)"):
        pipes[0]("a", make_image(32, 24), latents=paddle.zeros([1, 4, 16, 16]))


def test_a_controlnet_for_another_unet(pipes, tmp_path):
    wider = {"block_out_channels": (32, 32), "cross_attention_dim": 16, "in_channels": 9, "layers_per_block": 2,
             "conditioning_embedding_out_channels": (4, 6, 8)}  # fmt: skip
    tiny_controlnet(**wider).save_pretrained(tmp_path)
    ours = StableDiffusionControlNetPipeline.from_pipe(
        pipes[0], controlnet=ControlNetModel.from_pretrained(tmp_path)
    )  # fmt: skip
    with pytest.raises(InputError) as error:
        ours("a", IMAGE)
    assert len(error.value.problems) == 5
    assert "its cross_attention_dim is 16, expected 32" in str(error.value)
