"""Descriptions of LoRA files, from names and shapes."""

import json

import numpy as np
import pytest

from ppdiffusers.convert.lora import METADATA_KEY
from ppdiffusers.convert.lora_info import describe_lora
from ppdiffusers.convert.names.sgm_unet import sgm_paths
from ppdiffusers.core.tensors import LazyTensor

CONTEXT = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
KOHYA = f"lora_unet_{CONTEXT.replace('.', '_')}"


def file(shapes, **scalars):
    tensors = {name: np.ones(shape, "float32") for name, shape in shapes.items()}
    tensors |= {name: np.array(value, "float32") for name, value in scalars.items()}
    return {name: LazyTensor.of(array) for name, array in tensors.items()}


def test_peft():
    names = {f"unet.{CONTEXT}.lora_A.weight": (8, 768), f"unet.{CONTEXT}.lora_B.weight": (320, 8)}
    names |= {f"unet.{CONTEXT}.lora_magnitude_vector": (320,)}
    names |= {"text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight": (4, 768)}
    names |= {"text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_B.weight": (3072, 4)}
    config = {"unet.lora_alpha": 16, "unet.alpha_pattern": {"^mid": 2}, "text_encoder.lora_alpha": 4}
    info = describe_lora(file(names), {METADATA_KEY: json.dumps(config)})
    assert info.format == "PEFT" and info.kinds == ("DoRA", "LoRA")
    assert info.components == {"unet": 1, "text_encoder": 1}
    assert info.ranks == (4, 8) and info.alphas == (2, 4, 16)
    assert info.cross_attention_dim == 768 and info.base_model == "SD 1.x"
    assert describe_lora(file(names), {METADATA_KEY: "["}).alphas == ()


@pytest.mark.parametrize(
    "names, form, kinds, ranks, width",
    [
        ({"lora_down.weight": (4, 2048), "lora_up.weight": (9, 4)}, "Kohya", ("LoRA",), (4,), 2048),
        ({"lora_down.weight": (4, 1024, 3, 3), "lora_up.weight": (9, 4, 1, 1)}, "Kohya", ("LoCon", "LoRA"), (4,), 1024),
        ({"hada_w1_a": (9, 3), "hada_w1_b": (3, 7), "hada_w2_a": (9, 3)}, "Kohya", ("LoHa",), (3,), 7),
        ({"lokr_w1": (3, 8), "lokr_w2_a": (3, 5), "lokr_w2_b": (5, 96)}, "Kohya", ("LoKr",), (5,), 768),
        ({"diff": (9, 768), "diff_b": (9,)}, "Kohya", ("full",), (), 768),
    ],
)
def test_kohya(names, form, kinds, ranks, width):
    tensors = file({f"{KOHYA}.{name}": shape for name, shape in names.items()}, **{f"{KOHYA}.alpha": 2.5})
    tensors |= file({"lora_te2_text_model_encoder_layers_0_mlp_fc1.dora_scale": (9, 1)})
    info = describe_lora(tensors)
    assert info.format == form and info.kinds == tuple(sorted((*kinds, "DoRA")))
    assert info.components == {"unet": 1, "text_encoder_2": 1}
    assert info.ranks == ranks and info.alphas == (2.5,) and info.cross_attention_dim == width
    assert info.base_model == {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}.get(width)


def test_old_formats_and_other_files():
    old = f"{CONTEXT.removesuffix('.to_k')}.processor.to_k_lora"
    info = describe_lora(file({f"{old}.down.weight": (4, 768), f"{old}.up.weight": (320, 4)}))
    assert (info.format, info.components, info.cross_attention_dim) == ("attention processors", {"unet": 1}, 768)
    newer = f"unet.{CONTEXT}.lora"
    assert describe_lora(file({f"{newer}.down.weight": (4, 5), f"{newer}.up.weight": (6, 4)})).format == "diffusers"
    assert describe_lora(file({"conv_in.weight": (4, 4)})) is None
    assert describe_lora({}) is None


def test_sgm_names_of_blocks_without_attention():
    """Two residual blocks in each block; the third block has no attention, so its upsampler is the second layer."""
    paths = [f"down_blocks.{b}.resnets.{n}.conv1" for b in range(3) for n in range(2)]
    paths += [
        "down_blocks.0.attentions.1.proj_in",
        "down_blocks.0.downsamplers.0.conv",
        "conv_in",
        "mid_block.resnets.1.conv2",
    ]
    paths += [f"up_blocks.{b}.resnets.{n}.time_emb_proj" for b in range(3) for n in range(3)]
    paths += ["up_blocks.1.attentions.0.proj_in", "up_blocks.0.upsamplers.0.conv", "up_blocks.1.upsamplers.0.conv"]
    ours = {path: name for name, path in sgm_paths(paths).items()}
    assert ours["conv_in"] == "input_blocks.0.0" and ours["mid_block.resnets.1.conv2"] == "middle_block.2.out_layers.3"
    assert ours["down_blocks.0.attentions.1.proj_in"] == "input_blocks.2.1.proj_in"
    assert ours["down_blocks.0.downsamplers.0.conv"] == "input_blocks.3.0.op"
    assert ours["down_blocks.2.resnets.1.conv1"] == "input_blocks.8.0.in_layers.2"
    assert ours["up_blocks.1.resnets.0.time_emb_proj"] == "output_blocks.3.0.emb_layers.1"
    assert ours["up_blocks.0.upsamplers.0.conv"] == "output_blocks.2.1.conv"
    assert ours["up_blocks.1.upsamplers.0.conv"] == "output_blocks.5.2.conv"
