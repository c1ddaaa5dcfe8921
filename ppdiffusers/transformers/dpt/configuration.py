"""Configurations of DPT and of its backbone BiT, with the defaults of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppdiffusers.transformers.configuration_utils import PretrainedConfig


class BitConfig(PretrainedConfig):
    """Configuration of BiT, a ResNet with group normalization; `out_features` are the names of the output stages."""

    model_type = "bit"
    defaults = {
        "num_channels": 3,
        "embedding_size": 64,
        "hidden_sizes": [256, 512, 1024, 2048],
        "depths": [3, 4, 6, 3],
        "layer_type": "preactivation",
        "hidden_act": "relu",
        "global_padding": None,
        "num_groups": 32,
        "drop_path_rate": 0.0,
        "embedding_dynamic_padding": False,
        "output_stride": 32,
        "width_factor": 1,
        "out_features": None,
    }


# The backbone of hybrid configurations without a `backbone_config`.
_HYBRID_BACKBONE = {
    "global_padding": "SAME",
    "layer_type": "bottleneck",
    "depths": [3, 4, 9],
    "out_features": ["stage1", "stage2", "stage3"],
    "embedding_dynamic_padding": True,
}


class DPTConfig(PretrainedConfig):
    """Configuration of DPT; with `is_hybrid`, the vision transformer's input is BiT features instead of patches."""

    model_type = "dpt"
    defaults = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "image_size": 384,
        "patch_size": 16,
        "num_channels": 3,
        "is_hybrid": False,
        "qkv_bias": True,
        "backbone_out_indices": [2, 5, 8, 11],
        "readout_type": "project",
        "reassemble_factors": [4, 2, 1, 0.5],
        "neck_hidden_sizes": [96, 192, 384, 768],
        "fusion_hidden_size": 256,
        "head_in_index": -1,
        "use_batch_norm_in_fusion_residual": False,
        "use_bias_in_fusion_residual": None,
        "add_projection": False,
        "backbone_featmap_shape": [1, 1024, 24, 24],
        "neck_ignore_stages": [0, 1],
        "backbone": None,
    }

    def __init__(self, backbone_config: BitConfig | Mapping[str, Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if self.is_hybrid and not isinstance(backbone_config, BitConfig):
            backbone_config = BitConfig(**(backbone_config or _HYBRID_BACKBONE))
        elif not self.is_hybrid:
            self.backbone_featmap_shape, self.neck_ignore_stages = None, []
        self.backbone_config = backbone_config
