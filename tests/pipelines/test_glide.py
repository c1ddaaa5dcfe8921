"""GlidePipeline and GlideInpaintPipeline against a recorded run of the original repository (tests/data/glide)."""

import threading

import numpy as np
import paddle
import PIL.Image
import pytest

from ppdiffusers import (
    AutoPipelineForInpainting,
    AutoPipelineForText2Image,
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    GlideInpaintPipeline,
    GlidePipeline,
    RecordedNoise,
    TorchGenerator,
    convert_original,
)
from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.glide.base import as_8_bits
from ppdiffusers.pipelines.glide.pipeline_glide_inpaint import KnownPixels
from ppdiffusers.schedulers.common.respacing import respaced_timesteps
from tests.support import glide
from tests.support.parity import assert_close

PROMPT = "an oil painting of a corgi"
STEPS = {"respacing": "6", "upsampler_respacing": "ddim5"}
FEW = {"respacing": 2, "upsampler_respacing": "ddim2"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("glide")
    for name, inpaint in (("image", False), ("inpaint", True)):
        source = glide.checkpoint(root / f"{name}-source", inpaint)
        convert_original(source, root / name, "glide", config=glide.SETTINGS, progress=False)
    return root


@pytest.fixture(scope="module")
def pipe(folders):
    loaded = GlidePipeline.from_pretrained(folders / "image")
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture
def inpaint(folders):
    loaded = GlideInpaintPipeline.from_pretrained(folders / "inpaint")
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def recorded():
    return glide.recorded()


def noise_of(recorded) -> RecordedNoise:
    """All noise of the recorded run that has an effect: DDIM's is drawn, and multiplied by 0."""
    return RecordedNoise([recorded[f"corgi/noise_{n:03}"] for n in range(8)])


# -- the recorded run -------------------------------------------------------------------------------------------------


def test_recorded_run(pipe, recorded):
    noise, samples = noise_of(recorded), []

    def keep(pipeline, index, timestep, tensors):
        samples.append(tensors["latents"].numpy())

    image = pipe(PROMPT, generator=noise, output_type="latent", callback_on_step_end=keep, **STEPS).images.numpy()
    assert noise.remaining == 0 and len(samples) == 6 + 5
    inputs = [recorded[f"corgi/call/base/{n:03}/in/0"][:1] for n in range(1, 6)]
    for n, (found, expected) in enumerate(zip(samples, [*inputs, recorded["corgi/out/base"]], strict=False)):
        assert np.abs(found - expected).max() <= 1e-3, f"step {n} of the base model"
    # rounding to 8 bits turns 1e-6 into 1 / 127.5: the whole run is compared coarsely, the upsampler by itself below
    expected = recorded["corgi/out/upsampled"]
    assert np.abs(image - expected).max() <= 0.05 and np.abs(image - expected).mean() <= 2e-3


def test_recorded_upsampler(pipe, recorded, monkeypatch):
    """From the recorded small image, which is the same after rounding."""
    small = paddle.to_tensor(recorded["corgi/out/base"])
    monkeypatch.setattr(GlidePipeline, "_generate_small", lambda *args, **kwargs: small)
    samples = []

    def keep(pipeline, index, timestep, tensors):
        samples.append(tensors["latents"].numpy())

    noise = RecordedNoise([recorded["corgi/noise_007"]])
    pipe(PROMPT, generator=noise, output_type="latent", callback_on_step_end=keep, **STEPS)
    inputs = [recorded[f"corgi/call/upsample/{n:03}/in/0"] for n in range(1, 5)]
    for n, (found, expected) in enumerate(zip(samples, [*inputs, recorded["corgi/out/upsampled"]], strict=True)):
        assert np.abs(found - expected).max() <= 2e-3, f"step {n} of the upsampler"


def test_rounding_to_8_bits(recorded):
    rounded = as_8_bits(paddle.to_tensor(recorded["corgi/out/base"])).numpy()
    np.testing.assert_allclose(rounded, recorded["corgi/call/upsample/000/in/low_res"], atol=1e-6)


def test_timesteps_of_the_recorded_run(recorded):
    assert respaced_timesteps("6", 1000) == recorded["corgi/out/timestep_map"].tolist()[::-1]
    assert respaced_timesteps("ddim5", 1000) == recorded["corgi/out/up_timestep_map"].tolist()[::-1]


# -- the arguments ----------------------------------------------------------------------------------------------------


def test_each_image_of_a_batch_is_that_of_its_seed(pipe):
    prompts = [PROMPT, "a cat"]
    both = pipe(prompts, generator=[3, 4], output_type="np", **FEW).images
    assert both.shape == (2, 32, 32, 3)
    for n, prompt in enumerate(prompts):
        alone = pipe(prompt, generator=3 + n, output_type="np", **FEW).images
        assert_close(both[n : n + 1], alone, 1e-2, prompt)  # 8-bit rounding is between the stages
    twice = pipe(PROMPT, num_images_per_prompt=2, generator=[3, 4], output_type="np", **FEW).images
    assert_close(twice[:1], both[:1], 1e-2)


def test_the_empty_prompt_is_the_unconditional_one(pipe):
    """With it, guidance has no effect."""
    one, other = (pipe("", guidance_scale=scale, generator=0, output_type="np", **FEW).images for scale in (1.0, 7.0))
    assert_close(one, other, 1e-2)
    assert np.abs(pipe(PROMPT, generator=0, output_type="np", **FEW).images - one).max() > 0.02


def test_long_prompts_are_truncated_with_a_warning(pipe, caplog):
    ids = pipe.tokenizer.encode("word " * 30)
    assert len(ids) > 32
    kept = pipe.tokenizer.decode(ids[:32])
    long = pipe("word " * 30, generator=0, output_type="np", **FEW).images
    assert "is truncated" in caplog.text
    np.testing.assert_array_equal(long, pipe(kept, generator=0, output_type="np", **FEW).images)


def test_given_noise(pipe):
    noise = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype("float32")
    large = np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype("float32")
    run = {"latents": noise, "upsampler_latents": paddle.to_tensor(large), "output_type": "pd", **FEW}
    first = pipe(PROMPT, generator=0, **run).images
    assert first.shape == [1, 3, 32, 32]
    assert np.abs((first - pipe(PROMPT, generator=0, upsample_temp=0.5, **run).images).numpy()).max() > 1e-3
    assert isinstance(pipe(PROMPT, generator=0, return_dict=False, **FEW)[0][0], PIL.Image.Image)


def test_other_schedulers(folders):
    pipe = GlidePipeline.from_pretrained(folders / "image")
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.upsampler_scheduler = DPMSolverMultistepScheduler.from_config(pipe.upsampler_scheduler.config)
    image = pipe(PROMPT, generator=0, respacing="5,3", upsampler_respacing="fast27", output_type="np").images
    assert np.isfinite(image).all() and pipe.scheduler.timesteps.shape == [8]


def test_a_callback_may_interrupt(pipe):
    calls = []

    def stop(pipeline, index, timestep, tensors):
        calls.append(index)
        pipeline._interrupt = index == 1

    pipe(PROMPT, generator=0, callback_on_step_end=stop, output_type="np", respacing="4", upsampler_respacing="ddim5")
    pipe._interrupt = False
    assert calls == [0, 1]


# -- inpainting -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene():
    """An image, and a mask that is white in its right half, as PIL images of another size."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    mask = np.zeros((48, 48), np.uint8)
    mask[:, 24:] = 255
    return PIL.Image.fromarray(pixels), PIL.Image.fromarray(mask)


def test_inpainting_keeps_the_known_pixels(inpaint, scene):
    image, mask = scene
    result = inpaint(PROMPT, image, mask, generator=0, output_type="np", **STEPS).images
    known = np.asarray(image.resize((32, 32), PIL.Image.Resampling.BICUBIC)) / 255
    np.testing.assert_allclose(result[0, :, :16], known[:, :16], atol=2e-3)
    assert np.abs(result[0, :, 16:] - known[:, 16:]).mean() > 0.1
    other = inpaint("a cat", image, mask, generator=0, output_type="np", **STEPS).images
    assert np.abs(result - other)[0, :, 16:].max() > 0.01


def test_inpainting_of_arrays_and_tensors(inpaint, scene):
    """Of the size of the result; masks of the size of the small image, too."""
    image, mask = (one.resize((32, 32), PIL.Image.Resampling.NEAREST) for one in scene)
    pixels = np.asarray(image, dtype=np.float32)[None] / 255  # [1, 32, 32, 3]
    masks = np.asarray(mask, dtype=np.float32)[None, :, :, None] / 255  # [1, 32, 32, 1]
    expected = inpaint._known_pixels(image, mask, 2)
    for given in (masks, masks[:, ::2, ::2]):
        tensors = [paddle.to_tensor(one.transpose(0, 3, 1, 2)) for one in (pixels, given)]
        for found in (inpaint._known_pixels(pixels, given, 2), inpaint._known_pixels(*tensors, 2)):
            for one, other, size in zip(found, expected, (16, 32), strict=True):
                assert one.image.shape == [2, 3, size, size] and one.keep.shape == [2, 1, size, size]
                # PIL rounds the reduced image to 8 bits
                np.testing.assert_allclose(one.image.numpy(), other.image.numpy(), atol=0.02)
                np.testing.assert_array_equal(one.keep.numpy(), other.keep.numpy())
    image = inpaint(PROMPT, *tensors, generator=0, output_type="np", **FEW).images
    np.testing.assert_array_equal(image, inpaint(PROMPT, pixels, given, generator=0, output_type="np", **FEW).images)


def test_inpainting_everything(inpaint, scene):
    """With a white mask nothing is known."""
    image, _ = scene
    white = PIL.Image.new("L", (16, 16), 255)
    first, second = (
        inpaint(PROMPT, one, white, generator=0, output_type="np", **FEW).images
        for one in (image, PIL.Image.new("RGB", (48, 48), "red"))
    )
    np.testing.assert_array_equal(first, second)


def test_known_pixels_are_predicted():
    """The corrected noise is that of the known image; x_0 is computed with the original's formulas."""
    rng, scheduler = np.random.default_rng(0), DDIMScheduler(beta_schedule="squaredcos_cap_v2")
    image, sample = (rng.standard_normal((1, 3, 4, 4)).astype("float32") for _ in range(2))
    prediction = rng.standard_normal((1, 6, 4, 4)).astype("float32")
    keep = rng.integers(0, 2, (1, 1, 4, 4)).astype("float32")
    known = KnownPixels(paddle.to_tensor(image), paddle.to_tensor(keep))
    for t in (0, 500, 900):
        alpha_bar = float(scheduler.alphas_cumprod[t])
        x0 = (sample - (1 - alpha_bar) ** 0.5 * prediction[:, :3]) / alpha_bar**0.5
        x0 = x0 * (1 - keep) + image * keep
        corrected = known.correct(scheduler, paddle.to_tensor(prediction), t, paddle.to_tensor(sample)).numpy()
        found = (sample - (1 - alpha_bar) ** 0.5 * corrected[:, :3]) / alpha_bar**0.5
        assert_close(found, x0, 1e-4)
        np.testing.assert_array_equal(corrected[:, 3:], prediction[:, 3:])


# -- loading, saving, speed -------------------------------------------------------------------------------------------


def test_saving_and_loading(pipe, folders, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = DiffusionPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert type(again) is GlidePipeline
    images = [p(PROMPT, generator=0, output_type="np", **FEW).images for p in (pipe, again)]
    np.testing.assert_array_equal(*images)
    assert type(AutoPipelineForText2Image.from_pretrained(tmp_path)) is GlidePipeline
    assert type(AutoPipelineForInpainting.from_pretrained(folders / "inpaint")) is GlideInpaintPipeline


def test_compiled(folders, pipe):
    eager = pipe(PROMPT, generator=0, output_type="np", **FEW).images
    compiled = GlidePipeline.from_pretrained(folders / "image")
    compiled.compile(mode="on")
    assert_close(compiled(PROMPT, generator=0, output_type="np", **FEW).images, eager, 1e-2)


def test_threads(pipe):
    expected = [pipe(PROMPT, generator=seed, output_type="np", **FEW).images for seed in (0, 1)]
    found = [None, None]

    def call(seed):
        found[seed] = pipe(PROMPT, generator=seed, output_type="np", **FEW).images

    threads = [threading.Thread(target=call, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (0, 1):
        np.testing.assert_array_equal(found[seed], expected[seed])


def test_the_generator_advances_as_in_the_original(pipe, recorded):
    """Two draws for each image and step, the last step included, then one for the upsampler."""
    generator, reference = TorchGenerator(0), TorchGenerator(0)
    pipe(PROMPT, generator=generator, output_type="np", **FEW)
    for _ in range(1 + 2):
        reference.randn((2, 3, 16, 16))
    reference.randn((1, 3, 32, 32))
    np.testing.assert_array_equal(generator.randn((4,)), reference.randn((4,)))


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": None}, "`prompt` is required"),
        ({"prompt": []}, "empty list"),
        ({"prompt": 3}, "must be a string or a list of strings"),
        ({"respacing": "ddim600"}, "into exactly 600 steps"),
        ({"respacing": "fast28"}, "respacing is unknown"),
        ({"respacing": "0"}, "there is no step"),
        ({"upsampler_respacing": "2000"}, "2000 cannot be taken"),
        ({"guidance_scale": "3"}, "`guidance_scale` must be a finite number"),
        ({"upsample_temp": float("nan")}, "`upsample_temp` must be a finite number"),
        ({"latents": np.zeros((1, 3, 32, 32))}, r"`latents` must be of shape \(1, 3, 16, 16\)"),
        ({"upsampler_latents": np.zeros((1, 3, 16, 16))}, r"`upsampler_latents` must be of shape \(1, 3, 32, 32\)"),
        ({"generator": [1, 2]}, "`generator` has 2 generators for 1 image"),
        ({"output_type": "jpg"}, "`output_type`"),
        ({"num_images_per_prompt": 0}, "`num_images_per_prompt`"),
        ({"callback_on_step_end_tensor_inputs": ["image"]}, "callback_on_step_end_tensor_inputs"),
    ],
)
def test_bad_arguments(pipe, arguments, message):
    with pytest.raises(InputError, match=message):
        pipe(**{"prompt": PROMPT, **arguments})


def test_all_problems_are_in_one_error(pipe):
    with pytest.raises(InputError) as error:
        pipe(None, num_images_per_prompt=0, guidance_scale=None, output_type="x")
    assert len(error.value.problems) == 4


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (np.zeros((1, 30, 32, 3)), np.zeros((1, 32, 32, 1)), "`image` has 30x32 pixels, expected 32x32"),
        (np.zeros((1, 32, 32, 3)), np.zeros((1, 20, 20, 1)), "`mask_image` has 20x20 pixels, expected 32x32 or 16x16"),
        (None, np.zeros((1, 32, 32, 1)), "`image` is required"),
        ("grass.png", None, "`mask_image` is required"),
        (np.zeros((3, 32, 32, 3)), np.zeros((1, 32, 32, 1)), "3 image"),
    ],
)
def test_bad_images(inpaint, image, mask, message):
    with pytest.raises(InputError, match=message):
        inpaint([PROMPT] * 2, image, mask, **FEW)


def test_missing_stages_and_schedulers(folders, scene):
    pipe = GlidePipeline.from_pretrained(folders / "image", upsampler=None, tokenizer=None)
    with pytest.raises(InputError, match="no `upsampler`") as error:
        pipe(PROMPT)
    assert len(error.value.problems) == 2
    inpaint = GlideInpaintPipeline.from_pretrained(folders / "inpaint")
    inpaint.scheduler = EulerDiscreteScheduler.from_config(inpaint.scheduler.config)
    with pytest.raises(InputError, match="must be a variance-preserving one, such as DDPMScheduler"):
        inpaint(PROMPT, *scene)
