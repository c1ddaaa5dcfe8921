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


# trajectories (Diffuser): layers of hopper-medium-v2-value-function-hor32, smaller
TEMPORAL = {
    "in_channels": 5,
    "out_channels": 6,
    "time_embedding_type": "positional",
    "use_timestep_embedding": True,
    "flip_sin_to_cos": False,
    "freq_shift": 1.0,
    "out_block_type": "OutConv1DBlock",
    "mid_block_type": "MidResTemporalBlock1D",
    "block_out_channels": (16, 24, 32, 64),
    "down_block_types": ("DownResnetBlock1D",) * 4,
    "up_block_types": ("UpResnetBlock1D",) * 3,
    "act_fn": "mish",
}
VALUE_FUNCTION = {
    **TEMPORAL,
    "out_block_type": "ValueFunction",
    "mid_block_type": "ValueFunctionMidBlock1D",
    "up_block_types": (),
    "downsample_each_block": True,
}
TEMPORAL_CONFIGS = {
    "trajectories": (TEMPORAL, 24),
    "an up block a level": ({**TEMPORAL, "up_block_types": ("UpResnetBlock1D",) * 4, "act_fn": "swish"}, 16),
    "no last block": (
        {**TEMPORAL, "out_block_type": None, "out_channels": 8, "layers_per_block": 2, "flip_sin_to_cos": True},
        8,
    ),
    "extra channels": ({**TEMPORAL, "extra_in_channels": 3, "norm_num_groups": None}, 16),
    "fourier": ({**TEMPORAL, "time_embedding_type": "fourier", "block_out_channels": (8, 16, 16, 32)}, 8),
    "value": (VALUE_FUNCTION, 64),
    "value of short trajectories": (VALUE_FUNCTION, 37),
    "features of a value": ({**VALUE_FUNCTION, "out_block_type": None, "downsample_each_block": False}, 40),
    "middle only": ({**TEMPORAL, "up_block_types": (), "out_block_type": None, "downsample_each_block": True}, 33),
}


@pytest.mark.parametrize("name", TEMPORAL_CONFIGS)
def test_trajectories(tmp_path, name):
    config, length = TEMPORAL_CONFIGS[name]
    ours, reference = twins(tmp_path, diffusers.UNet1DModel(**config))
    x, tx = both(noise((2, config["in_channels"] + config.get("extra_in_channels", 0), length)))
    times, ttimes = both(np.array([3, 712]))
    assert_close(ours(x, times).sample, reference(tx, ttimes).sample, what="time per entry")
    expected = reference(tx, torch.tensor([19, 19]), return_dict=False)[0]  # value functions refuse one time there
    assert_close(ours(x, 19, return_dict=False)[0], expected, what="one time")
    assert ours(x, times).sample.shape == list(reference(tx, ttimes).sample.shape)


def test_positional_times_and_a_last_block_for_waveforms(tmp_path):
    config = {**SMALL, "time_embedding_type": "positional", "extra_in_channels": 32, "freq_shift": 0.5}
    config |= {"out_block_type": "OutConv1DBlock", "act_fn": "gelu", "out_channels": 3}
    ours, reference = twins(tmp_path, diffusers.UNet1DModel(**config))
    x, tx = both(noise((2, 2, 48)))
    times, ttimes = both(np.array([3, 712]))
    assert_close(ours(x, times).sample, reference(tx, ttimes).sample)


def test_trajectories_are_converted_in_both_directions(tmp_path):
    for name, config in (("unet", TEMPORAL), ("value", VALUE_FUNCTION)):
        _, reference = twins(tmp_path / name / "torch", diffusers.UNet1DModel(**config))
        convert_diffusers_to_paddle(tmp_path / name / "torch", tmp_path / name / "paddle", verify=True)
        convert_paddle_to_diffusers(tmp_path / name / "paddle", tmp_path / name / "back", verify=True)
        again = diffusers.UNet1DModel.from_pretrained(tmp_path / name / "back")
        for key, value in reference.state_dict().items():
            assert torch.equal(again.state_dict()[key], value), key


def test_wrong_configurations_and_inputs_of_trajectories():
    with pytest.raises(ConfigError) as raised:
        UNet1DModel(
            **{
                **TEMPORAL,
                "mid_block_type": "ValueFunctionMidBlock1D",
                "down_block_types": ("DownResnetBlock1D", "DownBlock1D", "DownResnetBlock1D", "DownResnetBlock1D"),
                "use_timestep_embedding": False,
                "block_out_channels": (16, 24, 30, 40),
                "act_fn": None,
            }
        )
    for part in (
        "'DownBlock1D'",
        "followed by up blocks",
        "use_timestep_embedding",
        "30 channels",
        "40 channels",
        "act_fn",
    ):
        assert part in str(raised.value)
    for wrong in (
        {"up_block_types": ("UpResnetBlock1D",) * 2},
        {"downsample_each_block": True},
        {"up_block_types": ()},
    ):
        with pytest.raises(ConfigError):
            UNet1DModel(**{**TEMPORAL, **wrong})
    with pytest.raises(InputError, match="a multiple of 8"):
        UNet1DModel(**TEMPORAL)(paddle.zeros([1, 5, 20]), 3)
    with pytest.raises(InputError, match="16 x 2 features"):
        UNet1DModel(**VALUE_FUNCTION)(paddle.zeros([1, 5, 65]), 3)


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
            time_embedding_type="learned",
            out_block_type="NoOut",
        )
    for part in ("'NoBlock'", "'NoMiddle'", "has 2 entries", "'learned'", "'NoOut'", "AttnDownBlock1D"):
        assert part in str(raised.value)
    with pytest.raises(ConfigError, match="multiples of 32"):
        UNet1DModel(block_out_channels=(32, 32, 40))


@pytest.mark.parametrize("shape", [(1, 3, 48), (1, 2, 50), (1, 2, 16), (2, 48)])
def test_wrong_input(shape):
    network = UNet1DModel(**SMALL)
    with pytest.raises(InputError, match="a multiple of 8 that is at least 24"):
        network(paddle.zeros(shape), 0.5)
