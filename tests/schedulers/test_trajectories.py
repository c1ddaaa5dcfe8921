"""Every sampler's whole trajectory against diffusers, over a grid of configurations."""

from __future__ import annotations

import pytest

from tests.schedulers.parity import STEPS, assert_same_run

SCALED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
V = {"prediction_type": "v_prediction"}
X0 = {"prediction_type": "sample"}
TRAILING = {"timestep_spacing": "trailing"}
LEADING = {"timestep_spacing": "leading"}
LINSPACE = {"timestep_spacing": "linspace"}
ZERO_SNR = {"rescale_betas_zero_snr": True}
THRESHOLD = {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.5}
TRAINED = {"trained_betas": [0.001 + 0.0004 * i for i in range(60)], "num_train_timesteps": 60}
NO_CLIP = {"clip_sample": False}
OFFSET = {"steps_offset": 1, **LEADING}

# name -> configurations; keys that begin with "_" are arguments of the run
GRID: dict[str, list[dict]] = {
    "DDPMScheduler": [
        {},
        NO_CLIP,
        {**NO_CLIP, **SCALED},
        {**NO_CLIP, **COSINE},
        {**NO_CLIP, "beta_schedule": "sigmoid"},
        {**NO_CLIP, **TRAINED},
        {**NO_CLIP, **V},
        {**NO_CLIP, **X0},
        {**V, **ZERO_SNR, **TRAILING},
        {**X0, **ZERO_SNR, **LINSPACE},
        {**NO_CLIP, **TRAILING},
        {**NO_CLIP, **LINSPACE},
        {**NO_CLIP, **OFFSET},
        THRESHOLD,
        {**THRESHOLD, **V},
        {"clip_sample_range": 2.5},
        {"variance_type": "fixed_large"},
        {"variance_type": "fixed_small_log"},
        {"variance_type": "fixed_large", **X0, **COSINE},
        {"variance_type": "learned_range", "_channels": 2},
        {"variance_type": "learned_range", "_channels": 2, **V, **SCALED},
        {"num_train_timesteps": 100, "beta_end": 0.1},
        {"num_train_timesteps": 333, **NO_CLIP, **TRAILING},
    ],
    "DDIMScheduler": [
        {},
        NO_CLIP,
        {**NO_CLIP, **SCALED},
        {**NO_CLIP, **SCALED, "set_alpha_to_one": False, "steps_offset": 1},
        {**NO_CLIP, **COSINE},
        {**NO_CLIP, **TRAINED},
        {**NO_CLIP, **V},
        {**NO_CLIP, **X0},
        {**V, **ZERO_SNR, **TRAILING},
        {**V, **ZERO_SNR, **TRAILING, "_eta": 0.8},
        {**X0, **ZERO_SNR, **LINSPACE},
        {**NO_CLIP, **TRAILING},
        {**NO_CLIP, **LINSPACE},
        THRESHOLD,
        {**THRESHOLD, **V},
        {"clip_sample_range": 2.5},
        {"_eta": 1.0},
        {"_eta": 0.3, **NO_CLIP, **SCALED},
        {"_eta": 0.7, **V, **COSINE},
        {"_use_clipped_model_output": True},
        {"_use_clipped_model_output": True, "_eta": 1.0, **X0},
        {"num_train_timesteps": 100, "beta_end": 0.1},
        {"num_train_timesteps": 333, **NO_CLIP, **TRAILING},
    ],
}
# configurations whose arithmetic is ill-conditioned in float32: how far both may drift apart, and why
LOOSE: dict[str, float] = {}


def _cases() -> list:
    cases = []
    for name, configs in GRID.items():
        for config in configs:
            label = ",".join(f"{k.lstrip('_')}={v if not isinstance(v, list) else '...'}" for k, v in config.items())
            cases.append(pytest.param(name, config, id=f"{name.removesuffix('Scheduler')}-{label or 'default'}"))
    return cases


@pytest.mark.parametrize(("name", "config"), _cases())
def test_every_step_is_that_of_diffusers(name: str, config: dict) -> None:
    settings = {k: v for k, v in config.items() if not k.startswith("_")}
    run = {k[1:]: v for k, v in config.items() if k.startswith("_")}
    only = run.pop("steps", STEPS)
    for num_steps in only:
        assert_same_run(name, settings, num_steps, **run)


def test_the_grid_has_twenty_configurations_for_each_scheduler_with_that_many_meaningful_ones() -> None:
    few = {name: len(configs) for name, configs in GRID.items() if len(configs) < 20}
    assert not few
