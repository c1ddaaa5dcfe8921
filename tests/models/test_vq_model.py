"""VQModel against diffusers: encoding, the codebook, decoding from latents and from codes, gradients."""

import diffusers
import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import VQModel
from ppdiffusers.conversion.folder import convert_diffusers_to_paddle, convert_paddle_to_diffusers
from ppdiffusers.core.errors import ConfigError, InputError
from tests.models.support import assert_same_keys, both, twins
from tests.support.parity import assert_close, noise

SMALL = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 3,
    "num_vq_embeddings": 37,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
}
CONFIGS = {
    "latent diffusion": SMALL,
    "vq diffusion": {**SMALL, "latent_channels": 8, "vq_embed_dim": 8, "num_vq_embeddings": 64, "layers_per_block": 2},
    "codebook dimension unlike latent_channels": {**SMALL, "vq_embed_dim": 5},
    "attention in blocks": {
        **SMALL,
        "down_block_types": ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        "up_block_types": ("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
    },
    "no attention in the mid block": {**SMALL, "mid_block_add_attention": False},
}
RELEASED = {
    # CompVis/ldm-celebahq-256
    "f4": {
        "block_out_channels": (128, 256, 512),
        "layers_per_block": 2,
        "num_vq_embeddings": 8192,
        "sample_size": 256,
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
    },
    # microsoft/vq-diffusion-ithq
    "ithq": {
        "block_out_channels": (128, 128, 256, 256, 512),
        "layers_per_block": 2,
        "latent_channels": 256,
        "num_vq_embeddings": 4096,
        "vq_embed_dim": 256,
        "down_block_types": ("DownEncoderBlock2D",) * 4 + ("AttnDownEncoderBlock2D",),
        "up_block_types": ("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 4,
    },
}


@pytest.mark.parametrize("size", [(16, 24), (13, 19)])
@pytest.mark.parametrize("name", CONFIGS)
def test_encode_and_decode(tmp_path, name, size):
    ours, reference = twins(tmp_path, diffusers.VQModel(**CONFIGS[name]))
    x, tx = both(noise((2, 3, *size)))
    assert_close(ours.encode(x).latents, reference.encode(tx).latents, what="latents")
    z, tz = both(noise((2, ours.latent_channels, 5, 7), "latents"))
    mine, theirs = ours.decode(z), reference.decode(tz)
    assert_close(mine.sample, theirs.sample, what="quantized")
    assert_close(mine.commit_loss, theirs.commit_loss, 1e-5, "loss")
    mine, theirs = (
        model.decode(h, force_not_quantize=True, return_dict=False) for model, h in ((ours, z), (reference, tz))
    )
    assert_close(mine[0], theirs[0], what="not quantized")
    assert mine[1].shape == list(theirs[1].shape)


def test_forward(tmp_path):
    ours, reference = twins(tmp_path, diffusers.VQModel(**SMALL))
    x, tx = both(noise((2, 3, 16, 24)))
    assert_close(ours(x).sample, reference(tx).sample)
    assert_close(ours(x, return_dict=False)[1], reference(tx, return_dict=False)[1], what="loss")


def test_nearest_entries(tmp_path):
    ours, reference = twins(tmp_path, diffusers.VQModel(**SMALL))
    z, tz = both(noise((2, 3, 9, 11)))
    mine, loss, indices = ours.quantize(z)
    theirs, their_loss, (_, _, their_indices) = reference.quantize(tz)
    assert_close(mine, theirs, 1e-6, "entries")
    assert_close(loss, their_loss, 1e-5, "loss")
    np.testing.assert_array_equal(indices.numpy(), their_indices.numpy())
    assert len(np.unique(indices.numpy())) > 5


def test_quantized_entries_are_unchanged(tmp_path):
    ours, _ = twins(tmp_path, diffusers.VQModel(**SMALL))
    codes = paddle.arange(36).reshape([-1])
    entries = ours.quantize.get_codebook_entry(codes, (1, 4, 9, 3))
    np.testing.assert_array_equal(ours.quantize(entries)[2].numpy(), codes.numpy())


def test_decode_from_codes(tmp_path):
    ours, reference = twins(tmp_path, diffusers.VQModel(**SMALL, lookup_from_codebook=True))
    codes, tcodes = both(np.random.default_rng(0).integers(0, 37, (2, 20)))
    shape = (2, 4, 5, 3)
    mine = ours.decode(codes, force_not_quantize=True, shape=shape)
    assert_close(mine.sample, reference.decode(tcodes, force_not_quantize=True, shape=shape).sample)
    with pytest.raises(InputError, match="shape"):
        ours.decode(codes, force_not_quantize=True)


def test_straight_through_gradients(tmp_path):
    ours, reference = twins(tmp_path, diffusers.VQModel(**SMALL))
    x, tx = both(noise((1, 3, 8, 8)))
    mine, theirs = ours(x), reference(tx)
    ((mine.sample**2).mean() + mine.commit_loss).backward()
    ((theirs.sample**2).mean() + theirs.commit_loss).backward()
    for name in ("encoder.conv_in.weight", "quantize.embedding.weight", "decoder.conv_out.weight"):
        assert_close(
            dict(ours.named_parameters())[name].grad, dict(reference.named_parameters())[name].grad, 1e-3, name
        )


@pytest.mark.parametrize("name", RELEASED)
def test_keys_of_released_configurations(name):
    assert_same_keys(VQModel, diffusers.VQModel, RELEASED[name])


def test_conversion_round_trip(tmp_path):
    _, reference = twins(tmp_path / "torch", diffusers.VQModel(**SMALL))
    convert_diffusers_to_paddle(tmp_path / "torch", tmp_path / "paddle", verify=True)
    convert_paddle_to_diffusers(tmp_path / "paddle", tmp_path / "back", verify=True)
    restored = diffusers.VQModel.from_pretrained(tmp_path / "back")
    for key, value in reference.state_dict().items():
        assert torch.equal(restored.state_dict()[key], value), key


def test_bad_configuration_and_inputs():
    with pytest.raises(ConfigError) as raised:
        VQModel(down_block_types=("NoBlock",), block_out_channels=(32, 64), norm_type="spatial")
    for part in ("'NoBlock'", "down_block_types has 1", "'spatial'"):
        assert part in str(raised.value)
    network = VQModel(**SMALL)
    with pytest.raises(InputError, match=r"\[batch, 3, height, width\]"):
        network.encode(paddle.zeros([1, 4, 8, 8]))
    with pytest.raises(InputError, match=r"\[batch, 3, height, width\]"):
        network.decode(paddle.zeros([1, 4, 8, 8]))
