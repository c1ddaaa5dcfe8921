"""Pipeline folders converted to original checkpoints: exactly the tensors that came from there."""

from __future__ import annotations

import diffusers
import pytest
import torch
import yaml
from safetensors.torch import load_file

from ppdiffusers.conversion.original import convert_original
from ppdiffusers.conversion.to_original import convert_to_original
from ppdiffusers.core.errors import ConfigError, ConversionError, InputError
from tests.conversion.test_originals import (
    GUIDED,
    LDM_YAML,
    NCSNPP,
    audio_unet,
    ddpm_unet,
    guided_unet,
    ldm_unet,
    ldm_vq,
    ncsnpp_unet,
)
from tests.support import originals
from tests.support.parity import randomize


def guided() -> torch.nn.Module:
    return guided_unet(
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        downsample_type="resnet",
        upsample_type="resnet",
    )


def ldm() -> dict[str, torch.Tensor]:
    unet = originals.wrapped("model.diffusion_model.", originals.guided_diffusion(ldm_unet(1)))
    return {**unet, **originals.wrapped("first_stage_model.", originals.vq_model(ldm_vq()))}


FLAGS = {**GUIDED, "attention_resolutions": "8,4", "resblock_updown": True}
CASES = {
    "guided_diffusion": (lambda: originals.guided_diffusion(guided()), FLAGS, []),
    "guided_diffusion, new order": (
        lambda: originals.guided_diffusion(guided(), heads_first=False),
        {**FLAGS, "use_new_attention_order": True},
        ["use_new_attention_order=True"],
    ),
    "ddpm": (lambda: originals.ddpm(ddpm_unet()), {"resolution": 16}, []),
    "compvis_ldm": (ldm, yaml.safe_load(LDM_YAML), []),
    "ncsnpp": (lambda: originals.ncsnpp(ncsnpp_unet(1)), NCSNPP, []),
    "dance_diffusion": (
        lambda: originals.dance_diffusion(audio_unet(1)),
        {"sample_size": 96, "sample_rate": 100},
        [],
    ),
}


@pytest.mark.parametrize("to", ["paddle", "diffusers"])
@pytest.mark.parametrize("case", CASES)
def test_round_trip_is_bit_exact(tmp_path, case, to):
    make, config, settings = CASES[case]
    family, tensors = case.partition(",")[0], make()
    torch.save(tensors, tmp_path / "original.pt")
    convert_original(tmp_path / "original.pt", tmp_path / "folder", family, config=config, to=to, progress=False)
    report = convert_to_original(tmp_path / "folder", tmp_path / "back", family, settings=settings, progress=False)
    back = load_file(tmp_path / "back/model.safetensors")
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["model.safetensors"]
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(back[name], tensor), name
    assert report.components[0].tensors == len(tensors)
    # the file can be converted again
    again = tmp_path / "back/model.safetensors"
    convert_original(again, tmp_path / "again", family, config=config, to=to, progress=False)


def test_network_of_another_family(tmp_path):
    unet = randomize(diffusers.UNet2DModel(**{**ddpm_unet().config, "freq_shift": 0, "norm_eps": 1e-5}))
    unet.save_pretrained(tmp_path / "folder/unet")
    with pytest.raises(ConversionError) as error:
        convert_to_original(tmp_path / "folder", tmp_path / "out", "ddpm", progress=False)
    assert "freq_shift is 0, expected 1" in str(error.value)
    assert "norm_eps is 1e-05, expected 1e-06" in str(error.value)
    ncsnpp_unet(1).save_pretrained(tmp_path / "skip/unet")
    with pytest.raises(ConversionError, match="time_embedding_type is 'fourier'"):
        convert_to_original(tmp_path / "skip", tmp_path / "out", "guided_diffusion", progress=False)
    assert not (tmp_path / "out").exists()


def test_attention_in_down_blocks_only(tmp_path):
    config = {**ddpm_unet().config, "up_block_types": ("UpBlock2D",) * 3}
    randomize(diffusers.UNet2DModel(**config)).save_pretrained(tmp_path / "folder/unet")
    with pytest.raises(ConversionError, match="up blocks do not have attention"):
        convert_to_original(tmp_path / "folder", tmp_path / "out", "ddpm", progress=False)


def test_missing_networks_and_unknown_settings(tmp_path):
    ddpm_unet().save_pretrained(tmp_path / "folder/unet")
    with pytest.raises(ConversionError, match="vqvae"):
        convert_to_original(tmp_path / "folder", tmp_path / "out", "compvis_ldm", progress=False)
    with pytest.raises(ConfigError, match="heads is unknown"):
        convert_to_original(tmp_path / "folder", tmp_path / "out", "ddpm", settings=["heads=3"], progress=False)
    with pytest.raises(InputError, match="gan"):
        convert_to_original(tmp_path / "folder", tmp_path / "out", "gan", progress=False)


def test_cast(tmp_path):
    unet = ddpm_unet()
    unet.save_pretrained(tmp_path / "folder/unet")
    convert_to_original(tmp_path / "folder", tmp_path / "out", "ddpm", dtype="float16", progress=False)
    found = load_file(tmp_path / "out/model.safetensors")
    for name, tensor in originals.ddpm(unet).items():
        assert torch.equal(found[name], tensor.half()), name
