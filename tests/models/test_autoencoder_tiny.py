"""AutoencoderTiny against diffusers: encoding, decoding, slicing, tiling, 8-bit latents, gradients."""

import diffusers
import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import AutoencoderTiny
from ppdiffusers.core.errors import ConfigError, InputError
from tests.models.support import assert_same_keys, both, twins
from tests.support.parity import assert_close, noise

SMALL = {
    "encoder_block_out_channels": (8, 8, 8, 8),
    "decoder_block_out_channels": (12, 12, 12, 12),
    "num_encoder_blocks": (1, 2, 1, 1),
    "num_decoder_blocks": (2, 1, 2, 1),
}
CONFIGS = {
    "sd": SMALL,
    "sd3, flux": {**SMALL, "latent_channels": 16, "latent_magnitude": 2, "latent_shift": 0.25},
    "bilinear": {**SMALL, "upsample_fn": "bilinear", "act_fn": "gelu"},
    "factor 3, two levels": {
        "encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8), "num_encoder_blocks": (1, 1),
        "num_decoder_blocks": (1, 1), "upsampling_scaling_factor": 3,
    },
}  # fmt: skip


@pytest.mark.parametrize("size", [(48, 64), (37, 51)])
@pytest.mark.parametrize("name", CONFIGS)
def test_encode_and_decode(tmp_path, name, size, caplog):
    ours, reference = twins(tmp_path, diffusers.AutoencoderTiny(**CONFIGS[name]))
    channels = ours.config.latent_channels
    (x, tx), (z, tz) = both(noise((3, 3, *size))), both(3 * noise((2, channels, 9, 13), "latents"))
    assert_close(ours.encode(x).latents, reference.encode(tx).latents)
    assert_close(ours.decode(z).sample, reference.decode(tz).sample)
    assert_close(ours.decode(z, return_dict=False)[0], reference.decode(tz).sample)
    assert "unknown keys" not in caplog.text
    assert dict(ours.config)["block_out_channels"] == list(reference.config.block_out_channels)


@pytest.mark.parametrize("name", ("sd", "sd3, flux"))
def test_latents_as_images(tmp_path, name):
    ours, reference = twins(tmp_path, diffusers.AutoencoderTiny(**CONFIGS[name]))
    z, tz = both(4 * noise((2, 4, 9, 13)))
    assert_close(ours.scale_latents(z), reference.scale_latents(tz), 1e-6)
    assert_close(ours.unscale_latents(z), reference.unscale_latents(tz), 1e-6)


def test_forward_rounds_latents(tmp_path):
    """An image whose latents are not near a boundary of two levels gives the same levels, and so the same result."""
    ours, reference = twins(tmp_path, diffusers.AutoencoderTiny(**SMALL))
    for seed in range(50):
        x, tx = both(noise((1, 3, 16, 24), seed=seed))
        levels = ours.scale_latents(ours.encode(x).latents).numpy() * 255
        if np.abs(levels % 1 - 0.5).min() > 1e-3 and ((levels > 0) & (levels < 255)).any():
            break
    else:
        pytest.fail("all images have latents near a boundary")
    assert_close(ours(x).sample, reference(tx).sample)
    unrounded = ours.decode(ours.encode(x).latents).sample
    assert float((ours(x, return_dict=False)[0] - unrounded).abs().max()) > 1e-4


@pytest.mark.parametrize("size", [(48, 112), (128, 96)])
def test_tiling_and_slicing(tmp_path, size):
    ours, reference = twins(tmp_path, diffusers.AutoencoderTiny(**SMALL))
    (x, tx), (z, tz) = both(noise((2, 3, *size))), both(noise((2, 4, size[0] // 8, size[1] // 8), "latents"))
    whole = ours.decode(z).sample.numpy()
    for network in (ours, reference):
        network.enable_slicing()
    assert_close(ours.decode(z).sample, whole, 1e-6, "slices")
    for network in (ours, reference):
        network.enable_tiling()
        network.tile_sample_min_size, network.tile_latent_min_size, network.tile_overlap_factor = 64, 8, 0.25
    assert_close(ours.encode(x).latents, reference.encode(tx).latents, what="encode")
    assert_close(ours.decode(z).sample, reference.decode(tz).sample, what="decode")
    assert np.abs(ours.decode(z).sample.numpy() - whole).max() > 1e-4
    ours.disable_tiling()
    ours.disable_slicing()
    assert np.array_equal(ours.decode(z).sample.numpy(), whole)


def test_tiles_of_the_published_size(tmp_path):
    ours, reference = twins(tmp_path, diffusers.AutoencoderTiny(**SMALL))
    z, tz = both(noise((1, 4, 65, 70)))
    for network in (ours, reference):
        network.enable_tiling()
    assert_close(ours.decode(z).sample, reference.decode(tz).sample)


def test_tiles_of_odd_sizes(tmp_path):
    """diffusers raises for sizes that are not multiples of 8."""
    ours, _ = twins(tmp_path, diffusers.AutoencoderTiny(**SMALL))
    x = paddle.to_tensor(noise((1, 3, 75, 61)))
    whole = ours.encode(x).latents
    ours.enable_tiling()
    ours.tile_sample_min_size = 64
    assert ours.encode(x).latents.shape == whole.shape
    assert_close(ours.encode(x).latents[:, :, :2, :2], whole[:, :, :2, :2], 1e-3, "far from the border of the tile")


@pytest.mark.parametrize("checkpointing", (False, True))
def test_gradients(tmp_path, checkpointing):
    ours, reference = twins(tmp_path, diffusers.AutoencoderTiny(**SMALL))
    ours.train()
    if checkpointing:
        ours.enable_gradient_checkpointing()
    x, tx = both(noise((1, 3, 16, 24)))
    z, tz = both(noise((1, 4, 4, 6), "latents"))
    x.stop_gradient = z.stop_gradient = False  # recomputing needs an input with a gradient
    ((ours.encode(x).latents ** 2).mean() + (ours.decode(z).sample ** 2).mean()).backward()
    ((reference.encode(tx).latents ** 2).mean() + (reference.decode(tz).sample ** 2).mean()).backward()
    theirs = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        assert_close(parameter.grad, theirs[name].grad, 1e-4, name)


def test_bad_configuration_and_inputs():
    with pytest.raises(ConfigError, match=r"(?s)encoder_block_out_channels.*upsample_fn='sinc'"):
        AutoencoderTiny(encoder_block_out_channels=(8,), upsample_fn="sinc")
    network = AutoencoderTiny(**SMALL)
    with pytest.raises(InputError, match=r"\[batch, 3, height, width\]"):
        network.encode(paddle.zeros([1, 4, 8, 8]))
    with pytest.raises(InputError, match=r"\[batch, 4, height, width\]"):
        network.decode(paddle.zeros([1, 3, 8, 8]))


@pytest.mark.parametrize("latent_channels", (4, 16))
def test_keys_and_shapes_of_the_released_networks(latent_channels):
    assert_same_keys(AutoencoderTiny, diffusers.AutoencoderTiny, {"latent_channels": latent_channels})


def test_saved_folder_is_read_by_diffusers(tmp_path):
    ours, reference = twins(tmp_path / "theirs", diffusers.AutoencoderTiny(**SMALL))
    ours.save_pretrained(tmp_path / "ours", to_diffusers=True)
    again = diffusers.AutoencoderTiny.from_pretrained(tmp_path / "ours")
    for name, tensor in reference.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
