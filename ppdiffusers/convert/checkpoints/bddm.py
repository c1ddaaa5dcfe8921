"""BDDM (github.com/tencent-ailab/bddm): a training checkpoint with a score network and, later, a schedule network."""

from __future__ import annotations

from typing import Any

from ppdiffusers.convert.checkpoints.base import (
    Layout,
    Network,
    OriginalModel,
    Tensors,
    count_indices,
    shape_of,
    strip_data_parallel,
    strip_prefix,
)
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.bddm import schedule_rules, score_rules

SCHEDULE = "schedule_net."
BLOCK = "residual_layer.residual_blocks.0"


def read(settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
    """Read the widths from shapes; a checkpoint without a schedule network gives a pipeline without one."""
    tensors = strip_data_parallel(strip_prefix(tensors, "model_state_dict.") or tensors)
    score = {name: tensor for name, tensor in tensors.items() if not name.startswith(SCHEDULE)}
    networks = [_network("score_net", "DiffWaveModel", _score_config(settings, score), score_rules, score)]
    if schedule := strip_prefix(tensors, SCHEDULE):
        config = _schedule_config(settings, schedule)
        networks.append(_network("schedule_net", "BDDMScheduleModel", config, schedule_rules, schedule))
    scheduler = {
        "num_train_timesteps": settings.integer("T", 200),
        "beta_start": settings.number("beta_0", 0.0001),
        "beta_end": settings.number("beta_T", 0.02),
        "inference_schedule": "linspace",
    }
    settings.raise_problems(sections=[])  # the file also has the settings of training
    return OriginalModel("BDDMPipeline", tuple(networks), ("BDDMScheduler", scheduler))


def layouts(settings: Settings) -> dict[str, Layout]:
    """Two networks; the names of the schedule network have a prefix."""
    return {
        "score_net": Layout("DiffWaveModel", score_rules, {}),
        "schedule_net": Layout("BDDMScheduleModel", schedule_rules, {}, prefix=SCHEDULE, optional=True),
    }


def _network(name: str, class_name: str, config: dict[str, Any], rules: Any, tensors: Tensors) -> Network:
    return Network(name, class_name, config, rules(config), tensors)


def _score_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    channels, in_channels, _ = shape_of(tensors, "init_conv.0.conv.weight_v")
    out_channels, skip_channels, _ = shape_of(tensors, "final_conv.2.conv.weight")
    layers = count_indices(tensors, "residual_layer.residual_blocks.")
    upsamplers = range(count_indices(tensors, f"{BLOCK}.upsample_conv2d."))
    return {
        "in_channels": in_channels,
        "res_channels": channels,
        "skip_channels": skip_channels,
        "out_channels": out_channels,
        "num_res_layers": layers,
        "dilation_cycle": settings.integer("dilation_cycle", 10),
        "diffusion_step_embed_dim_in": shape_of(tensors, "residual_layer.fc_t1.weight")[1],
        "diffusion_step_embed_dim_mid": shape_of(tensors, "residual_layer.fc_t1.weight")[0],
        "diffusion_step_embed_dim_out": shape_of(tensors, "residual_layer.fc_t2.weight")[0],
        "cond_channels": shape_of(tensors, f"{BLOCK}.mel_conv.conv.weight_v")[1],
        "upsample_ratios": [shape_of(tensors, f"{BLOCK}.upsample_conv2d.{n}.weight_v")[3] // 2 for n in upsamplers],
        "sample_rate": settings.integer("sampling_rate", 22050),
    }


def _schedule_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    width, _, window = shape_of(tensors, "ratio_nn.encoder.enc_conv.weight")
    return {
        "blocks": count_indices(tensors, "ratio_nn.blocks."),
        "input_dim": width,
        "hidden_dim": shape_of(tensors, "ratio_nn.blocks.0.local_rnn.cell_init")[2],
        "window_length": window,
        "segment_size": shape_of(tensors, "ratio_nn.blocks.0.ld_map.weight")[1],
    }
