"""StableDiffusionAdapterPipeline against diffusers, live: same folder, prompts, control images, noise and steps."""

import json
import shutil

import diffusers
import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers import MultiAdapter, StableDiffusionAdapterPipeline, T2IAdapter, convert_diffusers_to_paddle
from ppdiffusers.core.errors import InputError
from ppdiffusers.io.required_files import PipelineFiles
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_round_trip,
    call_both,
    load_both,
    make_image,
    set_schedulers,
)
from tests.support.hubs import FolderAsHub
from tests.support.parity import assert_close, noise
from tests.support.t2i_adapters import SD, tiny_adapter_pipeline

IMAGE = make_image(40, 24)
SKETCH = make_image(40, 24, 5).convert("L")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_adapter_pipeline(tmp_path_factory.mktemp("one"), 3)


@pytest.fixture(scope="module")
def folder_of_two(tmp_path_factory):
    """The second adapter reads grayscale images."""
    return tiny_adapter_pipeline(tmp_path_factory.mktemp("two"), 3, 1)


@pytest.fixture(scope="module")
def loaded_two(folder_of_two):
    return load_both(folder_of_two)


@pytest.fixture
def two(loaded_two):
    set_schedulers(*loaded_two, "DDIMScheduler")
    return loaded_two


CALLS = {
    "one image": {},
    "two images": {"num_images_per_prompt": 2},
    "an image for each prompt": {"prompt": PROMPTS, "image": [make_image(32, 48, 1), make_image(32, 48, 2)]},
    "negative prompt": {"negative_prompt": "blurry, 模糊"},
    "without guidance": {"guidance_scale": 1.0, "num_images_per_prompt": 2},
    "one image for two prompts without guidance": {"guidance_scale": 1.0, "prompt": PROMPTS},
    "scale": {"adapter_conditioning_scale": 0.4},
    "size of the image, rounded": {"image": make_image(33, 41)},
    "another size": {"height": 48, "width": 32},
    "a tensor": {"image": noise((1, 3, 24, 40))},
    "given latents": {"latents": noise((1, 4, 12, 20))},
    "clip_skip": {"clip_skip": 1},
    "embeddings": {"prompt": None, "prompt_embeds": noise((1, 77, 32), "prompt"), "negative_prompt": "a"},
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    arguments = {"prompt": PROMPTS[1], "image": IMAGE, "num_inference_steps": 4, "output_type": "np", **CALLS[case]}
    mine, reference = call_both(*pair, **({} if case == "given latents" else {"seed": 3}), **arguments)
    assert_images_agree(mine.images, reference.images)
    assert mine.nsfw_content_detected == reference.nsfw_content_detected


def test_lists_of_tensors_and_legacy_callback(pair):
    set_schedulers(*pair, "EulerAncestralDiscreteScheduler")
    image, calls = noise((2, 3, 24, 40)), []
    settings = {
        "prompt": PROMPTS, "num_inference_steps": 3, "output_type": "latent", "return_dict": False,
        "callback": lambda index, timestep, latents: calls.append((index, float(timestep))), "callback_steps": 2,
    }  # fmt: skip
    results = [call_both(*pair, seed=4, image=image, **settings)]
    for convert in (lambda batch: list(batch), lambda batch: [batch[:1], batch[1:]]):
        tensors = [convert(paddle.to_tensor(image)), convert(torch.from_numpy(image))]
        for pipeline, images, index in zip(pair, tensors, (0, 1), strict=True):
            generator = ppdiffusers.TorchGenerator(4) if index == 0 else torch.manual_seed(4)
            found = pipeline(image=images, generator=generator, **settings)
            assert_close(found[0], results[0][1][0], 1e-4)
    assert_close(results[0][0][0], results[0][1][0], 1e-4)
    assert results[0][0][1] is None and calls[:2] == calls[2:4]


def test_each_prompt_has_its_image(pair):
    """With several images for each prompt, diffusers exchanges the control images: compared prompt by prompt."""
    images, latents = [make_image(32, 48, 1), make_image(32, 48, 2)], noise((4, 4, 24, 16))
    settings = {"num_inference_steps": 3, "output_type": "np"}
    ours, theirs = pair
    together = ours(PROMPTS, images, num_images_per_prompt=2, latents=paddle.to_tensor(latents), **settings).images
    for n, prompt in enumerate(PROMPTS):
        _, alone = call_both(
            ours, theirs, prompt=prompt, image=images[n], num_images_per_prompt=2,
            latents=latents[2 * n : 2 * n + 2], **settings,
        )  # fmt: skip
        assert_images_agree(together[2 * n : 2 * n + 2], alone.images)


def test_one_image_for_two_prompts(pair):
    """With guidance, diffusers accepts one control image for one prompt only."""
    ours, _ = pair
    settings = {"num_inference_steps": 2, "generator": 1, "output_type": "np"}
    one, two = (ours(PROMPTS, image, **settings).images for image in (IMAGE, [IMAGE, IMAGE]))
    assert np.array_equal(one, two)


def test_residuals_matter(pair):
    settings = {"prompt": PROMPTS[0], "num_inference_steps": 3, "generator": 1, "output_type": "np"}
    images = [pair[0](image=make_image(32, 32, seed), **settings).images for seed in (0, 1)]
    assert np.abs(images[0] - images[1]).max() > 0.02


def test_image_modes(pair, two):
    """Images are converted to the channels of the adapter: RGB, or grayscale."""
    settings = {"prompt": "a", "num_inference_steps": 2, "generator": 1, "output_type": "np"}
    plain, alpha, array = (
        pair[0](image=image, **settings).images
        for image in (IMAGE, IMAGE.convert("RGBA"), np.asarray(IMAGE, dtype=np.float32)[None] / 255)
    )
    assert np.array_equal(plain, alpha) and np.array_equal(plain, array)
    gray, color = (two[0](image=[IMAGE, image], **settings).images for image in (SKETCH, SKETCH.convert("RGB")))
    assert np.array_equal(gray, color)


# -- several adapters -------------------------------------------------------------------------------------------------

CALLS_OF_TWO = {
    "a scale for each": {"adapter_conditioning_scale": [0.4, 1.1]},
    "without guidance": {"guidance_scale": 1.0, "num_images_per_prompt": 2, "adapter_conditioning_scale": [1.0, 1.0]},
    "images for each prompt": {
        "prompt": PROMPTS,
        "image": [
            [make_image(32, 24, 1), make_image(32, 24, 2)],
            [make_image(32, 24, 3).convert("L"), make_image(32, 24, 4).convert("L")],
        ],
        "adapter_conditioning_scale": [0.7, 0.8],
    },
    "one size for all": {
        "image": [make_image(32, 32, 1), make_image(40, 24, 2).convert("L")],
        "adapter_conditioning_scale": [1.0, 0.5],
    },
}


@pytest.mark.parametrize("case", CALLS_OF_TWO)
def test_calls_of_two_adapters(two, case):
    mine, reference = call_both(
        *two, seed=3, prompt=CALLS_OF_TWO[case].get("prompt", PROMPTS[1]), num_inference_steps=4, output_type="np",
        image=CALLS_OF_TWO[case].get("image", [IMAGE, SKETCH]),
        **{key: value for key, value in CALLS_OF_TWO[case].items() if key not in ("image", "prompt")},
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_scales_of_two_adapters(two):
    """One number is the scale of each adapter, where diffusers requires a list; None is the mean, as in diffusers."""
    ours, _ = two
    settings = {"prompt": "a", "image": [IMAGE, SKETCH], "num_inference_steps": 2, "output_type": "np"}

    def run(scale):
        return ours(**settings, generator=1, adapter_conditioning_scale=scale).images

    assert np.array_equal(run(0.7), run([0.7, 0.7]))
    assert np.array_equal(run(None), run([0.5, 0.5]))


def test_folders_of_two_adapters(two, folder_of_two, tmp_path):
    ours, _ = two
    ours.save_pretrained(tmp_path / "saved")
    index = json.loads((tmp_path / "saved/model_index.json").read_text())
    assert index["adapter"] == ["ppdiffusers", "MultiAdapter"]
    assert {path.name for path in (tmp_path / "saved").glob("adapter*")} == {"adapter", "adapter_1"}
    ours.save_pretrained(tmp_path / "torch", to_diffusers=True)
    written, original = (
        json.loads((path / "model_index.json").read_text()) for path in (tmp_path / "torch", folder_of_two)
    )
    assert written["adapter"] == original["adapter"] == ["diffusers", "MultiAdapter"]


@pytest.mark.parametrize("renamed", [False, True])
def test_all_adapters_are_downloaded_and_converted(folder_of_two, tmp_path, renamed):
    """Three adapters, the third in the folder that ppdiffusers writes, or in that of diffusers."""
    source, third = tmp_path / "source", "adapter_1_2" if renamed else "adapter_2"
    shutil.copytree(folder_of_two, source)
    shutil.copytree(folder_of_two / "adapter", source / third)
    selected = {file.path for file in PipelineFiles().select(FolderAsHub(source), "")}
    for name in ("adapter", "adapter_1", third):
        assert {f"{name}/config.json", f"{name}/diffusion_pytorch_model.safetensors"} <= selected
    report = convert_diffusers_to_paddle(source, tmp_path / "paddle", verify=True, progress=False)
    classes = {component.name: component.class_name for component in report.components}
    assert classes["adapter"] == classes["adapter_1"] == classes["adapter_2"] == "T2IAdapter"
    assert not report.left_out
    assert len(StableDiffusionAdapterPipeline.from_pretrained(tmp_path / "paddle").adapter.adapters) == 3


def test_a_list_is_combined(two):
    ours, _ = two
    parts = ours.components | {"adapter": list(ours.adapter.adapters)}
    made = StableDiffusionAdapterPipeline(**parts)
    assert isinstance(made.adapter, MultiAdapter)
    assert [id(network) for network in made.adapter.adapters] == [id(network) for network in ours.adapter.adapters]


# -- conversion, compiling, other classes -----------------------------------------------------------------------------


def test_conversion_both_ways(folder_of_two, tmp_path):
    assert_round_trip(
        folder_of_two, tmp_path, prompt="a", image=[IMAGE, SKETCH], num_inference_steps=3,
        adapter_conditioning_scale=[0.4, 0.8],
    )  # fmt: skip


def test_compiled_networks_agree(folder):
    """Residuals are inputs of the compiled UNet."""
    ours = StableDiffusionAdapterPipeline.from_pretrained(folder)
    ours.set_progress_bar_config(disable=True)
    settings = {"prompt": "a", "image": IMAGE, "num_inference_steps": 3, "generator": 1, "output_type": "latent"}
    scales = (1.0, 0.4)
    expected = [ours(**settings, adapter_conditioning_scale=scale).images for scale in scales]
    ours.compile()
    for scale, eager in zip(scales, expected, strict=True):
        assert_close(ours(**settings, adapter_conditioning_scale=scale).images, eager, 1e-3)


def test_other_classes(folder, pair):
    """As in diffusers, AutoPipeline has no adapters; components are shared with Stable Diffusion."""
    ours, theirs = pair
    with pytest.raises(ValueError):
        diffusers.AutoPipelineForText2Image.from_pipe(theirs)
    with pytest.raises(InputError, match="no text-to-image pipeline for the components of StableDiffusionAdapter"):
        ppdiffusers.AutoPipelineForText2Image.from_pipe(ours)
    plain = ppdiffusers.StableDiffusionPipeline.from_pipe(ours)
    again = StableDiffusionAdapterPipeline.from_pipe(plain, adapter=ours.adapter)
    assert again.unet is ours.unet and again.adapter is ours.adapter


# -- errors -----------------------------------------------------------------------------------------------------------


def test_invalid_arguments_are_listed_together(pair):
    with pytest.raises(InputError) as error:
        pair[0](
            ["a", "b", "c"], [IMAGE, IMAGE], height=-8, adapter_conditioning_scale=[1.0, 2.0], num_inference_steps=0,
            callback_steps=0,
        )  # fmt: skip
    text = str(error.value)
    for part in ("`image` has 2 images for 3 prompt(s)", "`height` must be", "`adapter_conditioning_scale` has 2",
                 "`num_inference_steps`", "`callback_steps`"):  # fmt: skip
        assert part in text


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "`image` is required"),
        ("edges.png", "must be a PIL image"),
        (np.zeros([1, 24, 40, 1], dtype=np.float32), r"has 1 channel\(s\), the adapter accepts 3"),
        (np.zeros([1, 32, 40, 3], dtype=np.float32), "`image` is 32 x 40, the images to generate are 24 x 40"),
    ],
)
def test_invalid_control_images(pair, image, message):
    with pytest.raises(InputError, match=message) as error:
        pair[0]("a", image, height=24, width=40)
    assert len(error.value.problems) == 1
    with pytest.raises(InputError, match=message):
        pair[0].check_inputs("a", 24, 40, 1, image)


def test_invalid_images_of_two_adapters(two):
    for image, given in ((IMAGE, "Image"), ([IMAGE], "1 entries")):
        with pytest.raises(InputError, match=f"one entry for each of the 2 adapters, not {given}"):
            two[0]("a", image)
    with pytest.raises(InputError, match=r"`image\[1\]` has 3 images for 2 prompt\(s\)"):
        two[0](PROMPTS, [IMAGE, [SKETCH] * 3])


def test_an_adapter_for_another_unet(pair):
    ours, _ = pair
    wider = T2IAdapter(**{**SD, "channels": [32, 128, 128], "downscale_factor": 4})
    with pytest.raises(InputError) as error:
        StableDiffusionAdapterPipeline.from_pipe(ours, adapter=wider)("a", IMAGE)
    text = str(error.value)
    for part in ("residual 0 has 32 channels at 1/4 of the size, the UNet 32 channels at 1/2",
                 "residual 1 has 128 channels at 1/8 of the size, the UNet 64 channels at 1/4"):  # fmt: skip
        assert part in text
    deeper = T2IAdapter(**{**SD, "channels": [32, 64, 64, 64]})
    with pytest.raises(InputError, match="it has 4 residuals, the UNet adds 3"):
        StableDiffusionAdapterPipeline.from_pipe(ours, adapter=deeper)("a", IMAGE)
