"""Blocks and helpers that scripts import by name: what their users replace, ask and call is as in diffusers."""

import diffusers
import numpy as np
import paddle
import pytest
import torch
from diffusers.loaders import AttnProcsLayers as OriginalLayers
from diffusers.utils.torch_utils import apply_freeu as original_freeu

from ppdiffusers.core.errors import InputError
from ppdiffusers.loaders import AttnProcsLayers
from ppdiffusers.models import attention_processor
from ppdiffusers.models.unets import unet_2d_blocks as ours_blocks
from ppdiffusers.utils.torch_utils import apply_freeu
from tests.models.support import both, twins
from tests.support.parity import assert_close, noise

CONFIG = {
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 6,
    "attention_head_dim": 4,
    "sample_size": 8,
}


@pytest.fixture(scope="module")
def unets(tmp_path_factory):
    return twins(tmp_path_factory.mktemp("unets"), diffusers.UNet2DConditionModel(**CONFIG))


def test_blocks_are_of_the_classes_that_configurations_name(unets):
    ours, theirs = unets
    for side in ("down_blocks", "up_blocks"):
        for block, original in zip(getattr(ours, side), getattr(theirs, side), strict=True):
            assert type(block) is getattr(ours_blocks, type(original).__name__)
            assert getattr(block, "has_cross_attention", False) == getattr(original, "has_cross_attention", False)
    assert type(ours.mid_block) is ours_blocks.UNetMidBlock2DCrossAttn
    block, original = (network.mid_block.attentions[0].transformer_blocks[0] for network in unets)
    for name in ("use_ada_layer_norm", "use_ada_layer_norm_zero", "only_cross_attention"):
        assert getattr(block, name) == getattr(original, name), name


def test_replaced_forward_gets_the_arguments_of_diffusers(unets):
    """Community pipelines such as stable_diffusion_reference replace `forward`."""
    ours, theirs = unets
    (x, tx), (prompt, tprompt) = both(noise((2, 4, 8, 8))), both(noise((2, 5, 6), "prompt"))
    calls: tuple[dict, dict] = ({}, {})

    def record(network, seen):
        for name in ("down_blocks.0", "down_blocks.1", "up_blocks.0", "up_blocks.1"):
            side, number = name.split(".")
            block = getattr(network, side)[int(number)]
            block.forward = recording(block.forward, seen, name)

    def recording(forward, seen, name):
        def replaced(hidden_states, temb=None, **kwargs):
            seen[name] = kwargs
            return forward(hidden_states=hidden_states, temb=temb, **kwargs)

        return replaced

    for network, seen in zip(unets, calls, strict=True):
        record(network, seen)
    try:
        with torch.no_grad():
            assert_close(ours(x, 3, prompt).sample, theirs(tx, 3, tprompt).sample)
    finally:
        for network in unets:
            for block in (*network.down_blocks, *network.up_blocks):
                del block.forward
    for name, theirs_kwargs in calls[1].items():
        assert calls[0][name].keys() >= theirs_kwargs.keys(), name
        for key, value in theirs_kwargs.items():
            if torch.is_tensor(value):
                assert_close(calls[0][name][key], value, what=f"{name}({key})")
            elif key == "res_hidden_states_tuple":
                for skip, original in zip(calls[0][name][key], value, strict=True):
                    assert_close(skip, original, what=f"{name}({key})")


def test_a_block_called_alone(unets):
    ours, theirs = (network.down_blocks[0] for network in unets)
    (x, tx), (temb, ttemb) = both(noise((2, 8, 6, 4))), both(noise((2, 32), "temb"))
    (prompt, tprompt), (extra, textra) = both(noise((2, 5, 6), "prompt")), both(noise((2, 8, 6, 4), "extra"))
    mine = ours(x, temb, encoder_hidden_states=prompt, additional_residuals=extra)
    with torch.no_grad():
        result = theirs(tx, ttemb, encoder_hidden_states=tprompt, additional_residuals=textra)
    assert_close(mine[0], result[0])
    for stage, original in zip(mine[1], result[1], strict=True):
        assert_close(stage, original)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_freeu(index):
    (x, tx), (skip, tskip) = both(noise((2, 4, 5, 6))), both(noise((2, 3, 5, 6), "skip"))
    factors = {"s1": 0.9, "s2": 0.2, "b1": 1.2, "b2": 1.4}
    for mine, original in zip(
        apply_freeu(index, x, skip, **factors), original_freeu(index, tx, tskip, **factors), strict=True
    ):
        assert_close(mine, original)


def test_processors_with_parameters_as_one_layer():
    names = ["down_blocks.0.attn1.processor", "mid_block.attn2.processor"]
    mine = AttnProcsLayers({**{name: paddle.nn.Linear(2, 3) for name in names}, "other": lambda *inputs: None})
    original = OriginalLayers({name: torch.nn.Linear(2, 3) for name in names})
    assert list(mine.state_dict()) == list(original.state_dict()) and len(mine.parameters()) == 4
    mine.set_state_dict({name: paddle.ones_like(value) for name, value in mine.state_dict().items()})
    assert all(np.all(parameter.numpy() == 1) for parameter in mine.parameters())


@pytest.mark.parametrize("name", ["LoRAAttnProcessor", "LoRAAttnProcessor2_0", "LoRAAttnProcessor2_5"])
def test_lora_processors_are_only_compared_with(unets, name):
    processor = getattr(attention_processor, name)
    assert not any(isinstance(value, processor) for value in unets[0].attn_processors.values())
    with pytest.raises(InputError, match="load_lora_weights"):
        processor(hidden_size=8, rank=4)


def test_groups_of_processors(unets):
    from diffusers.models import attention_processor as original

    for group in ("ADDED_KV_ATTENTION_PROCESSORS", "CROSS_ATTENTION_PROCESSORS"):
        names = {cls.__name__ for cls in getattr(original, group)}
        assert {cls.__name__ for cls in getattr(attention_processor, group)} <= names
    default = {type(value) for value in unets[0].attn_processors.values()}
    assert default <= set(attention_processor.CROSS_ATTENTION_PROCESSORS)
