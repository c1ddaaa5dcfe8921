"""Checkpoints in the layouts of the original repositories, compared with diffusers on the same weights."""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers.conversion.original import convert_original
from ppdiffusers.conversion.verify import MODEL_TOLERANCE
from tests.support import originals
from tests.support.parity import assert_close, noise, randomize


def outputs(model, shape, time, labels=None):
    """Run a network of either framework on the same noise."""
    sample, times = noise(shape), np.full(shape[0], time)
    if isinstance(model, torch.nn.Module):
        with torch.no_grad():
            labels = {} if labels is None else {"class_labels": torch.tensor(labels)}
            return model(torch.from_numpy(sample), torch.from_numpy(times), **labels).sample
    with paddle.no_grad():
        labels = {} if labels is None else {"class_labels": paddle.to_tensor(labels)}
        return model(paddle.to_tensor(sample), paddle.to_tensor(times), **labels).sample


def converted(checkpoint, tmp_path: Path, family: str, **how) -> tuple[Path, Path]:
    """Save a checkpoint, convert it for both frameworks and verify it; returns the folders for Paddle and diffusers."""
    file = tmp_path / "original.ckpt"
    torch.save(checkpoint, file)
    report = convert_original(file, tmp_path / "paddle", family, verify=True, progress=False, **how)
    assert all(0 <= component.distance <= MODEL_TOLERANCE for component in report.components)
    convert_original(file, tmp_path / "torch", family, to="diffusers", progress=False, **how)
    return tmp_path / "paddle", tmp_path / "torch"


def assert_same_weights(folder: Path, reference: torch.nn.Module) -> None:
    """Check that diffusers loads exactly the weights of the original from the folder."""
    loaded = type(reference).from_pretrained(folder).state_dict()
    assert loaded.keys() == reference.state_dict().keys()
    for name, tensor in reference.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


# -- guided-diffusion ---------------------------------------------------------------------------------------------

GUIDED = {"image_size": 16, "num_channels": 32, "channel_mult": "1,2,3", "num_res_blocks": 1, "num_head_channels": 16}


def guided_unet(**changes) -> diffusers.UNet2DModel:
    settings = {
        "sample_size": 16,
        "block_out_channels": (32, 64, 96),
        "layers_per_block": 1,
        "attention_head_dim": 16,
        "norm_num_groups": 32,
        "attn_norm_num_groups": 32,
        "resnet_time_scale_shift": "scale_shift",
    }
    return randomize(diffusers.UNet2DModel(**{**settings, **changes}))


def test_guided_diffusion_with_learned_variance(tmp_path):
    unet = guided_unet(
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        downsample_type="resnet",
        upsample_type="resnet",
    )
    flags = tmp_path / "flags.txt"
    given = {**GUIDED, "attention_resolutions": "8,4", "learn_sigma": True, "resblock_updown": True, "use_fp16": True}
    flags.write_text('FLAGS="' + " ".join(f"--{name} {value}" for name, value in given.items()) + '"\n')
    checkpoint = originals.guided_diffusion(unet)
    folder, for_torch = converted(checkpoint, tmp_path, "guided_diffusion", config=flags)
    assert_same_weights(for_torch / "unet", unet)
    pipeline = ppdiffusers.DDPMPipeline.from_pretrained(folder)
    assert_close(outputs(pipeline.unet, (2, 3, 16, 16), 321), outputs(unet, (2, 3, 16, 16), 321))
    assert pipeline.scheduler.config.variance_type == "learned_range"
    image = pipeline(batch_size=1, num_inference_steps=2, output_type="np", generator=0).images
    assert image.shape == (1, 16, 16, 3)


def test_guided_diffusion_with_class_labels_and_new_attention_order(tmp_path):
    unet = guided_unet(
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        resnet_time_scale_shift="default",
        num_class_embeds=7,
    )
    config = {**GUIDED, "attention_resolutions": "8", "class_cond": True, "noise_schedule": "cosine"}
    config |= {"use_new_attention_order": True, "use_scale_shift_norm": False}
    checkpoint = originals.wrapped("module.", originals.guided_diffusion(unet, heads_first=False))
    folder, for_torch = converted(checkpoint, tmp_path, "guided_diffusion", config=config)
    assert_same_weights(for_torch / "unet", unet)
    ours = ppdiffusers.UNet2DModel.from_pretrained(folder, subfolder="unet")
    shape = (2, 3, 16, 16)
    assert_close(outputs(ours, shape, 5, labels=[3, 6]), outputs(unet, shape, 5, labels=[3, 6]))
    assert not (folder / "model_index.json").exists()
    assert ppdiffusers.DDPMScheduler.from_pretrained(folder, subfolder="scheduler").config.beta_schedule == (
        "squaredcos_cap_v2"
    )


def test_improved_diffusion_with_a_number_of_heads(tmp_path):
    """Images of 32 pixels have default multipliers there; four heads of 16 channels at every level."""
    unet = guided_unet(
        sample_size=32,
        block_out_channels=(32, 64, 64, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    settings = ["image_size=32", "num_channels=32", "num_res_blocks=1", "num_heads=4"]
    _, for_torch = converted(originals.guided_diffusion(unet), tmp_path, "guided_diffusion", settings=settings)
    assert_same_weights(for_torch / "unet", unet)
    with torch.no_grad():
        assert_close(
            outputs(diffusers.UNet2DModel.from_pretrained(for_torch / "unet"), (1, 3, 32, 32), 9),
            outputs(unet, (1, 3, 32, 32), 9),
        )


@pytest.mark.parametrize(
    ("flags", "betas", "variance", "prediction"),
    [
        ({}, np.linspace(1e-4, 0.02, 1000), "fixed_large", "epsilon"),
        ({"diffusion_steps": 500, "sigma_small": True}, np.linspace(2e-4, 0.04, 500), "fixed_small", "epsilon"),
        (
            {"diffusion_steps": 400, "noise_schedule": "cosine", "predict_xstart": "true"},
            # improved-diffusion (arXiv 2102.09672), equation 17
            (lambda f: np.minimum(1 - f[1:] / f[:-1], 0.999))(
                np.cos((np.arange(401) / 400 + 0.008) / 1.008 * np.pi / 2) ** 2
            ),
            "fixed_large",
            "sample",
        ),
    ],
)
def test_guided_diffusion_noise_schedule(tmp_path, flags, betas, variance, prediction):
    unet = guided_unet(down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3)
    torch.save(originals.guided_diffusion(unet), tmp_path / "a.pt")
    config = {**GUIDED, "attention_resolutions": "1", **flags}
    convert_original(tmp_path / "a.pt", tmp_path / "out", "guided_diffusion", config=config, progress=False)
    scheduler = ppdiffusers.DDPMPipeline.from_pretrained(tmp_path / "out").scheduler
    assert_close(np.asarray(scheduler.betas), betas, 1e-5)
    assert (scheduler.config.variance_type, scheduler.config.prediction_type) == (variance, prediction)


@pytest.mark.parametrize("heads_first", [True, False])
def test_order_of_queries_keys_and_values(heads_first):
    """The attention of the original, written out, against diffusers' attention with the same weights."""
    unet = guided_unet(down_block_types=("AttnDownBlock2D",) * 3, up_block_types=("AttnUpBlock2D",) * 3)
    attention = unet.mid_block.attentions[0]
    tensors = originals.under("middle_block.1.", originals.guided_diffusion(unet, heads_first))
    x = torch.from_numpy(noise((2, 96, 4, 3)))
    tokens = x.flatten(2)  # [B, C, N]
    normed = torch.nn.functional.group_norm(tokens, 32, tensors["norm.weight"], tensors["norm.bias"])
    qkv = torch.nn.functional.conv1d(normed, tensors["qkv.weight"], tensors["qkv.bias"])  # [B, 3C, N]
    heads, width = 6, 16
    if heads_first:
        query, key, value = qkv.unflatten(1, (heads, 3, width)).unbind(2)
    else:
        query, key, value = qkv.unflatten(1, (3, heads, width)).unbind(1)
    weights = torch.einsum("bhdn,bhdm->bhnm", query, key).div(width**0.5).softmax(-1)
    mixed = torch.einsum("bhnm,bhdm->bhdn", weights, value).flatten(1, 2)
    result = tokens + torch.nn.functional.conv1d(mixed, tensors["proj_out.weight"], tensors["proj_out.bias"])
    with torch.no_grad():
        assert_close(result.reshape(x.shape), attention(x), 1e-5)


# -- DDPM ---------------------------------------------------------------------------------------------------------


def ddpm_unet(seed: int = 0) -> diffusers.UNet2DModel:
    unet = diffusers.UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 64, 96),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        attention_head_dim=None,
    )
    return randomize(unet, seed)


def test_ddpm_from_pytorch_diffusion(tmp_path):
    unet = ddpm_unet()
    how = {"settings": ["resolution=16", "model_var_type=fixedlarge"]}
    folder, for_torch = converted(originals.ddpm(unet), tmp_path, "ddpm", **how)
    assert_same_weights(for_torch / "unet", unet)
    pipeline = ppdiffusers.DDPMPipeline.from_pretrained(folder)
    assert_close(outputs(pipeline.unet, (2, 3, 16, 16), 700), outputs(unet, (2, 3, 16, 16), 700))
    assert pipeline.scheduler.config.variance_type == "fixed_large"


@pytest.mark.parametrize("ema", [True, False])
def test_ddpm_from_ddim(tmp_path, ema):
    trained, averaged = ddpm_unet(1), ddpm_unet(2)
    config = tmp_path / "cifar10.yml"
    config.write_text(
        "data:\n    image_size: 16\n    channels: 3\n"
        "model:\n    type: simple\n    in_channels: 3\n    out_ch: 3\n    ch: 32\n    ch_mult: [1, 2, 3]\n"
        "    num_res_blocks: 2\n    attn_resolutions: [8, ]\n    dropout: 0.1\n    var_type: fixedlarge\n"
        "    resamp_with_conv: True\n"
        "diffusion:\n    beta_schedule: quad\n    beta_start: 0.0002\n    beta_end: 0.03\n"
        "    num_diffusion_timesteps: 500\n"
    )
    states = [originals.wrapped("module.", originals.ddpm(unet)) for unet in (trained, averaged)]
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}
    checkpoint = [states[0], optimizer, 5, 100, states[1]]
    folder, for_torch = converted(checkpoint, tmp_path, "ddpm", config=config, ema=ema)
    assert_same_weights(for_torch / "unet", averaged if ema else trained)
    scheduler = ppdiffusers.DDPMPipeline.from_pretrained(folder).scheduler
    assert scheduler.config.num_train_timesteps == 500
    betas = np.linspace(0.0002**0.5, 0.03**0.5, 500) ** 2
    assert_close(np.asarray(scheduler.betas), betas, 1e-5)


# -- CompVis ------------------------------------------------------------------------------------------------------

LDM_YAML = """
model:
  base_learning_rate: 2.0e-06
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.0015
    linear_end: 0.0195
    num_timesteps_cond: 1
    timesteps: 1000
    first_stage_key: image
    image_size: 8
    channels: 3
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        image_size: 8
        in_channels: 3
        out_channels: 3
        model_channels: 32
        attention_resolutions:
        - 2
        num_res_blocks: 1
        channel_mult:
        - 1
        - 2
        num_head_channels: 16
    first_stage_config:
      target: ldm.models.autoencoder.VQModelInterface
      params:
        embed_dim: 3
        n_embed: 41
        ddconfig:
          double_z: false
          z_channels: 5
          resolution: 16
          in_channels: 3
          out_ch: 3
          ch: 32
          ch_mult:
          - 1
          - 2
          num_res_blocks: 1
          attn_resolutions: [8]
          dropout: 0.0
        lossconfig:
          target: torch.nn.Identity
    cond_stage_config: __is_unconditional__
data:
  params:
    batch_size: 12
"""


def ldm_unet(seed: int) -> diffusers.UNet2DModel:
    unet = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=16,
    )
    return randomize(unet, seed)


def ldm_vq() -> diffusers.VQModel:
    vq = diffusers.VQModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        latent_channels=5,
        vq_embed_dim=3,
        num_vq_embeddings=41,
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
    )
    return randomize(vq, 3)


def ldm_checkpoint(trained, averaged, vq) -> dict:
    """A checkpoint of Lightning and LitEma; names of averaged weights have no dots."""
    ema = {
        f"model_ema.diffusion_model{name.replace('.', '')}": tensor
        for name, tensor in originals.guided_diffusion(averaged).items()
    }
    state = {
        "betas": torch.rand(1000),
        "scale_factor": torch.tensor(0.75),
        **originals.wrapped("model.diffusion_model.", originals.guided_diffusion(trained)),
        **ema,
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(3),
        **originals.wrapped("first_stage_model.", originals.vq_model(vq)),
        "first_stage_model.loss.discriminator.main.0.weight": torch.rand(4, 3, 4, 4),
    }
    return {"epoch": 1, "global_step": 2, "pytorch-lightning_version": "1.4.2", "state_dict": state}


@pytest.mark.parametrize("ema", [True, False])
def test_latent_diffusion(tmp_path, ema):
    trained, averaged, vq = ldm_unet(1), ldm_unet(2), ldm_vq()
    config = tmp_path / "config.yaml"
    config.write_text(LDM_YAML)
    checkpoint = ldm_checkpoint(trained, averaged, vq)
    folder, for_torch = converted(checkpoint, tmp_path, "compvis_ldm", config=config, ema=ema)
    unet = averaged if ema else trained
    assert_same_weights(for_torch / "unet", unet)
    assert_same_weights(for_torch / "vqvae", vq)
    pipeline = ppdiffusers.LDMPipeline.from_pretrained(folder)
    assert_close(outputs(pipeline.unet, (2, 3, 8, 8), 99), outputs(unet, (2, 3, 8, 8), 99))
    image = noise((2, 3, 16, 16))
    with torch.no_grad():
        theirs = vq.encode(torch.from_numpy(image)).latents
    assert_close(pipeline.vqvae.encode(paddle.to_tensor(image)).latents, theirs)
    assert pipeline.vqvae.config.scaling_factor == 0.75
    result = pipeline(batch_size=2, num_inference_steps=3, output_type="np", generator=0).images
    assert result.shape == (2, 16, 16, 3)


# -- score_sde ----------------------------------------------------------------------------------------------------

NCSNPP = {
    "model": {
        **{"name": "ncsnpp", "nf": 32, "ch_mult": [1, 4], "num_res_blocks": 1, "attn_resolutions": [8]},
        **{"progressive": "output_skip", "progressive_input": "input_skip", "progressive_combine": "sum"},
        **{"embedding_type": "fourier", "resblock_type": "biggan", "fir": True, "fir_kernel": [1, 3, 3, 1]},
        **{"sigma_min": 0.01, "sigma_max": 378, "num_scales": 2000, "scale_by_sigma": True, "skip_rescale": True},
    },
    "data": {"image_size": 16, "num_channels": 3, "centered": False},
    "training": {"sde": "vesde", "continuous": True},
    "sampling": {"snr": 0.075, "n_steps_each": 1},
}


def ncsnpp_unet(seed: int) -> diffusers.UNet2DModel:
    unet = diffusers.UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 128),
        layers_per_block=1,
        center_input_sample=True,
        time_embedding_type="fourier",
        attention_head_dim=None,
        down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        up_block_types=("AttnSkipUpBlock2D", "SkipUpBlock2D"),
        mid_block_scale_factor=2**0.5,
        norm_eps=1e-6,
        norm_num_groups=None,
    )
    return randomize(unet, seed)


def ncsnpp_checkpoint(trained, averaged, **naming) -> dict:
    model = originals.ncsnpp(trained, **naming)
    averages = originals.ncsnpp(averaged, **naming)
    averages.pop("all_modules.0.W")
    return {
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}},
        "model": originals.wrapped("module.", {"sigmas": torch.rand(2000), **model}),
        "ema": {"decay": 0.999, "num_updates": 7, "shadow_params": list(averages.values())},
        "step": 9,
    }


@pytest.mark.parametrize(
    ("ema", "naming"), [(True, {}), (False, {"combine": "Conv"}), (True, {"pyramids_counted": False})]
)
def test_ncsnpp(tmp_path, ema, naming):
    trained, averaged = ncsnpp_unet(1), ncsnpp_unet(2)
    averaged.time_proj.weight.data = trained.time_proj.weight.data  # random and not trained
    checkpoint = ncsnpp_checkpoint(trained, averaged, **naming)
    folder, for_torch = converted(checkpoint, tmp_path, "ncsnpp", config=NCSNPP, ema=ema)
    unet = averaged if ema else trained
    assert_same_weights(for_torch / "unet", unet)
    pipeline = ppdiffusers.ScoreSdeVePipeline.from_pretrained(folder)
    assert_close(outputs(pipeline.unet, (2, 3, 16, 16), 1.7), outputs(unet, (2, 3, 16, 16), 1.7))
    assert pipeline.scheduler.config.sigma_max == 378
    assert pipeline(num_inference_steps=2, output_type="np", generator=0).images.shape == (1, 16, 16, 3)


# -- Dance Diffusion ----------------------------------------------------------------------------------------------


def audio_unet(seed: int) -> diffusers.UNet1DModel:
    unet = diffusers.UNet1DModel(
        sample_size=96,
        sample_rate=100,
        extra_in_channels=16,
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("DownBlock1DNoSkip", "DownBlock1D", "DownBlock1D", "AttnDownBlock1D"),
        up_block_types=("AttnUpBlock1D", "UpBlock1D", "UpBlock1D", "UpBlock1DNoSkip"),
    )
    return randomize(unet, seed)


@pytest.mark.parametrize("ema", [True, False])
def test_dance_diffusion(tmp_path, ema):
    trained, averaged = audio_unet(1), audio_unet(2)
    state = originals.wrapped("diffusion.", originals.dance_diffusion(trained))
    state |= originals.wrapped("diffusion_ema.", originals.dance_diffusion(averaged))
    how = {"settings": ["sample_rate=100", "sample_size=96"], "ema": ema}
    folder, for_torch = converted({"state_dict": state, "epoch": 3}, tmp_path, "dance_diffusion", **how)
    unet = averaged if ema else trained
    assert_same_weights(for_torch / "unet", unet)
    pipeline = ppdiffusers.DanceDiffusionPipeline.from_pretrained(folder)
    assert_close(outputs(pipeline.unet, (2, 2, 96), 0.3), outputs(unet, (2, 2, 96), 0.3))
    assert pipeline(num_inference_steps=2, audio_length_in_s=0.9, generator=0).audios.shape == (1, 2, 90)
