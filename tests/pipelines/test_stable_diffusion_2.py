"""Differences of Stable Diffusion 2: the text encoder of OpenCLIP, "!" as padding, 768 pixels, v-prediction."""

import diffusers
import numpy as np
import paddle
import pytest
import torch
import transformers

import ppdiffusers
import ppdiffusers.transformers as ours_lib
from tests.models.support import assert_same_keys
from tests.pipelines.support import PROMPTS, assert_images_agree, call_both, load_both
from tests.support.checkpoints import tiny_stable_diffusion, tiny_text_encoder
from tests.support.parity import assert_close, noise, randomize

# text_encoder/config.json of stabilityai/stable-diffusion-2-1
TEXT_ENCODER = {
    "attention_dropout": 0.0, "bos_token_id": 0, "eos_token_id": 2, "hidden_act": "gelu", "hidden_size": 1024,
    "initializer_factor": 1.0, "initializer_range": 0.02, "intermediate_size": 4096, "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77, "num_attention_heads": 16, "num_hidden_layers": 23, "pad_token_id": 1,
    "projection_dim": 512, "vocab_size": 49408,
}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return load_both(tiny_stable_diffusion(tmp_path_factory.mktemp("sd2"), variant="sd2", safety_checker=False))


class Theirs(transformers.CLIPTextModel):
    """Created from a dictionary, for `assert_same_keys`."""

    @classmethod
    def from_config(cls, config):
        return cls(transformers.CLIPTextConfig(**config))


def test_keys_and_shapes_of_the_text_encoder():
    assert_same_keys(ours_lib.CLIPTextModel, Theirs, TEXT_ENCODER)


def test_23_layers(tmp_path):
    config = transformers.CLIPTextConfig(**{**tiny_text_encoder(100, "sd2").config.to_dict(), "num_hidden_layers": 23})
    reference = randomize(transformers.CLIPTextModel(config), 4)
    reference.save_pretrained(tmp_path)
    ids = np.random.default_rng(0).integers(0, 100, (2, 77))
    ours = ours_lib.CLIPTextModel.from_pretrained(tmp_path)(paddle.to_tensor(ids))
    theirs = reference(torch.from_numpy(ids))
    assert_close(ours.last_hidden_state, theirs.last_hidden_state)
    assert_close(ours.pooler_output, theirs.pooler_output)


def test_padding(pair):
    ours, theirs = (pipeline.tokenizer for pipeline in pair)
    settings = {"padding": "max_length", "max_length": 77, "truncation": True}
    ids = ours(PROMPTS, **settings)["input_ids"]
    assert ids == theirs(PROMPTS, **settings)["input_ids"]
    assert {row[-1] for row in ids} == {theirs.convert_tokens_to_ids("!")} != {theirs.eos_token_id}


@pytest.mark.parametrize(
    ("scheduler", "settings"),
    [
        ("DDIMScheduler", {}),
        ("DDIMScheduler", {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
        ("EulerDiscreteScheduler", {}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
        ("DPMSolverMultistepScheduler", {}),
        ("PNDMScheduler", {}),
    ],
)
def test_v_prediction(pair, scheduler, settings):
    for pipeline, library in zip(pair, (ppdiffusers, diffusers), strict=True):
        pipeline.scheduler = getattr(library, scheduler).from_config(pipeline.original_scheduler.config, **settings)
        assert pipeline.scheduler.config.prediction_type == "v_prediction"
    mine, reference = call_both(
        *pair, prompt=PROMPTS, num_inference_steps=20, guidance_scale=3, latents=noise((2, 4, 16, 16)), output_type="np"
    )
    assert_images_agree(mine.images, reference.images)


def test_default_size_of_768_pixels(pair):
    """`sample_size` 96 and a VAE with a scale factor of 8."""
    vae = ppdiffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=4,
    )
    unet = ppdiffusers.UNet2DConditionModel.from_config({**pair[0].unet.config, "sample_size": 96})
    components = {**pair[0].components, "vae": vae, "unet": unet}
    ours = ppdiffusers.StableDiffusionPipeline(**components, requires_safety_checker=False)
    ours.set_progress_bar_config(disable=True)
    latents = ours("a", num_inference_steps=1, guidance_scale=1, output_type="latent", generator=0).images
    assert [ours.vae_scale_factor * size for size in latents.shape[2:]] == [768, 768]
