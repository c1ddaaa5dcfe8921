"""ControlNetUnionModel and MultiControlNetUnionModel against diffusers, with random weights in all layers."""

import diffusers
import numpy as np
import paddle
import pytest
import torch
from diffusers.models import MultiControlNetUnionModel as Reference

import ppdiffusers
from ppdiffusers import ControlNetUnionModel, MultiControlNetUnionModel, UNet2DConditionModel
from ppdiffusers.core.errors import ConfigError, InputError, SourceError
from tests.models.support import assert_same_keys, twins
from tests.models.test_controlnet import PUBLISHED, SD1, UNET, assert_residuals_agree
from tests.support.parity import noise, randomize

PLAIN = {
    **SD1,
    "addition_time_embed_dim": 6,
    "num_control_type": 5,
    "num_trans_channel": 16,
    "num_trans_head": 4,
    "num_trans_layer": 2,
    "num_proj_channel": 16,
}
POOLED = {"text_embeds": noise((2, 16), "pooled"), "time_ids": np.arange(12, dtype=np.float32).reshape(2, 6)}
TEXT_TIME = {**PLAIN, "addition_embed_type": "text_time", "projection_class_embeddings_input_dim": 16 + 6 * 6}
CASES = {
    "one type": (PLAIN, {"types": [3]}),
    "one type, scale": (PLAIN, {"types": [0], "conditioning_scale": 0.7}),
    "one type, scale in a list, guess mode": (PLAIN, {"types": [4], "conditioning_scale": [1.3], "guess_mode": True}),
    "two types": (PLAIN, {"types": [1, 4]}),
    "three types, not in order, scales": (PLAIN, {"types": [4, 0, 2], "conditioning_scale": [0.7, 0.0, 1.2]}),
    "two types, guess mode": (PLAIN, {"types": [1, 2], "conditioning_scale": [0.5, 1.4], "guess_mode": True}),
    "all scales 0": (PLAIN, {"types": [1, 2], "conditioning_scale": 0.0}),
    "from several networks": (PLAIN, {"types": [1, 2], "conditioning_scale": [0.6, 0.6], "from_multi": True}),
    "pooled": (
        {**PLAIN, "global_pool_conditions": True}, {"types": [2], "conditioning_scale": 0.7, "guess_mode": True}),
    "text and time": (TEXT_TIME, {"types": [0, 3], "added_cond_kwargs": POOLED}),
    "text embedding": ({**PLAIN, "addition_embed_type": "text", "addition_embed_type_num_heads": 4}, {"types": [1]}),
    "label timestep": (
        {**PLAIN, "class_embed_type": "timestep", "act_fn": "gelu"},
        {"types": [1], "class_labels": np.array([1, 6])}),
    "time settings": ({**PLAIN, "freq_shift": 1, "flip_sin_to_cos": False}, {"types": [0, 1]}),
}  # fmt: skip


def call(network, convert, types, count=5, seed=0, several=False, **kwargs):
    """(down residuals, middle residual) for the same numbers in either framework."""
    images = [convert(noise((2, 3, 20, 12), f"image {kind}", seed)) for kind in types]
    one_hot = np.zeros((2, count), dtype=np.float32)
    one_hot[:, types] = 1
    control = {"controlnet_cond": images, "control_type": convert(one_hot), "control_type_idx": types}
    if several:  # one type for each network
        each = [np.eye(count, dtype=np.float32)[[kind] * 2] for kind in types]
        control |= {"controlnet_cond": [[image] for image in images], "control_type": [convert(one) for one in each]}
        control["control_type_idx"] = [[kind] for kind in types]
    for key, value in kwargs.items():
        if isinstance(value, dict):
            kwargs[key] = {name: convert(array) for name, array in value.items()}
        elif isinstance(value, np.ndarray):
            kwargs[key] = convert(value)
    return network(
        convert(noise((2, 4, 10, 6))), 37, convert(noise((2, 5, 24), "text")), **control, return_dict=False, **kwargs
    )


@pytest.mark.parametrize("case", CASES)
def test_residuals(tmp_path, case):
    config, kwargs = CASES[case]
    ours, reference = twins(tmp_path, diffusers.ControlNetUnionModel(**config))
    with torch.no_grad():
        expected = call(reference, torch.from_numpy, **kwargs)
    assert_residuals_agree(call(ours, paddle.to_tensor, **kwargs), expected)


def test_types_and_images_matter(tmp_path):
    ours, _ = twins(tmp_path, diffusers.ControlNetUnionModel(**PLAIN))
    middles = [
        call(ours, paddle.to_tensor, **settings)[1].numpy()
        for settings in ({"types": [1]}, {"types": [2]}, {"types": [1], "seed": 1})
    ]
    assert all(np.abs(middles[0] - other).max() > 1e-3 for other in middles[1:])


def test_residuals_of_a_new_network_are_zero():
    down, middle = call(ControlNetUnionModel(**PLAIN), paddle.to_tensor, [1, 2])
    assert all(not residual.numpy().any() for residual in (*down, middle))


def test_save_and_load(tmp_path):
    ours, reference = twins(tmp_path / "torch", diffusers.ControlNetUnionModel(**TEXT_TIME))
    ours.save_pretrained(tmp_path / "paddle")
    again = ControlNetUnionModel.from_pretrained(tmp_path / "paddle")
    settings = {"types": [1, 3], "added_cond_kwargs": POOLED}
    assert np.array_equal(
        call(again, paddle.to_tensor, **settings)[1].numpy(), call(ours, paddle.to_tensor, **settings)[1].numpy()
    )
    ours.save_pretrained(tmp_path / "back", to_diffusers=True)
    back = diffusers.ControlNetUnionModel.from_pretrained(tmp_path / "back")
    assert all(torch.equal(value, reference.state_dict()[key]) for key, value in back.state_dict().items())


def test_conversion_is_verified(tmp_path):
    reference = randomize(diffusers.ControlNetUnionModel(**TEXT_TIME))
    reference.save_pretrained(tmp_path / "torch")
    report = ppdiffusers.convert_diffusers_to_paddle(
        tmp_path / "torch", tmp_path / "paddle", verify=True, progress=False
    )
    assert [component.class_name for component in report.components] == ["ControlNetUnionModel"]
    assert 0 <= report.components[0].distance <= 1e-4
    ppdiffusers.convert_paddle_to_diffusers(tmp_path / "paddle", tmp_path / "back", verify=True, progress=False)
    back = diffusers.ControlNetUnionModel.from_pretrained(tmp_path / "back")
    assert all(torch.equal(value, reference.state_dict()[key]) for key, value in back.state_dict().items())


WIDE = {**UNET, "block_out_channels": (320, 32), "addition_time_embed_dim": 6}  # the transformer has 320 channels


@pytest.mark.parametrize("load_weights", [True, False])
def test_from_unet(tmp_path, load_weights):
    config = {**WIDE, "addition_embed_type": "text_time", "projection_class_embeddings_input_dim": 52}
    ours, reference = twins(tmp_path, diffusers.UNet2DConditionModel(**config))
    settings = {"conditioning_embedding_out_channels": (4, 6), "load_weights_from_unet": load_weights}
    made = ControlNetUnionModel.from_unet(ours, **settings)
    expected = diffusers.ControlNetUnionModel.from_unet(reference, **settings)
    found, wanted = (
        {key: list(value) if isinstance(value, tuple) else value for key, value in network.config.items()}
        for network in (made, expected)
    )
    assert all(found[key] == value for key, value in wanted.items() if not key.startswith("_"))
    state, unet = made.state_dict(), ours.state_dict()
    copied = [key for key in unet if key in state and np.array_equal(state[key].numpy(), unet[key].numpy())]
    theirs = [
        key
        for key, value in reference.state_dict().items()
        if key in expected.state_dict() and torch.equal(value, expected.state_dict()[key])
    ]
    # what no network copies may be equal in both by its initial value
    assert set(copied) >= set(theirs) if load_weights else "conv_in.weight" not in copied
    assert "conv_in.weight" in theirs or not load_weights
    assert "add_embedding.linear_1.weight" not in copied, "diffusers does not copy it"


def test_gradients_reach_the_zero_layers():
    network = ControlNetUnionModel.from_unet(
        UNet2DConditionModel(**WIDE), conditioning_embedding_out_channels=(4, 6)
    )  # fmt: skip
    network.train()
    down, middle = call(network, paddle.to_tensor, [1, 2], count=6)
    sum((residual.sum() for residual in down), middle.sum()).backward()
    assert all(float(conv.weight.grad.abs().max()) > 0 for conv in network.controlnet_down_blocks)


@pytest.mark.parametrize("number", [6, 8])
def test_keys_and_shapes_of_published_networks(number):
    """SDXL's networks for 6 control types, and for 8 ("promax")."""
    config = {**PUBLISHED["SDXL"], "conditioning_embedding_out_channels": [48, 96, 192, 384]}
    assert_same_keys(
        ControlNetUnionModel, diffusers.ControlNetUnionModel, {**config, "num_control_type": number}
    )  # fmt: skip


# -- several networks -------------------------------------------------------------------------------------------------


@pytest.fixture
def several(tmp_path):
    """Two networks, saved by diffusers, in both libraries."""
    reference = Reference([randomize(diffusers.ControlNetUnionModel(**PLAIN), seed) for seed in (1, 2)])
    reference.save_pretrained(str(tmp_path / "controlnet"))
    return MultiControlNetUnionModel.from_pretrained(tmp_path / "controlnet"), reference.eval(), tmp_path


@pytest.mark.parametrize("scales", [[0.7, 1.2], [0.0, 0.9]])
def test_sum_of_residuals(several, scales):
    ours, reference, _ = several
    settings = {"types": [3, 1], "several": True, "conditioning_scale": scales, "guess_mode": True}
    with torch.no_grad():
        expected = call(reference, torch.from_numpy, **settings)
    assert_residuals_agree(call(ours, paddle.to_tensor, **settings), expected)


def test_several_networks_are_saved_in_numbered_folders(several):
    ours, reference, folder = several
    for name, settings in (("paddle", {}), ("back", {"to_diffusers": True})):
        ours.save_pretrained(folder / name, **settings)
        assert sorted(path.name for path in folder.glob(f"{name}*")) == [name, f"{name}_1"]
    again = MultiControlNetUnionModel.from_pretrained(folder / "paddle")
    expected = ours.state_dict()
    assert all(np.array_equal(value.numpy(), expected[key].numpy()) for key, value in again.state_dict().items())
    back = Reference.from_pretrained(str(folder / "back"))
    assert all(torch.equal(value, reference.state_dict()[key]) for key, value in back.state_dict().items())


def test_a_missing_folder(tmp_path):
    with pytest.raises(SourceError, match="first ControlNetUnionModel"):
        MultiControlNetUnionModel.from_pretrained(tmp_path / "controlnet")


def test_lists_of_other_lengths(several):
    with pytest.raises(InputError) as error:
        call(several[0], paddle.to_tensor, [1, 2, 3], several=True, conditioning_scale=[1.0])
    assert len(error.value.problems) == 4
    with pytest.raises(InputError, match="0 for all"):
        call(several[0], paddle.to_tensor, [1, 2], several=True, conditioning_scale=[0.0, 0.0])


# -- errors -----------------------------------------------------------------------------------------------------------


def test_wrong_configuration_lists_everything():
    with pytest.raises(ConfigError) as error:
        ControlNetUnionModel(
            **{**PLAIN, "num_trans_channel": 32, "addition_time_embed_dim": None, "encoder_hid_dim_type": "text_proj"},
            controlnet_conditioning_channel_order="bgr",
        )  # fmt: skip
    for part in ("num_trans_channel is 32", "addition_time_embed_dim is required", "'text_proj'", "'bgr'"):
        assert part in str(error.value)


def test_wrong_inputs_list_everything():
    network = ControlNetUnionModel(**PLAIN)
    image = paddle.zeros([1, 3, 16, 16])
    with pytest.raises(InputError) as error:
        network(
            paddle.zeros([1, 4, 8, 8]), 0, None, [image, paddle.zeros([1, 3, 8, 16])], paddle.zeros([1, 6]), [1, 5, 2],
            [1.0],
        )  # fmt: skip
    for part in ("control_type_idx has 3 entries for 2", "conditioning_scale has 1 entries for 2", "control type 5",
                 "control_type is of shape [1, 6], expected [1, 5]", "encoder_hidden_states is None",
                 "controlnet_cond[1] is of shape [1, 3, 8, 16], expected [1, 3, 16, 16]"):  # fmt: skip
        assert part in str(error.value)
