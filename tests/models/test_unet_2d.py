"""UNet2DModel against diffusers: every block type, time embedding and class embedding."""

import diffusers
import numpy as np
import paddle
import pytest
import torch
from diffusers.training_utils import EMAModel

from ppdiffusers import UNet2DModel
from ppdiffusers.core.errors import ConfigError, InputError
from tests.models.support import assert_same_keys, both, twins
from tests.support.parity import assert_close, noise

SMALL = {
    "sample_size": 16,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
NCSNPP = {
    **SMALL,
    "block_out_channels": (32, 64, 64),
    "layers_per_block": 2,
    "time_embedding_type": "fourier",
    "attention_head_dim": None,
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D", "SkipDownBlock2D"),
    "up_block_types": ("SkipUpBlock2D", "AttnSkipUpBlock2D", "SkipUpBlock2D"),
    "mid_block_scale_factor": 1.41421356237,
    "norm_eps": 1e-6,
    "norm_num_groups": None,
}
NCSNPP_VARIANTS = {
    "plain": {},
    "centred": {"center_input_sample": True},
    "attention everywhere": {
        "down_block_types": ("AttnSkipDownBlock2D",) * 3,
        "up_block_types": ("AttnSkipUpBlock2D",) * 3,
        "layers_per_block": 1,
    },
    "heads": {"attention_head_dim": 16, "act_fn": "gelu"},
    "no attention": {"down_block_types": ("SkipDownBlock2D",) * 3, "up_block_types": ("SkipUpBlock2D",) * 3},
    "wide and mixed": {
        "block_out_channels": (128, 160, 256),  # at most 32 groups
        "norm_num_groups": 16,  # of the last norm
        "layers_per_block": 1,
        "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnSkipUpBlock2D", "SkipUpBlock2D"),
    },
}
CONFIGS = {
    "ddpm": {**SMALL, "freq_shift": 1, "flip_sin_to_cos": False, "downsample_padding": 0, "attention_head_dim": None},
    "two layers": {**SMALL, "layers_per_block": 2},
    "no middle attention": {**SMALL, "add_attention": False},
    "scale shift": {**SMALL, "resnet_time_scale_shift": "scale_shift"},
    "attention groups": {**SMALL, "attn_norm_num_groups": 8},
    "residual resampling": {
        **SMALL,
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "down_block_types": ("AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D"),
    },
    "resampling resnets": {
        **SMALL,
        "down_block_types": ("ResnetDownsampleBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "ResnetUpsampleBlock2D"),
    },
    "learned time": {**SMALL, "time_embedding_type": "learned", "num_train_timesteps": 100},
    "wide time": {**SMALL, "time_embedding_dim": 24, "act_fn": "gelu"},
    "centred": {**SMALL, "center_input_sample": True, "mid_block_scale_factor": 1.4},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_forward(tmp_path, name):
    ours, reference = twins(tmp_path, diffusers.UNet2DModel(**CONFIGS[name]))
    x, tx = both(noise((2, 3, 12, 20)))
    for t in (0, 7, 99):
        assert_close(ours(x, t).sample, reference(tx, t).sample, what=f"{name}, timestep {t}")
    t, tt = both(np.array([3, 41]))
    assert_close(ours(x, t, return_dict=False)[0], reference(tx, tt).sample, what=f"{name}, a timestep each")


@pytest.mark.parametrize("changes", NCSNPP_VARIANTS.values(), ids=NCSNPP_VARIANTS)
@pytest.mark.parametrize("size", [(16, 24), (12, 20)])  # the second size has 3 x 5 pixels in the middle block
def test_score_sde(tmp_path, changes, size):
    """NCSN++: Fourier features, FIR resampling, a low-resolution image next to the features."""
    ours, reference = twins(tmp_path, diffusers.UNet2DModel(**{**NCSNPP, **changes}))
    x, tx = both(noise((2, 3, *size)))
    sigma, tsigma = both(np.array([0.3, 17.5], dtype=np.float32))
    assert_close(ours(x, sigma).sample, reference(tx, tsigma).sample, what="noise level per image")
    assert_close(ours(x, 2.5).sample, reference(tx, torch.tensor(2.5)).sample, what="one noise level")


@pytest.mark.parametrize("kind", [None, "timestep", "identity"])
def test_class_embedding(tmp_path, kind):
    config = {**SMALL, "class_embed_type": kind, "num_class_embeds": 5 if kind is None else None}
    ours, reference = twins(tmp_path, diffusers.UNet2DModel(**config))
    x, tx = both(noise((2, 3, 16, 16)))
    labels, tlabels = both(noise((2, 64)) if kind == "identity" else np.array([1, 4]))
    assert_close(ours(x, 5, labels).sample, reference(tx, 5, tlabels).sample)
    with pytest.raises(InputError, match="class_labels are missing"):
        ours(x, 5)


def test_gradients_equal(tmp_path):
    ours, reference = twins(tmp_path, diffusers.UNet2DModel(**SMALL))
    ours.train()
    x, tx = both(noise((1, 3, 8, 8)))
    for checkpointing in (False, True):
        ours.enable_gradient_checkpointing(checkpointing)
        ours.clear_gradients()
        (ours(x, 3).sample ** 2).mean().backward()
        reference.zero_grad()
        (reference(tx, 3).sample ** 2).mean().backward()
        for name in ("conv_in.weight", "down_blocks.1.attentions.0.to_q.weight", "time_embedding.linear_1.weight"):
            gradient = dict(ours.named_parameters())[name].grad
            expected = dict(reference.named_parameters())[name].grad
            is_linear = "to_q" in name or "linear" in name
            assert_close(gradient.t() if is_linear else gradient, expected, 1e-3, name)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_computes_in_float32_on_a_cpu(tmp_path, dtype):
    """Paddle has no CPU kernels for it: weights are rounded and held in float32, and so are half-precision inputs."""
    ours, reference = twins(tmp_path, diffusers.UNet2DModel(**SMALL), paddle_dtype=dtype)
    assert ours.dtype == paddle.float32
    x, tx = both(noise((1, 3, 16, 16)))
    reference.to(getattr(torch, dtype)).float()  # the same rounding of the weights
    assert_close(ours(x, 5).sample, reference(tx, 5).sample)
    rounded = tx.to(getattr(torch, dtype)).float()
    assert_close(ours(x.astype(dtype), 5).sample, reference(rounded, 5).sample)


def test_attention_slicing_gives_the_same_result(tmp_path):
    ours, reference = twins(tmp_path, diffusers.UNet2DModel(**{**SMALL, "attention_head_dim": 4}))
    x, tx = both(noise((2, 3, 16, 16)))
    expected = reference(tx, 5).sample
    for size in ("auto", "max", 3, None):
        ours.set_attention_slice(size)
        assert_close(ours(x, 5).sample, expected, what=f"slices of {size}")
    with pytest.raises(InputError, match="slice_size is 99"):
        ours.set_attention_slice(99)


def test_moving_average_of_diffusers_training_loads(tmp_path):
    """Its configuration contains the settings of the average, which have no effect."""
    reference = diffusers.UNet2DModel(**SMALL)
    average = EMAModel(
        reference.parameters(), use_ema_warmup=True, model_cls=type(reference), model_config=reference.config
    )
    average.step(reference.parameters())
    average.save_pretrained(tmp_path)
    x, tx = both(noise((1, 3, 16, 16)))
    ours = UNet2DModel.from_pretrained(tmp_path)
    assert_close(ours(x, 5).sample, diffusers.UNet2DModel.from_pretrained(tmp_path)(tx, 5).sample)


def test_wrong_configuration_lists_everything():
    with pytest.raises(ConfigError) as error:
        UNet2DModel(
            down_block_types=("DownBlock2D", "NoBlock"),
            up_block_types=("UpBlock2D",),
            block_out_channels=(32, 64),
            time_embedding_type="learned",
            class_embed_type="strange",
        )
    text = str(error.value)
    for part in ("'NoBlock'", "up_block_types has 1 entries", "num_train_timesteps", "'strange'", "AttnDownBlock2D"):
        assert part in text


def test_wrong_inputs():
    network = UNet2DModel(**SMALL)
    with pytest.raises(InputError, match=r"\[batch, 3, height, width\]"):
        network(paddle.zeros([1, 4, 8, 8]), 0)
    for size in ((13, 16), (16, 7)):
        with pytest.raises(InputError, match=r"multiples of 2 \(downsampling levels: 1\)"):
            network(paddle.zeros([1, 3, *size]), 0)
    with pytest.raises(InputError, match="multiples of 4"):
        UNet2DModel(**NCSNPP)(paddle.zeros([1, 3, 16, 18]), 1.0)
    with pytest.raises(InputError, match="has no class embedding"):
        network(paddle.zeros([1, 3, 8, 8]), 0, paddle.to_tensor([1]))


PUBLISHED = {
    "google/ddpm-cifar10-32": {
        "act_fn": "silu", "attention_head_dim": None, "block_out_channels": [128, 256, 256, 256],
        "center_input_sample": False, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-6, "norm_num_groups": 32,
        "sample_size": 32, "time_embedding_type": "positional",
    },
    "google/ncsnpp-celebahq-256": {
        "act_fn": "silu", "attention_head_dim": None, "block_out_channels": [128, 128, 256, 256, 256, 256, 256],
        "center_input_sample": True, "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0,
        "down_block_types": ["SkipDownBlock2D"] * 4 + ["AttnSkipDownBlock2D"] + ["SkipDownBlock2D"] * 2,
        "up_block_types": ["SkipUpBlock2D"] * 2 + ["AttnSkipUpBlock2D"] + ["SkipUpBlock2D"] * 4,
        "layers_per_block": 2, "mid_block_scale_factor": 1.41421356237, "norm_eps": 1e-6, "norm_num_groups": None,
        "sample_size": 256, "time_embedding_type": "fourier",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_and_shapes_of_published_networks(name):
    """Both networks are built without allocating weights."""
    assert_same_keys(UNet2DModel, diffusers.UNet2DModel, PUBLISHED[name])
