"""UNet1DModel against diffusers: every block of Dance Diffusion, odd lengths, widths of the time features."""

import json

import diffusers
import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import UNet1DModel
from ppdiffusers.conversion.folder import convert_diffusers_to_paddle, convert_paddle_to_diffusers
from ppdiffusers.core.errors import ConfigError, InputError
from tests.models.support import assert_same_keys, both, twins
from tests.support.parity import assert_close, noise

SMALL = {"sample_size": 256, "sample_rate": 100, "extra_in_channels": 16, "block_out_channels": (32, 64, 64)}
CONFIGS = {
    "small": SMALL,
    "mono": {**SMALL, "in_channels": 1, "out_channels": 3, "flip_sin_to_cos": False},
    "attention everywhere": {
        **SMALL,
        "block_out_channels": (32, 64, 96),
        "down_block_types": ("DownBlock1DNoSkip", "AttnDownBlock1D", "AttnDownBlock1D"),
        "up_block_types": ("AttnUpBlock1D", "AttnUpBlock1D", "UpBlock1DNoSkip"),
    },
    "four levels": {
        **SMALL,
        "block_out_channels": (16, 32, 32, 32),
        "down_block_types": ("DownBlock1DNoSkip", "DownBlock1D", "DownBlock1D", "DownBlock1D"),
        "up_block_types": ("UpBlock1D", "UpBlock1D", "UpBlock1D", "UpBlock1DNoSkip"),
    },
}
# harmonai/maestro-150k and similar checkpoints: 13 levels, 512 channels
MAESTRO = {
    "sample_size": 65536,
    "sample_rate": 16000,
    "extra_in_channels": 16,
    "flip_sin_to_cos": True,
    "block_out_channels": (128, 128, 256, 256, *(512,) * 9),
    "down_block_types": ("DownBlock1DNoSkip", *("DownBlock1D",) * 7, *("AttnDownBlock1D",) * 5),
    "up_block_types": (*("AttnUpBlock1D",) * 5, *("UpBlock1D",) * 7, "UpBlock1DNoSkip"),
}


@pytest.mark.parametrize("length", [48, 112])
@pytest.mark.parametrize("name", CONFIGS)
def test_forward(tmp_path, name, length):
    ours, reference = twins(tmp_path, diffusers.UNet1DModel(**CONFIGS[name]))
    x, tx = both(noise((2, ours.config.in_channels, length)))
    times, ttimes = both(np.array([0.03, 0.81], dtype=np.float32))
    assert_close(ours(x, times).sample, reference(tx, ttimes).sample, what="time per entry")
    mine, theirs = ours(x, 0.4, return_dict=False)[0], reference(tx, torch.tensor(0.4)).sample
    assert_close(mine, theirs, what="one time")


def test_state_dict_keys():
    assert_same_keys(UNet1DModel, diffusers.UNet1DModel, MAESTRO)


def test_gradients_equal(tmp_path):
    ours, reference = twins(tmp_path, diffusers.UNet1DModel(**SMALL))
    ours.train()
    x, tx = both(noise((1, 2, 64)))
    (ours(x, 0.3).sample ** 2).mean().backward()
    (reference(tx, torch.tensor(0.3)).sample ** 2).mean().backward()
    for name in ("down_blocks.0.resnets.0.conv_1.weight", "mid_block.attentions.2.query.weight"):
        gradient, expected = (dict(network.named_parameters())[name].grad for network in (ours, reference))
        assert_close(gradient.t() if "query" in name else gradient, expected, 1e-3, name)


@pytest.mark.parametrize("width", [None, 24])
def test_width_of_time_features(tmp_path, width):
    """Configurations of diffusers 0.36 may contain `time_embedding_dim`; otherwise the first block has the width."""
    _, reference = twins(tmp_path, diffusers.UNet1DModel(**SMALL))
    state = reference.state_dict()
    state["time_proj.weight"] = torch.linspace(-2, 2, 12)
    state["down_blocks.0.resnets.0.conv_1.weight"] = torch.from_numpy(noise((32, 26, 5)) / 9)
    state["down_blocks.0.resnets.0.conv_skip.weight"] = torch.from_numpy(noise((32, 26, 1)) / 5)
    config = json.loads((tmp_path / "config.json").read_text())
    extra = {} if width is None else {"time_embedding_dim": width}
    (tmp_path / "config.json").write_text(json.dumps({**config, "extra_in_channels": 24, **extra}))
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(state, tmp_path / "diffusion_pytorch_model.bin")
    theirs = diffusers.UNet1DModel(**{**SMALL, "extra_in_channels": 24})
    theirs.time_proj.weight = torch.nn.Parameter(torch.zeros(12))
    theirs.load_state_dict(state)
    x, tx = both(noise((2, 2, 64)))
    ours = UNet1DModel.from_pretrained(tmp_path)
    assert_close(ours(x, 0.7).sample, theirs(tx, torch.tensor(0.7)).sample)


def test_conversion_in_both_directions(tmp_path):
    _, reference = twins(tmp_path / "torch", diffusers.UNet1DModel(**SMALL))
    convert_diffusers_to_paddle(tmp_path / "torch", tmp_path / "paddle", verify=True)
    convert_paddle_to_diffusers(tmp_path / "paddle", tmp_path / "back", verify=True)
    again = diffusers.UNet1DModel.from_pretrained(tmp_path / "back")
    for key, value in reference.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_wrong_configuration_lists_everything():
    with pytest.raises(ConfigError) as raised:
        UNet1DModel(
            down_block_types=("DownBlock1D", "NoBlock"),
            mid_block_type="NoMiddle",
            time_embedding_type="positional",
            out_block_type="OutConv1DBlock",
        )
    for part in ("'NoBlock'", "'NoMiddle'", "has 2 entries", "'positional'", "'OutConv1DBlock'", "AttnDownBlock1D"):
        assert part in str(raised.value)
    with pytest.raises(ConfigError, match="multiples of 32"):
        UNet1DModel(block_out_channels=(32, 32, 40))


@pytest.mark.parametrize("shape", [(1, 3, 48), (1, 2, 50), (1, 2, 16), (2, 48)])
def test_wrong_input(shape):
    network = UNet1DModel(**SMALL)
    with pytest.raises(InputError, match="a multiple of 8 that is at least 24"):
        network(paddle.zeros(shape), 0.5)
