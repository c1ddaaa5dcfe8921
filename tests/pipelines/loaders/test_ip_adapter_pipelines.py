"""IP-Adapters in the other pipelines of Stable Diffusion against diffusers, live."""

import diffusers
import pytest

import ppdiffusers
from tests.pipelines.support import PROMPTS, assert_images_agree, box_mask, call_both, load_classes, make_image
from tests.support.checkpoints import tiny_stable_diffusion_as
from tests.support.ip_adapter import FOLDER, save_ip_adapters

IMAGE, SIZE = make_image(40, 24, seed=4), {"height": 24, "width": 40}
MASK = box_mask(40, 24, (8, 4, 30, 20))
# class -> channels of the UNet, prompts, arguments. In diffusers, Safe Stable Diffusion accepts one prompt only.
PIPELINES = {
    "StableDiffusionImg2ImgPipeline": (4, PROMPTS, {"image": IMAGE, "strength": 0.7}),
    "StableDiffusionInpaintPipeline": (9, PROMPTS, {"image": IMAGE, "mask_image": MASK, "strength": 0.8, **SIZE}),
    "StableDiffusionInstructPix2PixPipeline": (8, PROMPTS, {"image": IMAGE}),
    "StableDiffusionPipelineSafe": (4, PROMPTS[:1], SIZE),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines(name, tmp_path):
    channels, prompts, arguments = PIPELINES[name]
    original = getattr(diffusers, name)
    folder = tiny_stable_diffusion_as(tmp_path, original, in_channels=channels, safety_checker=False)
    pair = load_classes(folder, getattr(ppdiffusers, name), original)
    repository = save_ip_adapters(tmp_path / "adapters", pair[1].unet)
    for pipeline in pair:
        pipeline.load_ip_adapter(str(repository), FOLDER, "plus.safetensors")
        pipeline.set_ip_adapter_scale(0.6)
    call = {"prompt": prompts, "num_inference_steps": 4, "num_images_per_prompt": len(prompts), "output_type": "np"}
    ours, theirs = call_both(*pair, seed=3, ip_adapter_image=make_image(50, 36, seed=1), **call, **arguments)
    assert_images_agree(ours.images, theirs.images)
