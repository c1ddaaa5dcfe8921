"""AltDiffusion against diffusers' deprecated pipelines: Chinese prompts, both variants of the text encoder, formats."""

import json
import shutil
from pathlib import Path

import diffusers
import pytest
import torch
import transformers
from diffusers.pipelines.deprecated.alt_diffusion import modeling_roberta_series as theirs_series
from diffusers.pipelines.deprecated.alt_diffusion.pipeline_alt_diffusion import AltDiffusionPipeline as TheirPipeline
from diffusers.pipelines.deprecated.alt_diffusion.pipeline_alt_diffusion_img2img import (
    AltDiffusionImg2ImgPipeline as TheirImg2ImgPipeline,
)

import ppdiffusers
from ppdiffusers import convert_diffusers_to_paddle, convert_paddle_to_diffusers
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.pipelines.stages.prompt_chunks import Chunker
from tests.conversion.support import torch_bits
from tests.pipelines.support import assert_images_agree, call_both, generators, make_image, set_schedulers
from tests.support.checkpoints import scheduler_named, tiny_feature_extractor, tiny_safety_checker, tiny_unet, tiny_vae
from tests.support.ip_adapter import FOLDER, save_ip_adapters
from tests.support.parity import assert_close, randomize
from tests.support.xlm_roberta import tiny_xlm_roberta_tokenizer

PROMPTS = ["月光下的竹林，水墨画，留白", "an oil painting of two cats"]
CLASS = "RobertaSeriesModelWithTransformation"


def tiny_alt_diffusion(folder, pre=False):
    """(folder, diffusers' pipeline that saved it)."""
    tokenizer = tiny_xlm_roberta_tokenizer(folder / "vocabulary")
    config = theirs_series.RobertaSeriesConfig(
        vocab_size=len(tokenizer), hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=90, type_vocab_size=1, project_dim=32, has_pre_transformation=pre,
    )  # fmt: skip
    theirs = TheirPipeline(
        vae=tiny_vae(0),
        text_encoder=randomize(theirs_series.RobertaSeriesModelWithTransformation(config), 1),
        tokenizer=tokenizer,
        unet=tiny_unet(seed=2),
        scheduler=scheduler_named("PNDMScheduler"),
        safety_checker=tiny_safety_checker(seed=3),
        feature_extractor=tiny_feature_extractor(),
    )
    theirs.save_pretrained(folder / "saved")
    # loaded from the folder: a scheduler that is created in memory treats some of its settings as unset
    theirs.original_scheduler = diffusers.PNDMScheduler.from_pretrained(folder / "saved", subfolder="scheduler")
    theirs.set_progress_bar_config(disable=True)
    return folder / "saved", theirs


def load(folder):
    ours = ppdiffusers.DiffusionPipeline.from_pretrained(folder)
    ours.original_scheduler = ours.scheduler
    ours.set_progress_bar_config(disable=True)
    return ours


@pytest.fixture(scope="module", params=[False, True], ids=["last", "pre"])
def pair(request, tmp_path_factory):
    folder, theirs = tiny_alt_diffusion(tmp_path_factory.mktemp("alt"), request.param)
    return load(folder), theirs


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Without `has_pre_transformation`, for the tests that do not depend on the text encoder."""
    folder, theirs = tiny_alt_diffusion(tmp_path_factory.mktemp("alt"))
    return load(folder), theirs


@pytest.fixture
def folder(plain):
    return Path(plain[0].name_or_path)


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "EulerAncestralDiscreteScheduler"])
def test_images(pair, scheduler):
    assert type(pair[0]) is ppdiffusers.AltDiffusionPipeline
    set_schedulers(*pair, scheduler)
    mine, reference = call_both(
        *pair, seed=3, prompt=PROMPTS, negative_prompt=["模糊", ""], num_inference_steps=20, height=32, width=40,
        output_type="np",
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)
    assert mine.nsfw_content_detected == reference.nsfw_content_detected


def test_several_images_without_guidance(plain):
    set_schedulers(*plain, "DDIMScheduler")
    mine, reference = call_both(
        *plain, seed=3, prompt=PROMPTS[0], num_images_per_prompt=2, guidance_scale=1.0, eta=0.5, num_inference_steps=6,
        output_type="np",
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_height_or_width_alone(plain):
    set_schedulers(*plain, "DDIMScheduler")
    for size in ({"height": 24}, {"width": 40}):
        mine, reference = call_both(
            *plain, seed=3, prompt="猫", negative_prompt="", num_inference_steps=3, output_type="np", **size
        )
        assert_images_agree(mine.images, reference.images)


def test_ip_adapter(plain, img2img, tmp_path):
    """In both tasks, for the UNet that the pipelines share; in diffusers, one prompt only."""
    set_schedulers(*plain, "DDIMScheduler")
    repository = save_ip_adapters(tmp_path, plain[1].unet)
    for pair, source in ((plain, {"height": 24, "width": 40}), (img2img, {"image": make_image(40, 24)})):
        for pipeline in pair:
            pipeline.load_ip_adapter(str(repository), FOLDER, "plus.safetensors")
            pipeline.set_ip_adapter_scale(0.6)
        call = {
            "prompt": PROMPTS[0],
            "num_images_per_prompt": 2,
            "num_inference_steps": 3,
            "output_type": "np",
            **source,
        }
        mine, reference = call_both(*pair, seed=3, ip_adapter_image=make_image(50, 36, 1), **call)
        assert_images_agree(mine.images, reference.images)
        for pipeline in pair:
            pipeline.unload_ip_adapter()


def test_long_prompts(pair):
    """They are truncated as in diffusers, or split on request."""
    ours, theirs = pair
    long = "一只猫，两只狗，" * 30
    truncated, _ = ours.encode_prompt(long, ours.device, 1, False)
    with torch.no_grad():
        expected, _ = theirs.encode_prompt(long, theirs.device, 1, False)
    assert_close(truncated, expected)
    whole, empty = ours.encode_prompt(long, ours.device, 1, True, long_prompts="split")
    assert whole.shape[1] == empty.shape[1] > 77
    assert_close(whole[:, :76], truncated[:, :76])


def test_full_chunk_ends_at_a_comma(plain):
    """Also at a full-width Chinese comma; the token of a comma in SentencePiece differs from that in CLIP."""
    tokenizer = plain[0].tokenizer
    comma = tokenizer.convert_tokens_to_ids(",")
    assert comma != tokenizer.unk_token_id
    chunker = Chunker(tokenizer, tokenizer.model_max_length, "webui")
    assert tokenizer(",").input_ids[1:-1] != [comma] == [chunker.comma]
    first, second = chunker.chunks("猫 " * 35 + "的，" + "狗 " * 10)
    assert first[-1] == (comma, 1.0) and len(first) < chunker.capacity
    assert [token for token, _ in (*first, *second)] == tokenizer("猫 " * 35 + "的，" + "狗 " * 10).input_ids[1:-1]


# -- image to image -------------------------------------------------------------------------------------------


@pytest.fixture
def img2img(plain):
    """Both created from the text-to-image pipelines, sharing their components."""
    ours, theirs = plain
    mine = ppdiffusers.AltDiffusionImg2ImgPipeline.from_pipe(ours)
    reference = TheirImg2ImgPipeline(**theirs.components)
    for made, source in ((mine, ours), (reference, theirs)):
        made.set_progress_bar_config(disable=True)
        made.original_scheduler = source.original_scheduler
        assert made.unet is source.unet
    set_schedulers(mine, reference, "DDIMScheduler")
    return mine, reference


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "DPMSolverMultistepScheduler"])
def test_img2img(img2img, scheduler):
    set_schedulers(*img2img, scheduler)
    mine, reference = call_both(
        *img2img, seed=3, prompt=PROMPTS, negative_prompt=["模糊", ""], image=make_image(41, 33), strength=0.7,
        num_inference_steps=30, output_type="np",
    )  # fmt: skip
    assert mine.images.shape == (2, 32, 40, 3)
    assert_images_agree(mine.images, reference.images)
    assert mine.nsfw_content_detected == reference.nsfw_content_detected


def test_img2img_of_several_images(img2img):
    mine, reference = generators(5, count=4)
    settings = {
        "prompt": PROMPTS, "image": [make_image(32, 24), make_image(32, 24, 1)] * 2, "num_images_per_prompt": 2,
        "guidance_scale": 1.0, "eta": 0.5, "num_inference_steps": 8, "output_type": "np",
    }  # fmt: skip
    images = img2img[0](generator=mine, **settings).images
    assert_images_agree(images, img2img[1](generator=reference, **settings).images)


def test_img2img_invalid_arguments(img2img):
    with pytest.raises(InputError, match="`image` is required"):
        img2img[0]("猫", num_inference_steps=1)
    with pytest.raises(InputError, match="`strength` must be between 0 and 1"):
        img2img[0]("猫", make_image(16, 16), strength=2.0)


def test_img2img_folder(img2img, tmp_path):
    ours, theirs = img2img
    theirs.save_pretrained(tmp_path / "theirs")
    again = load(tmp_path / "theirs")
    assert type(again) is ppdiffusers.AltDiffusionImg2ImgPipeline
    settings = {"prompt": "猫", "image": make_image(32, 24), "num_inference_steps": 5, "output_type": "np"}
    mine, reference = call_both(again, theirs, seed=3, **settings)
    assert_images_agree(mine.images, reference.images)
    again.save_pretrained(tmp_path / "ours")
    assert_images_agree(load(tmp_path / "ours")(generator=3, **settings).images, mine.images)


# -- text encoder, folders, conversion -----------------------------------------------------------------------------


def test_padding_is_masked(pair):
    """Embeddings depend on the prompt and not on the amount of padding."""
    ours, _ = pair
    short, other = (ours.encode_prompt(prompt, ours.device, 1, False)[0] for prompt in ("一只猫", "两只狗"))
    assert float((short - other).abs().max()) > 0.1
    longer = ppdiffusers.transformers.XLMRobertaTokenizer.from_pretrained(ours.name_or_path, subfolder="tokenizer")
    longer.model_max_length = 88
    piped = ppdiffusers.AltDiffusionPipeline.from_pipe(ours, tokenizer=longer)
    wide = piped.encode_prompt("一只猫", ours.device, 1, False)[0]
    length = len(ours.tokenizer("一只猫").input_ids)
    assert_close(wide[:, :length], short[:, :length])


def test_invalid_arguments(plain):
    with pytest.raises(InputError, match="clip_skip"):
        plain[0]("a", clip_skip=1, num_inference_steps=1)
    with pytest.raises(InputError, match="neither `prompt` nor `prompt_embeds`"):
        plain[0](num_inference_steps=1)


@pytest.mark.parametrize("library", ["alt_diffusion", "diffusers", "deprecated", "diffusers.pipelines.alt_diffusion"])
def test_all_forms_of_the_index(folder, tmp_path, library):
    """Files on the hub name the folder of the pipeline; newer diffusers save names that they cannot load."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    index = json.loads((copy / "model_index.json").read_text("utf-8"))
    (copy / "model_index.json").write_text(json.dumps({**index, "text_encoder": [library, CLASS]}), "utf-8")
    assert type(load(copy).text_encoder).__name__ == CLASS


def test_unknown_library(folder, tmp_path):
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "text_encoder": ["elsewhere", CLASS]}), "utf-8")
    with pytest.raises(ConfigError, match="elsewhere"):
        load(tmp_path)


@pytest.mark.parametrize("pre", [False, True])
def test_round_trip(tmp_path, pre):
    source, theirs = tiny_alt_diffusion(tmp_path / "made", pre)
    there, back = tmp_path / "paddle", tmp_path / "torch"
    convert_diffusers_to_paddle(source, there, progress=False, verify=True)
    convert_paddle_to_diffusers(there, back, progress=False)
    for name in ("text_encoder", "unet", "vae", "safety_checker"):
        assert torch_bits(source / name) == torch_bits(back / name)
    index = json.loads((back / "model_index.json").read_text("utf-8"))
    assert index["text_encoder"] == ["alt_diffusion", CLASS]
    again = TheirPipeline(
        **{
            **theirs.components,
            "text_encoder": theirs_series.RobertaSeriesModelWithTransformation.from_pretrained(back / "text_encoder"),
            "tokenizer": transformers.XLMRobertaTokenizer.from_pretrained(back / "tokenizer"),
            "unet": diffusers.UNet2DConditionModel.from_pretrained(back / "unet"),
        }
    )
    again.set_progress_bar_config(disable=True)
    settings = {"prompt": PROMPTS, "num_inference_steps": 4, "output_type": "np"}
    ours = load(there)
    mine, reference = call_both(ours, again, seed=4, **settings)
    assert_images_agree(mine.images, reference.images)
    ours.save_pretrained(tmp_path / "ours")
    assert json.loads((tmp_path / "ours/model_index.json").read_text("utf-8"))["text_encoder"][1] == CLASS
    assert_images_agree(load(tmp_path / "ours")(generator=4, **settings).images, mine.images)
