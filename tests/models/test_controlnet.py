"""ControlNetModel and MultiControlNetModel against diffusers, with random weights in the zero convolutions too."""

import diffusers
import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers import ControlNetModel, MultiControlNetModel, UNet2DConditionModel
from ppdiffusers.core.errors import ConfigError, InputError, SourceError
from tests.models.support import assert_same_keys, both, twins
from tests.support.parity import assert_close, noise, randomize

SD1 = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "conditioning_embedding_out_channels": (4, 6),
}
UNET = {
    **{key: value for key, value in SD1.items() if key != "conditioning_embedding_out_channels"},
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "sample_size": 16,
}
POOLED = {"text_embeds": noise((2, 16), "pooled"), "time_ids": np.arange(12, dtype=np.float32).reshape(2, 6)}
CASES = {
    "sd1": (SD1, {}),
    "scale": (SD1, {"conditioning_scale": 0.7}),
    "guess mode": (SD1, {"guess_mode": True, "conditioning_scale": 1.3}),
    "pooled": ({**SD1, "global_pool_conditions": True}, {"guess_mode": True, "conditioning_scale": 0.7}),
    "bgr": ({**SD1, "controlnet_conditioning_channel_order": "bgr"}, {}),
    "sd2": ({**SD1, "use_linear_projection": True, "attention_head_dim": (2, 8), "layers_per_block": 2}, {}),
    "per level": (
        {**SD1, "only_cross_attention": (True, False), "transformer_layers_per_block": (2, 1), "freq_shift": 1,
         "flip_sin_to_cos": False, "mid_block_scale_factor": 1.4, "act_fn": "gelu"}, {}),
    "scale shift, plain middle": (
        {**SD1, "resnet_time_scale_shift": "scale_shift", "mid_block_type": "UNetMidBlock2D"}, {}),
    "label table": ({**SD1, "num_class_embeds": 7}, {"class_labels": np.array([1, 6])}),
    "label timestep": ({**SD1, "class_embed_type": "timestep", "act_fn": "gelu"}, {"class_labels": np.array([1, 6])}),
    "label identity": ({**SD1, "class_embed_type": "identity"}, {"class_labels": noise((2, 64), "class")}),
    "label projection": (
        {**SD1, "class_embed_type": "projection", "projection_class_embeddings_input_dim": 10},
        {"class_labels": noise((2, 10), "class")}),
    "text embedding": (
        {**SD1, "addition_embed_type": "text", "addition_embed_type_num_heads": 4, "encoder_hid_dim": 24}, {}),
    "text and time": (
        {**SD1, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
         "projection_class_embeddings_input_dim": 64}, {"added_cond_kwargs": POOLED}),
}  # fmt: skip


def call(network, convert, sample=(2, 4, 10, 6), seed=0, conditions=1, **kwargs):
    """(down residuals, middle residual) for the same numbers in either framework."""
    batch, _, height, width = sample
    images = [
        convert(noise((batch, 3, 2 * height, 2 * width), f"image {n}", seed)) for n in range(conditions)
    ]  # fmt: skip
    kwargs = {key: _convert(value, convert) for key, value in kwargs.items()}
    return network(
        convert(noise(sample)), 37, convert(noise((batch, 5, 24), "text")),
        controlnet_cond=images[0] if conditions == 1 else images, return_dict=False, **kwargs,
    )  # fmt: skip


def _convert(value, convert):
    if isinstance(value, dict):
        return {key: convert(array) for key, array in value.items()}
    return convert(value) if isinstance(value, np.ndarray) else value


def _as_list(value):
    return list(value) if isinstance(value, tuple) else value


def assert_residuals_agree(ours, theirs, relative=1e-4):
    assert len(ours[0]) == len(theirs[0])
    for n, (mine, expected) in enumerate(zip(ours[0], theirs[0], strict=True)):
        assert_close(mine, expected, relative, f"down residual {n}")
    assert_close(ours[1], theirs[1], relative, "middle residual")


@pytest.mark.parametrize("case", CASES)
def test_residuals(tmp_path, case):
    config, kwargs = CASES[case]
    ours, reference = twins(tmp_path, diffusers.ControlNetModel(**config))
    with torch.no_grad():
        expected = call(reference, torch.from_numpy, **kwargs)
    assert_residuals_agree(call(ours, paddle.to_tensor, **kwargs), expected)


def test_output_and_scale_as_a_tensor(tmp_path):
    ours, _ = twins(tmp_path, diffusers.ControlNetModel(**SD1))
    x, image, text = (
        both(noise(shape, name))[0]
        for shape, name in (((1, 4, 8, 8), "x"), ((1, 3, 16, 16), "image"), ((1, 5, 24), "text"))
    )
    down, middle = ours(x, 3, text, image, conditioning_scale=0.5, return_dict=False)
    output = ours(x, 3, text, image, conditioning_scale=paddle.to_tensor(0.5))
    assert np.array_equal(output.mid_block_res_sample.numpy(), middle.numpy())
    assert len(output.down_block_res_samples) == len(down) == 4


def test_residuals_of_a_new_network_are_zero():
    down, middle = call(ControlNetModel(**SD1), paddle.to_tensor)
    assert all(not residual.numpy().any() for residual in (*down, middle))


def test_save_and_load(tmp_path):
    ours, reference = twins(tmp_path / "torch", diffusers.ControlNetModel(**SD1))
    ours.save_pretrained(tmp_path / "paddle")
    again = ControlNetModel.from_pretrained(tmp_path / "paddle")
    assert np.array_equal(call(again, paddle.to_tensor)[1].numpy(), call(ours, paddle.to_tensor)[1].numpy())
    ours.save_pretrained(tmp_path / "back", to_diffusers=True)
    back = diffusers.ControlNetModel.from_pretrained(tmp_path / "back")
    assert all(torch.equal(value, reference.state_dict()[key]) for key, value in back.state_dict().items())


def test_conversion_is_verified(tmp_path):
    randomize(diffusers.ControlNetModel(**CASES["text and time"][0])).save_pretrained(tmp_path / "torch")
    report = ppdiffusers.convert_diffusers_to_paddle(
        tmp_path / "torch", tmp_path / "paddle", verify=True, progress=False
    )
    assert [component.class_name for component in report.components] == ["ControlNetModel"]
    assert 0 <= report.components[0].distance <= 1e-4


@pytest.mark.parametrize(
    "config", [UNET, {**UNET, "num_class_embeds": 3, "use_linear_projection": True, "attention_head_dim": (2, 4)}]
)
def test_from_unet(tmp_path, config):
    ours, reference = twins(tmp_path, diffusers.UNet2DConditionModel(**config))
    made = ControlNetModel.from_unet(ours, conditioning_embedding_out_channels=(4, 6), conditioning_channels=2)
    expected = diffusers.ControlNetModel.from_unet(
        reference, conditioning_embedding_out_channels=(4, 6), conditioning_channels=2
    )
    wanted = {key: _as_list(value) for key, value in expected.config.items() if not key.startswith("_")}
    assert {key: _as_list(made.config[key]) for key in wanted} == wanted
    state = made.state_dict()
    linear = {f"{name}.weight" for name, module in expected.named_modules() if isinstance(module, torch.nn.Linear)}
    for key, value in expected.state_dict().items():
        if not key.startswith("controlnet_cond_embedding"):
            mine = state[key].numpy()
            assert np.array_equal(mine.T if key in linear else mine, value.numpy()), key


def test_from_unet_without_weights():
    unet = UNet2DConditionModel(**UNET)
    made = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
    assert not np.array_equal(made.conv_in.weight.numpy(), unet.conv_in.weight.numpy())


def test_gradients_reach_the_zero_convolutions():
    network = ControlNetModel.from_unet(UNet2DConditionModel(**UNET), conditioning_embedding_out_channels=(4, 6))
    network.train()
    down, middle = call(network, paddle.to_tensor)
    sum((residual.sum() for residual in down), middle.sum()).backward()
    assert all(float(conv.weight.grad.abs().max()) > 0 for conv in network.controlnet_down_blocks)


# -- several networks -------------------------------------------------------------------------------------------------


@pytest.fixture
def several(tmp_path):
    """Two ControlNets, saved by diffusers, in both libraries."""
    reference = diffusers.MultiControlNetModel(
        [randomize(diffusers.ControlNetModel(**SD1), seed) for seed in (1, 2)]
    )  # fmt: skip
    reference.save_pretrained(str(tmp_path / "controlnet"))
    return MultiControlNetModel.from_pretrained(tmp_path / "controlnet"), reference.eval(), tmp_path


def test_sum_of_residuals(several):
    ours, reference, _ = several
    settings = {"conditions": 2, "conditioning_scale": [0.7, 1.2], "guess_mode": True}
    with torch.no_grad():
        expected = call(reference, torch.from_numpy, **settings)
    assert_residuals_agree(call(ours, paddle.to_tensor, **settings), expected)


def test_several_networks_are_saved_in_numbered_folders(several):
    ours, reference, folder = several
    for name, settings in (("paddle", {}), ("back", {"to_diffusers": True})):
        ours.save_pretrained(folder / name, **settings)
        assert sorted(path.name for path in folder.glob(f"{name}*")) == [name, f"{name}_1"]
    again = MultiControlNetModel.from_pretrained(folder / "paddle")
    expected = ours.state_dict()
    assert all(np.array_equal(value.numpy(), expected[key].numpy()) for key, value in again.state_dict().items())
    back = diffusers.MultiControlNetModel.from_pretrained(str(folder / "back"))
    assert all(torch.equal(value, reference.state_dict()[key]) for key, value in back.state_dict().items())


def test_stale_folders_of_several_networks_are_removed(several):
    ours, _, folder = several
    MultiControlNetModel([ours.nets[1]]).save_pretrained(folder / "controlnet")
    assert len(MultiControlNetModel.from_pretrained(folder / "controlnet").nets) == 1


def test_a_missing_folder(tmp_path):
    with pytest.raises(SourceError, match="first ControlNet"):
        MultiControlNetModel.from_pretrained(tmp_path / "controlnet")


def test_lists_of_other_lengths(several):
    with pytest.raises(InputError) as error:
        call(several[0], paddle.to_tensor, conditions=3, conditioning_scale=[1.0])
    assert len(error.value.problems) == 2


# -- errors -----------------------------------------------------------------------------------------------------------


def test_wrong_configuration_lists_everything():
    with pytest.raises(ConfigError) as error:
        ControlNetModel(
            down_block_types=("CrossAttnDownBlock2D", "Strange"), block_out_channels=(32, 64), mid_block_type=None,
            attention_head_dim=(1, 2, 3), class_embed_type="projection", cross_attention_dim=(24, 24),
            controlnet_conditioning_channel_order="gbr",
        )  # fmt: skip
    text = str(error.value)
    for part in ("'Strange'", "attention_head_dim has 3", "mid_block_type = None", "'gbr'", "cross_attention_dim = ",
                 "projection_class_embeddings_input_dim is required"):  # fmt: skip
        assert part in text


def test_wrong_inputs():
    network = ControlNetModel(**{**SD1, "num_class_embeds": 3})
    with pytest.raises(InputError) as error:
        network(paddle.zeros([1, 4, 8, 8]), 0, None, paddle.zeros([1, 3, 8, 16]))
    assert len(error.value.problems) == 3
    assert "expected [1, 3, 16, 16]" in str(error.value)


def test_a_wrong_number_of_residuals():
    network = UNet2DConditionModel(**UNET)
    with pytest.raises(InputError, match="4, one for each skip connection"):
        network(
            paddle.zeros([1, 4, 8, 8]), 0, paddle.zeros([1, 5, 24]),
            down_block_additional_residuals=(paddle.zeros([1, 16, 8, 8]),),
            mid_block_additional_residual=paddle.zeros([1, 32, 4, 4]),
        )  # fmt: skip


PUBLISHED = {
    "SD 1.5": {"attention_head_dim": 8, "cross_attention_dim": 768},
    "SD 2.1": {"attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "use_linear_projection": True},
    "SDXL": {"attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
             "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
             "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": True,
             "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
             "projection_class_embeddings_input_dim": 2816},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_and_shapes_of_published_networks(name):
    assert_same_keys(ControlNetModel, diffusers.ControlNetModel, PUBLISHED[name])
