"""Shared by the tests of the runtime: tiny networks with random weights, and an empty cache."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ppdiffusers import AutoencoderKL, UNet2DConditionModel
from ppdiffusers.transformers import CLIPTextConfig, CLIPTextModel
from tests.support.parity import rng_for

BACKENDS = ("openvino", "onednn")


@pytest.fixture
def program_cache(tmp_path, monkeypatch):
    """An empty cache of compiled programs."""
    monkeypatch.setenv("PPDIFFUSERS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "programs"


def with_random_weights(layer: paddle.nn.Layer) -> paddle.nn.Layer:
    for name, parameter in layer.named_parameters():
        normal = rng_for(name).standard_normal(parameter.shape).astype("float32")
        fan_in = max(1, int(np.prod(parameter.shape[1:])))
        scaled = normal / np.sqrt(fan_in) if len(parameter.shape) > 1 else 0.3 * normal + ("norm" in name)
        parameter.set_value(scaled)
    layer.eval()
    return layer


def tiny_unet(**changes) -> UNet2DConditionModel:
    settings = {
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": 24,
        "attention_head_dim": 4,
    }
    return with_random_weights(UNet2DConditionModel(**{**settings, **changes}))


def unet_inputs(batch: int = 2, height: int = 8, width: int = 12, timestep: object = 999) -> tuple:
    """Return noise [B, 4, H, W], a timestep and text embeddings [B, 7, 24]."""
    rng = np.random.default_rng([batch, height, width])
    sample = paddle.to_tensor(rng.standard_normal((batch, 4, height, width)).astype("float32"))
    text = paddle.to_tensor(rng.standard_normal((batch, 7, 24)).astype("float32"))
    return sample, timestep, text


def tiny_vae() -> AutoencoderKL:
    types = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return with_random_weights(AutoencoderKL(block_out_channels=(32, 64), **types))


def tiny_text_encoder() -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, eos_token_id=2
    )
    return with_random_weights(CLIPTextModel(config))


def relative_distance(found: paddle.Tensor, wanted: paddle.Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())
