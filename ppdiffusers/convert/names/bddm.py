"""The names of BDDM: the score network (DiffWave) and the schedule network (GALR)."""

from collections.abc import Mapping
from typing import Any

from ppdiffusers.convert.rules import Rename, Rule

_BLOCK = {
    "fc_t": "fc_t",
    "dilated_conv_layer.conv": "dilated_conv",
    "upsample_conv2d.*": "upsample.*",
    "mel_conv.conv": "mel_conv",
    "res_conv": "res_conv",
    "skip_conv": "skip_conv",
}
_ATTENTION = "ratio_nn.blocks.*.global_rnn.attn_layer.0"


def score_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for a DiffWaveModel."""
    blocks = "residual_layer.residual_blocks.*"
    return (
        Rename("init_conv.0.conv.*", "init_conv.*"),
        Rename("residual_layer.fc_t1.*", "fc_t1.*"),
        Rename("residual_layer.fc_t2.*", "fc_t2.*"),
        *(Rename(f"{blocks}.{old}.*", f"residual_blocks.*.{new}.*") for old, new in _BLOCK.items()),
        Rename("final_conv.0.conv.*", "final_conv.*"),
        Rename("final_conv.2.conv.*", "out_conv.*"),
    )


def schedule_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for a BDDMScheduleModel."""
    ours = "blocks.*.global_rnn"
    return (
        Rename("ratio_nn.encoder.enc_conv.*", "encoder.*"),
        Rename("ratio_nn.bottleneck.*", "bottleneck.*"),
        Rename("ratio_nn.block_gate.0.weight", "gate_slope"),
        Rename("ratio_nn.block_gate.1.*", "gate.*"),
        *(Rename(f"ratio_nn.blocks.*.{name}.*", f"blocks.*.{name}.*") for name in ("local_norm", "global_norm")),
        *(Rename(f"ratio_nn.blocks.*.{name}.*", f"blocks.*.{name}.*") for name in ("ld_map", "ld_inv_map")),
        Rename("ratio_nn.blocks.*.local_rnn.**", "blocks.*.local_rnn.**"),
        Rename("ratio_nn.blocks.*.global_rnn.attn_in_norm.*", f"{ours}.attn_in_norm.*"),
        Rename("ratio_nn.blocks.*.global_rnn.pos_enc.pe", f"{ours}.pe"),
        Rename(f"{_ATTENTION}.attn.in_proj_weight", f"{ours}.in_proj.weight"),
        Rename(f"{_ATTENTION}.attn.in_proj_bias", f"{ours}.in_proj.bias"),
        Rename(f"{_ATTENTION}.attn.out_proj.*", f"{ours}.out_proj.*"),
        Rename(f"{_ATTENTION}.norm.*", f"{ours}.norm.*"),
    )
