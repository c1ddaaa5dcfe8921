"""Original checkpoints and configurations that cannot be converted: one error, and no output."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml

import ppdiffusers
from ppdiffusers.conversion import original
from ppdiffusers.conversion.original import convert_original
from ppdiffusers.convert.checkpoints.families import FAMILIES
from ppdiffusers.core.errors import (
    ConfigError,
    ConversionError,
    InputError,
    PPDiffusersError,
    SourceError,
    UnsafeFileError,
    WeightsError,
)
from tests.conversion.support import torch_bits
from tests.conversion.test_originals import (
    GUIDED,
    LDM_YAML,
    NCSNPP,
    audio_unet,
    ddpm_unet,
    guided_unet,
    ldm_checkpoint,
    ldm_unet,
    ldm_vq,
    ncsnpp_checkpoint,
    ncsnpp_unet,
)
from tests.support import originals

FLAGS = {**GUIDED, "attention_resolutions": "4"}


def refused(kind, checkpoint, tmp_path, family, **how) -> list[str]:
    """Convert, expect an error, and return the problems that it lists."""
    file = tmp_path / "original.ckpt"
    if checkpoint is not None:
        torch.save(checkpoint, file)
    with pytest.raises(kind) as error:
        convert_original(file, tmp_path / "out", family, progress=False, **how)
    assert not (tmp_path / "out").exists()
    return error.value.problems


@pytest.fixture
def guided() -> dict[str, torch.Tensor]:
    unet = guided_unet(
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    return originals.guided_diffusion(unet)


def test_missing_unexpected_and_misshapen_tensors(tmp_path, guided):
    del guided["input_blocks.1.0.in_layers.0.bias"], guided["middle_block.1.qkv.weight"]
    guided["out.2.weight"] = torch.zeros(3, 32, 1, 1)
    guided["extra.weight"] = torch.zeros(4)
    assert sorted(refused(WeightsError, guided, tmp_path, "guided_diffusion", config=FLAGS)) == [
        "unet: missing: input_blocks.1.0.in_layers.0.bias (32,)",
        "unet: missing: middle_block.1.qkv.weight (288, 96, 1)",
        "unet: out.2.weight: shape (3, 32, 1, 1), expected (3, 32, 3, 3)",
        "unet: unexpected: extra.weight (4,)",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_res_blocks": 2}, "missing: input_blocks.2.0.in_layers.0.weight"),
        ({"attention_resolutions": "8,4"}, "missing: input_blocks.3.1.norm.weight"),
        ({"resblock_updown": True}, "unexpected: input_blocks.2.0.op.weight"),
        ({"learn_sigma": True}, "out.2.weight: shape (3, 32, 3, 3), expected (6, 32, 3, 3)"),
        ({"use_scale_shift_norm": False}, "emb_layers.1.weight: shape (64, 128), expected (32, 128)"),
    ],
)
def test_configuration_of_another_network(tmp_path, guided, changes, message):
    problems = refused(WeightsError, guided, tmp_path, "guided_diffusion", config={**FLAGS, **changes})
    assert any(message in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"large_size": 256, "small_size": 64}, "large_size is unknown"),
        ({"noise_schedule": "sqrt"}, "noise_schedule is 'sqrt'"),
        ({"diffusion_steps": 4000, "rescale_timesteps": True}, "rescale_timesteps"),
        ({"num_head_channels": -1, "num_heads": 2, "attention_resolutions": "8,4"}, "num_heads is 2"),
        ({"num_head_channels": -1, "num_heads_upsample": 2}, "num_heads_upsample 2"),
        ({"channel_mult": ""}, "channel_mult is missing"),
        ({"channel_mult": "2,2"}, "the first level has 64 channels"),
    ],
)
def test_unsupported_flags(tmp_path, guided, changes, message):
    config = {**FLAGS, "image_size": 17, **changes} if "channel_mult" in changes else {**FLAGS, **changes}
    problems = refused(ConfigError, guided, tmp_path, "guided_diffusion", config=config)
    assert any(message in problem for problem in problems), problems


# checkpoints of several files: test_glide.py
@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if not family.parts])
def test_checkpoint_of_another_family(tmp_path, family):
    config = {
        "guided_diffusion": FLAGS,
        "ddpm": {"resolution": 16},
        "compvis_ldm": yaml.safe_load(LDM_YAML),
        "ncsnpp": NCSNPP,
        "dance_diffusion": {"sample_size": 9, "sample_rate": 9},
        "fastdiff": {},
        "bddm": {},
        "grad_tts": {},
        "hifigan": {},
    }[family]
    checkpoint = {"state_dict": {"layers.0.weight": torch.zeros(2, 2)}}
    problems = refused(WeightsError, checkpoint, tmp_path, family, config=config)
    assert any("layers" in problem or "state_dict" in problem for problem in problems)


def test_damaged_and_missing_files(tmp_path, guided):
    file = tmp_path / "original.ckpt"
    refused(SourceError, None, tmp_path, "guided_diffusion", config=FLAGS)
    torch.save(guided, file)
    whole = file.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 10):
        file.write_bytes(whole[:length])
        refused(WeightsError, None, tmp_path, "guided_diffusion", config=FLAGS)
    # a changed byte of a tensor: the checksum fails while the output is written, and no output remains
    at = whole.index(guided["out.2.weight"].numpy().tobytes())
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    refused(WeightsError, None, tmp_path, "guided_diffusion", config=FLAGS)


class Payload:
    def __reduce__(self):
        return eval, ("1",)


def test_code_in_a_pickle(tmp_path, guided):
    problems = refused(UnsafeFileError, {**guided, "note": Payload()}, tmp_path, "guided_diffusion", config=FLAGS)
    assert any("eval" in problem for problem in problems)


def test_unknown_family_and_options(tmp_path):
    refused(InputError, {"a": torch.zeros(1)}, tmp_path, "stylegan")
    with pytest.raises(InputError, match="pdparams"):
        convert_original("x", tmp_path / "out", "ddpm", to="diffusers", format="pdparams")


def test_existing_output_needs_overwrite(tmp_path, guided):
    file = tmp_path / "original.ckpt"
    torch.save(guided, file)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/kept.txt").write_text("kept")
    with pytest.raises(PPDiffusersError, match="not empty"):
        convert_original(file, tmp_path / "out", "guided_diffusion", config=FLAGS, progress=False)
    assert (tmp_path / "out/kept.txt").read_text() == "kept"
    convert_original(file, tmp_path / "out", "guided_diffusion", config=FLAGS, overwrite=True, progress=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model_index.json", "scheduler", "unet"]


def test_dtype_and_format(tmp_path, guided):
    file = tmp_path / "original.ckpt"
    torch.save(guided, file)
    how = {"config": FLAGS, "progress": False, "dtype": "bfloat16"}
    report = convert_original(file, tmp_path / "ours", "guided_diffusion", format="safetensors", verify=True, **how)
    assert report.components[0].dtype == "bfloat16"
    convert_original(file, tmp_path / "theirs", "guided_diffusion", to="diffusers", verify=True, **how)
    assert {dtype for dtype, _, _ in torch_bits(tmp_path / "theirs/unet").values()} == {"torch.bfloat16"}
    unet = ppdiffusers.UNet2DModel.from_pretrained(tmp_path / "ours", subfolder="unet")
    rounded = guided["out.2.weight"].bfloat16().float().numpy()
    np.testing.assert_array_equal(unet.conv_out.weight.numpy(), rounded)


def test_verification_finds_a_wrong_network(tmp_path, guided, monkeypatch):
    """The folder for the other framework computes something else."""
    file = tmp_path / "original.ckpt"
    torch.save(guided, file)
    plan = original.make_original_plan

    def wrong_plan(*arguments, **files):
        made = plan(*arguments, **files)
        if arguments[-1].to == "diffusers":
            made.components[0].config["config.json"]["flip_sin_to_cos"] = False
        return made

    monkeypatch.setattr(original, "make_original_plan", wrong_plan)
    with pytest.raises(ConversionError, match="disagree"):
        convert_original(file, tmp_path / "out", "guided_diffusion", config=FLAGS, verify=True, progress=False)
    assert not (tmp_path / "out").exists()


# -- the other families -------------------------------------------------------------------------------------------


def test_ddpm_without_resolution(tmp_path):
    problems = refused(ConfigError, originals.ddpm(ddpm_unet()), tmp_path, "ddpm", settings=["beta_schedule=jsd"])
    assert any("resolution is missing" in problem for problem in problems)
    assert any("beta_schedule is 'jsd'" in problem for problem in problems)


def test_ddpm_without_a_level(tmp_path):
    tensors = {name: t for name, t in originals.ddpm(ddpm_unet()).items() if not name.startswith("up.2")}
    problems = refused(WeightsError, tensors, tmp_path, "ddpm", settings=["resolution=16"])
    assert "unet: missing: up.2.block.0.norm1.weight (192,)" in problems


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ldm.models.autoencoder.VQModelInterface", "ldm.models.autoencoder.AutoencoderKL", "AutoencoderKL"),
        ("__is_unconditional__", "{target: ldm.modules.encoders.modules.ClassEmbedder}", "cond_stage_config"),
        ("        num_head_channels: 16", "        use_spatial_transformer: true", "use_spatial_transformer is True"),
        ("    image_size: 8\n    channels", "    channels", "model.params.image_size is missing"),
        ("double_z: false", "double_z: true", "double_z is True"),
        ("    timesteps: 1000", "    timesteps: 1000\n    parameterization: v", "parameterization is 'v'"),
        ("        channel_mult:", "        more: 3\n        channel_mult:", "unet_config.params.more is unknown"),
    ],
)
def test_unsupported_latent_diffusion(tmp_path, old, new, message):
    assert old in LDM_YAML
    checkpoint = ldm_checkpoint(ldm_unet(1), ldm_unet(2), ldm_vq())
    config = yaml.safe_load(LDM_YAML.replace(old, new, 1))
    problems = refused(ConfigError, checkpoint, tmp_path, "compvis_ldm", config=config)
    assert any(message in problem for problem in problems), problems


def test_incomplete_latent_diffusion(tmp_path):
    config = yaml.safe_load(LDM_YAML)
    checkpoint = ldm_checkpoint(ldm_unet(1), ldm_unet(2), ldm_vq())
    state = checkpoint["state_dict"]
    del state["model_ema.diffusion_modelout2bias"]
    problems = refused(WeightsError, checkpoint, tmp_path, "compvis_ldm", config=config)
    assert problems == ["missing: average of out.2.bias (diffusion_modelout2bias)"]
    del state["first_stage_model.decoder.up.1.upsample.conv.weight"], state["model.diffusion_model.out.2.bias"]
    problems = refused(WeightsError, checkpoint, tmp_path, "compvis_ldm", config=config, ema=False)
    assert problems == [
        "unet: missing: out.2.bias (3,)",
        "vqvae: missing: decoder.up.1.upsample.conv.weight (64, 64, 3, 3)",
    ]


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("model", {"progressive": "none", "progressive_input": "residual"}, "model.progressive_input is 'residual'"),
        ("model", {"embedding_type": "positional"}, "model.embedding_type is 'positional'"),
        ("model", {"fir": False}, "model.fir is False"),
        ("model", {"attn_resolutions": [16]}, "attention over [32] channels"),
        ("training", {"sde": "vpsde"}, "training.sde is 'vpsde'"),
        ("data", {"num_channels": 1}, "data.num_channels is 1"),
    ],
)
def test_unsupported_score_networks(tmp_path, section, changes, message):
    checkpoint = ncsnpp_checkpoint(ncsnpp_unet(1), ncsnpp_unet(2))
    config = {**NCSNPP, section: {**NCSNPP[section], **changes}}
    problems = refused(ConfigError, checkpoint, tmp_path, "ncsnpp", config=config)
    assert any(message in problem for problem in problems), problems


def test_audio_with_attention_at_other_levels(tmp_path):
    tensors = originals.dance_diffusion(audio_unet(1))
    widening = {f"net.3.main.7.main.{n}.qkv_proj.weight": torch.zeros(192, 64, 1) for n in (2, 4, 6)}
    how = {"settings": ["sample_rate=100", "sample_size=96"]}
    problems = refused(ConfigError, {**tensors, **widening}, tmp_path, "dance_diffusion", **how)
    assert problems == ["levels [2] have attention and a different width than the level around them"]
    without = {name: tensor for name, tensor in tensors.items() if "qkv" not in name}
    problems = refused(ConfigError, without, tmp_path, "dance_diffusion")
    assert any("innermost" in problem for problem in problems)
    assert any("sample_rate is missing" in problem for problem in problems)


def test_averages_that_do_not_match(tmp_path):
    checkpoint = ncsnpp_checkpoint(ncsnpp_unet(1), ncsnpp_unet(2))
    checkpoint["ema"]["shadow_params"].pop(3)
    refused(WeightsError, checkpoint, tmp_path, "ncsnpp", config=NCSNPP)
    file = tmp_path / "original.ckpt"
    convert_original(file, tmp_path / "trained", "ncsnpp", config=NCSNPP, ema=False, progress=False)
    assert (tmp_path / "trained/model_index.json").is_file()
