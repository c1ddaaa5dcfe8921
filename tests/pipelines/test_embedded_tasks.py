"""Stable Diffusion's other tasks on the embedded, trained checkpoint: diffusers' image, with the right content."""

import random
from pathlib import Path

import diffusers
import numpy as np
import PIL.Image
import pytest

import ppdiffusers
from examples.training import shapes
from tests.pipelines.support import assert_images_agree, box_mask, call_both, load_classes

FOLDER = Path(__file__).parents[2] / "examples" / "assets" / "shapes-bilingual"
SOURCE = PIL.Image.fromarray(shapes.draw(shapes.Scene("red", "circle", "white"), random.Random(3)))
TASKS = {
    "image to image": ("StableDiffusionImg2ImgPipeline", {"prompt": "一个蓝色的正方形，白色背景", "strength": 0.8}),
    "inpainting": (
        "StableDiffusionInpaintPipeline",
        {
            "prompt": "a blue square on a white background",
            "mask_image": box_mask(64, 64, (6, 6, 58, 58)),
            "height": 64,
            "width": 64,
        },
    ),
    "two prompts": (
        "CycleDiffusionPipeline",
        {
            "prompt": "a blue square on a white background",
            "source_prompt": "a red circle on a white background",
            "guidance_scale": 3.0,
        },
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_the_image_is_diffusers_and_shows_what_is_asked_for(task):
    name, call = TASKS[task]
    assert shapes.classify(np.asarray(SOURCE)) == {"color": "red", "shape": "circle", "background": "white"}
    pair = load_classes(FOLDER, getattr(ppdiffusers, name), getattr(diffusers, name), safety_checker=None)
    for pipeline, library in zip(pair, (ppdiffusers, diffusers), strict=True):
        pipeline.scheduler = library.DDIMScheduler.from_config(pipeline.scheduler.config)
    mine, reference = call_both(*pair, seed=1, image=SOURCE, num_inference_steps=30, output_type="np", **call)
    assert_images_agree(mine.images, reference.images)
    generated = shapes.classify((mine.images[0] * 255).round().astype(np.uint8))
    assert generated == {"color": "blue", "shape": "square", "background": "white"}
