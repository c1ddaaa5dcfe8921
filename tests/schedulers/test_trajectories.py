"""The trajectories of all schedulers against diffusers, over a grid of configurations."""

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
LOW_THRESHOLD = {**THRESHOLD, "sample_max_value": 0.4}
TRAINED = {"trained_betas": [0.001 + 0.0004 * i for i in range(60)], "num_train_timesteps": 60}
NO_CLIP = {"clip_sample": False}
OFFSET = {"steps_offset": 1, **LEADING}

KARRAS = {"use_karras_sigmas": True}
EXPONENTIAL = {"use_exponential_sigmas": True}
BETA = {"use_beta_sigmas": True}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
SIGMA_MIN = {"final_sigmas_type": "sigma_min"}
PRK = (5, 10, 25, 50)  # Runge-Kutta steps need at least four

SIGMA_SAMPLERS: list[dict] = [
    {},
    SCALED,
    COSINE,
    {**TRAINED, "_steps": (1, 2, 5, 10, 25)},
    V,
    {**V, **SCALED},
    TRAILING,
    LEADING,
    {**OFFSET, **SCALED},
    {**V, **COSINE, **TRAILING},
    {"num_train_timesteps": 333},
    {**KARRAS},
    {**KARRAS, **SCALED},
    {**KARRAS, **V, **LEADING},
    {**KARRAS, **COSINE},
    {**EXPONENTIAL},
    {**EXPONENTIAL, **SCALED, **V},
    {**BETA},
    {**BETA, **SCALED, **V},
]
# Not with the first timestep repeated by rounding: the reference then confuses a midpoint with a start.
KDPM2 = [*(c for c in SIGMA_SAMPLERS if c != {**KARRAS, **COSINE}), {**SCALED, **LEADING, **V}, {**EXPONENTIAL, **V}]
SOLVERS: list[dict] = [
    {},
    SCALED,
    COSINE,
    {**TRAINED, "_steps": (1, 2, 5, 10, 25)},
    V,
    {**X0, **SCALED},
    {**TRAILING, **SCALED},
    {**LEADING, **SCALED},
    {**OFFSET, **V},
    {"num_train_timesteps": 333},
    {"solver_order": 1},
    {"solver_order": 3, **SCALED},
    {"solver_order": 3, **V},
    THRESHOLD,
    {**THRESHOLD, **V, **SCALED},
    {**LOW_THRESHOLD, **SCALED},
    KARRAS,
    {
        **KARRAS,
        **COSINE,
        "_steps": (1, 2, 5),
    },  # with more steps rounding repeats the first timestep, and the reference overruns
    {**KARRAS, **SCALED, "solver_order": 3},
    {**EXPONENTIAL, **SCALED},
    {**BETA, **SCALED},
    FLOW,
    {**FLOW, "flow_shift": 1.0, "solver_order": 1},
]
DISTILLED: list[dict] = [
    {},
    {"beta_schedule": "linear"},
    {**COSINE},
    V,
    X0,
    {**V, **COSINE},
    {**X0, "beta_schedule": "linear"},
    {"clip_sample": True},
    {"clip_sample": True, "clip_sample_range": 2.0, **V},
    THRESHOLD,
    {**THRESHOLD, **X0},
    {"set_alpha_to_one": False},
    {"timestep_scaling": 3.0},
    {"original_inference_steps": 100},
    {"original_inference_steps": 100, **V},
    {**ZERO_SNR, **V},
    {**ZERO_SNR, **X0},
    {"num_train_timesteps": 500, "beta_end": 0.02},
    {"_set_timesteps": {"strength": 0.5}, "_steps": (1, 2, 5, 10, 25)},
    {"_set_timesteps": {"strength": 0.8, "original_inference_steps": 100}},
    {"_set_timesteps": {"timesteps": [999, 759, 499, 259]}, "_steps": (None,)},
    {"_set_timesteps": {"timesteps": [999, 759, 499, 259], "strength": 0.5}, "_steps": (None,)},
]
EDM: list[dict] = [
    {},
    V,
    SIGMA_MIN,
    {"sigma_schedule": "exponential"},
    {"sigma_schedule": "exponential", **V},
    {"sigma_schedule": "exponential", **SIGMA_MIN},
    {"rho": 3.0},
    {"rho": 9.0, **V},
    {"sigma_data": 1.0},
    {"sigma_max": 20.0, "sigma_min": 0.05},
    {"sigma_max": 700.0, **V},
    {"num_train_timesteps": 200},
]
SOLVERS_FINAL: list[dict] = [
    SIGMA_MIN,
    {**SIGMA_MIN, **KARRAS, **SCALED},
    {**SIGMA_MIN, **FLOW},
    {**ZERO_SNR, **V, **TRAILING},
]

# scheduler -> configurations; keys with a leading "_" are arguments of the run
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
        LOW_THRESHOLD,
        {"clip_sample_range": 2.5},
        {"variance_type": "fixed_large"},
        {"variance_type": "fixed_small_log"},
        {"variance_type": None, **NO_CLIP},
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
        LOW_THRESHOLD,
        {"clip_sample_range": 2.5},
        {"_eta": 1.0},
        {"_eta": 0.3, **NO_CLIP, **SCALED},
        {"_eta": 0.7, **V, **COSINE},
        {"_use_clipped_model_output": True},
        {"_use_clipped_model_output": True, "_eta": 1.0, **X0},
        {"num_train_timesteps": 100, "beta_end": 0.1},
        {"num_train_timesteps": 333, **NO_CLIP, **TRAILING},
    ],
    # the steps of DDIM and DDPM; `batch_step_no_noise` is tested in test_tensors
    "DDIMParallelScheduler": [{}, {**NO_CLIP, **V, **SCALED, "_steps": (5,)}, {"_eta": 0.8, "_steps": (5,)}],
    "DDPMParallelScheduler": [{"_steps": (1, 10)}, {"variance_type": "learned_range", "_channels": 2, "_steps": (5,)}],
    "PNDMScheduler": [
        {"skip_prk_steps": True},
        {"skip_prk_steps": True, **SCALED, "steps_offset": 1},
        {"skip_prk_steps": True, **SCALED, "set_alpha_to_one": True},
        {"skip_prk_steps": True, **COSINE},
        {"skip_prk_steps": True, **TRAINED, "_steps": (1, 2, 5, 10, 25)},
        {"skip_prk_steps": True, **V},
        {"skip_prk_steps": True, **V, **SCALED, **TRAILING},
        {"skip_prk_steps": True, **TRAILING},
        {"skip_prk_steps": True, **LINSPACE},
        {"skip_prk_steps": True, **LINSPACE, **SCALED},
        {"skip_prk_steps": True, "num_train_timesteps": 333},
        {"skip_prk_steps": True, "num_train_timesteps": 100, "beta_end": 0.1},
        {"_steps": PRK},
        {"_steps": PRK, **SCALED},
        {"_steps": PRK, **SCALED, "set_alpha_to_one": True},
        {"_steps": PRK, **COSINE},
        {"_steps": PRK, **V},
        {"_steps": PRK, **TRAILING},
        {"_steps": PRK, **LINSPACE},
        {"_steps": PRK, **LINSPACE, **V, **SCALED},
        {"_steps": PRK, "num_train_timesteps": 333},
    ],
    "LMSDiscreteScheduler": SIGMA_SAMPLERS
    + [{**X0, **SCALED}, {**X0, **KARRAS}, {"_order": 1}, {"_order": 2, **SCALED}, {"_order": 3, **KARRAS}],
    "EulerDiscreteScheduler": SIGMA_SAMPLERS
    + [
        {**X0, **SCALED},
        {"_s_churn": 5.0, "_s_noise": 1.1},
        {"_s_churn": 20.0, "_s_tmin": 0.5, "_s_tmax": 8.0, **SCALED, **V},
        {"interpolation_type": "log_linear", **SCALED},
        {"timestep_type": "continuous", **V, "sigma_min": 0.002, "sigma_max": 80.0, **KARRAS},
        {**SCALED, **SIGMA_MIN},
        {**KARRAS, **SIGMA_MIN, "sigma_min": 0.05, "sigma_max": 10.0},
        {**V, **ZERO_SNR, **TRAILING},
        {"_set_timesteps": {"timesteps": [900.0, 601.5, 300.0, 20.0]}, "_steps": (None,), **SCALED},
        {"_set_timesteps": {"sigmas": [12.0, 5.0, 1.0, 0.3, 0.0]}, "_steps": (None,), **SCALED},
    ],
    "EulerAncestralDiscreteScheduler": [c for c in SIGMA_SAMPLERS if not any(key.startswith("use_") for key in c)]
    + [
        {**SCALED, **V, **TRAILING},
        {**COSINE, **V},
        {**COSINE, **LEADING},
        {**ZERO_SNR, **V},
        {**ZERO_SNR, **V, **TRAILING},
        {**ZERO_SNR, **V, **SCALED, **OFFSET},
        {"num_train_timesteps": 333, **TRAILING},
        {"num_train_timesteps": 100, "beta_end": 0.1, **V},
        {**TRAINED, **LEADING, "_steps": (1, 2, 5, 10, 25)},
    ],
    "DPMSolverMultistepScheduler": SOLVERS
    + SOLVERS_FINAL
    + [
        {"solver_type": "heun"},
        {"solver_type": "heun", **SCALED, **KARRAS},
        {"solver_order": 3, "solver_type": "heun"},
        {"algorithm_type": "sde-dpmsolver++"},
        {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun", **SCALED},
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 3, **SCALED},
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 1, **KARRAS},
        {"algorithm_type": "dpmsolver", **SIGMA_MIN},
        {"algorithm_type": "dpmsolver", **SIGMA_MIN, "solver_type": "heun", **SCALED},
        {"algorithm_type": "dpmsolver", **SIGMA_MIN, "solver_order": 3, **SCALED},
        {"algorithm_type": "dpmsolver", **SIGMA_MIN, **X0, **SCALED},
        {"algorithm_type": "dpmsolver", **SIGMA_MIN, **V, **THRESHOLD},
        {"algorithm_type": "sde-dpmsolver", **SIGMA_MIN, **SCALED},
        {"algorithm_type": "sde-dpmsolver", **SIGMA_MIN, "solver_type": "heun"},
        {"algorithm_type": "sde-dpmsolver", **SIGMA_MIN, "solver_order": 1},
        {"solver_type": "bh2", **SIGMA_MIN},
        {"euler_at_final": True, **SIGMA_MIN},
        {"lower_order_final": False, "solver_order": 3},
        {"use_lu_lambdas": True, **SCALED},
        {"use_lu_lambdas": True, **COSINE, "solver_order": 3},
        {"lambda_min_clipped": -5.1, **COSINE},
        {"lambda_min_clipped": -5.1, **COSINE, **TRAILING},
        {"variance_type": "learned_range", "_channels": 2},
        {"_set_timesteps": {"timesteps": [900, 600, 300, 20]}, "_steps": (None,), **SCALED},
    ],
    "UniPCMultistepScheduler": SOLVERS
    + SOLVERS_FINAL
    + [
        {"solver_type": "bh1", **SIGMA_MIN},
        {"solver_type": "bh1", **SIGMA_MIN, **SCALED, "solver_order": 3},
        {"predict_x0": False, **SIGMA_MIN},
        {"predict_x0": False, **SIGMA_MIN, **SCALED, "solver_order": 3},
        {"predict_x0": False, **SIGMA_MIN, **X0},
        {"predict_x0": False, **SIGMA_MIN, **V},
        {"disable_corrector": [0, 1, 2]},
        {"lower_order_final": False, **SIGMA_MIN},
        {"solver_order": 1},
        {"solver_type": "midpoint"},
    ],
    "DEISMultistepScheduler": SOLVERS
    + [{"algorithm_type": "dpmsolver++", "solver_type": "midpoint"}, {**X0, **COSINE}],
    # third order divides by the last step, which is zero with Karras sigmas: the reference gives NaN; where rounding
    # repeats the first timestep, the reference overruns its schedule
    "DPMSolverMultistepInverseScheduler": [
        {**c, "_steps": (1, 2, 5)} if {"use_exponential_sigmas", "use_beta_sigmas"} & c.keys() else c
        for c in SOLVERS
        if c != {**KARRAS, **SCALED, "solver_order": 3}
    ]
    + [
        {"solver_type": "heun"},
        {"algorithm_type": "dpmsolver"},
        {"algorithm_type": "dpmsolver", "solver_order": 3, **SCALED},
        {"lambda_min_clipped": -5.1, **COSINE},
        {"euler_at_final": True, **V},
    ],
    "DPMSolverSinglestepScheduler": [c for c in SOLVERS if "timestep_spacing" not in c]
    + [c for c in SOLVERS_FINAL if not {"timestep_spacing", "rescale_betas_zero_snr"} & c.keys()]
    + [
        {"solver_type": "heun"},
        {"solver_type": "heun", "solver_order": 3, **SCALED},
        {"solver_order": 3, "lower_order_final": True, **SIGMA_MIN, **SCALED},
        {"algorithm_type": "dpmsolver", **SIGMA_MIN},
        {"algorithm_type": "dpmsolver", **SIGMA_MIN, "solver_order": 3, "solver_type": "heun"},
        {"algorithm_type": "dpmsolver", **SIGMA_MIN, "solver_order": 3, **V},
        {"algorithm_type": "sde-dpmsolver++"},
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 3, "solver_type": "heun", **SCALED},
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
        {"lambda_min_clipped": -5.1, **COSINE},
        {"_set_timesteps": {"timesteps": [900, 600, 300, 20]}, "_steps": (None,), **SCALED},
    ],
    "DDIMInverseScheduler": [
        {},
        NO_CLIP,
        {**NO_CLIP, **SCALED},
        {**NO_CLIP, **SCALED, "set_alpha_to_one": False},
        {**NO_CLIP, **SCALED, "set_alpha_to_one": False, "steps_offset": 1},
        {**NO_CLIP, **COSINE},
        {**NO_CLIP, **TRAINED, "_steps": (1, 2, 5, 10, 25)},
        {**NO_CLIP, **V},
        {**NO_CLIP, **V, **SCALED},
        {**NO_CLIP, **V, **COSINE},
        {**NO_CLIP, **TRAILING},
        {**NO_CLIP, **TRAILING, **SCALED},
        {**NO_CLIP, **TRAILING, **V},
        {"clip_sample_range": 2.5},
        {"clip_sample_range": 0.5, **V},
        {**TRAILING, **COSINE},
        {"num_train_timesteps": 100, "beta_end": 0.1},
        {"num_train_timesteps": 333, **NO_CLIP},
        {"num_train_timesteps": 333, **NO_CLIP, **TRAILING},
        {**V, **ZERO_SNR},
        {**NO_CLIP, **X0, "set_alpha_to_one": False},
    ],
    "HeunDiscreteScheduler": SIGMA_SAMPLERS
    + [
        {**X0},
        {**X0, **KARRAS, **SCALED},
        {"clip_sample": True},
        {"clip_sample": True, "clip_sample_range": 2.0, **V},
        {"beta_schedule": "exp"},
        {"_set_timesteps": {"timesteps": [900, 601, 300, 20]}, "_steps": (None,), **SCALED},
    ],
    "KDPM2DiscreteScheduler": [*KDPM2, {**TRAILING, **SCALED, **V}],
    # with few steps the reference computes sigma_down as the root of a rounding error, which may be NaN
    "KDPM2AncestralDiscreteScheduler": [
        {**c, "_steps": (10, 25, 50)}
        for c in [*KDPM2, {**TRAILING, **SCALED, **V}, {**LEADING, **V}, {**TRAILING, **V}]
        if not COSINE.items() <= c.items()  # in the first step also with more
    ],
    "DPMSolverSDEScheduler": [
        *SIGMA_SAMPLERS,
        {**TRAILING, **SCALED, **V},
        {**SCALED, "_s_noise": 0.7},
    ],
    "LCMScheduler": DISTILLED,
    "TCDScheduler": [c for c in DISTILLED if not {"thresholding", "clip_sample"} & c.keys()]
    + [
        {"_eta": 0.0},
        {"_eta": 1.0, **V},
        {"_eta": 0.7, **X0},
        {"_eta": 0.0, **COSINE, **V},
        {"_set_timesteps": {"original_inference_steps": 60}},
    ],
    "EDMEulerScheduler": EDM
    + [
        {"_s_churn": 5.0, "_s_noise": 1.1},
        {"_s_churn": 20.0, "_s_tmin": 0.5, "_s_tmax": 8.0, **V},
        {"_s_churn": 20.0, "sigma_schedule": "exponential"},
        {"_s_churn": 5.0, "_s_noise": 0.9, "rho": 3.0, "sigma_data": 1.0},
        {"sigma_schedule": "exponential", "sigma_max": 20.0, "sigma_min": 0.05},
        {"sigma_schedule": "exponential", "sigma_data": 1.0, **V},
        {"sigma_data": 0.25, **V, **SIGMA_MIN},
        {"num_train_timesteps": 200, "sigma_max": 20.0, **V},
    ],
    "EDMDPMSolverMultistepScheduler": EDM
    + [
        {"solver_order": 1},
        {"solver_order": 3},
        {"solver_order": 3, **V},
        {"solver_type": "heun"},
        {"algorithm_type": "sde-dpmsolver++"},
        {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun", **V},
        THRESHOLD,
        {"euler_at_final": True, **SIGMA_MIN},
        {"lower_order_final": False, **V},
    ],
    "FlowMatchEulerDiscreteScheduler": [
        {},
        {"shift": 3.0},
        {"shift": 0.5},
        {"num_train_timesteps": 500},
        {"use_dynamic_shifting": True, "_set_timesteps": {"mu": 0.8}},
        {"use_dynamic_shifting": True, "_set_timesteps": {"mu": 1.15}, **KARRAS},
        {"use_dynamic_shifting": True, "time_shift_type": "linear", "_set_timesteps": {"mu": 0.8}},
        {"shift_terminal": 0.1, "_steps": (2, 5, 10, 25, 50)},
        {"shift_terminal": 0.02, "shift": 2.0, "_steps": (2, 5, 10, 25, 50)},
        {"invert_sigmas": True, "shift": 2.0, "_steps": (2, 5, 10, 25, 50)},
        {"invert_sigmas": True, "_steps": (2, 5, 10, 25, 50)},
        KARRAS,
        EXPONENTIAL,
        BETA,
        {**KARRAS, "shift": 3.0},
        {**EXPONENTIAL, "shift": 3.0},
        {**BETA, "shift": 3.0},
        {**BETA, "invert_sigmas": True},
        {"_set_timesteps": {"sigmas": [1.0, 0.7, 0.2, 0.05]}, "_steps": (None, 4), "shift": 2.0},
        {"_set_timesteps": {"timesteps": [1000.0, 700.0, 200.0]}, "_steps": (None, 3)},
        {"_set_timesteps": {"sigmas": [1.0, 0.4], "timesteps": [990.0, 410.0]}, "_steps": (None, 2)},
    ],
    "FlowMatchHeunDiscreteScheduler": [
        *({"shift": shift} for shift in (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 12.0)),
        *({"num_train_timesteps": n, "shift": shift} for n in (100, 333, 500) for shift in (0.5, 1.0, 3.0)),
        {"_s_churn": 5.0, "_s_noise": 1.1},
        {"_s_churn": 20.0},
        {"_s_churn": 20.0, "_s_noise": 0.9, "shift": 3.0},
        {"_s_churn": 5.0, "_s_tmin": 0.2, "_s_tmax": 0.8, "shift": 2.0},
        {"_s_churn": 2.0, "_s_tmin": 0.5, "num_train_timesteps": 500},
    ],
    "CMStochasticIterativeScheduler": [
        {"_steps": (1, 2, 5, 10, 25, 40), **c}
        for c in (
            {},
            {"clip_denoised": False},
            {"s_noise": 1.2},
            {"s_noise": 0.8, "clip_denoised": False},
            {"sigma_max": 10.0, "rho": 3.0},
            {"sigma_max": 200.0},
            {"sigma_min": 0.0625},  # a power of two: sigma - sigma_min cancels
            {"sigma_data": 1.0, "sigma_min": 0.0625},
            {"sigma_data": 0.25},
            {"sigma_data": 2.0, "clip_denoised": False},
            {"rho": 1.0},
            {"rho": 3.0, "clip_denoised": False},
            {"rho": 9.0, "s_noise": 0.5},
            {"num_train_timesteps": 200, "_steps": STEPS},
            {"num_train_timesteps": 200, "rho": 5.0, "clip_denoised": False, "_steps": STEPS},
            {"num_train_timesteps": 18, "_steps": (1, 2, 5, 10)},
            {"num_train_timesteps": 18, "sigma_data": 1.0, "_steps": (1, 2, 5, 10)},
            {"_set_timesteps": {"timesteps": [39, 25, 10, 4, 1]}, "_steps": (None,)},
            {"_set_timesteps": {"timesteps": [22, 7, 0]}, "_steps": (None,)},
            {"_set_timesteps": {"timesteps": [22, 0]}, "_steps": (None,), "clip_denoised": False},
            {"_set_timesteps": {"timesteps": [106, 0]}, "_steps": (None,), "num_train_timesteps": 151},
        )
    ],
    "SASolverScheduler": [
        *(c for c in SOLVERS if "solver_order" not in c),
        {"predictor_order": 1, "corrector_order": 1},
        {"predictor_order": 3, "corrector_order": 3, **SCALED},
        {"predictor_order": 3, "corrector_order": 4, **V},
        {"algorithm_type": "noise_prediction"},
        {"algorithm_type": "noise_prediction", **V, **SCALED},
        {"lower_order_final": False, **SCALED},
    ],
    # the reference divides by the number of steps minus one
    "UnCLIPScheduler": [
        {**settings, **limit, "_steps": (2, 5, 10, 25, 50)}
        for settings in (
            {},
            X0,
            {"num_train_timesteps": 200},
            {**X0, "num_train_timesteps": 333},
            {"variance_type": "learned_range", "_channels": 2},
            {"variance_type": "learned_range", "_channels": 2, **X0},
            {"variance_type": "learned_range", "_channels": 2, "num_train_timesteps": 100},
        )
        for limit in ({}, NO_CLIP, {"clip_sample_range": 3.0})
    ],
    # trained betas of this scheduler: one value per step and one for the end
    "IPNDMScheduler": [
        {},
        {"num_train_timesteps": 100},
        {"num_train_timesteps": 333},
        *(
            {"trained_betas": [round(1 - (i / n) ** power, 6) for i in range(n + 1)], "_steps": (n,)}
            for n in (5, 10, 50)
            for power in (1, 2)
        ),
    ],
}


def _cases() -> list:
    cases = []
    for name, configs in GRID.items():
        for config in configs:
            label = ",".join(f"{k.lstrip('_')}={v if not isinstance(v, list) else '...'}" for k, v in config.items())
            cases.append(pytest.param(name, config, id=f"{name.removesuffix('Scheduler')}-{label or 'default'}"))
    return cases


@pytest.mark.parametrize(("name", "config"), _cases())
def test_every_step_equals_diffusers(name: str, config: dict) -> None:
    settings = {k: v for k, v in config.items() if not k.startswith("_")}
    run = {k[1:]: v for k, v in config.items() if k.startswith("_")}
    only = run.pop("steps", STEPS)
    for num_steps in only:
        assert_same_run(name, settings, num_steps, **run)


def test_the_grid_has_20_configurations_per_scheduler() -> None:
    # nothing to configure but the schedule; the steps of another scheduler
    simple = {"IPNDMScheduler", "DDIMParallelScheduler", "DDPMParallelScheduler"}
    few = {name: len(configs) for name, configs in GRID.items() if len(configs) < 20 and name not in simple}
    assert not few
