"""DeepFloyd IF against diffusers, live: both stages of all three tasks, the cascade, safety checker, watermark."""

import diffusers
import numpy as np
import paddle
import PIL.Image
import pytest
import torch
from diffusers.pipelines import deepfloyd_if as reference
from diffusers.pipelines.deepfloyd_if.pipeline_if_img2img import resize as reference_resize

import ppdiffusers
from ppdiffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting, AutoPipelineForText2Image
from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines import deepfloyd_if
from ppdiffusers.pipelines.deepfloyd_if.images import resize
from tests.pipelines.support import (
    assert_images_agree,
    assert_round_trip,
    box_mask,
    call_both,
    generators,
    load_both,
    load_classes,
    make_image,
)
from tests.support.deepfloyd import (
    LARGE,
    SMALL,
    WIDTH,
    tiny_if,
    tiny_if_safety_checker,
    tiny_if_super_resolution,
    tiny_watermarker,
)
from tests.support.parity import assert_close, noise

PROMPTS = ["Two cats on a bench", "an oil painting"]
STEPS = 3
TEXT = {"clean_caption": False, "num_inference_steps": STEPS}
TASKS = ("", "Img2Img", "Inpainting")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("if")
    return tiny_if(folder), tiny_if_super_resolution(folder)


@pytest.fixture(scope="module")
def stages(folders):
    """(ours, diffusers') of both stages for text to image; the other tasks share their components."""
    return load_both(folders[0]), load_both(folders[1])


def of_task(stages, task: str, second: bool = False):
    """(ours, diffusers') of a task; `second` for the super-resolution stage."""
    name = f"IF{task}{'SuperResolution' if second else ''}Pipeline"
    pair = tuple(
        getattr(library, name)(**pipe.components, requires_safety_checker=False)
        for library, pipe in zip((ppdiffusers, diffusers), stages[second], strict=True)
    )
    for pipe in pair:
        pipe.set_progress_bar_config(disable=True)
    return pair


def compare(pair, **call):
    ours, theirs = call_both(*pair, **{"seed": 3, "output_type": "np", **TEXT, **call})
    assert_images_agree(ours.images, theirs.images)
    assert ours.nsfw_detected == theirs.nsfw_detected and ours.watermark_detected == theirs.watermark_detected
    return ours.images


# -- first stage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        {"prompt": PROMPTS, "negative_prompt": ["blurry", "a dog"], "num_images_per_prompt": 2},
        {"prompt": PROMPTS[0], "guidance_scale": 1.0, "height": SMALL, "width": 2 * SMALL},
        {"prompt": PROMPTS[0], "timesteps": deepfloyd_if.fast27_timesteps[::9]},
    ],
    ids=["guided", "unguided, wide", "timesteps"],
)
def test_text_to_image(stages, call):
    compare(stages[0], **call)


def test_twenty_steps_and_several_generators(stages):
    ours, theirs = stages[0]
    mine, original = generators(5, count=2)
    call = {**TEXT, "prompt": PROMPTS, "num_inference_steps": 20, "output_type": "np"}
    assert_images_agree(ours(generator=mine, **call).images, theirs(generator=original, **call).images)


def test_fixed_variance(stages):
    """A scheduler that does not use the predicted variance."""
    (ours, theirs), changed = stages[0], {"variance_type": "fixed_small", "thresholding": False}
    pair = of_task(stages, "")
    pair[0].scheduler = ppdiffusers.DDPMScheduler.from_config(ours.scheduler.config, **changed)
    pair[1].scheduler = diffusers.DDPMScheduler.from_config(theirs.scheduler.config, **changed)
    compare(pair, prompt=PROMPTS[0])


def test_embeddings(stages):
    """Both methods give the embeddings, long prompts included; calls take them instead of strings."""
    ours, theirs = stages[0]
    prompts = [f"{PROMPTS[0]} " * 30, PROMPTS[1]]
    found, expected = ours.encode_prompt(prompts), theirs.encode_prompt(prompts)
    assert found[0].shape == [2, 77, WIDTH] and found[0].stop_gradient
    for mine, original in zip(found, expected, strict=True):
        assert_close(mine, original)
    assert ours.encode_prompt(prompts, do_classifier_free_guidance=False)[1] is None
    embeds = {"prompt_embeds": noise((2, 77, WIDTH), "a"), "negative_prompt_embeds": noise((2, 77, WIDTH), "b")}
    compare(stages[0], num_images_per_prompt=2, **embeds)
    compare(stages[0], prompt_embeds=embeds["prompt_embeds"][:, :9])  # the negative prompt is encoded to 9 tokens


def test_image_to_image(stages):
    pair, images = of_task(stages, "Img2Img"), [make_image(48, 32), make_image(32, 48, seed=1)]
    compare(pair, image=images[0], prompt=PROMPTS[0], num_inference_steps=4, strength=0.8)
    call = {"prompt": PROMPTS, "num_images_per_prompt": 2, "strength": 0.7, "num_inference_steps": 4}
    compare(pair, image=noise((2, 3, SMALL, 2 * SMALL), "images").clip(-1, 1), **call)
    # PIL images of different ratios have different sizes
    with pytest.raises(InputError, match="different types or sizes"):
        pair[0](image=images, **call)


def test_inpainting(stages):
    pair = of_task(stages, "Inpainting")
    image, mask = make_image(48, 32), box_mask(48, 32, (10, 5, 40, 20))
    found = compare(pair, image=image, mask_image=mask, prompt=PROMPTS[0])
    kept = np.asarray(resize(image, SMALL)) / 255.0
    assert np.abs(found[0, :2] - kept[:2]).max() < 1e-3  # the first rows are black in the mask
    masks = (noise((2, 1, SMALL, SMALL), "mask") > 0).astype(np.float32)
    images = noise((2, 3, SMALL, SMALL), "images").clip(-1, 1)
    call = {"prompt": PROMPTS, "num_images_per_prompt": 2, "strength": 0.7, "num_inference_steps": 4}
    compare(pair, image=images, mask_image=masks, **call)
    compare(pair, image=images, mask_image=masks[:1], guidance_scale=1.0, **call)


@pytest.mark.parametrize("size", [(50, 31), (31, 50), (40, 40)])
def test_resize(size):
    image = make_image(*size)
    np.testing.assert_array_equal(np.asarray(resize(image, 24)), np.asarray(reference_resize(image, 24)))


# -- super-resolution -------------------------------------------------------------------------------------------------


def test_super_resolution(stages):
    pair = stages[1]
    small = noise((2, 3, SMALL, SMALL), "small").clip(-1, 1)
    compare(pair, image=small, prompt=PROMPTS, num_images_per_prompt=2)
    compare(pair, image=make_image(19, 13), prompt=PROMPTS[0], height=LARGE, width=2 * LARGE, noise_level=40)
    compare(pair, image=small[:1], prompt=PROMPTS[0], guidance_scale=1.0, timesteps=[900, 400, 50])


def test_image_to_image_super_resolution(stages):
    pair = of_task(stages, "Img2Img", second=True)
    small = noise((2, 3, SMALL, SMALL), "small").clip(-1, 1)
    compare(pair, image=make_image(16, 16), original_image=make_image(70, 50), prompt=PROMPTS[0], noise_level=100)
    call = {"prompt": PROMPTS, "num_images_per_prompt": 2, "strength": 0.7, "guidance_scale": 1.0}
    compare(pair, image=small, original_image=noise((2, 3, LARGE, LARGE), "large").clip(-1, 1), **call)


def test_inpainting_super_resolution(stages):
    pair = of_task(stages, "Inpainting", second=True)
    small, large = noise((2, 3, SMALL, SMALL), "small").clip(-1, 1), noise((2, 3, LARGE, LARGE), "large").clip(-1, 1)
    image, mask = make_image(70, 50), box_mask(70, 50, (10, 5, 40, 30))
    compare(pair, image=make_image(24, 16), original_image=image, mask_image=mask, prompt=PROMPTS[0])
    mask = (noise((1, 1, LARGE, LARGE), "mask") > 0).astype(np.float32)
    call = {"prompt": PROMPTS, "num_images_per_prompt": 2, "noise_level": 30, "strength": 1.0}
    compare(pair, image=small, original_image=large, mask_image=mask, **call)


# -- cascade ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_cascade(stages, folders, task):
    """The first stage encodes prompts for both; the second is loaded without a text encoder."""
    without = {"text_encoder": None, "safety_checker": None, "requires_safety_checker": False}
    first = of_task(stages, task)
    classes = [getattr(library, f"IF{task}SuperResolutionPipeline") for library in (ppdiffusers, diffusers)]
    second = load_classes(folders[1], *classes, **without)
    image, mask = make_image(64, 64), box_mask(64, 64, (10, 5, 60, 40))
    results = []
    for one, two, generator in zip(first, second, generators(7), strict=True):
        assert two.text_encoder is None
        embeds, negative_embeds = one.encode_prompt(PROMPTS[0])
        call = {
            "prompt_embeds": embeds,
            "negative_prompt_embeds": negative_embeds,
            "num_inference_steps": STEPS,
            "generator": generator,
            **({"mask_image": mask} if task == "Inpainting" else {}),
        }
        start = {"": {}, **dict.fromkeys(TASKS[1:], {"image": image})}[task]
        original = {"original_image": image} if task else {}
        small = one(**call, **start, output_type="pt").images
        results.append(two(**call, **original, image=small, output_type="np").images)
    assert_images_agree(*results)


# -- safety checker and watermark -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scores", [(-2.0, -2.0), (2.0, -2.0), (-2.0, 2.0)], ids=["clean", "unsafe", "watermark"])
def test_safety_checker(stages, scores, tmp_path):
    original = tiny_if_safety_checker(*scores)
    original.save_pretrained(tmp_path)
    checker = deepfloyd_if.IFSafetyChecker.from_pretrained(tmp_path)
    pixels, images = noise((2, 3, 32, 32)), noise((2, 5, 7, 3), "images").clip(0, 1)
    inputs = {"clip_input": paddle.to_tensor(pixels)}, {"clip_input": torch.from_numpy(pixels)}
    found = checker.reference_outputs(checker, inputs[0])
    expected = checker.reference_outputs(original, inputs[1])
    for name in expected:
        assert_close(found[name], expected[name], what=name)
    for mine, theirs in zip(checker(images=images, **inputs[0]), original(images=images.copy(), **inputs[1])):
        np.testing.assert_array_equal(mine, theirs)
    assert checker(images=images, **inputs[0])[1:] == ([scores[0] > 0] * 2, [scores[1] > 0] * 2)
    pipe = ppdiffusers.IFPipeline(**{**stages[0][0].components, "safety_checker": checker})
    pipe.set_progress_bar_config(disable=True)
    result = pipe("a cat", num_inference_steps=1, generator=1, output_type="np", clean_caption=False)
    assert (result.nsfw_detected, result.watermark_detected) == ([scores[0] > 0], [scores[1] > 0])
    assert (result.images == 0).all() == (max(scores) > 0)
    tensors = pipe("a cat", num_inference_steps=1, generator=1, output_type="pd", clean_caption=False)
    assert tensors.nsfw_detected is None and tensors.images.std() > 0  # for the next stage


@pytest.mark.parametrize("size", [(64, 64), (256, 192), (96, 128)])
@pytest.mark.parametrize("sample_size", [None, 64, 300])
def test_watermark(tmp_path, size, sample_size):
    original = tiny_watermarker()
    original.save_pretrained(tmp_path)
    ours = deepfloyd_if.IFWatermarker.from_pretrained(tmp_path)
    image = make_image(*size)
    (mine,), (theirs,) = (watermarker.apply_watermark([image.copy()], sample_size) for watermarker in (ours, original))
    np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
    if sample_size == 64:  # for larger ones it may be outside of the image, as in the original
        assert not np.array_equal(np.asarray(mine), np.asarray(image))


def test_images_without_room_for_a_watermark():
    image = make_image(SMALL, SMALL)
    assert deepfloyd_if.IFWatermarker().apply_watermark([image.copy()]) == [image]


def test_types_of_output(stages):
    ours, _ = stages[0]
    call = {"prompt": "a cat", "generator": 1, "num_inference_steps": 2, "clean_caption": False}
    tensor = ours(**call, output_type="pd").images  # [1, 3, h, w] in [-1, 1]
    array, *flags = ours(**call, output_type="np", return_dict=False)
    assert tensor.shape == [1, 3, SMALL, SMALL] and float(tensor.min()) < 0 and flags == [[False], [False]]
    np.testing.assert_allclose(array, tensor.numpy().transpose(0, 2, 3, 1) / 2 + 0.5, atol=1e-6)
    (image,) = ours(**call).images
    np.testing.assert_array_equal(np.asarray(image), (array[0] * 255).round().astype(np.uint8))
    assert isinstance(image, PIL.Image.Image) and isinstance(ours(**call), deepfloyd_if.IFPipelineOutput)
    seen = []
    ours(**call, callback=lambda *state: seen.append(state))
    assert [index for index, *_ in seen] == [0, 1] and seen[0][2].shape == [1, 3, SMALL, SMALL]


# -- loading, saving, names -------------------------------------------------------------------------------------------


def test_conversion(folders, tmp_path):
    call = {"prompt": PROMPTS[0], **TEXT, "num_inference_steps": 2}
    assert_round_trip(folders[0], tmp_path / "1", **call)
    assert_round_trip(folders[1], tmp_path / "2", image=make_image(16, 16), **call)


def test_pipelines_of_one_checkpoint(folders, stages):
    for auto, task in zip(
        (AutoPipelineForText2Image, AutoPipelineForImage2Image, AutoPipelineForInpainting), TASKS, strict=True
    ):
        pipe = auto.from_pipe(stages[0][0])
        assert type(pipe).__name__ == f"IF{task}Pipeline" and pipe.unet is stages[0][0].unet
    encoder = ppdiffusers.IFPipeline.from_pretrained(folders[0], unet=None)
    assert encoder.unet is None and encoder.encode_prompt("a cat")[0].shape == [1, 77, WIDTH]
    with pytest.raises(InputError, match="no `unet`"):
        encoder("a cat")


def test_presets():
    names = [name for name in dir(reference) if name.endswith("_timesteps")]
    assert len(names) == 8
    for name in names:
        assert list(getattr(deepfloyd_if, name)) == getattr(reference, name)


def test_missing_safety_checker_is_logged(stages, caplog):
    components = {**stages[0][0].components, "safety_checker": None}
    ppdiffusers.IFPipeline(**components, requires_safety_checker=False)
    assert "safety checker" not in caplog.text
    ppdiffusers.IFPipeline(**components)
    assert "no safety checker" in caplog.text and "DeepFloyd IF" in caplog.text
    with pytest.raises(InputError, match="feature extractor"):
        ppdiffusers.IFPipeline(**{**stages[0][0].components, "feature_extractor": None})


# -- bad input --------------------------------------------------------------------------------------------------------


def assert_refused(pipe, parts, **call):
    with pytest.raises(InputError) as error:
        pipe(**call)
    for part in parts:
        assert part in str(error.value), part


def test_bad_arguments(stages):
    first, second = stages[0][0], stages[1][0]
    bad = {"num_inference_steps": 0, "guidance_scale": float("nan"), "output_type": "png", "callback_steps": 0}
    parts = ["`prompt` is an empty list", "`num_inference_steps`", "`guidance_scale`", "png", "`callback_steps`"]
    assert_refused(first, [*parts, "`height`"], prompt=[], height=SMALL + 1, **bad)
    assert_refused(first, ["`negative_prompt` has 1 entries for 2"], prompt=PROMPTS, negative_prompt=["a"])
    assert_refused(first, ["2 generators for 1 image", "`callback`"], prompt="a", generator=[1, 2], callback=3)
    assert_refused(second, ["`image` is required", "`noise_level`"], prompt="a", noise_level=1000)
    assert_refused(second, ["2 image(s) for 1 prompt"], prompt="a", image=paddle.zeros([2, 3, 8, 8]))
    assert_refused(second, ["1 channel(s), not 3"], prompt="a", image=paddle.zeros([1, 1, 8, 8]))


def test_bad_images_and_masks(stages):
    inpaint, upscale = of_task(stages, "Inpainting")[0], of_task(stages, "Inpainting", second=True)[0]
    image = paddle.zeros([1, 3, SMALL, SMALL + 1])
    parts = ["16 x 17 pixels, which are not multiples of 2", "`mask_image` has 3 channels", "`strength`"]
    mask = paddle.zeros([1, 3, SMALL, SMALL])
    assert_refused(inpaint, parts, prompt="a", image=image, mask_image=mask, strength=2)
    call = {"prompt": "a", "image": make_image(32, 32)}
    assert_refused(
        inpaint, ["`mask_image` has 16 x 32 pixels, the image 16 x 16"], **call, mask_image=make_image(64, 32)
    )
    assert_refused(inpaint, ["`mask_image` has 3 mask(s)"], **call, mask_image=np.zeros((3, SMALL, SMALL), np.float32))
    assert_refused(upscale, ["`original_image` is required", "`mask_image` is required"], **call)


def test_missing_stages(stages):
    components = {**stages[0][0].components, "text_encoder": None, "tokenizer": None}
    pipe = ppdiffusers.IFPipeline(**components)
    assert_refused(pipe, ["no `tokenizer`", "no `text_encoder`"], prompt="a")
    assert_refused(pipe, ["no `text_encoder`"], prompt_embeds=paddle.zeros([1, 77, WIDTH]))
    images = pipe(prompt_embeds=paddle.ones([1, 77, WIDTH]), guidance_scale=1.0, num_inference_steps=1).images
    assert images[0].size == (SMALL, SMALL)
