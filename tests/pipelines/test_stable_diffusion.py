"""StableDiffusionPipeline against diffusers, live: same folder, prompts, noise and steps."""

import diffusers
import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import StableDiffusionPipeline
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    PROMPTS,
    SCHEDULERS,
    assert_images_agree,
    assert_levels_agree,
    call_both,
    generators,
    load_both,
    set_schedulers,
)
from tests.support.checkpoints import tiny_stable_diffusion, tiny_unet
from tests.support.parity import assert_close, noise, randomize

WITHOUT = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def variant(request, tmp_path_factory):
    folder = tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), variant=request.param, safety_checker=False)
    return load_both(folder)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_both(tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False))


@pytest.fixture
def sd1(loaded):
    set_schedulers(*loaded, "PNDMScheduler")
    return loaded


@pytest.mark.parametrize(
    ("scheduler", "eta"), [*((name, 0.0) for name in SCHEDULERS), ("DDIMScheduler", 0.6), ("DDIMScheduler", 1.0)]
)
def test_schedulers(variant, scheduler, eta):
    set_schedulers(*variant, scheduler)
    mine, reference = call_both(
        *variant, seed=4, prompt=PROMPTS[0], num_inference_steps=22, eta=eta, latents=noise((1, 4, 16, 16)),
        output_type="np",
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)
    assert mine.nsfw_content_detected is None


CALLS = {
    "noise from a seed": {"seed": 3},
    "two prompts": {"prompt": PROMPTS, "seed": 3},
    "two prompts, two negative prompts": {"prompt": PROMPTS, "negative_prompt": ["blurry", "丑陋"], "seed": 3},
    "a negative prompt": {"negative_prompt": "low quality, 模糊", "seed": 3},
    "two images for each prompt": {"prompt": PROMPTS, "num_images_per_prompt": 2, "seed": 3},
    "without guidance": {"guidance_scale": 1.0, "seed": 3},
    "without guidance, below one": {"guidance_scale": 0.0, "negative_prompt": "unused", "seed": 3},
    "strong guidance": {"guidance_scale": 15, "seed": 3},
    "guidance_rescale": {"guidance_rescale": 0.7, "seed": 3},
    "clip_skip": {"clip_skip": 1, "seed": 3},
    "clip_skip to the first layer": {"clip_skip": 2, "seed": 3},
    "wide": {"height": 16, "width": 40, "seed": 3},
    "tall, batch": {"height": 48, "width": 24, "prompt": PROMPTS, "seed": 3},
    "given latents": {"latents": noise((2, 4, 16, 16)), "prompt": PROMPTS},
    "embeddings": {
        "prompt": None,
        "prompt_embeds": noise((2, 77, 32), "prompt"),
        "negative_prompt_embeds": noise((2, 77, 32), "negative"),
        "num_images_per_prompt": 2,
        "seed": 3,
    },
    "embeddings, negative prompt": {
        "prompt": None,
        "prompt_embeds": noise((1, 77, 32), "prompt"),
        "negative_prompt": ["blurry"],
        "seed": 3,
    },
    "short embeddings": {"prompt": None, "prompt_embeds": noise((1, 9, 32), "prompt"), "seed": 3},
    "one step": {"num_inference_steps": 1, "seed": 3},
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(sd1, case):
    arguments = {"prompt": PROMPTS[1], "num_inference_steps": 5, "output_type": "np", **CALLS[case]}
    mine, reference = call_both(*sd1, **arguments)
    assert_images_agree(mine.images, reference.images)


def test_one_generator_for_each_image(sd1):
    ours, theirs = sd1
    mine, reference = generators(20, count=4)
    settings = {"prompt": PROMPTS, "num_images_per_prompt": 2, "num_inference_steps": 4, "output_type": "np"}
    set_schedulers(ours, theirs, "EulerAncestralDiscreteScheduler")
    assert_images_agree(ours(generator=mine, **settings).images, theirs(generator=reference, **settings).images)


def test_size_of_given_latents(sd1):
    mine, reference = call_both(
        *sd1, prompt=PROMPTS[0], latents=noise((1, 4, 8, 20)), num_inference_steps=3, output_type="np"
    )
    assert mine.images.shape == (1, 16, 40, 3)
    assert_images_agree(mine.images, reference.images)


def test_output_types(sd1):
    ours, theirs = sd1
    settings = {"prompt": PROMPTS, "num_inference_steps": 3}
    mine, reference = call_both(ours, theirs, seed=6, **settings)
    for image, expected in zip(mine.images, reference.images, strict=True):
        assert image.size == expected.size == (32, 32)
        assert_levels_agree(np.asarray(image), np.asarray(expected))
    mine, _ = call_both(ours, theirs, seed=6, **settings, output_type="latent")
    _, reference = call_both(ours, theirs, seed=6, **settings, output_type="latent")
    assert_close(mine.images, reference.images, 1e-4)
    array = ours(**settings, generator=6, output_type="np").images
    tensor, flags = ours(**settings, generator=6, output_type="pd", return_dict=False)
    assert flags is None
    np.testing.assert_array_equal(tensor.numpy().transpose(0, 2, 3, 1), array)


@pytest.mark.parametrize(
    ("scheduler", "settings", "arguments"),
    [
        ("DDPMScheduler", {}, {"timesteps": [900, 500, 300, 100]}),
        ("EulerDiscreteScheduler", {}, {"timesteps": [900, 500, 300, 100]}),
        ("EulerDiscreteScheduler", {}, {"sigmas": [14.0, 6.0, 2.0, 0.3, 0.0]}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True}, {}),
        ("DPMSolverMultistepScheduler", {}, {"timesteps": [900, 500, 300, 100]}),
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"}, {}),
        ("DDIMScheduler", {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True}, {"guidance_rescale": 0.7}),
    ],
)
def test_explicit_steps(sd1, scheduler, settings, arguments):
    prediction = "v_prediction" if "rescale_betas_zero_snr" in settings else "epsilon"
    set_schedulers(*sd1, scheduler, **settings, prediction_type=prediction)
    mine, reference = call_both(*sd1, seed=8, prompt=PROMPTS[0], num_inference_steps=6, output_type="np", **arguments)
    assert_images_agree(mine.images, reference.images)
    assert sd1[0].num_timesteps == sd1[1].num_timesteps


# -- callbacks ----------------------------------------------------------------------------------------------------


def test_callback_replaces_latents_and_embeddings(sd1):
    def change(pipeline, index, timestep, tensors):
        assert set(tensors) == {"latents", "prompt_embeds", "negative_prompt_embeds"}
        tensors["latents"] = tensors["latents"] * 0.97 + 0.01 * index
        if index == 2:
            tensors["prompt_embeds"] = tensors["prompt_embeds"] * 1.2
        return tensors

    mine, reference = call_both(
        *sd1, seed=3, prompt=PROMPTS[0], num_inference_steps=5, output_type="np", callback_on_step_end=change,
        callback_on_step_end_tensor_inputs=["latents", "prompt_embeds", "negative_prompt_embeds"],
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_callback_changes_guidance(sd1):
    """Weaker guidance in the middle of the call, and none at the end, where each step predicts once."""

    def change(pipeline, index, timestep, tensors):
        if index == 1:
            pipeline._guidance_scale = 2.5
        if index == 3:
            pipeline._guidance_scale = 0.0
            return {"prompt_embeds": tensors["prompt_embeds"].chunk(2)[-1]}
        return {}

    mine, reference = call_both(
        *sd1, seed=3, prompt=PROMPTS, num_inference_steps=6, output_type="np",
        callback_on_step_end=change, callback_on_step_end_tensor_inputs=["prompt_embeds"],
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_callback_arguments(sd1):
    seen = {"ours": [], "theirs": []}

    def listener(side):
        def listen(pipeline, index, timestep, tensors):
            seen[side].append((index, int(timestep), tensors["latents"].numpy()))
            assert pipeline.guidance_scale == 6 and pipeline.do_classifier_free_guidance
            assert pipeline.num_timesteps == 5 + 1  # PNDM repeats one of the first steps
            return {} if side == "theirs" else None

        return listen

    ours, theirs = sd1
    mine, reference = generators(3)
    settings = {"prompt": PROMPTS[0], "num_inference_steps": 5, "guidance_scale": 6, "output_type": "latent"}
    ours(generator=mine, callback_on_step_end=listener("ours"), **settings)
    theirs(generator=reference, callback_on_step_end=listener("theirs"), **settings)
    assert [step[:2] for step in seen["ours"]] == [step[:2] for step in seen["theirs"]]
    for (_, _, x), (_, _, y) in zip(seen["ours"], seen["theirs"], strict=True):
        assert_close(x, y, 1e-4)


@pytest.mark.parametrize("every", [1, 2])
def test_legacy_callback(sd1, every):
    calls = {"ours": [], "theirs": []}
    ours, theirs = sd1
    mine, reference = generators(3)
    settings = {"prompt": PROMPTS[0], "num_inference_steps": 5, "output_type": "latent", "callback_steps": every}
    ours(generator=mine, callback=lambda i, t, x: calls["ours"].append((i, int(t), x.shape[0])), **settings)
    theirs(generator=reference, callback=lambda i, t, x: calls["theirs"].append((i, int(t), x.shape[0])), **settings)
    assert calls["ours"] == calls["theirs"]
    assert calls["ours"]


def test_interrupt(sd1):
    steps = {"ours": [], "theirs": []}

    def stopper(side):
        def stop(pipeline, index, timestep, tensors):
            steps[side].append(index)
            pipeline._interrupt = index == 2
            return {}

        return stop

    ours, theirs = sd1
    mine, reference = generators(3)
    settings = {"prompt": PROMPTS[0], "num_inference_steps": 8, "output_type": "latent"}
    stopped = ours(generator=mine, callback_on_step_end=stopper("ours"), **settings).images
    expected = theirs(generator=reference, callback_on_step_end=stopper("theirs"), **settings).images
    assert steps["ours"] == steps["theirs"] == [0, 1, 2]
    assert_close(stopped, expected, 1e-4)
    assert not ours(prompt="a", num_inference_steps=1, output_type="latent", generator=0).images.isnan().any()


def test_callback_returns_unknown_tensor(sd1):
    with pytest.raises(InputError, match="'sample'"):
        sd1[0]("a", num_inference_steps=2, generator=0, callback_on_step_end=lambda *_: {"sample": 1})


# -- unusual networks ---------------------------------------------------------------------------------------------


def with_unet(pair, tmp_path, **settings):
    """Both pipelines with another random UNet, with these settings."""
    config = {k: v for k, v in tiny_unet().config.items() if not k.startswith("_")}
    unet = randomize(diffusers.UNet2DConditionModel(**{**config, **settings}), 9)
    unet.save_pretrained(tmp_path / "unet")
    ours, theirs = pair
    from ppdiffusers import UNet2DConditionModel

    mine = StableDiffusionPipeline.from_pipe(ours, unet=UNet2DConditionModel.from_pretrained(tmp_path / "unet"))
    reference = diffusers.StableDiffusionPipeline(**{**theirs.components, "unet": unet}, requires_safety_checker=False)
    for pipeline in (mine, reference):
        pipeline.set_progress_bar_config(disable=True)
    return mine, reference


def test_distilled_unet_with_guidance_scale_input(sd1, tmp_path):
    pair = with_unet(sd1, tmp_path, time_cond_proj_dim=33)
    mine, reference = call_both(
        *pair, seed=3, prompt=PROMPTS, num_inference_steps=4, guidance_scale=8.0, output_type="np"
    )
    assert not pair[0].do_classifier_free_guidance
    assert_images_agree(mine.images, reference.images)
    w = noise((3,), "w")
    assert_close(
        pair[0].get_guidance_scale_embedding(paddle.to_tensor(w), 33),
        pair[1].get_guidance_scale_embedding(torch.from_numpy(w), 33),
    )


def test_non_square_sample_size(sd1, tmp_path):
    pair = with_unet(sd1, tmp_path, sample_size=(8, 12))
    mine, reference = call_both(*pair, seed=3, prompt="a", num_inference_steps=3, output_type="np")
    assert mine.images.shape == (1, 16, 24, 3)
    assert_images_agree(mine.images, reference.images)


def test_text_encoder_with_attention_mask(sd1):
    ours, theirs = sd1
    ours.text_encoder.config.use_attention_mask = theirs.text_encoder.config.use_attention_mask = True
    try:
        mine, reference = call_both(
            ours, theirs, seed=3, prompt=PROMPTS, negative_prompt=["a", "b"], num_inference_steps=3, output_type="np"
        )
    finally:
        ours.text_encoder.config.use_attention_mask = theirs.text_encoder.config.use_attention_mask = False
    assert_images_agree(mine.images, reference.images)
    plain = ours(PROMPTS, negative_prompt=["a", "b"], generator=3, num_inference_steps=3, output_type="np").images
    assert np.abs(plain - mine.images).max() > 1e-3


def test_slicing_does_not_change_the_result(sd1):
    ours, _ = sd1
    settings = {"prompt": PROMPTS, "generator": 1, "num_inference_steps": 2, "output_type": "np"}
    expected = ours(**settings).images
    ours.enable_attention_slicing("max")
    ours.enable_vae_slicing()
    sliced = ours(**settings).images
    ours.disable_attention_slicing()
    ours.disable_vae_slicing()
    np.testing.assert_allclose(sliced, expected, atol=1e-5)


# -- public methods -----------------------------------------------------------------------------------------------


def test_encode_prompt(sd1):
    ours, theirs = sd1
    mine = ours.encode_prompt(PROMPTS, ours.device, 2, True, ["ugly", "x"], clip_skip=1)
    reference = theirs.encode_prompt(PROMPTS, theirs.device, 2, True, ["ugly", "x"], clip_skip=1)
    for x, y in zip(mine, reference, strict=True):
        assert_close(x, y)
    assert ours.encode_prompt("a", ours.device, 1, False)[1] is None


def test_decode_latents(sd1):
    ours, theirs = sd1
    z = noise((2, 4, 16, 16))
    with torch.no_grad():
        reference = theirs.decode_latents(torch.from_numpy(z))
    assert_close(ours.decode_latents(paddle.to_tensor(z)), reference)


@pytest.mark.parametrize("settings", [{}, {"long_prompts": "truncate"}])
def test_long_prompts_are_truncated(sd1, caplog, settings):
    ours, theirs = sd1
    mine, reference = generators(3)
    call = {
        "prompt": "horse " * 100 + "zebra",
        "negative_prompt": "a cow of many colours and " * 40,
        "num_inference_steps": 3,
        "output_type": "np",
    }
    images = ours(generator=mine, **call, **settings).images
    assert_images_agree(images, theirs(generator=reference, **call).images)
    assert "truncated" in caplog.text and "zebra" in caplog.text
    assert '`long_prompts="split"`' in caplog.text


# -- legacy checkpoints -------------------------------------------------------------------------------------------


def test_legacy_settings_are_corrected(sd1, tmp_path):
    """Checkpoints of 2022: steps_offset 0, clip_sample not set, sample_size 32 of a UNet saved before 0.9."""
    ours, theirs = sd1
    unet_folder = tmp_path / "unet"
    theirs.unet.save_pretrained(unet_folder)
    text = (unet_folder / "config.json").read_text("utf-8").replace(diffusers.__version__, "0.6.0")
    (unet_folder / "config.json").write_text(text, "utf-8")
    from ppdiffusers import DDIMScheduler, UNet2DConditionModel

    with pytest.warns(FutureWarning) as warned:
        mine = StableDiffusionPipeline(
            **{
                **ours.components,
                "unet": UNet2DConditionModel.from_pretrained(unet_folder),
                "scheduler": DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
            },
            requires_safety_checker=False,
        )
    assert {key for key in ("steps_offset", "clip_sample", "sample_size") if any(key in str(w.message) for w in warned)}
    with pytest.warns(FutureWarning):
        reference = diffusers.StableDiffusionPipeline(
            **{
                **theirs.components,
                "unet": diffusers.UNet2DConditionModel.from_pretrained(unet_folder),
                "scheduler": diffusers.DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
            },
            requires_safety_checker=False,
        )
    assert mine.unet.config.sample_size == reference.unet.config.sample_size == 64
    assert mine.scheduler.config.steps_offset == 1 and mine.scheduler.config.clip_sample is False
    for pipeline in (mine, reference):
        pipeline.set_progress_bar_config(disable=True)
    arguments = {"prompt": PROMPTS[0], "height": 32, "width": 32, "num_inference_steps": 20, "output_type": "np"}
    images = call_both(mine, reference, seed=2, **arguments)
    assert_images_agree(images[0].images, images[1].images)
    mine.save_pretrained(tmp_path / "corrected")
    assert StableDiffusionPipeline.from_pretrained(tmp_path / "corrected").unet.config.sample_size == 64


# -- invalid arguments --------------------------------------------------------------------------------------------


def test_all_problems_are_listed(sd1):
    with pytest.raises(InputError) as raised:
        sd1[0](
            prompt=[],
            height=20,
            width=-8,
            num_inference_steps=0,
            guidance_scale="strong",
            num_images_per_prompt=0,
            output_type="jpeg",
            callback_on_step_end=3,
            callback_on_step_end_tensor_inputs=["noise"],
            callback_steps=0,
            latents=paddle.full([1, 3, 4, 4], float("nan")),
            ip_adapter_image=object(),
        )
    listed = str(raised.value)
    for part in (
        "`prompt` is an empty list", "`height`", "`width`", "`num_inference_steps`", "`guidance_scale`",
        "`num_images_per_prompt`", "`output_type`", "`callback_on_step_end`", "'noise'", "`callback_steps`",
        "`latents` must be of shape", "`latents` contains NaN", "IP-Adapter",
    ):  # fmt: skip
        assert part in listed, part


EMBEDS = paddle.zeros([1, 77, 32])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "neither `prompt` nor `prompt_embeds`"),
        ({"prompt": 3}, "must be a string or a list of strings, not int"),
        ({"prompt": ["a", None]}, r"`prompt\[1\]` must be a string"),
        ({"prompt": "a", "prompt_embeds": EMBEDS}, "both given"),
        ({"prompt": "a", "negative_prompt": "b", "negative_prompt_embeds": EMBEDS}, "both given"),
        ({"prompt": ["a", "b"], "negative_prompt": ["c"]}, "has 1 entries for 2"),
        ({"prompt": ["a", "b"], "negative_prompt_embeds": EMBEDS}, "has batch size 1, not 2"),
        ({"prompt_embeds": EMBEDS, "negative_prompt_embeds": paddle.zeros([1, 76, 32])}, "same shape"),
        ({"prompt_embeds": paddle.zeros([77, 32])}, r"not of shape \(77, 32\)"),
        ({"prompt_embeds": paddle.full([1, 77, 32], float("inf"))}, "NaN or infinite"),
        ({"prompt_embeds": torch.zeros(1, 77, 32)}, "must be a Paddle tensor, not torch.Tensor"),
        ({"prompt": "a", "latents": paddle.zeros([2, 4, 16, 16])}, r"shape \(1, 4, 16, 16\), not \(2, 4, 16, 16\)"),
        ({"prompt": "a", "latents": [1.0]}, "tensor or numpy array, not list"),
        ({"prompt": "a", "generator": [1, 2]}, "2 generators for 1"),
        ({"prompt": "a", "timesteps": [9, 3]}, "is not supported by PNDMScheduler"),
        ({"prompt": "a", "timesteps": [9], "sigmas": [1.0]}, "both given"),
        ({"prompt": "a", "eta": float("nan")}, "`eta` must be a finite number"),
        ({"prompt": "a", "clip_skip": 9}, "clip_skip=9"),
    ],
)
def test_invalid_arguments(sd1, arguments, message):
    with pytest.raises(InputError, match=message):
        sd1[0](**{"num_inference_steps": 2, **arguments})


# -- NaN ----------------------------------------------------------------------------------------------------------


def test_first_stage_with_nan_is_logged(sd1, caplog):
    ours, _ = sd1

    def spoil(pipeline, index, timestep, tensors):
        return {"latents": tensors["latents"] * float("nan")} if index == 1 else {}

    ours("a", num_inference_steps=4, generator=0, output_type="np", callback_on_step_end=spoil)
    assert "denoising step 1 (" in caplog.text
    caplog.clear()

    bias = ours.vae.decoder.conv_out.bias
    before = bias.clone()
    bias.set_value(paddle.full_like(bias, float("inf")))
    ours("a", num_inference_steps=2, generator=0, output_type="np")
    bias.set_value(before)
    assert "the VAE's decoder" in caplog.text
    caplog.clear()
    ours("a", num_inference_steps=2, generator=0, output_type="np")
    assert "NaN" not in caplog.text
