"""Public methods of diffusers that are overridden in user-defined subclasses, with diffusers' signatures."""

import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import box_mask, make_image
from tests.support.checkpoints import tiny_stable_diffusion

IMAGE = {"image": make_image(16, 16)}
MASK = {"mask_image": box_mask(16, 16, (2, 2, 14, 12))}
SIZE = {"height": 16, "width": 16}
CALLS = {
    "StableDiffusionPipeline": SIZE,
    "StableDiffusionImg2ImgPipeline": IMAGE,
    "StableDiffusionInpaintPipeline": {**IMAGE, **MASK, **SIZE},
    "StableDiffusionInpaintPipelineLegacy": {**IMAGE, **MASK},
    "StableDiffusionInstructPix2PixPipeline": IMAGE,
    "StableDiffusionPipelineSafe": SIZE,
    "StableDiffusionUpscalePipeline": IMAGE,
    "StableDiffusionLatentUpscalePipeline": IMAGE,
    "StableDiffusionDepth2ImgPipeline": IMAGE,
    "StableDiffusionImageVariationPipeline": IMAGE,
    "CycleDiffusionPipeline": {**IMAGE, "source_prompt": "b"},
}


@pytest.fixture(scope="module")
def components(tmp_path_factory):
    folder = tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), scheduler="DDIMScheduler")
    pipeline = ppdiffusers.StableDiffusionPipeline.from_pretrained(folder)
    return {name: value for name, value in pipeline.components.items() if name != "image_encoder"}


def create(cls, components):
    pipeline = cls(**components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(pipeline, prompt="a", **arguments):
    return pipeline(prompt, num_inference_steps=2, generator=0, output_type="np", **arguments).images


def test_encode_prompt(components):
    class Subclass(ppdiffusers.StableDiffusionPipeline):
        def encode_prompt(
            self, prompt, device, num_images_per_prompt, do_classifier_free_guidance, negative_prompt=None,
            prompt_embeds=None, negative_prompt_embeds=None, lora_scale=None, clip_skip=None,
        ):  # fmt: skip
            return super().encode_prompt(
                "a red circle", device, num_images_per_prompt, do_classifier_free_guidance, negative_prompt
            )

    expected = generate(create(ppdiffusers.StableDiffusionPipeline, components), "a red circle", **SIZE)
    np.testing.assert_array_equal(generate(create(Subclass, components), **SIZE), expected)


def test_prepare_latents(components):
    class Subclass(ppdiffusers.StableDiffusionPipeline):
        def prepare_latents(
            self, batch_size, num_channels_latents, height, width, dtype, device, generator, latents=None
        ):
            assert (batch_size, num_channels_latents, height, width) == (1, 4, 16, 16)
            return paddle.full([1, 4, 8, 8], 0.5)

    expected = generate(
        create(ppdiffusers.StableDiffusionPipeline, components), **SIZE, latents=paddle.full([1, 4, 8, 8], 0.5)
    )
    np.testing.assert_array_equal(generate(create(Subclass, components), **SIZE), expected)


def test_prepare_latents_of_an_image(components):
    class Subclass(ppdiffusers.StableDiffusionImg2ImgPipeline):
        def prepare_latents(
            self, image, timestep, batch_size, num_images_per_prompt, dtype, device, generator=None
        ):  # fmt: skip
            assert tuple(image.shape) == (1, 3, 16, 16) and len(timestep) == batch_size == num_images_per_prompt == 1
            return paddle.zeros([1, 4, 8, 8])

        def get_timesteps(self, num_inference_steps, strength, device):
            return self.scheduler.timesteps[-1:], 1

    pipeline, steps = create(Subclass, components), []
    images = generate(pipeline, **IMAGE, callback=lambda i, t, x: steps.append(i))
    assert steps == [0] and images.shape == (1, 16, 16, 3)


def test_check_inputs(components):
    """The problems of an overriding method are listed together with those of the other checks."""

    class Subclass(ppdiffusers.StableDiffusionPipeline):
        def check_inputs(
            self, prompt, height, width, callback_steps, negative_prompt=None, prompt_embeds=None,
            negative_prompt_embeds=None, ip_adapter_image=None, ip_adapter_image_embeds=None,
            callback_on_step_end_tensor_inputs=None,
        ):  # fmt: skip
            if prompt == "forbidden":
                raise InputError("`prompt` is forbidden")

    pipeline = create(Subclass, components)
    assert generate(pipeline, **SIZE).shape == (1, 16, 16, 3)
    with pytest.raises(InputError, match=r"`prompt` is forbidden(.|\n)*`eta`"):
        generate(pipeline, "forbidden", eta="high", **SIZE)


def test_errors_of_other_types_are_not_changed(components):
    class Subclass(ppdiffusers.StableDiffusionPipeline):
        def check_inputs(self, *args, **kwargs):
            raise ValueError("written for diffusers")

    with pytest.raises(ValueError, match="written for diffusers"):
        generate(create(Subclass, components), **SIZE)


def test_run_safety_checker(components):
    class Subclass(ppdiffusers.StableDiffusionPipeline):
        def run_safety_checker(self, image, device, dtype):
            return image * 0 + 1, [False] * len(image)

    result = create(Subclass, components)("a", num_inference_steps=1, output_type="np", **SIZE)
    assert (result.images == 1).all() and result.nsfw_content_detected == [False]


def test_prepare_extra_step_kwargs(components):
    class Subclass(ppdiffusers.StableDiffusionPipeline):
        def prepare_extra_step_kwargs(self, generator, eta):
            return {"eta": 1.0, "generator": generator}

    expected = generate(create(ppdiffusers.StableDiffusionPipeline, components), eta=1.0, **SIZE)
    np.testing.assert_array_equal(generate(create(Subclass, components), **SIZE), expected)


@pytest.mark.parametrize("name", CALLS)
def test_missing_unet_is_one_error(components, name):
    """The only problem listed, before any size is computed from the UNet."""
    cls = getattr(ppdiffusers, name)
    others = {"low_res_scheduler": components["scheduler"], "image_encoder": components["text_encoder"]}
    given = {part: {**components, **others}.get(part) for part in cls.component_names()[0]}
    pipeline = cls(**{**given, "unet": None})
    with pytest.raises(InputError, match="no `unet`") as raised:
        pipeline(**{"prompt": "a", **CALLS[name]} if name != "StableDiffusionImageVariationPipeline" else CALLS[name])
    assert len(raised.value.problems) == 1
