"""Checkpoints of diffusers before 0.14, made from current ones by renaming, load with the same values."""

import diffusers
import numpy as np
import pytest
import safetensors.torch

from ppdiffusers import AutoencoderKL, UNet2DModel
from tests.support.checkpoints import tiny_vae
from tests.support.parity import randomize

OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def tiny_unet() -> diffusers.UNet2DModel:
    unet = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=8,
    )
    return randomize(unet)


@pytest.mark.parametrize("norm", ["group_norm", "norm"])
@pytest.mark.parametrize(("make", "ours"), [(tiny_vae, AutoencoderKL), (tiny_unet, UNet2DModel)])
def test_old_names(tmp_path, make, ours, norm):
    reference = make()
    reference.save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    expected = {key: value.numpy() for key, value in ours.from_pretrained(tmp_path).state_dict().items()}
    old = {}
    for key, value in safetensors.torch.load_file(path).items():
        for new_name, old_name in {**OLD, "group_norm": norm}.items():
            key = key.replace(f".{new_name}.", f".{old_name}.") if ".attentions." in key else key
        old[key] = value
    assert any(key.endswith("proj_attn.weight") for key in old)
    assert not any(".to_q." in key for key in old)
    safetensors.torch.save_file(old, path)
    loaded = {key: value.numpy() for key, value in ours.from_pretrained(tmp_path).state_dict().items()}
    assert list(loaded) == list(expected)
    assert all(np.array_equal(loaded[key], expected[key]) for key in expected)
