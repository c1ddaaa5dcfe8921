"""StableDiffusionPipelineSafe against diffusers, live: all configurations, past their warm-up; flagged images.

The guidance is discontinuous where the difference of prompt and concept reaches the threshold: two runs whose networks
differ by rounding can diverge there. `follow` therefore gives our loop the predictions of the original network, and
compares the inputs with which our loop calls it. With WEAK the scale is zero at the threshold, and whole runs are
compared.
"""

import json
import shutil

import diffusers
import numpy as np
import paddle
import pytest
import torch
from diffusers.pipelines.stable_diffusion_safe import SafetyConfig as TheirConfig
from diffusers.pipelines.stable_diffusion_safe.safety_checker import SafeStableDiffusionSafetyChecker as TheirChecker

import ppdiffusers
from ppdiffusers import SafetyConfig, StableDiffusionPipelineSafe, StableDiffusionSafetyChecker
from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stable_diffusion_safe.safety_checker import SafeStableDiffusionSafetyChecker
from ppdiffusers.pipelines.stable_diffusion_safe.safety_guidance import SafetyGuidance
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_levels_agree,
    call_both,
    fraction_of_different_levels,
    generators,
    set_schedulers,
)
from tests.support.checkpoints import tiny_safety_checker, tiny_stable_diffusion
from tests.support.parity import assert_close, noise, rng_for
from tests.support.round_trip import saved_both_ways, there_and_back

CONFIGS = ["WEAK", "MEDIUM", "STRONG", "MAX"]
STEPS = 22  # more than the longest warm-up, WEAK's 15
WEAK = {**SafetyConfig.WEAK, "sld_warmup_steps": 2}


def tiny_safe(tmp_path, flags="nothing"):
    """A folder that diffusers saved, with the safety checker of this family."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion(tmp_path / "plain"))
    checker = TheirChecker(pipeline.safety_checker.config)
    checker.load_state_dict(tiny_safety_checker(flags, 3).state_dict())
    parts = {**pipeline.components, "safety_checker": checker}
    diffusers.StableDiffusionPipelineSafe(**parts).save_pretrained(tmp_path / "safe")
    return tmp_path / "safe"


def load(folder):
    """(ours, the original), to which its safety checker has to be passed."""
    checker = TheirChecker.from_pretrained(folder / "safety_checker").eval()
    theirs = diffusers.StableDiffusionPipelineSafe.from_pretrained(folder, safety_checker=checker)
    pair = (StableDiffusionPipelineSafe.from_pretrained(folder), theirs)
    for pipeline in pair:
        pipeline.set_progress_bar_config(disable=True)
        pipeline.original_scheduler = pipeline.scheduler
    return pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_safe(tmp_path_factory.mktemp("safe"))


@pytest.fixture(scope="module")
def loaded(folder):
    return load(folder)


@pytest.fixture
def pair(loaded):
    set_schedulers(*loaded, "DDIMScheduler")
    return loaded


def settings(**more):
    return {"prompt": PROMPTS, "num_inference_steps": 6, "height": 16, "width": 24, "output_type": "np", **more}


class ReplayedUNet(paddle.nn.Layer):
    """A UNet that returns recorded predictions, and records its inputs: (latents, timestep, embeddings)."""

    def __init__(self, unet, predictions):
        super().__init__()
        self.unet, self.config = unet, unet.config
        self.predictions, self.inputs = iter(predictions), []

    def forward(self, sample, timestep, encoder_hidden_states, timestep_cond, return_dict):
        assert timestep_cond is None
        self.inputs.append((sample.numpy(), int(timestep), encoder_hidden_states.numpy()))
        return (paddle.to_tensor(next(self.predictions)),)


def follow(ours, theirs, **arguments):
    """Call both, ours with the predictions of the original network, and compare inputs and results."""
    inputs, predictions = [], []

    def record(module, args, kwargs, output):
        inputs.append((args[0].numpy(), int(args[1]), kwargs["encoder_hidden_states"].numpy()))
        predictions.append(output.sample.numpy())

    hook = theirs.unet.register_forward_hook(record, with_kwargs=True)
    mine, reference = ({**arguments, "generator": generator} for generator in generators(3))
    unet = ours.unet
    try:
        expected = theirs(**reference)
        ours.unet = ReplayedUNet(unet, predictions)
        result = ours(**mine)
        our_inputs = ours.unet.inputs
    finally:
        hook.remove()
        ours.unet = unet
    for (latents, t, embeds), (their_latents, their_t, their_embeds) in zip(our_inputs, inputs, strict=True):
        assert t == their_t
        assert_close(latents, their_latents, 1e-5, f"latents at {t}")
        assert_close(embeds, their_embeds, 1e-5, f"embeddings at {t}")
    assert_images_agree(result.images, expected.images)
    assert result.applied_safety_concept == expected.applied_safety_concept
    return result


# -- guidance -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_configs(pair, name):
    """The configurations are those of the original, and each changes the image as there."""
    given = getattr(SafetyConfig, name)
    assert given == getattr(TheirConfig, name)
    assert given["sld_warmup_steps"] < STEPS
    arguments = settings(num_inference_steps=STEPS, negative_prompt=["模糊", "blurry"], **given)
    result = follow(*pair, **arguments)
    assert result.applied_safety_concept == pair[0].safety_concept
    unguided = pair[0](generator=3, **{**arguments, "sld_guidance_scale": 1.0}).images
    assert fraction_of_different_levels(unguided, result.images) > 0.05


def test_safety_guidance():
    """Six steps against the method of diffusers, which expects the prediction with the prompt first."""
    ours, momentum = SafetyGuidance(5.0, 2, 0.3, 0.5, 0.7), None
    for step in range(6):
        uncond, prompt, concept = (noise((2, 4, 3, 5), f"{name} {step}") for name in ("uncond", "prompt", "concept"))
        guidance, momentum = diffusers.StableDiffusionPipelineSafe.perform_safety_guidance(
            None, True, momentum, torch.from_numpy(prompt - uncond),
            [torch.from_numpy(x) for x in (prompt, uncond, concept)], step, 5.0, 2, 0.3, 0.5, 0.7,
        )  # fmt: skip
        mine = ours(paddle.to_tensor(np.concatenate([uncond, prompt, concept])), step, 7.5)
        assert_close(mine, torch.from_numpy(uncond) + 7.5 * guidance, 1e-5)
        assert_close(ours.momentum, momentum, 1e-5)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerAncestralDiscreteScheduler"])
def test_whole_calls(pair, scheduler):
    set_schedulers(*pair, scheduler)
    mine, reference = call_both(*pair, seed=3, **settings(num_inference_steps=STEPS, **WEAK))
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler"])
def test_schedulers(pair, scheduler):
    set_schedulers(*pair, scheduler)
    follow(*pair, **settings(num_inference_steps=STEPS, height=24, width=40, **SafetyConfig.STRONG))


CALLS = {
    "sld_guidance_scale": {"sld_guidance_scale": 3.0},
    "a high threshold": {"sld_threshold": 0.5},
    "a low threshold": {"sld_threshold": -0.5},
    "strong momentum": {"sld_momentum_scale": 0.9, "sld_mom_beta": 0.9},
    "no momentum": {"sld_momentum_scale": 0.0},
    "sld_mom_beta 0": {"sld_mom_beta": 0.0},
    "momentum from the warm-up": {"sld_warmup_steps": 4, "sld_momentum_scale": 0.9},
    "warm-up only": {"sld_warmup_steps": 6},
    "without safety guidance": {"sld_guidance_scale": 1.0},
    "without guidance": {"guidance_scale": 1.0},
    "two images for each prompt": {"num_images_per_prompt": 2},
    "one prompt": {"prompt": "a cat", "negative_prompt": "blurry", "num_images_per_prompt": 2},
    "eta": {"eta": 0.8},
    "width alone": {"height": None, "width": 24},
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    follow(*pair, **{**settings(sld_warmup_steps=2), **CALLS[case]})


def test_given_latents(pair):
    mine, reference = call_both(*pair, latents=noise((2, 4, 8, 16)), **settings(height=None, width=None, **WEAK))
    assert mine.images.shape == (2, 16, 32, 3)
    assert_images_agree(mine.images, reference.images)


def test_no_safety_guidance_during_the_warm_up(pair):
    """Latents equal those of a call without safety guidance until the warm-up ends."""
    seen = {scale: [] for scale in (1.0, 1000.0)}
    for scale, latents in seen.items():
        arguments = settings(sld_warmup_steps=3, sld_guidance_scale=scale)
        pair[0](generator=3, callback=lambda i, t, x, to=latents: to.append(x), **arguments)
    distances = [float((a - b).abs().max()) for a, b in zip(*seen.values(), strict=True)]
    assert max(distances[:3]) < 1e-4 < 1e-2 < min(distances[3:])


def test_other_concepts(pair):
    ours, theirs = pair
    before = ours.safety_concept
    assert before == theirs.safety_concept
    default = ours(generator=3, **settings(**WEAK)).images
    ours.safety_concept = theirs.safety_concept = "猫，cats"
    try:
        result = follow(*pair, **settings(**WEAK))
    finally:
        ours.safety_concept = theirs.safety_concept = before
    assert result.applied_safety_concept == "猫，cats"
    assert fraction_of_different_levels(default, result.images) > 0.05


def test_long_prompts(pair):
    """They are truncated as in diffusers; if they are split, the concept is repeated for each chunk."""
    ours, _ = pair
    prompt = " ".join(f"{n} cats" for n in range(60))
    truncated = follow(*pair, **settings(prompt=prompt, **WEAK)).images
    embeds = ours.encode_prompt(prompt, ours.device, 1, False, long_prompts="split")[0]
    assert embeds.shape[1] > 77
    concept = ours._encode_concept(embeds)
    assert concept.shape == embeds.shape
    np.testing.assert_array_equal(concept[:, :77].numpy(), concept[:, 77:154].numpy())
    whole = ours(generator=3, **settings(prompt=prompt, **WEAK), long_prompts="split").images
    assert fraction_of_different_levels(truncated, whole) > 0.05


def test_weighted_prompts(pair):
    weighted = pair[0](generator=3, prompt_syntax="webui", **{**settings(**WEAK), "prompt": "a (red:1.4) [cat]"}).images
    plain = pair[0](generator=3, **{**settings(**WEAK), "prompt": "a red cat"}).images
    assert fraction_of_different_levels(weighted, plain) > 0.05
    with pytest.raises(InputError, match="'plain' or 'webui'"):
        pair[0](prompt_syntax="compel", **settings())


def test_one_generator_for_each_image(pair):
    set_schedulers(*pair, "EulerAncestralDiscreteScheduler")
    mine, reference = generators(20, count=4)
    arguments = settings(num_images_per_prompt=2, **WEAK)
    images = pair[0](generator=mine, **arguments).images
    assert_images_agree(images, pair[1](generator=reference, **arguments).images)


def test_callback(pair):
    seen = {"ours": [], "theirs": []}
    for side, pipeline, generator in zip(seen, pair, generators(3), strict=True):
        pipeline(
            generator=generator, callback_steps=2, **settings(),
            callback=lambda i, t, x, to=seen[side]: to.append((i, int(t), float(x.std()))),
        )  # fmt: skip
    np.testing.assert_allclose(seen["ours"], seen["theirs"], rtol=1e-4)
    assert len(seen["ours"]) == 3


# -- the safety checker -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkers(tmp_path_factory):
    """Random thresholds with which some of the images are flagged."""
    theirs = TheirChecker(tiny_safety_checker().config).eval()
    theirs.load_state_dict(tiny_safety_checker("random", 3).state_dict())
    with torch.no_grad():
        theirs.concept_embeds_weights.copy_(torch.from_numpy(rng_for("t").uniform(0.2, 0.45, 17)))
        theirs.special_care_embeds_weights.copy_(torch.from_numpy(rng_for("s").uniform(0.1, 0.3, 3)))
    folder = tmp_path_factory.mktemp("checker")
    theirs.save_pretrained(folder)
    return SafeStableDiffusionSafetyChecker.from_pretrained(folder), theirs


def test_checker(checkers, caplog):
    """It flags the same images as the original, and returns them unchanged."""
    ours, theirs = checkers
    pixels, images = noise((24, 3, 32, 32), "pixels"), rng_for("images").random((24, 3, 8, 8)).astype(np.float32)
    mine, flags = ours(paddle.to_tensor(pixels), images)
    _, expected = theirs(torch.from_numpy(pixels), images.copy())
    assert flags == expected
    assert 0 < sum(flags) < 24, "the thresholds should flag some of the images"
    assert mine is images
    assert f"{sum(flags)} of 24 images" in caplog.text


def test_checker_round_trip(checkers, tmp_path):
    ours, theirs = checkers
    ours.save_pretrained(tmp_path / "torch", to_diffusers=True)
    again = TheirChecker.from_pretrained(tmp_path / "torch")
    for key, value in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


@pytest.mark.parametrize("output_type", ["np", "pil", "pd"])
def test_flagged_images(folder, output_type):
    """The threshold of one concept is between two images: one is flagged and black, the other one is not.

    The original returns the flag of the last image only.
    """
    ours, theirs = load(folder)
    arguments = settings(num_inference_steps=3, seed=5, output_type="pil")
    clean, reference = call_both(ours, theirs, **arguments)
    assert clean.nsfw_content_detected == reference.nsfw_content_detected == [False, False]
    checker = theirs.safety_checker
    with torch.no_grad():
        pixels = theirs.feature_extractor(reference.images, return_tensors="pt").pixel_values
        embeds = checker.visual_projection(checker.vision_model(pixels)[1])
        cosines = torch.nn.functional.cosine_similarity(embeds[:, None], checker.concept_embeds[None], dim=-1)
        concept = int((cosines[0] - cosines[1]).abs().argmax())
        checker.concept_embeds_weights[concept] = cosines[:, concept].mean()
    ours.safety_checker.concept_embeds_weights.set_value(checker.concept_embeds_weights.numpy())
    mine, reference = call_both(ours, theirs, **arguments)
    assert mine.nsfw_content_detected[-1] == reference.nsfw_content_detected
    assert sorted(mine.nsfw_content_detected) == [False, True]
    mine = ours(generator=5, **{**settings(num_inference_steps=3), "output_type": output_type})
    for sort in ("images", "unsafe_images"):
        images = getattr(mine, sort)
        if output_type == "pd":
            images = ours.image_processor.pd_to_numpy(images)
        for image, expected in zip(images, getattr(reference, sort), strict=True):
            levels = np.asarray(image) if output_type == "pil" else (image * 255).round()
            assert_levels_agree(levels, np.asarray(expected))
    black = [not np.asarray(image).any() for image in reference.unsafe_images]
    assert black == [not flag for flag in mine.nsfw_content_detected]


def test_safety_checker_of_stable_diffusion(folder, tmp_path):
    """Folders may name StableDiffusionSafetyChecker, which blackens images itself; unsafe_images are not black."""
    tiny_safety_checker("everything", 3).save_pretrained(tmp_path)
    checker = StableDiffusionSafetyChecker.from_pretrained(tmp_path)
    ours, theirs = load(folder)
    theirs.safety_checker = tiny_safety_checker("everything", 3)
    ours.safety_checker = checker
    mine, reference = call_both(ours, theirs, seed=5, **settings())
    assert mine.nsfw_content_detected == [True, True]
    assert not mine.images.any() and not reference.images.any()
    assert_images_agree(mine.unsafe_images, reference.unsafe_images)


def test_any_number_of_images_can_be_flagged(tmp_path):
    """The original supports two images."""
    ours = StableDiffusionPipelineSafe.from_pretrained(tiny_safe(tmp_path, "everything"))
    ours.set_progress_bar_config(disable=True)
    for count in (1, 3):
        made = ours("a cat", num_images_per_prompt=count, num_inference_steps=1, generator=3)
        assert made.nsfw_content_detected == [True] * count
        assert len(made.images) == len(made.unsafe_images) == count


def test_without_a_checker(pair):
    ours = StableDiffusionPipelineSafe.from_pipe(pair[0], safety_checker=None, requires_safety_checker=False)
    ours.set_progress_bar_config(disable=True)
    arguments = settings(num_inference_steps=3, generator=5)
    images, flags, concept, unsafe = ours(return_dict=False, **arguments)
    assert flags is None and unsafe is None and concept == ours.safety_concept
    assert_images_agree(images, pair[0](**arguments).images)
    assert ours(**{**arguments, "output_type": "latent"}).images.shape == [2, 4, 8, 12]


# -- files, conversion, invalid arguments --------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["stable_diffusion_safe", "diffusers", "ppdiffusers"])
def test_all_forms_of_the_index(folder, tmp_path, library):
    shutil.copytree(folder, tmp_path / "copy")
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    index["safety_checker"] = [library, "SafeStableDiffusionSafetyChecker"]
    (tmp_path / "copy/model_index.json").write_text(json.dumps(index), "utf-8")
    ours = ppdiffusers.DiffusionPipeline.from_pretrained(tmp_path / "copy")
    assert type(ours) is StableDiffusionPipelineSafe
    assert type(ours.safety_checker) is SafeStableDiffusionSafetyChecker


def test_round_trip(folder, tmp_path):
    paddle_folder, torch_folder = there_and_back(folder, tmp_path)
    assert json.loads((torch_folder / "model_index.json").read_text("utf-8"))["safety_checker"] == [
        "stable_diffusion_safe",
        "SafeStableDiffusionSafetyChecker",
    ]
    ours, theirs = load(folder)
    saved, saved_for_torch = saved_both_ways(ours, tmp_path)
    _, expected = call_both(ours, theirs, seed=3, **settings(**WEAK))
    for written in (torch_folder, saved_for_torch):
        mine, reference = call_both(*load(written), seed=3, **settings(**WEAK))
        assert_images_agree(reference.images, expected.images)
        assert_images_agree(mine.images, expected.images)
    for kept in (paddle_folder, saved):
        again = StableDiffusionPipelineSafe.from_pretrained(kept)
        again.set_progress_bar_config(disable=True)
        assert_images_agree(again(generator=3, **settings(**WEAK)).images, expected.images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": None}, "neither `prompt` nor"),
        ({"height": 20}, "`height` must be a positive multiple of 8"),
        ({"sld_guidance_scale": None}, "`sld_guidance_scale` must be a finite number"),
        ({"sld_threshold": float("nan"), "sld_mom_beta": "high"}, "`sld_threshold`(.|\n)*`sld_mom_beta`"),
        ({"sld_warmup_steps": "ten"}, "`sld_warmup_steps`"),
        ({"sld_momentum_scale": float("inf")}, "`sld_momentum_scale`"),
        ({"negative_prompt": ["a"]}, "1 entries for 2"),
        ({"ip_adapter_image": np.zeros((8, 8, 3))}, "no IP-Adapter"),
        ({"callback_steps": 0}, "`callback_steps`"),
        ({"callback": 3}, "must be callable"),
        ({"latents": noise((1, 4, 8, 12))}, r"\(2, 4, 8, 12\)"),
        ({"generator": [1, 2, 3]}, "3 generators for 2"),
        ({"num_inference_steps": 0}, "`num_inference_steps`"),
        ({"output_type": "jpeg"}, "`output_type`"),
    ],
)
def test_invalid_arguments(pair, arguments, message):
    with pytest.raises(InputError, match=message):
        pair[0](**settings(**arguments))


def test_safety_guidance_off_is_logged(pair, caplog):
    pair[0](**settings(num_inference_steps=1, guidance_scale=1.0))
    assert "Safety guidance is off" in caplog.text


def test_nan_is_logged(folder, caplog):
    ours, _ = load(folder)
    norm = ours.text_encoder.text_model.final_layer_norm.bias
    norm.set_value(paddle.full_like(norm, float("nan")))
    ours(**settings(num_inference_steps=1))
    assert "first appeared in: the text encoder" in caplog.text
