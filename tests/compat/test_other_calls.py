"""Calls written for diffusers or for ppdiffusers 0.29 whose arguments or methods differ from ours."""

import json

import diffusers
import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from ppdiffusers.core.errors import ConfigError
from tests.support.checkpoints import tiny_stable_diffusion


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False)


@pytest.fixture(scope="module")
def pipe(folder):
    return StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# -- configurations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "subfolder"), [("UNet2DConditionModel", "unet"), ("PNDMScheduler", "scheduler")])
def test_load_config(folder, name, subfolder):
    ours, theirs = getattr(ppdiffusers, name), getattr(diffusers, name)
    for form in (str(folder), folder):
        assert ours.load_config(form, subfolder=subfolder) == theirs.load_config(form, subfolder=subfolder)
    options = {"subfolder": subfolder, "return_unused_kwargs": True, "local_files_only": True, "colour": 3}
    assert ours.load_config(folder, **options) == theirs.load_config(folder, **options)
    assert ours.load_config(folder, return_commit_hash=True, **options)[1:] == ({"colour": 3}, None)
    with pytest.raises(ConfigError, match="missing"):
        ours.load_config(folder)
    file = folder / subfolder / ours.config_name
    assert ours.load_config(file) == json.loads(file.read_text())


def test_load_config_of_a_pipeline(folder):
    assert StableDiffusionPipeline.load_config(folder)["unet"] == ["diffusers", "UNet2DConditionModel"]


def test_from_config_with_a_path(folder):
    """Deprecated in diffusers, which warns too."""
    with pytest.warns(FutureWarning, match="load_config"):
        unet = UNet2DConditionModel.from_config(folder, subfolder="unet", sample_size=24)
    assert unet.config.sample_size == 24 and unet.config.cross_attention_dim > 0
    with pytest.warns(FutureWarning, match="load_config"):
        scheduler, unused = DDIMScheduler.from_config(
            str(folder), subfolder="scheduler", return_unused_kwargs=True, colour=3
        )
    assert scheduler.config.num_train_timesteps == 1000 and unused == {"colour": 3}


def test_a_name_on_a_hub_is_searched():
    with pytest.raises(ppdiffusers.core.errors.SourceError, match="acme/tiny"):
        UNet2DConditionModel.load_config("acme/tiny", subfolder="unet", local_files_only=True)


# -- the argument `device`, which ppdiffusers 0.29 does not have ------------------------------------------------


def test_encode_prompt(pipe):
    expected = pipe.encode_prompt("a cat", "cpu", 2, True, "a dog")
    assert same(pipe.encode_prompt("a cat", 2, True, "a dog"), expected)
    assert same(pipe.encode_prompt("a cat", None, 2, True, "a dog"), expected)
    assert same(pipe.encode_prompt("a cat", paddle.CPUPlace(), 2, True, "a dog"), expected)
    keywords = {"num_images_per_prompt": 2, "do_classifier_free_guidance": True, "negative_prompt": "a dog"}
    assert same(pipe.encode_prompt("a cat", **keywords), expected)
    assert same(pipe.encode_prompt(prompt="a cat", device=pipe._execution_device, **keywords), expected)


def test_one_embedding_of_both_prompts(pipe):
    embeds, negative_embeds = pipe.encode_prompt("a cat", "cpu", 2, True, "a dog")
    for arguments in (("a cat", "cpu", 2, True, "a dog"), ("a cat", 2, True, "a dog")):
        with pytest.warns(FutureWarning, match="encode_prompt"):
            joined = pipe._encode_prompt(*arguments)
        assert np.array_equal(joined, paddle.concat([negative_embeds, embeds]))
    with pytest.warns(FutureWarning, match="encode_prompt"):
        assert np.array_equal(pipe._encode_prompt("a cat", "cpu", 2, False), embeds)


def test_prepare_latents(pipe):
    size = (1, 4, 32, 48, "float32")
    given = paddle.ones([1, 4, 4, 6])
    expected = pipe.prepare_latents(*size, "cpu", 3)
    assert np.array_equal(pipe.prepare_latents(*size, [3]), expected)
    assert np.array_equal(pipe.prepare_latents(*size, None, [3]), expected)
    for arguments in ((None, None, given), (None, given), ([3], given)):
        assert np.array_equal(pipe.prepare_latents(*size, *arguments), given * pipe.scheduler.init_noise_sigma)


def test_run_safety_checker(pipe):
    images = np.zeros((1, 8, 8, 3), np.float32)
    for arguments in ((images, "cpu", paddle.float32), (images, paddle.float32), (images, "float32")):
        assert pipe.run_safety_checker(*arguments) == (images, None) or pipe.run_safety_checker(*arguments)[1] is None


def test_pipelines_have_the_methods_of_diffusers(pipe):
    assert pipe._execution_device == "cpu"
    pipe.maybe_free_model_hooks()
    pipe.enable_xformers_memory_efficient_attention()
    pipe.disable_xformers_memory_efficient_attention()
    pipe.fuse_qkv_projections()
    assert "Fused" in type(next(iter(pipe.unet.attn_processors.values()))).__name__
    pipe.unfuse_qkv_projections(vae=False)
    assert "Fused" not in type(next(iter(pipe.unet.attn_processors.values()))).__name__
    assert "Fused" in type(next(iter(pipe.vae.attn_processors.values()))).__name__
    pipe.unfuse_qkv_projections()
