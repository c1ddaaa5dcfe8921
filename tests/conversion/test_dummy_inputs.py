"""Networks and schedulers define their own dummy inputs, and agree with diffusers on them."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
from paddle import nn

from ppdiffusers import ModelMixin, registry
from ppdiffusers.conversion.verify import MODEL_TOLERANCE, largest_distance, measure_component
from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.io.pretrained import PretrainedMixin
from ppdiffusers.utils.dummy_inputs import as_tensors, small_size
from tests.support.parity import randomize

SMALL = {
    "sample_size": 8,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 24,
    "attention_head_dim": 8,
    "norm_num_groups": 8,
}
CONDITIONS = {
    "class labels": ({"num_class_embeds": 5}, "class_labels"),
    "class timestep": ({"class_embed_type": "timestep"}, "class_labels"),
    "class identity": ({"class_embed_type": "identity"}, "class_labels"),
    "class projection": (
        {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 6},
        "class_labels",
    ),
    "guidance embedding": ({"time_cond_proj_dim": 12}, "timestep_cond"),
    "size and crop": (
        {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 20,
        },
        "added_cond_kwargs",
    ),
    "projected prompt": ({"encoder_hid_dim": 10}, "encoder_hidden_states"),
    "dual attention": ({"dual_cross_attention": True}, "down_blocks.0.attentions.0"),
}


# a component with several networks is verified network by network
@pytest.mark.parametrize(
    "entry",
    [entry for entry in registry.entries(*registry.NETWORK_KINDS) if not entry.networks_class],
    ids=lambda entry: entry.name,
)
def test_every_network_defines_dummy_inputs(entry):
    assert entry.load().dummy_inputs is not PretrainedMixin.dummy_inputs


@pytest.mark.parametrize("case", CONDITIONS)
def test_conditions_of_a_unet(tmp_path, case):
    settings, key = CONDITIONS[case]
    randomize(diffusers.UNet2DConditionModel(**SMALL, **settings)).save_pretrained(tmp_path)
    entry = registry.components()["UNet2DConditionModel"]
    assert key in entry.load().from_pretrained(tmp_path).dummy_inputs(np.random.default_rng(0))
    assert largest_distance(case, measure_component(entry, tmp_path, tmp_path)) <= MODEL_TOLERANCE


@pytest.mark.parametrize(
    "entry", [entry for entry in registry.entries("scheduler") if entry.has_original], ids=lambda entry: entry.name
)
def test_every_scheduler_agrees(tmp_path, entry):
    settings = {"num_vec_classes": 7} if entry.name == "VQDiffusionScheduler" else {}
    entry.original()(**settings).save_pretrained(tmp_path)
    assert largest_distance(entry.name, measure_component(entry, tmp_path, tmp_path)) <= 1e-5


def test_a_network_without_dummy_inputs():
    class Plain(ModelMixin):
        @register_to_config
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

    with pytest.raises(InputError, match=r"Plain has no dummy inputs"):
        Plain().dummy_inputs(np.random.default_rng(0))


def test_small_size():
    assert small_size(64, 4) == 32
    assert small_size(None, 3) == 32
    assert small_size((24, 17), 2) == 16
    assert small_size(4, 3) == 8  # large enough to be halved three times


def test_as_tensors_converts_nested_arrays_only():
    inputs = {"sample": np.zeros(2), "timestep": 3, "added": {"ids": np.ones(1)}}
    converted = as_tensors(inputs, lambda array: ("tensor", array.shape))
    assert converted == {"sample": ("tensor", (2,)), "timestep": 3, "added": {"ids": ("tensor", (1,))}}
