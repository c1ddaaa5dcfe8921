"""UNet2DConditionModel against diffusers: Stable Diffusion 1.x, 2.x, XL's embeddings, IF's blocks, masks, residuals."""

import diffusers
import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import UNet2DConditionModel
from ppdiffusers.core.errors import ConfigError, InputError
from tests.models.support import assert_same_keys, both, twins
from tests.support.deepfloyd import SUPER_RESOLUTION_UNET as IF_SUPER_RESOLUTION_UNET
from tests.support.deepfloyd import UNET as IF_UNET
from tests.support.parity import assert_close, noise

SD1 = {
    "sample_size": 16,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
CLASSES = {"class_labels": np.array([1, 6])}
EMBEDDED = {"class_labels": noise((2, 10), "class")}
MASK = {"encoder_attention_mask": np.array([[1, 1, 0, 1, 1], [1, 1, 1, 1, 0]])}
# unet/config.json of stabilityai/sd-x2-latent-upscaler, with fewer channels
K = {
    "sample_size": 16, "in_channels": 4, "out_channels": 5, "act_fn": "gelu", "attention_head_dim": 16,
    "block_out_channels": (32, 32, 64, 64), "layers_per_block": 2, "cross_attention_dim": 24, "norm_num_groups": None,
    "down_block_types": ("KDownBlock2D", *["KCrossAttnDownBlock2D"] * 3), "mid_block_type": None,
    "up_block_types": (*["KCrossAttnUpBlock2D"] * 3, "KUpBlock2D"), "conv_in_kernel": 1, "conv_out_kernel": 1,
    "flip_sin_to_cos": False, "resnet_time_scale_shift": "scale_shift", "time_cond_proj_dim": 20,
    "time_embedding_type": "fourier", "timestep_post_act": "gelu",
}  # fmt: skip
CASES = {
    "sd1": (SD1, {}),
    "sd1 with a mask": (SD1, MASK),
    "sd2": ({**SD1, "use_linear_projection": True, "attention_head_dim": [2, 8], "upcast_attention": True}, {}),
    "two layers": ({**SD1, "layers_per_block": 2}, {}),
    "per level": (
        {**SD1, "layers_per_block": (1, 2), "transformer_layers_per_block": (2, 1), "cross_attention_dim": (24, 24),
         "conv_in_kernel": 1, "conv_out_kernel": 1, "act_fn": "gelu", "timestep_post_act": "silu",
         "time_embedding_act_fn": "gelu", "center_input_sample": True, "flip_sin_to_cos": False, "freq_shift": 1},
        {},
    ),
    "reversed transformers": (
        {**SD1, "down_block_types": ("CrossAttnDownBlock2D",) * 2, "up_block_types": ("CrossAttnUpBlock2D",) * 2,
         "transformer_layers_per_block": [1, 2], "reverse_transformer_layers_per_block": [3, 1]},
        {},
    ),
    "transformers of each layer": (
        {**SD1, "down_block_types": ("CrossAttnDownBlock2D",) * 2, "up_block_types": ("CrossAttnUpBlock2D",) * 2,
         "transformer_layers_per_block": [[2], [1]], "reverse_transformer_layers_per_block": [[1, 2], [3, 1]]},
        {},
    ),
    "label table": ({**SD1, "num_class_embeds": 7}, CLASSES),
    "label timestep": ({**SD1, "class_embed_type": "timestep"}, CLASSES),
    "label identity": ({**SD1, "class_embed_type": "identity"}, {"class_labels": noise((2, 64), "class")}),
    "label projection": (
        {**SD1, "class_embed_type": "projection", "projection_class_embeddings_input_dim": 10}, EMBEDDED),
    "label simple projection, concatenated": (
        {**SD1, "class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": 10,
         "class_embeddings_concat": True},
        EMBEDDED,
    ),
    "guidance embedding": ({**SD1, "time_cond_proj_dim": 12}, {"timestep_cond": noise((2, 12), "cond")}),
    "text embedding": (
        {**SD1, "addition_embed_type": "text", "addition_embed_type_num_heads": 4, "encoder_hid_dim": 24}, {}),
    "only cross attention": ({**SD1, "only_cross_attention": (True, False)}, {}),
    "scale shift": ({**SD1, "resnet_time_scale_shift": "scale_shift", "mid_block_scale_factor": 1.4}, {}),
    "simple cross attention": (
        {**SD1, "block_out_channels": (32, 64), "attention_head_dim": 8, "cross_attention_dim": 32,
         "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
         "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
         "mid_block_type": "UNetMidBlock2DSimpleCrossAttn", "resnet_time_scale_shift": "scale_shift",
         "cross_attention_norm": "group_norm", "resnet_skip_time_act": True, "resnet_out_scale_factor": 1.3},
        MASK,
    ),
    "IF, first stage": (IF_UNET, {}),
    "IF, super-resolution": (IF_SUPER_RESOLUTION_UNET, {"class_labels": np.array([3, 250])}),
    "attention of IF in the down blocks only": (
        {**IF_UNET, "attention_head_dim": (4, 8), "up_block_types": ("UpBlock2D", "ResnetUpsampleBlock2D")}, MASK),
    "plain middle": ({**SD1, "mid_block_type": "UNetMidBlock2D"}, {}),
    "no middle": ({**SD1, "mid_block_type": None}, {}),
    "Fourier features of the timestep": ({**SD1, "time_embedding_type": "fourier", "time_embedding_dim": 48}, {}),
    "Fourier features, label timestep": (
        {**SD1, "time_embedding_type": "fourier", "class_embed_type": "timestep"}, CLASSES),
    "k-diffusion": (K, {"timestep_cond": noise((2, 20), "cond")}),
    "k-diffusion with a mask": (K, {"timestep_cond": noise((2, 20), "cond"), **MASK}),
    "k-diffusion, two levels, layers of three": (
        {**K, "block_out_channels": (64, 64), "down_block_types": ("KDownBlock2D", "KCrossAttnDownBlock2D"),
         "up_block_types": ("KCrossAttnUpBlock2D", "KUpBlock2D"), "layers_per_block": 3, "time_embedding_dim": 64,
         "time_embedding_type": "positional", "timestep_post_act": None, "resnet_time_scale_shift": "default"},
        {"timestep_cond": noise((2, 20), "cond")},
    ),
}  # fmt: skip


def as_tensors(extras: dict) -> tuple[dict, dict]:
    pairs = {key: both(value) for key, value in extras.items()}
    return {k: v[0] for k, v in pairs.items()}, {k: v[1] for k, v in pairs.items()}


def prompt_for(config: dict) -> np.ndarray:
    width = config.get("encoder_hid_dim") or config["cross_attention_dim"]
    return noise((2, 5, width if isinstance(width, int) else width[0]), "text")


@pytest.mark.parametrize("name", CASES)
def test_forward(tmp_path, name):
    config, extras = CASES[name]
    # Fourier features have high frequencies: float32 is precise for small times only, as in the latent upscaler
    times = (0.3, -0.7) if config.get("time_embedding_type") == "fourier" else (1, 977)
    size = (16, 24) if "k-diffusion" in name else (12, 20)
    ours, reference = twins(tmp_path, diffusers.UNet2DConditionModel(**config))
    x, tx = both(noise((2, config.get("in_channels", 4), *size)))
    (text, ttext), (mine, theirs) = both(prompt_for(config)), as_tensors(extras)
    for t in times:
        assert_close(ours(x, t, text, **mine).sample, reference(tx, t, ttext, **theirs).sample, what=f"timestep {t}")


@pytest.mark.parametrize("size", [(13, 19), (8, 9), (7, 7)])
def test_odd_sizes(tmp_path, size):
    config = {**SD1, "block_out_channels": (16, 32, 32), "down_block_types": ("CrossAttnDownBlock2D",) * 3,
              "up_block_types": ("CrossAttnUpBlock2D",) * 3}  # fmt: skip
    ours, reference = twins(tmp_path, diffusers.UNet2DConditionModel(**config))
    (x, tx), (text, ttext) = both(noise((3, 4, *size))), both(noise((3, 7, 24), "text"))
    t, tt = both(np.array([1, 500, 999]))
    assert_close(ours(x, t, text).sample, reference(tx, tt, ttext).sample)


def test_sdxl_conditions(tmp_path):
    config = {**SD1, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
              "projection_class_embeddings_input_dim": 64}  # fmt: skip
    ours, reference = twins(tmp_path, diffusers.UNet2DConditionModel(**config))
    (x, tx), (text, ttext) = both(noise((2, 4, 8, 8))), both(noise((2, 5, 24), "text"))
    mine, theirs = as_tensors(
        {"text_embeds": noise((2, 16), "pooled"), "time_ids": np.arange(12, dtype=np.float32).reshape(2, 6)}
    )
    expected = reference(tx, 3, ttext, added_cond_kwargs=theirs).sample
    assert_close(ours(x, 3, text, added_cond_kwargs=mine).sample, expected)
    with pytest.raises(InputError) as error:
        ours(x, 3, text)
    assert len(error.value.problems) == 2


def test_residuals_of_controlnet_and_t2i_adapter(tmp_path):
    ours, reference = twins(tmp_path, diffusers.UNet2DConditionModel(**SD1))
    (x, tx), (text, ttext) = both(noise((2, 4, 8, 8))), both(noise((2, 5, 24), "text"))
    shapes = [(2, 16, 8, 8), (2, 16, 8, 8), (2, 16, 4, 4), (2, 32, 4, 4)]
    down = [both(noise(shape, f"down {n}")) for n, shape in enumerate(shapes)]
    middle = both(noise((2, 32, 4, 4), "middle"))
    mine = ours(x, 3, text, down_block_additional_residuals=tuple(d[0] for d in down),
                mid_block_additional_residual=middle[0]).sample  # fmt: skip
    theirs = reference(tx, 3, ttext, down_block_additional_residuals=tuple(d[1] for d in down),
                       mid_block_additional_residual=middle[1]).sample  # fmt: skip
    assert_close(mine, theirs, what="ControlNet")
    inside = [both(noise((2, 16, 8, 8), "adapter 0")), both(noise((2, 32, 4, 4), "adapter 1"))]
    mine = ours(x, 3, text, down_intrablock_additional_residuals=[i[0] for i in inside]).sample
    theirs = reference(tx, 3, ttext, down_intrablock_additional_residuals=[i[1].clone() for i in inside]).sample
    assert_close(mine, theirs, what="T2I adapter")


def test_attention_slicing_gives_the_same_result(tmp_path):
    ours, reference = twins(tmp_path, diffusers.UNet2DConditionModel(**SD1))
    (x, tx), (text, ttext) = both(noise((2, 4, 8, 8))), both(noise((2, 5, 24), "text"))
    expected = reference(tx, 5, ttext).sample
    for size in ("auto", "max", 3, None):
        ours.set_attention_slice(size)
        assert_close(ours(x, 5, text).sample, expected, what=f"slices of {size}")


def test_to_static():
    """Paddle translates the source of layers; the result is the same."""
    network = UNet2DConditionModel(**SD1)
    network.eval()
    inputs = [paddle.to_tensor(x) for x in (noise((2, 4, 8, 8)), np.array([5, 7]), noise((2, 5, 24), "text"))]
    with paddle.no_grad():
        expected = network(*inputs).sample
        static = paddle.jit.to_static(network, full_graph=True)
        assert_close(static(*inputs, return_dict=False)[0], expected, 1e-6)


def test_gradients_equal(tmp_path):
    ours, reference = twins(tmp_path, diffusers.UNet2DConditionModel(**SD1))
    ours.train()
    (x, tx), (text, ttext) = both(noise((1, 4, 8, 8))), both(noise((1, 5, 24), "text"))
    (ours(x, 3, text).sample ** 2).mean().backward()
    (reference(tx, 3, ttext).sample ** 2).mean().backward()
    theirs = dict(reference.named_parameters())
    linear = {f"{n}.weight" for n, m in reference.named_modules() if isinstance(m, torch.nn.Linear)}
    for name, parameter in ours.named_parameters():
        gradient = parameter.grad.t() if name in linear else parameter.grad
        scale = float(theirs[name].grad.abs().max())
        if scale > 1e-6:  # the gradient of a bias before a norm is rounding error
            assert_close(gradient, theirs[name].grad, 1e-3, name)


def test_gradients_of_prompt_embeddings_with_checkpointing():
    """As in the training of a text encoder: the embeddings reach the layers inside another object."""
    network = UNet2DConditionModel(**SD1).train()
    x, text, gradients = paddle.to_tensor(noise((2, 4, 8, 8))), noise((2, 5, 24), "text"), []
    for checkpointing in (False, True):
        network.enable_gradient_checkpointing(checkpointing)
        network.clear_gradients()
        encoder = paddle.to_tensor(text, stop_gradient=False)
        (network(x, 3, encoder * 2).sample ** 2).mean().backward()
        gradients.append((encoder.grad.numpy(), network.conv_in.weight.grad.numpy()))
    for plain, recomputed in zip(*gradients, strict=True):
        assert np.abs(plain).max() > 0
        np.testing.assert_array_equal(plain, recomputed)


def test_save_and_load(tmp_path):
    ours, reference = twins(tmp_path / "torch", diffusers.UNet2DConditionModel(**SD1))
    x, text = paddle.to_tensor(noise((1, 4, 8, 8))), paddle.to_tensor(noise((1, 5, 24), "text"))
    expected = ours(x, 3, text).sample.numpy()
    for safe in (True, False):
        ours.save_pretrained(tmp_path / str(safe), safe_serialization=safe)
        again = UNet2DConditionModel.from_pretrained(tmp_path / str(safe))
        assert np.array_equal(again(x, 3, text).sample.numpy(), expected)
    ours.save_pretrained(tmp_path / "back", to_diffusers=True)
    back = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "back")
    assert all(torch.equal(value, reference.state_dict()[key]) for key, value in back.state_dict().items())


def test_wrong_configuration_lists_everything():
    with pytest.raises(ConfigError) as error:
        UNet2DConditionModel(
            down_block_types=("CrossAttnDownBlock2D", "Strange"),
            block_out_channels=(32, 64),
            attention_head_dim=(1, 2, 3),
            attention_type="gated",
            addition_embed_type="text_time",
        )
    text = str(error.value)
    for part in ("'Strange'", "up_block_types has 4", "attention_head_dim has 3", "attention_type = 'gated'",
                 "addition_time_embed_dim is required"):  # fmt: skip
        assert part in text


def test_transformers_of_each_layer_need_those_of_the_up_blocks():
    with pytest.raises(ConfigError, match="reverse_transformer_layers_per_block"):
        UNet2DConditionModel(**{**SD1, "transformer_layers_per_block": [[2], [1]]})


def test_wrong_inputs(tmp_path):
    network = UNet2DConditionModel(**{**SD1, "num_class_embeds": 3})
    with pytest.raises(InputError) as error:
        network(paddle.zeros([1, 4, 8, 8]), 0, None)
    assert len(error.value.problems) == 2
    with pytest.raises(InputError, match=r"\[batch, 4, height, width\]"):
        network(paddle.zeros([1, 3, 8, 8]), 0, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block_out_channels": (32, 32, 48, 64)}, "widths 64 and 48, and 64 of the time embedding, must be the same"),
        ({"time_embedding_dim": 32}, "widths 64 and 64, and 32 of the time embedding, must be the same"),
        ({"block_out_channels": (32, 64, 64, 64)}, "at up level 1.*must not all be the same"),
        ({"block_out_channels": (16, 32, 32, 32), "time_embedding_dim": 32}, "have at least 32"),
    ],
)
def test_widths_that_k_diffusion_blocks_do_not_support(settings, message):
    with pytest.raises(ConfigError, match=message):
        UNet2DConditionModel(**{**K, **settings})


@pytest.mark.parametrize("size", [(20, 16), (16, 25), (16, 8)])
def test_sizes_that_are_not_divisible(size):
    with pytest.raises(InputError, match="not multiples of 8"):
        UNet2DConditionModel(**K)(paddle.zeros([1, 4, *size]), 0.1, paddle.zeros([1, 5, 24]))


PUBLISHED = {
    "SD 1.5": {"attention_head_dim": 8, "cross_attention_dim": 768, "sample_size": 64},
    "SD 2.1": {"attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "sample_size": 96,
               "use_linear_projection": True, "upcast_attention": True, "only_cross_attention": False},
    "SDXL": {"attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
             "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
             "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
             "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": True,
             "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
             "projection_class_embeddings_input_dim": 2816},
    "latent upscaler": {**K, "sample_size": 128, "in_channels": 8, "attention_head_dim": 64, "layers_per_block": 4,
                        "block_out_channels": [384, 384, 768, 768], "cross_attention_dim": 768,
                        "time_cond_proj_dim": 896},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_and_shapes_of_published_networks(name):
    assert_same_keys(UNet2DConditionModel, diffusers.UNet2DConditionModel, PUBLISHED[name])
