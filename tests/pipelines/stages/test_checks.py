"""Checks of arguments: each returns problems, and all problems are raised together."""

import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers import TorchGenerator
from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages import checks
from tests.pipelines.support import make_image

EMBEDS = paddle.zeros([2, 7, 6])


class Pipeline:
    def check_inputs(self, height, width):
        checks.raise_problems(self, checks.check_size(height=height, width=width))


def test_all_problems_are_raised_in_one_error():
    pipeline = Pipeline()
    with pytest.raises(InputError) as raised:
        checks.raise_problems(
            pipeline,
            checks.problems_of(pipeline.check_inputs, 20, width=-8),
            checks.check_counts(steps=0, images=True),
            checks.check_strength(2),
        )
    assert raised.value.what.startswith("Pipeline was called")
    assert [problem.split()[0] for problem in raised.value.problems] == [
        "`height`", "`width`", "`steps`", "`images`", "`strength`",
    ]  # fmt: skip
    checks.raise_problems(pipeline, [], [])


def test_problems_of_an_error_without_a_list():
    def check():
        raise InputError("The prompt is empty.")

    assert checks.problems_of(check) == ["The prompt is empty."]
    assert checks.problems_of(lambda: None) == []


def test_components():
    (problem,) = checks.check_components({"unet": None, "vae": object()}, "unet", "vae")
    assert "no `unet`" in problem


PROMPTS = {
    "neither": ({"prompt": None}, "neither"),
    "both": ({"prompt": "a", "prompt_embeds": EMBEDS}, "both given"),
    "type": ({"prompt": 3}, "must be a string or a list of strings, not int"),
    "entry": ({"prompt": ["a", 3]}, r"`prompt[1]` must be a string"),
    "empty": ({"prompt": []}, "empty list"),
    "negative prompts": ({"prompt": ["a", "b"], "negative_prompt": ["c"]}, "1 entries for 2"),
    "embeds type": ({"prompt": None, "prompt_embeds": np.zeros((2, 7, 6))}, "must be a Paddle tensor, not numpy"),
    "embeds shape": ({"prompt": None, "prompt_embeds": EMBEDS[0]}, "must be [batch, tokens, channels]"),
    "embeds shapes": ({"prompt": None, "prompt_embeds": EMBEDS, "negative_prompt_embeds": EMBEDS[:1]}, "same shape"),
    "embeds batch": ({"prompt": "a", "negative_prompt_embeds": EMBEDS}, "batch size 2, not 1"),
    "NaN": ({"prompt": None, "prompt_embeds": EMBEDS / 0}, "NaN"),
}


@pytest.mark.parametrize("case", PROMPTS)
def test_prompts(case):
    arguments, message = PROMPTS[case]
    (problem,) = checks.check_prompts(**arguments)
    assert message in problem


def test_valid_prompts():
    assert checks.check_prompts(prompt="a", negative_prompt=["b"]) == []
    assert checks.check_prompts(prompt=None, prompt_embeds=EMBEDS, negative_prompt=["a", "b"]) == []
    assert [checks.num_prompts("a"), checks.num_prompts(["a", "b"]), checks.num_prompts(None, EMBEDS)] == [1, 2, 2]
    assert checks.num_prompts(None) is None


def noise_problems(latents, generator=None):
    return checks.check_noise(
        latents=latents,
        generator=generator,
        prompts=1,
        num_images_per_prompt=2,
        channels=4,
        height=24,
        width=40,
        scale_factor=8,
    )


def test_noise():
    valid = paddle.zeros([2, 4, 3, 5])
    assert noise_problems(valid, [TorchGenerator(0), 3]) == noise_problems(None) == []
    assert noise_problems(valid.numpy()) == []
    (problem,) = noise_problems(valid[:1])
    assert "(2, 4, 3, 5), not (1, 4, 3, 5)" in problem
    assert "not list" in noise_problems([1.0])[0]
    assert "NaN" in noise_problems(valid / 0)[0]
    assert "3 generators for 2" in noise_problems(None, [1, 2, 3])[0]
    assert "not a generator" in noise_problems(None, "seed")[0]


def test_latents_of_any_size():
    assert checks.check_latents(paddle.zeros([2, 4, 9, 1]), (None, 4, None, None)) == []


def test_images():
    image = make_image(8, 8)
    valid = (image, [image, image], np.zeros((8, 8, 3)), paddle.zeros([1, 3, 8, 8]), [paddle.zeros([1, 3, 8, 8])])
    for value in valid:
        assert checks.check_images(image=value) == []
    problems = checks.check_images(image=None, mask_image="mask.png")
    assert problems[0] == "`image` is required" and "not str" in problems[1]


def test_channels():
    assert checks.check_channels(paddle.zeros([1, 3, 8, 8]), 3) == []
    assert "4 channel(s), the UNet accepts 3" in checks.check_channels(paddle.zeros([1, 4, 8, 8]), 3)[0]


def test_callbacks():
    (problem,) = checks.check_callbacks(tensor_inputs=["latents", "noise"], allowed=("latents", "prompt_embeds"))
    assert "'noise'" in problem and "latents, prompt_embeds" in problem
    assert len(checks.check_callbacks(callback_on_step_end=3, callback="print", callback_steps=0)) == 3
    assert checks.check_callbacks(callback=print, callback_steps=1) == []


def test_sampling():
    arguments = {
        "scheduler": ppdiffusers.DDIMScheduler(),
        "num_inference_steps": 5,
        "num_images_per_prompt": 1,
        "output_type": "pil",
        "eta": 0.0,
    }
    assert checks.check_sampling(**arguments) == []
    problems = checks.check_sampling(**{**arguments, "num_inference_steps": 2.5, "eta": "high", "output_type": "jpeg"})
    assert ["num_inference_steps" in "".join(problems), "`eta`" in "".join(problems), len(problems)] == [True, True, 3]
    (problem,) = checks.check_sampling(**arguments, sigmas=[1.0, 0.0])
    assert "`sigmas` is not supported by DDIMScheduler" in problem
    assert "both given" in checks.check_sampling(**arguments, sigmas=[1.0], timesteps=[3])[0]


def test_strength_numbers_and_size():
    assert checks.check_strength(0) == checks.check_strength(1.0) == []
    assert "finite number" in checks.check_strength("high")[0]
    assert len(checks.check_numbers(a=float("nan"), b=True, c=None, d=1)) == 3
    assert checks.check_size(height=24, width=np.int64(8)) == []
    assert len(checks.check_size(height=24.0, width=12)) == 2
    assert checks.check_size(height=12, width=4, multiple=4) == []
