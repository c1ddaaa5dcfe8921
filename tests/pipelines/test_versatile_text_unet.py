"""UNetFlatConditionModel against diffusers'."""

import numpy as np
import paddle
import pytest
import torch
from diffusers.pipelines.deprecated.versatile_diffusion import modeling_text_unet

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.pipelines.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
from tests.models.support import assert_same_keys, both
from tests.support.parity import assert_close, noise
from tests.support.versatile import WIDTH, leave_out_mask_argument, tiny_text_unet

CASES = {
    "as published": {},
    "two layers": {"layers_per_block": 2, "attention_head_dim": [4, 8]},
    "square": {"in_channels": 4, "out_channels": 4},
    "plain middle": {"mid_block_type": "UNetMidBlockFlat"},
    "no middle": {"mid_block_type": None},
    "simple middle": {"mid_block_type": "UNetMidBlockFlatSimpleCrossAttn"},
    "linear": {"use_linear_projection": True},
    "two conditions": {"dual_cross_attention": True},
}


@pytest.mark.parametrize("name", CASES)
def test_forward(tmp_path, name):
    reference = tiny_text_unet(**CASES[name])
    reference.save_pretrained(tmp_path)
    ours = UNetFlatConditionModel.from_pretrained(tmp_path)
    leave_out_mask_argument(reference)
    shape = (2, 4, 4, 1) if name == "square" else (2, 20, 1, 1)
    (x, tx), (text, ttext) = both(noise(shape)), both(noise((2, 80, WIDTH), "text"))
    result = ours(x, 321, text).sample
    with torch.no_grad():
        assert_close(result, reference(tx, 321, ttext).sample)


def test_published_keys():
    """The published network's: vectors of 768 numbers, four levels."""
    published = {"in_channels": [768, 1, 1], "out_channels": [768, 1, 1], "cross_attention_dim": 768}
    assert_same_keys(UNetFlatConditionModel, modeling_text_unet.UNetFlatConditionModel, published)


def test_to_diffusers_and_back(tmp_path):
    reference = tiny_text_unet()
    reference.save_pretrained(tmp_path / "torch")
    ours = UNetFlatConditionModel.from_pretrained(tmp_path / "torch")
    ours.save_pretrained(tmp_path / "paddle")
    again = UNetFlatConditionModel.from_pretrained(tmp_path / "paddle")
    again.save_pretrained(tmp_path / "back", to_diffusers=True)
    back = modeling_text_unet.UNetFlatConditionModel.from_pretrained(tmp_path / "back")
    assert all(torch.equal(value, reference.state_dict()[key]) for key, value in back.state_dict().items())
    assert back.config.in_channels == [20, 1, 1]


def test_wrong_configuration_lists_everything():
    with pytest.raises(ConfigError) as error:
        UNetFlatConditionModel(
            down_block_types=("CrossAttnDownBlock2D",),
            mid_block_type="UNetMidBlock2D",
            block_out_channels=(32, 64),
            transformer_layers_per_block=2,
        )
    text = str(error.value)
    for part in ("'CrossAttnDownBlock2D'", "'UNetMidBlock2D'", "up_block_types has 4", "transformer_layers_per_block"):
        assert part in text
    assert "CrossAttnDownBlockFlat" in text


def test_wrong_inputs(tmp_path):
    reference = tiny_text_unet()
    reference.save_pretrained(tmp_path)
    network = UNetFlatConditionModel.from_pretrained(tmp_path)
    text = paddle.to_tensor(noise((2, 7, WIDTH)))
    with pytest.raises(InputError, match=r"\[batch, 20, 1, 1\]"):
        network(paddle.to_tensor(np.zeros((2, 20), np.float32)), 1, text)
    with pytest.raises(InputError, match="encoder_hidden_states"):
        network(paddle.to_tensor(np.zeros((2, 20, 1, 1), np.float32)), 1, None)
