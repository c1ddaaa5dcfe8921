"""AutoencoderKL against diffusers: encoding, decoding, slicing, tiling, sampling."""

import diffusers
import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import AutoencoderKL, RecordedNoise
from ppdiffusers.core.errors import ConfigError, InputError
from tests.models.support import assert_same_keys, both, twins
from tests.support.parity import assert_close, noise

SMALL = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_size": 32,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
}
CONFIGS = {
    "sd": SMALL,
    "two layers, three levels": {
        **SMALL, "layers_per_block": 2, "block_out_channels": (8, 16, 32),
        "down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3,
    },
    "attention in blocks": {
        **SMALL, "down_block_types": ("AttnDownEncoderBlock2D", "DownEncoderBlock2D"),
        "up_block_types": ("UpDecoderBlock2D", "AttnUpDecoderBlock2D"),
    },
    "no quant convolutions": {
        **SMALL, "use_quant_conv": False, "use_post_quant_conv": False, "mid_block_add_attention": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("size", [(48, 64), (37, 51)])
@pytest.mark.parametrize("name", CONFIGS)
def test_encode_and_decode(tmp_path, name, size):
    ours, reference = twins(tmp_path, diffusers.AutoencoderKL(**CONFIGS[name]))
    (x, tx), (z, tz) = both(noise((3, 3, *size))), both(noise((2, 4, 9, 13), "latents"))
    mine, theirs = ours.encode(x).latent_dist, reference.encode(tx).latent_dist
    for part in ("parameters", "mean", "std", "var"):
        assert_close(getattr(mine, part), getattr(theirs, part), what=part)
    assert_close(mine.kl(), theirs.kl(), what="kl")
    assert_close(mine.nll(mine.mean + 1), theirs.nll(theirs.mean + 1), what="nll")
    assert_close(ours.decode(z).sample, reference.decode(tz).sample)
    assert_close(ours(x, return_dict=False)[0], reference(tx).sample, what="forward")


def test_sampling(tmp_path):
    ours, reference = twins(tmp_path, diffusers.AutoencoderKL(**SMALL))
    x, tx = both(noise((2, 3, 16, 16)))
    recorded = noise((2, 4, 8, 8), "recorded")
    theirs = reference.encode(tx).latent_dist
    expected = theirs.mean + theirs.std * torch.from_numpy(recorded)
    assert_close(ours.encode(x).latent_dist.sample(generator=RecordedNoise([recorded])), expected)
    generator = torch.Generator().manual_seed(5)
    assert_close(ours.encode(x).latent_dist.sample(generator=5), theirs.sample(generator=generator))


@pytest.mark.parametrize("size", [(50, 70), (32, 90), (64, 64)])
def test_tiling_and_slicing(tmp_path, size):
    ours, reference = twins(tmp_path, diffusers.AutoencoderKL(**SMALL))
    (x, tx), (z, tz) = both(noise((2, 3, *size))), both(noise((2, 4, size[0] // 2, size[1] // 2), "latents"))
    whole = ours.decode(z).sample.numpy()
    for network in (ours, reference):
        network.enable_slicing()
    assert_close(ours.decode(z).sample, whole, 1e-6, "slices")
    for network in (ours, reference):
        network.enable_tiling()
    assert_close(ours.encode(x).latent_dist.parameters, reference.encode(tx).latent_dist.parameters, what="encode")
    assert_close(ours.decode(z).sample, reference.decode(tz).sample, what="decode")
    ours.disable_tiling()
    ours.disable_slicing()
    assert np.array_equal(ours.decode(z).sample.numpy(), whole)


def test_legacy_attention_names(tmp_path):
    """Released SD 1.x autoencoders have the keys query, key, value and proj_attn."""
    from safetensors.torch import load_file, save_file

    ours, _ = twins(tmp_path, diffusers.AutoencoderKL(**SMALL))
    legacy_names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    for new, name in legacy_names.items():
        tensors = {key.replace(f"attentions.0.{new}.", f"attentions.0.{name}."): v for key, v in tensors.items()}
    save_file(tensors, path, metadata={"format": "pt"})
    assert any(".query." in key for key in tensors)
    z = paddle.to_tensor(noise((1, 4, 8, 8)))
    again = AutoencoderKL.from_pretrained(tmp_path)
    assert np.array_equal(again.decode(z).sample.numpy(), ours.decode(z).sample.numpy())


def test_gradients_flow(tmp_path):
    ours, reference = twins(tmp_path, diffusers.AutoencoderKL(**SMALL))
    ours.train()
    x, tx = both(noise((1, 3, 16, 16)))
    (ours(x).sample ** 2).mean().backward()
    (reference(tx).sample ** 2).mean().backward()
    theirs = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        if name.endswith("conv_in.weight"):
            assert_close(parameter.grad, theirs[name].grad, 1e-3, name)


def test_bad_configuration_and_inputs():
    with pytest.raises(ConfigError, match="'Nothing'"):
        AutoencoderKL(down_block_types=("Nothing",))
    network = AutoencoderKL(**SMALL)
    with pytest.raises(InputError, match=r"\[batch, 3, height, width\]"):
        network.encode(paddle.zeros([1, 4, 8, 8]))
    with pytest.raises(InputError, match=r"\[batch, 4, height, width\]"):
        network.decode(paddle.zeros([1, 3, 8, 8]))


def test_keys_and_shapes_of_the_released_network():
    config = {
        "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "sample_size": 512,
        "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    }  # fmt: skip
    assert_same_keys(AutoencoderKL, diffusers.AutoencoderKL, config)
